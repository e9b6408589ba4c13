//! What is shown, by the service or in a file, as far as it reads. Nothing of it is believed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
};

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::mailbox::{MailboxArgs, WalletLink};
use crate::{
    cli::{Globals, client::Client, print},
    owner::{Call, Route},
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId, SafeTxHash},
    safe::{SafeTx, SafeVersion, batch_file, packed::Part, read_eip712},
};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Wanted {
    pub app: AppId,
    pub compose_hash: ComposeHash,
    pub device_id: DeviceId,
}

/// Another request that the same transaction is said to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Other {
    pub id: RequestId,
    #[serde(flatten)]
    pub wanted: Wanted,
}

/// The part of a proposal that the rest follows from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claimed {
    pub route: Route,
    #[serde(rename = "chain_id")]
    pub chain: ChainId,
    pub owner: Address,
    #[serde(rename = "safe_version")]
    pub version: Option<SafeVersion>,
    pub safe_tx: Option<SafeTx>,
}

/// What is shown.
#[derive(Debug, Clone)]
pub struct Said {
    /// Who or what shows it, for people.
    pub by: String,
    /// Absent in a file.
    pub request: Option<RequestId>,
    /// Absent in a file.
    pub wanted: Option<Wanted>,
    /// Those that are to be approved together with the request.
    pub with: Vec<Other>,
    pub claimed: Claimed,
    /// All that is shown of the proposal, to be compared field by field; absent in a document that
    /// only names the transaction.
    pub shown: Option<Value>,
    /// The calls of a batch file, which names no transaction.
    pub batch: Option<Vec<Call>>,
    /// Signatures that are shown beside a transaction alone.
    pub signatures: Vec<Part>,
    /// Signatures that are shown and are none, in words.
    pub refused: Vec<String>,
    /// The transaction that a link names.
    pub asked: Option<SafeTxHash>,
    /// Other transactions that are shown with the same nonce.
    pub same_nonce: Vec<SafeTxHash>,
}

impl Said {
    /// Asks the service, or reads the file.
    pub async fn read(subject: &str, mailbox: &MailboxArgs, globals: &Globals) -> Result<Self> {
        if let Ok(id) = subject.parse::<RequestId>() {
            return Self::of_request(id, &Client::new(&globals.service)?).await;
        }
        if let Ok(url) = subject.parse::<Url>()
            && matches!(url.scheme(), "http" | "https")
        {
            if let Some(link) = WalletLink::read(&url) {
                return link.ask(mailbox).await;
            }
            let (root, id) = request_in(&url).context(
                "that is neither the page of a request (…/requests/ID) nor the link of a \
                 transaction in Safe{Wallet} (…/transactions/tx?safe=…&id=multisig_…)",
            )?;
            let service = globals.service.at(root);
            if globals.service.has_token() && !service.has_token() {
                print::note_to_stderr(
                    "note: the API token is for another service, and not sent there: name it with \
                     --url too if it is meant",
                );
            }
            return Self::of_request(id, &Client::new(&service)?).await;
        }
        let text = read_file(subject).with_context(|| {
            format!("{subject} is neither a request's id, nor its URL, nor a file that can be read")
        })?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{subject} is no JSON"))?;
        if value.get("transactions").is_some() {
            return Self::of_batch(subject, &text);
        }
        Self::of_document(subject, value)
    }

    async fn of_request(id: RequestId, client: &Client) -> Result<Self> {
        let path = ["v1", "requests", &id.to_string()].map(str::to_owned);
        let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
        let request = client.get(&path, &[]).await?;
        path.push("proposal");
        let shown = client.get(&path, &[]).await?;
        if request["id"] != json!(id) || request["chain_id"] != shown["chain_id"] {
            bail!("{} answers for another request than {id}", client.place());
        }
        Ok(Self {
            by: client.place(),
            request: Some(id),
            with: others(&shown, id)?,
            wanted: Some(Wanted::deserialize(&request).context("the request does not read")?),
            claimed: Claimed::deserialize(&shown).context("the proposal does not read")?,
            shown: Some(shown),
            batch: None,
            signatures: vec![],
            refused: vec![],
            asked: None,
            same_nonce: vec![],
        })
    }

