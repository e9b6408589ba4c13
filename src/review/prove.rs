//! What a compose hash means: the document that has it is looked for wherever Phala Cloud keeps one.
//! Nothing in a document is believed before its hash is the one that is asked for.
//!
//! *Proved*: a document has the hash, whoever gave it. *Contradicted*: Phala Cloud shows a document as
//! the one of this hash, and it is not. *Unproved*: neither. What cannot be read contradicts nothing.

mod derive;

use crate::{
    clock::Time,
    compose::{Compose, ComposeError, Form, visible},
    phala::{Cvm, Instance, PhalaCloud, PhalaError},
    request::ids::{ComposeHash, RequestId, SourceCvm},
    store::{
        Store, StoreError,
        compose_documents::{Document, Looked, Origin, ProofJob, Provenance, Tried},
        journal::Actor,
    },
    vault::Vault,
};

/// Revisions and instances of one hash that are asked for their document.
const ASKED_MAX: usize = 3;
const OUTCOME_CHARS_MAX: usize = 300;

/// What came of a document.
enum Verdict {
    Match(Form, String),
    Other,
    Refused(ComposeError),
}

fn judge(bytes: &[u8], wanted: ComposeHash) -> Verdict {
    match Compose::parse(bytes) {
        Err(error) => Verdict::Refused(error),
        Ok(compose) => match compose.as_hashed(wanted) {
            Some((form, text)) => Verdict::Match(form, text),
            None => Verdict::Other,
        },
    }
}

/// Looks for the document of a request, everywhere. `is_known` says that it is here already, so that
/// only what the source runs is of interest.
pub async fn prove(
    store: &Store,
    cloud: &PhalaCloud,
    vault: &Vault,
    job: &ProofJob,
    is_known: bool,
    now: Time,
) -> Result<(Looked, bool), StoreError> {
    let mut search = Search {
        store,
        cloud,
        vault,
        job,
        now,
        looked: Looked::default(),
        found: is_known,
        runs: None,
        instances: vec![],
    };
    search.source().await?;
    if !search.found {
        search.revisions().await?;
    }
    if !search.found {
        search.instances().await?;
    }
    if !search.found {
        search.attestation(&job.source).await?;
    }
    if !search.found {
        search.derived().await?;
    }
    if !search.found {
        search.pending().await;
    }
    let Search { mut looked, found, .. } = search;
    if found {
        // A document with the right hash is the document, whatever is shown elsewhere.
        looked.contradicted = None;
    }
    Ok((looked, found))
}

struct Search<'a> {
    store: &'a Store,
    cloud: &'a PhalaCloud,
    vault: &'a Vault,
    job: &'a ProofJob,
    now: Time,
    looked: Looked,
    found: bool,
    /// The document that the source shows as what it runs.
    runs: Option<Vec<u8>>,
    /// The instances of the app, once they were listed.
    instances: Vec<Instance>,
}

