//! The document of a prepare that changes what runs: nobody serves it before the commit. What was sent
//! is kept, so it is put together here, and its hash says whether that is it.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::{ASKED_MAX, Search};
use crate::{
    compose::Compose,
    request::ids::SourceCvm,
    store::{StoreError, compose_documents::Origin},
};

const PLACE: &str = "what the CVM runs, with what was sent to prepare it";

impl Search<'_> {
    pub(super) async fn derived(&mut self) -> Result<(), StoreError> {
        let Some(sent) = self.sent().await? else { return Ok(()) };
        let bases = match &self.runs {
            Some(bytes) => vec![bytes.clone()],
            None if self.job.source.as_str().starts_with("app_") => self.run_by_instances().await,
            None => vec![],
        };
        // What cannot be read or used was told where it was found.
        let mut outcome = None;
        for base in bases.iter().filter_map(|bytes| Compose::parse(bytes).ok()) {
            match base.with_sent(&sent) {
                Ok(None) => return Ok(()),
                Ok(Some(derived)) => {
                    if let Some((form, text)) = derived.as_written(self.job.compose) {
                        let found = (Origin::Derived, PLACE);
                        self.keep(self.job.compose, (form, text), found).await?;
                        self.tell(PLACE, &format!("this is it: {}", form.words()));
                        self.found = true;
                        return Ok(());
                    }
                    outcome = Some("no form has this hash".to_owned());
                }
                Err(error) => outcome = Some(format!("is no document that can be used: {error}")),
            }
        }
        if let Some(outcome) = outcome {
            self.tell(PLACE, &outcome);
        }
        Ok(())
    }

    /// What was sent to prepare, opened in memory and for this only; none when it was not handed over.
    async fn sent(&mut self) -> Result<Option<Value>, StoreError> {
        let id = self.job.request;
        let Some(sealed) = self.store.prepare_body(id).await? else { return Ok(None) };
        let opened = self.vault.open_body(id.0, &sealed).ok();
        let sent = opened.and_then(|text| serde_json::from_str(text.expose_secret()).ok());
        if sent.is_none() {
            self.tell("what was sent to prepare it", "could not be opened");
        }
        Ok(sent)
    }

    /// What the instances of an app run, each document once.
    async fn run_by_instances(&mut self) -> Vec<Vec<u8>> {
        let mut hashes = vec![];
        let mut ids: Vec<SourceCvm> = vec![];
        for one in &self.instances {
            if !hashes.contains(&one.compose_hash) {
                hashes.push(one.compose_hash);
                ids.extend(one.id.as_str().parse::<SourceCvm>().ok());
            }
        }
        let mut found = vec![];
        for id in ids.iter().take(ASKED_MAX) {
            match self.cloud.compose_file(id).await {
                Ok(bytes) => found.push(bytes),
                Err(error) => self.tell_error(format!("CVM {id}"), &error),
            }
        }
        found
    }
}
