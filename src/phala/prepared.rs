//! Reads a preparation from everything it comes in: the 465 answer in its two nestings, the `phala`
//! CLI's JSON in its two spellings, and the CLI's text for people. Pure.
//!
//! May not keep the commit links: the token stands in their query. Errors name the field and never
//! repeat what stood in it, since that may be the token.

use std::str::FromStr;

use alloy::primitives::Address;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use super::{
    fields::{self, FieldError, Fields},
    wire::CommitToken,
};
use crate::request::{
    ids::{AppId, ChainId, ComposeHash, DeviceId, ParseIdError, SourceCvm},
    kind::Kind,
};

/// Which field of a preparation could not be used, and why.
pub type PrepareResponseError = FieldError;

/// Bytes of pasted text read. A preparation is below 2 KiB.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What has to be approved, and the token that turns the approval into a replica.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub app: AppId,
    pub compose_hash: ComposeHash,
    pub device_id: DeviceId,
    pub commit_token: CommitToken,
    /// When the token dies, if the answer tells.
    pub expires_at: Option<DateTime<Utc>>,
    pub chain_id: Option<ChainId>,
    pub kms_contract: Option<Address>,
    /// Phala Cloud's own view of the chain: a hint, never a decision.
    pub compose_allowed: Option<bool>,
    pub device_allowed: Option<bool>,
    /// The source, when the answer tells. The CLI prints a placeholder in its place, but mostly a link.
    pub source_cvm: Option<SourceCvm>,
    /// What the token is for, as far as links or the CLI's words tell.
    pub kind: Option<Kind>,
}

impl Prepared {
    /// Reads a 465 body (`details` at the top or under `detail`) or the CLI's JSON output.
    pub fn from_prepare_response(value: &Value) -> Result<Self, PrepareResponseError> {
        let flat = match details(value) {
            Some(details) => Value::Object(by_field(details)?),
            None => value.clone(),
        };
        let fields = Fields(&flat);
        let token = fields
            .value(&["/commit_token", "/commitToken"])
            .ok_or_else(|| FieldError::missing("commit_token"))?;
        Ok(Self {
            app: fields.app(&["/app_id", "/appId"])?,
            compose_hash: fields.required("compose_hash", &["/compose_hash", "/composeHash"])?,
            device_id: fields.required("device_id", &["/device_id", "/deviceId"])?,
            commit_token: read_token(token.as_str().unwrap_or_default())?,
            expires_at: fields.time("expires_at", EXPIRES_AT)?,
            chain_id: fields.chain(CHAIN)?,
            kms_contract: kms_contract(fields)?,
            compose_allowed: fields.flag(COMPOSE_ALLOWED),
            device_allowed: fields.flag(DEVICE_ALLOWED),
            source_cvm: fields.value(LINKS).and_then(Value::as_str).and_then(source_in_link),
            kind: the_kind(
                LINKS
                    .iter()
                    .filter_map(|place| fields.value(&[place])?.as_str())
                    .filter_map(kind_in_link),
            )?,
        })
    }

    /// Reads what the CLI prints for people.
    pub fn from_cli_text(text: &str) -> Result<Self, PrepareResponseError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(FieldError::new("text", "too long to be a preparation"));
        }
        let lines = Lines::read(text)?;
        let app = lines.app_id.ok_or_else(|| FieldError::missing("App ID"))?;
        let kinds = lines.links.iter().filter_map(|link| kind_in_link(link)).chain(lines.kinds);
        let kind = the_kind(kinds)?;
        let link = lines.links.into_iter().find_map(source_in_link);
        Ok(Self {
            app: fields::app("App ID", app)?,
            compose_hash: read_id("Compose Hash", lines.compose_hash)?,
            device_id: read_id("Device ID", lines.device_id)?,
            commit_token: read_token(
                lines.commit_token.ok_or_else(|| FieldError::missing("commit_token"))?,
            )?,
            expires_at: None,
            chain_id: None,
            kms_contract: None,
            compose_allowed: lines.compose_allowed,
            device_allowed: lines.device_allowed,
            source_cvm: lines.source.and_then(|id| id.parse().ok()).or(link),
            kind,
        })
    }
}

const CHAIN: &[&str] =
    &["/kms_info/chain_id", "/kmsInfo/chain_id", "/kms_info/chain/id", "/kmsInfo/chain/id"];
const EXPIRES_AT: &[&str] =
    &["/expires_at", "/expiresAt", "/commit_token_expires_at", "/commitTokenExpiresAt"];
const KMS_CONTRACT: &[&str] = &["/kms_info/kms_contract_address", "/kmsInfo/kms_contract_address"];
const COMPOSE_ALLOWED: &[&str] =
    &["/onchain_status/compose_hash_allowed", "/onchainStatus/compose_hash_allowed"];
const DEVICE_ALLOWED: &[&str] =
    &["/onchain_status/device_id_allowed", "/onchainStatus/device_id_allowed"];
const LINKS: &[&str] = &["/api_commit_url", "/apiCommitUrl", "/commit_url", "/commitUrl"];

fn details(value: &Value) -> Option<&Vec<Value>> {
    ["/details", "/detail/details"].iter().find_map(|place| value.pointer(place)?.as_array())
}