    /// A proposal, or an EIP-712 document.
    fn of_document(name: &str, mut value: Value) -> Result<Self> {
        // What `payload` wrote beside what it was given: here it is found out again.
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("warnings_here");
            fields.shift_remove("commands");
        }
        if value["primaryType"] == "SafeTx" {
            let (chain, owner, safe_tx) = read_eip712(&value)
                .with_context(|| format!("{name} is no EIP-712 document of a Safe transaction"))?;
            let claimed =
                Claimed { route: Route::Safe, chain, owner, version: None, safe_tx: Some(safe_tx) };
            return Ok(Self::of_claim(name, claimed, None));
        }
        if value.get("owner").is_none() || value.get("safe_tx").is_none() {
            bail!(
                "{name} is neither a proposal (`countersign payload ID --json`), nor an EIP-712 \
                 document (`--eip712`), nor a file for the Transaction Builder (`--batch`)"
            );
        }
        let claimed = Claimed::deserialize(&value)
            .with_context(|| format!("{name} is no proposal that reads"))?;
        let mut with = requests(&value).with_context(|| name.to_owned())?;
        if with.len() < 2 {
            // What one request needs is for the signer to say: a file names no request that was asked.
            with.clear();
        }
        Ok(Self { with, ..Self::of_claim(name, claimed, Some(value)) })
    }

    /// A file for Safe's Transaction Builder.
    fn of_batch(name: &str, text: &str) -> Result<Self> {
        let batch = batch_file::read(text).with_context(|| name.to_owned())?;
        let owner = batch.safe.with_context(|| format!("{name} does not name its Safe"))?;
        let (route, chain) = (Route::Safe, batch.chain);
        let claimed = Claimed { route, chain, owner, version: None, safe_tx: None };
        Ok(Self { batch: Some(batch.calls), ..Self::of_claim(name, claimed, None) })
    }

    fn of_claim(by: &str, claimed: Claimed, shown: Option<Value>) -> Self {
        let (signatures, refused, same_nonce) = (vec![], vec![], vec![]);
        let by = by.to_owned();
        let (request, wanted, with, batch) = (None, None, vec![], None);
        let asked = None;
        Self {
            by,
            request,
            wanted,
            with,
            claimed,
            shown,
            batch,
            signatures,
            refused,
            asked,
            same_nonce,
        }
    }
}

/// The requests that a proposal is said to be for, without the one that was asked about.
pub fn others(shown: &Value, asked: RequestId) -> Result<Vec<Other>> {
    let mut said = requests(shown)?;
    said.retain(|one| one.id != asked);
    Ok(said)
}

/// The requests that a proposal is said to be for, each once.
fn requests(shown: &Value) -> Result<Vec<Other>> {
    let said = Vec::<Other>::deserialize(&shown["requests"])
        .context("the requests of the proposal do not read")?;
    let ids: BTreeSet<RequestId> = said.iter().map(|one| one.id).collect();
    if ids.len() < said.len() {
        bail!("the proposal names a request twice: do not sign");
    }
    Ok(said)
}

/// The service and the request that a page or an address of the API is about.
fn request_in(url: &Url) -> Option<(Url, RequestId)> {
    let segments: Vec<&str> = url.path_segments()?.collect();
    let at = segments.iter().rposition(|segment| *segment == "requests")?;
    let id = segments.get(at + 1)?.parse().ok()?;
    let before = &segments[..at];
    let before = before.strip_suffix(&["v1"]).unwrap_or(before);
    let mut root = url.clone();
    root.set_path(&before.join("/"));
    root.set_query(None);
    root.set_fragment(None);
    Some((root, id))
}

/// Reads standard input, or a regular file: a pipe or a device may never end, and a pipe never begin.
fn read_file(name: &str) -> io::Result<String> {
    let source: Box<dyn Read> = if name == "-" {
        Box::new(io::stdin())
    } else {
        if !fs::metadata(name)?.is_file() {
            let text = "it is no regular file: to read from a pipe, give - and pipe into this";
            return Err(io::Error::other(text));
        }
        Box::new(File::open(name)?)
    };
    let mut text = String::new();
    source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is too long to be a proposal"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11";

    #[test]
    fn only_a_regular_file_of_a_proposals_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (fifo, long, short) = (place("fifo"), place("long"), place("short"));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        File::create(&long).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        fs::write(&short, "{}").unwrap();
        assert_eq!(read_file(&short).unwrap(), "{}");
        // It would wait for a writer for ever.
        assert!(read_file(&fifo).unwrap_err().to_string().contains("no regular file"));
        assert!(read_file("/dev/zero").unwrap_err().to_string().contains("no regular file"));
        assert!(read_file(&long).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn a_page_of_a_request_names_it_and_its_service() {
        let found = |url: &str| request_in(&url.replace("ID", ID).parse().unwrap());
        for (url, root) in [
            ("https://c.example/requests/ID", "https://c.example/"),
            ("https://c.example/v1/requests/ID", "https://c.example/"),
            ("https://c.example/in/here/requests/ID#calls", "https://c.example/in/here"),
            ("http://127.0.0.1:1/v1/requests/ID/proposal?x=1", "http://127.0.0.1:1/"),
        ] {
            let (service, id) = found(url).unwrap();
            assert_eq!((service.as_str(), id.to_string().as_str()), (root, ID), "{url}");
        }
        for url in ["https://x.example/", "https://x.example/requests", "https://x.example/a/ID"] {
            assert_eq!(found(url), None, "{url}");
        }
    }
}