impl Search<'_> {
    fn tell(&mut self, place: impl Into<String>, outcome: &str) {
        let outcome: String = visible(outcome, false).chars().take(OUTCOME_CHARS_MAX).collect();
        self.looked.tried.push(Tried { place: place.into(), outcome });
    }

    fn tell_error(&mut self, place: impl Into<String>, error: &PhalaError) {
        let told = match error {
            PhalaError::Api(answer) if answer.status == 404 => "there is none".to_owned(),
            other => format!("could not be read: {other}"),
        };
        self.tell(place, &told);
    }

    /// Keeps a document if it is the one. `claimed` says that it is shown as the one of this hash.
    async fn weigh(
        &mut self,
        bytes: &[u8],
        (origin, place): (Origin, &str),
        claimed: bool,
    ) -> Result<(), StoreError> {
        match judge(bytes, self.job.compose) {
            Verdict::Match(form, text) => {
                self.keep(self.job.compose, (form, text), (origin, place)).await?;
                self.tell(place, &format!("this is it: {}", form.words()));
                self.found = true;
            }
            Verdict::Other if claimed => {
                let told = "is shown as the document of this hash, and in no known form has it";
                self.looked.contradicted = Some(format!("{place} {told}"));
                self.tell(place, told);
            }
            Verdict::Other => {
                self.tell(place, "is another document: in no known form has it the hash");
            }
            Verdict::Refused(error) => {
                self.tell(place, &format!("is no document that can be used: {error}"));
            }
        }
        Ok(())
    }

    async fn keep(
        &self,
        hash: ComposeHash,
        (form, text): (Form, String),
        (origin, place): (Origin, &str),
    ) -> Result<(), StoreError> {
        let provenance =
            Provenance { form, origin, place: place.to_owned(), received_at: self.now };
        let document = Document { bytes: text.into_bytes(), provenance };
        self.store.keep_document(hash, &document, self.now).await
    }

    /// What the source runs: mostly this very document. One that runs another shows what changes.
    async fn source(&mut self) -> Result<(), StoreError> {
        let (cloud, job) = (self.cloud, self.job);
        if job.source.as_str().starts_with("app_") {
            return Ok(());
        }
        let place = format!("CVM {}", job.source);
        let bytes = match cloud.compose_file(&job.source).await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.tell_error(place, &error);
                return Ok(());
            }
        };
        if matches!(judge(&bytes, job.compose), Verdict::Match(..)) {
            self.looked.source_runs = Some(job.compose);
            return self.weigh(&bytes, (Origin::Cvm, &place), false).await;
        }
        match cloud.cvm(&job.source).await {
            Ok(Cvm { compose_hash: Some(runs), .. }) => {
                self.looked.source_runs = Some(runs);
                if runs == job.compose {
                    return self.claimed_by(&job.source, &place).await;
                }
                if let Verdict::Match(form, text) = judge(&bytes, runs) {
                    self.keep(runs, (form, text), (Origin::Cvm, &place)).await?;
                }
                self.tell(place, &format!("runs another document, {runs}"));
            }
            Ok(_) => self.weigh(&bytes, (Origin::Cvm, &place), false).await?,
            Err(error) => self.tell_error(place, &error),
        }
        self.runs = Some(bytes);
        Ok(())
    }

    /// The document of a CVM that says it runs this hash. It is read after the CVM said so: an update
    /// in between would make the two differ for a moment.
    async fn claimed_by(&mut self, id: &SourceCvm, place: &str) -> Result<(), StoreError> {
        match self.cloud.compose_file(id).await {
            Ok(bytes) => self.weigh(&bytes, (Origin::Cvm, place), true).await,
            Err(error) => {
                self.tell_error(place, &error);
                Ok(())
            }
        }
    }

    async fn revisions(&mut self) -> Result<(), StoreError> {
        let app = self.job.app;
        let revisions = match self.cloud.revisions(app).await {
            Ok(revisions) => revisions,
            Err(error) => {
                self.tell_error("the app's revisions", &error);
                return Ok(());
            }
        };
        let ours: Vec<_> =
            revisions.into_iter().filter(|one| one.compose_hash == self.job.compose).collect();
        if ours.is_empty() {
            self.tell("the app's revisions", "none has this hash");
        }
        for revision in ours.iter().take(ASKED_MAX) {
            let place = format!("revision {}", revision.id);
            match self.cloud.revision_document(app, &revision.id).await {
                Ok(Some(bytes)) => self.weigh(&bytes, (Origin::Revision, &place), true).await?,
                Ok(None) => self.tell(place, "has no document"),
                Err(error) => self.tell_error(place, &error),
            }
            if self.found {
                break;
            }
        }
        Ok(())
    }

    /// Other instances of the app that say they run this hash.
    async fn instances(&mut self) -> Result<(), StoreError> {
        let instances = match self.cloud.instances(self.job.app).await {
            Ok(instances) => instances,
            Err(error) => {
                self.tell_error("the app's instances", &error);
                return Ok(());
            }
        };
        let source = self.job.source.canonical();
        let others = instances.iter().filter(|one| one.compose_hash == Some(self.job.compose));
        let others = others.filter_map(|one| one.id.as_str().parse::<SourceCvm>().ok());
        let others: Vec<_> = others.filter(|id| id.canonical() != source).take(ASKED_MAX).collect();
        for id in &others {
            self.claimed_by(id, &format!("CVM {id}")).await?;
            if !self.found {
                self.attestation(id).await?;
            }
            if self.found {
                break;
            }
        }
        if others.is_empty() {
            self.tell("the app's instances", "no other one says that it runs this hash");
        }
        self.instances = instances;
        Ok(())
    }

    /// What a CVM says that it booted with.
    async fn attestation(&mut self, id: &SourceCvm) -> Result<(), StoreError> {
        if id.as_str().starts_with("app_") {
            return Ok(());
        }
        let place = format!("attestation of CVM {id}");
        match self.cloud.attested_document(id).await {
            Ok(Some(bytes)) => self.weigh(&bytes, (Origin::Attestation, &place), false).await?,
            Ok(None) => self.tell(place, "has no document"),
            Err(error) => self.tell_error(place, &error),
        }
        Ok(())
    }

    /// A hint where to look, and no more: a preview has no document.
    async fn pending(&mut self) {
        match self.cloud.pending_updates(self.job.app).await {
            Ok(pending) => {
                let ours = pending.iter().find(|one| one.compose_hash == self.job.compose);
                if let Some(update) = ours {
                    let told = format!(
                        "an update of CVM {} to this hash waits; its preview is no document",
                        update.cvm
                    );
                    self.tell("pending updates", &told);
                }
            }
            Err(error) => self.tell_error("pending updates", &error),
        }
    }
}

/// Why a document was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this is no document that can be used: {0}")]
    Refused(#[from] ComposeError),
    #[error(
        "this is another document: in no known form has it the hash {wanted}; its bytes have {raw}"
    )]
    Other { wanted: ComposeHash, raw: ComposeHash },
}

/// Takes a document from a person. It counts like any other: the hash is the proof.
///
/// # Errors
/// [`AttachError`] when it is not the document of this request.
pub async fn attach(
    store: &Store,
    request: RequestId,
    bytes: &[u8],
    actor: &Actor,
    now: Time,
) -> Result<(), AttachError> {
    let wanted = store.request(request).await?.compose;
    let compose = Compose::parse(bytes)?;
    let (form, text) = compose
        .as_hashed(wanted)
        .ok_or_else(|| AttachError::Other { wanted, raw: compose.forms().raw })?;
    let (place, origin) = (actor.as_str().to_owned(), Origin::Attached);
    let provenance = Provenance { form, origin, place, received_at: now };
    let document = Document { bytes: text.into_bytes(), provenance };
    Ok(store.attach_document(request, wanted, &document, actor, now).await?)
}