/// Turns the list of field and value pairs into an object. A field that comes twice with two
/// values leaves open which one would be approved.
fn by_field(details: &[Value]) -> Result<Map<String, Value>, FieldError> {
    let mut flat = Map::new();
    for entry in details {
        let (Some(name), Some(value)) =
            (entry.get("field").and_then(Value::as_str), entry.get("value"))
        else {
            continue;
        };
        if flat.insert(name.into(), value.clone()).is_some_and(|earlier| earlier != *value) {
            return Err(FieldError::new("details", "a field comes twice with different values"));
        }
    }
    Ok(flat)
}

fn kms_contract(fields: Fields<'_>) -> Result<Option<Address>, FieldError> {
    let contract: Option<AppId> = fields.id("kms_contract_address", KMS_CONTRACT)?;
    Ok(contract.map(|address| address.0))
}

fn read_token(text: &str) -> Result<CommitToken, FieldError> {
    CommitToken::parse(text).map_err(|error| FieldError::new("commit_token", error.to_string()))
}

fn read_id<T: FromStr<Err = ParseIdError>>(
    field: &'static str,
    text: Option<&str>,
) -> Result<T, FieldError> {
    let text = text.ok_or_else(|| FieldError::missing(field))?;
    text.parse().map_err(|error: ParseIdError| FieldError::new(field, error.to_string()))
}

/// Commit links lead to `…/cvms/{source}/commit-…`. Only a UUID in that place is taken.
fn source_in_link(link: &str) -> Option<SourceCvm> {
    let link = Url::parse(link).ok()?;
    let parts: Vec<&str> = link.path_segments()?.collect();
    let [.., "cvms", id, last] = parts.as_slice() else { return None };
    if !last.starts_with("commit-") {
        return None;
    }
    Uuid::try_parse(id).ok()?.hyphenated().to_string().parse().ok()
}

/// What a commit link is for: `…/commit-replica` or `…/commit-update`.
fn kind_in_link(link: &str) -> Option<Kind> {
    let link = Url::parse(link).ok()?;
    let last = link.path_segments()?.next_back()?;
    last.strip_prefix("commit-")?.parse().ok()
}

/// The one kind that all of them name. A token is good for one operation.
fn the_kind(mut kinds: impl Iterator<Item = Kind>) -> Result<Option<Kind>, FieldError> {
    let first = kinds.next();
    if kinds.any(|kind| Some(kind) != first) {
        return Err(FieldError::new("kind", "one part says replica, and another one update"));
    }
    Ok(first)
}

/// The lines of the CLI's text that mean something. `Compose Hash:` and `Device ID:` come twice:
/// as a value, and below as `registered` or `NOT registered`.
#[derive(Default)]
struct Lines<'a> {
    compose_hash: Option<&'a str>,
    app_id: Option<&'a str>,
    device_id: Option<&'a str>,
    commit_token: Option<&'a str>,
    compose_allowed: Option<bool>,
    device_allowed: Option<bool>,
    links: Vec<&'a str>,
    source: Option<&'a str>,
    kinds: Vec<Kind>,
}

impl<'a> Lines<'a> {
    fn read(text: &'a str) -> Result<Self, FieldError> {
        let mut lines = Self::default();
        for line in text.lines() {
            lines.take_command(line);
            lines.kinds.extend(kind_in_words(line));
            let Some((label, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match label.trim() {
                "Compose Hash" => match registered(value) {
                    Some(allowed) => lines.compose_allowed = Some(allowed),
                    None => once("Compose Hash", &mut lines.compose_hash, value)?,
                },
                "Device ID" => match registered(value) {
                    Some(allowed) => lines.device_allowed = Some(allowed),
                    None => once("Device ID", &mut lines.device_id, value)?,
                },
                "App ID" => once("App ID", &mut lines.app_id, value)?,
                "Commit Token" => once("commit_token", &mut lines.commit_token, value)?,
                "Commit URL" | "API Commit URL" => lines.links.push(value),
                _ => {}
            }
        }
        Ok(lines)
    }

    /// The source stands in the command printed at the end, once somebody has filled it in.
    fn take_command(&mut self, line: &'a str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["phala", "cvms", "replicate", id, ..] = words.as_slice()
            && !id.starts_with(['<', '-'])
        {
            self.source = Some(id);
        }
    }
}

/// How CLI 1.1.18 begins what it prints.
fn kind_in_words(line: &str) -> Option<Kind> {
    let is = |words: &str| line.trim_start().starts_with(words);
    if is("CVM update prepared") {
        Some(Kind::Update)
    } else if is("CVM replica prepared") || is("App instance prepared") {
        Some(Kind::Replica)
    } else {
        None
    }
}

fn registered(value: &str) -> Option<bool> {
    match value {
        "registered" => Some(true),
        "NOT registered" => Some(false),
        _ => None,
    }
}

/// Two preparations pasted after one another must not be mixed into one.
fn once<'a>(
    field: &'static str,
    slot: &mut Option<&'a str>,
    value: &'a str,
) -> Result<(), FieldError> {
    match slot.replace(value) {
        Some(earlier) if earlier != value => {
            Err(FieldError::new(field, "comes twice with different values"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
