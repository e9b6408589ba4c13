//! `countersign payload`: what the owner of the app is asked to sign.
//!
//! The service's word is not taken for it: words and hashes are made here, from the fields, and a
//! difference is a warning.

mod bare;

use std::{collections::BTreeSet, fs, path::PathBuf};

use alloy::primitives::{Address, B256};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Globals,
    cells::text,
    client::Client,
    compose::told,
    page::{Cell, Page, Tone},
    print::{Answer, Ending},
    request_page::{nonce, status},
    signing::{
        with_calls, with_exports, with_fields, with_hashes, with_nested_owners, with_notes,
        with_warnings,
    },
};
use crate::{
    dstack::Addition,
    owner::{Call, Route},
    request::ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId, SafeTxHash},
    safe::{
        self, Around, Expected, Exports, NestedOwner, SafeTx, SafeTxHashes, SafeVersion,
        batch_file::{self, Batch},
        decode::{DecodedCall, Warning, WarningCode},
        qr::QrCode,
        signature::SignatureKind,
    },
};

/// Show what the owner of the app is asked to sign: the calls in words, warnings, the fields of the
/// Safe transaction, its hashes, and who signed.
///
/// Exit code 3 when there are warnings, or when its nonce leaves a gap or collides with another.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign payload 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11
  countersign payload 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --eip712 \\
    > payload.json
  countersign payload 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --batch batch.json
  countersign payload 019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11 --summary | sha256sum")]
pub struct PayloadArgs {
    /// Id of the request.
    id: RequestId,
    #[command(flatten)]
    only: Only,
}

/// One form of the transaction, and nothing else.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Only {
    /// Print only the EIP-712 document for a wallet, made from the fields on this machine.
    #[arg(long)]
    eip712: bool,
    /// Write only the file for Safe's Transaction Builder; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// Print only a text of the whole transaction, made on this machine: the same bytes for
    /// everybody, to compare or to sign.
    #[arg(long)]
    summary: bool,
    /// Print only the hashes, as a QR code for a device without a network.
    #[arg(long)]
    qr: bool,
}

const NO_SAFE: &str = "the owner is no Safe that Countersign acts through, so nothing is signed: \
                       `countersign payload ID` shows the bare calls it makes";

/// The part of a proposal that is worked with here.
#[derive(Deserialize)]
struct Proposal {
    chain_id: ChainId,
    owner: Address,
    route: Route,
    /// Those that it is for.
    requests: Vec<Wanted>,
    #[serde(default)]
    bare_calls: Vec<Call>,
    calls: Vec<DecodedCall>,
    warnings: Vec<Warning>,
    /// What is not known of what the calls allow.
    #[serde(default)]
    review_warnings: Vec<String>,
    safe_version: Option<SafeVersion>,
    safe_tx: Option<SafeTx>,
    domain_hash: Option<B256>,
    message_hash: Option<B256>,
    safe_tx_hash: Option<SafeTxHash>,
    owners: Vec<Address>,
    threshold: Option<u32>,
    #[serde(default)]
    around: Option<Around>,
    #[serde(default)]
    nested_owners: Vec<NestedOwner>,
    confirmations: Vec<Confirmation>,
}

#[derive(Deserialize)]
struct Confirmation {
    owner: Address,
    kind: SignatureKind,
}

/// What a request asks for.
#[derive(Deserialize)]
struct Wanted {
    id: RequestId,
    app: AppId,
    compose_hash: ComposeHash,
    device_id: DeviceId,
}

impl Wanted {
    fn additions(&self) -> [Addition; 2] {
        Addition::of_replica(self.app, self.compose_hash, self.device_id)
    }
}

/// The Safe transaction as this machine sees it.
struct Seen {
    tx: SafeTx,
    version: SafeVersion,
    hashes: SafeTxHashes,
    calls: Vec<DecodedCall>,
    exports: Exports,
    nested_owners: Vec<NestedOwner>,
    /// What this machine warns of and the service does not.
    warnings: Vec<String>,
}

pub async fn run(args: &PayloadArgs, globals: &Globals) -> Result<Answer> {
    let client = Client::new(&globals.service)?;
    let id = args.id.to_string();
    let request = client.get(&["v1", "requests", &id], &[]).await?;
    let given = client.get(&["v1", "requests", &id, "proposal"], &[]).await?;
    let proposal = Proposal::deserialize(&given).context("the proposal does not read")?;
    let wanted = Wanted::deserialize(&request).context("the request does not read")?;
    let seen = look(&proposal, &wanted);
    // Without a Safe there is nothing but the bare calls.
    let bare = seen.is_none().then(|| bare::look(&proposal, &wanted));
    let here = seen.as_ref().map(|seen| &seen.warnings).into_iter();
    let here = here.chain(bare.iter().map(|bare| &bare.warnings)).flatten().map(String::as_str);
    let warnings: Vec<&str> =
        proposal.warnings.iter().map(|one| one.text.as_str()).chain(here).collect();
    let of_review = proposal.review_warnings.iter().map(String::as_str);
    let warnings: Vec<&str> = warnings.into_iter().chain(of_review).collect();
    let told = request.pointer("/nonce/warnings").and_then(Value::as_array);
    let of_nonce = told.into_iter().flatten().filter(|one| one["code"] != "queued");
    let is_odd = of_nonce.count() > 0;
    let answer = if let Some(file) = &args.only.batch {
        ensure!(seen.is_some(), "{NO_SAFE}");
        let batch = client.get(&["v1", "requests", &id, "safe-batch.json"], &[]).await?;
        let calls = seen.as_ref().map_or(&proposal.calls, |seen| &seen.calls);
        refuse_other_calls(&batch, proposal.chain_id, proposal.owner, calls)?;
        warned(hand_over(file, &batch)?, &warnings)
    } else if args.only.eip712 || args.only.summary || args.only.qr {
        let seen = seen.as_ref().context(NO_SAFE)?;
        warned(alone(&args.only, &proposal, seen)?, &warnings)
    } else {
        let calls = bare.as_ref().map_or(&proposal.calls, |bare| &bare.calls);
        let calls = seen.as_ref().map_or(calls, |seen| &seen.calls);
        let page = page(&request, &given, &proposal, (seen.as_ref(), calls), &warnings);
        let mut json = given.clone();
        let of_bare = bare.as_ref().map(|bare| &bare.warnings);
        json["warnings_here"] = json!(seen.as_ref().map(|seen| &seen.warnings).or(of_bare));
        json["commands"] = json!(bare::commands(&proposal));
        json["exports"] = json!(seen.as_ref().map(|seen| &seen.exports));
        Answer::new(page, json)
    };
    Ok(answer.ending(Ending::attention_if(is_odd || !warnings.is_empty())))
}

/// What owners that are contracts are asked for, made here from the fields that the service shows; none
/// when it shows no Safe transaction.
pub(super) fn nested_owners(request: &Value, given: &Value) -> Result<Vec<NestedOwner>> {
    let proposal = Proposal::deserialize(given).context("the proposal does not read")?;
    let wanted = Wanted::deserialize(request).context("the request does not read")?;
    Ok(look(&proposal, &wanted).map(|seen| seen.nested_owners).unwrap_or_default())
}

/// The transaction in one of the forms that are made on this machine.
fn alone(only: &Only, proposal: &Proposal, seen: &Seen) -> Result<Answer> {
    if only.qr {
        let code = QrCode::of(&seen.exports.qr_text)?;
        return Ok(Answer::new(
            Page::default().picture(code.half_blocks()),
            json!({ "qr_text": seen.exports.qr_text }),
        ));
    }
    if only.summary {
        return Ok(Answer::raw(seen.exports.summary.clone()));
    }
    let document = safe::eip712_document(&seen.tx, proposal.chain_id, proposal.owner, seen.version);
    Ok(Answer::raw(serde_json::to_string_pretty(&document)?))
}

/// Decodes and hashes again, and warns of whatever differs from what was wanted or from what the
/// service says.
fn look(proposal: &Proposal, wanted: &Wanted) -> Option<Seen> {
    let (tx, version) = proposal.safe_tx.clone().zip(proposal.safe_version)?;
    let hashes = safe::hashes(&tx, proposal.chain_id, proposal.owner, version);
    let additions: BTreeSet<Addition> =
        proposal.requests.iter().chain([wanted]).flat_map(Wanted::additions).collect();
    let additions: Vec<Addition> = additions.into_iter().collect();
    let expected = Expected { safe: proposal.owner, app: None, additions: Some(&additions) };
    let decoded = safe::decode(&tx, &expected);
    // What is allowed already need not be added.
    let fresh = decoded.warnings.iter().filter(|warning| {
        warning.code != WarningCode::MissingWrite && !proposal.warnings.contains(warning)
    });
    let mut warnings: Vec<String> = fresh.map(|warning| warning.text.clone()).collect();
    let told = (proposal.domain_hash, proposal.message_hash, proposal.safe_tx_hash);
    let computed = (Some(hashes.domain_hash), Some(hashes.message_hash), Some(hashes.safe_tx_hash));
    if told != computed || proposal.calls != decoded.calls {
        warnings.push(
            "the service shows other hashes or calls than its own fields give: do not sign".into(),
        );
    }
    let of_around = proposal.around.iter().flat_map(|around| &around.contract_owners);
    let nested = of_around
        .map(|one| NestedOwner::of(one, proposal.chain_id, proposal.owner, version, &hashes));
    let nested_owners: Vec<NestedOwner> = nested.collect();
    let ids: BTreeSet<RequestId> = proposal.requests.iter().map(|one| one.id).collect();
    let own = proposal.requests.iter().find(|one| one.id == wanted.id);
    let is_own = own.is_some_and(|own| own.additions() == wanted.additions());
    if ids.len() < proposal.requests.len() || !is_own {
        let text = "the service names a request twice, or not as it is asked for: do not sign";
        warnings.push(text.into());
    }
    if nested_owners != proposal.nested_owners {
        let text = "the service shows nested owners something else than the Safe asks them: do not \
                    sign";
        warnings.push(text.into());
    }
    let exports = Exports::of(&tx, proposal.chain_id, proposal.owner, version);
    Some(Seen { tx, version, hashes, calls: decoded.calls, exports, nested_owners, warnings })
}

/// Beside a document for another program the warnings go to standard error.
fn warned(answer: Answer, warnings: &[&str]) -> Answer {
    warnings.iter().fold(answer, |answer, warning| answer.note(format!("warning: {warning}")))
}

/// A file that does anything else than the proposal that was looked at is not handed on.
fn refuse_other_calls(
    file: &Value,
    chain: ChainId,
    owner: Address,
    calls: &[DecodedCall],
) -> Result<()> {
    let read = batch_file::read(&file.to_string()).context("the service's batch file is none")?;
    let call =
        |call: &DecodedCall| Call { to: call.to, value: call.value, data: call.data.clone() };
    let expected = Batch { chain, safe: Some(owner), calls: calls.iter().map(call).collect() };
    if read != expected {
        bail!("the service's batch file is not what its proposal shows: do not sign");
    }
    Ok(())
}

fn hand_over(file: &PathBuf, batch: &Value) -> Result<Answer> {
    let text = serde_json::to_string_pretty(batch)?;
    if file.as_os_str() == "-" {
        return Ok(Answer::raw(text));
    }
    fs::write(file, format!("{text}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let page = Page::default().line(format!("wrote {}", file.display()));
    Ok(Answer::new(page, json!({ "file": file })))
}

fn page(
    request: &Value,
    given: &Value,
    proposal: &Proposal,
    (seen, calls): (Option<&Seen>, &[DecodedCall]),
    warnings: &[&str],
) -> Page {
    let mut facts = vec![
        ("Request", text(request, "/id").into()),
        ("Status", status(request)),
        ("Chain", proposal.chain_id.label().into()),
        ("App", text(request, "/app").into()),
        ("Owner", format!("{} ({})", proposal.owner, text(given, "/route")).into()),
    ];
    let id = text(request, "/id");
    let others = proposal.requests.iter().filter(|one| one.id.to_string() != id);
    facts.extend(others.map(|one| {
        let Wanted { id, app, compose_hash, device_id } = one;
        let words = format!("{id}: app {app}, compose hash {compose_hash}, device {device_id}");
        ("Also for request", Cell::toned(words, Tone::Waiting))
    }));
    facts.extend(nonce(&request["nonce"]));
    facts.extend(seen.map(|seen| ("Safe version", seen.version.to_string().into())));
    let is_open = matches!(request["status"].as_str(), Some("prepared" | "proposed" | "approved"));
    let asked = if is_open { "is" } else { "was" };
    let page =
        Page::default().title(format!("What the owner {asked} asked to approve")).facts(facts);
    let page = with_calls(page, calls);
    let mut page = with_warnings(page, warnings);
    let reviews = given["compose_reviews"].as_array().into_iter().flatten();
    page = reviews.fold(page, |page, one| told::review(page, one, &id));
    if let Some(seen) = seen {
        page = with_notes(page, seen.version);
        page = with_hashes(with_fields(page, &seen.tx), &seen.hashes);
        page = with_exports(page, &seen.exports);
        page = with_nested_owners(page, &seen.nested_owners);
    }
    if seen.is_none() {
        page = bare::how(page, proposal);
    }
    if let Some(threshold) = proposal.threshold {
        page = page.title(format!("Signatures ({threshold} needed)")).lines(owners(proposal));
    }
    if !given["execution"].is_null() && text(request, "/status") == "approved" {
        let gas = given["execution"]["gas_limit"].as_u64();
        let gas = gas.map_or_else(String::new, |gas| format!(" with a gas limit of {gas}"));
        let when = match request.pointer("/nonce/is_next").and_then(Value::as_bool) {
            Some(false) => "once its nonce is the Safe's next, anyone may",
            _ => "anyone may now",
        };
        let how = format!("{when} send it to the Safe{gas}: see `execution` in --json");
        page = page.line(Cell::toned(how, Tone::Good));
    }
    page
}

fn owners(proposal: &Proposal) -> Vec<Cell> {
    let given = |owner| proposal.confirmations.iter().find(|one| one.owner == owner);
    let line = |owner: &Address| match given(*owner) {
        Some(one) => Cell::toned(format!("{owner}  signed ({})", one.kind.words()), Tone::Good),
        None => Cell::from(format!("{owner}  -")),
    };
    proposal.owners.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;

    use super::*;
    use crate::dstack::Write;
    use crate::safe::{BatchFile, Operation, decode::decode};

    #[test]
    fn a_batch_file_that_is_not_the_proposal_is_not_handed_on() {
        let (chain, safe) = (ChainId::BASE, Address::repeat_byte(0x5a));
        let app = AppId(Address::repeat_byte(0x11));
        let device = |byte| Write::AddDevice(DeviceId(B256::repeat_byte(byte)));
        let [wanted, other] = [0xbb, 0xcc].map(|byte| Call::of_write(app, &device(byte)));
        let tx = SafeTx::new(wanted.clone(), Operation::Call, U256::ZERO);
        let shown = decode(&tx, &Expected { safe, app: Some(app), additions: None }).calls;
        let file = |chain, safe, calls: &[Call]| {
            let (name, description, created_at_ms) = ("", "", 1);
            BatchFile { chain, safe, name, description, created_at_ms, calls }.to_json()
        };
        let refused = |file: &Value| refuse_other_calls(file, chain, safe, &shown).is_err();
        let both = [wanted.clone(), other.clone()];
        let [wanted, other] = [[wanted], [other]];
        assert!(!refused(&file(chain, safe, &wanted)));
        assert!(refused(&file(chain, safe, &other)));
        assert!(refused(&file(chain, safe, &both)));
        assert!(refused(&file(ChainId::ETHEREUM, safe, &wanted)));
        assert!(refused(&file(chain, app.0, &wanted)));
        let mut unsealed = file(chain, safe, &wanted);
        unsealed["createdAt"] = 2.into();
        assert!(refused(&unsealed));
    }

    #[test]
    fn what_is_added_to_the_name_of_the_same_request_is_no_part_of_it() {
        let (chain, safe, version) =
            (ChainId::BASE, Address::repeat_byte(0x5a), SafeVersion::V1_4_1);
        let wanted = |compose| Wanted {
            id: RequestId(uuid::Uuid::from_u128(7)),
            app: AppId(Address::repeat_byte(0x11)),
            compose_hash: ComposeHash(B256::repeat_byte(compose)),
            device_id: DeviceId(B256::repeat_byte(0xbb)),
        };
        let warnings = |requests: Vec<Wanted>| {
            let all: BTreeSet<Addition> = requests.iter().flat_map(Wanted::additions).collect();
            let calls: Vec<Call> = all.iter().map(Call::from).collect();
            let multi_send =
                alloy::primitives::address!("9641d764fc13c8B624c04430C7356C1C7C8102e2");
            let tx = crate::owner::safe::propose(&calls, multi_send, U256::from(7)).unwrap();
            let hashes = safe::hashes(&tx, chain, safe, version);
            let expected = Expected { safe, app: Some(wanted(0xaa).app), additions: None };
            let proposal = Proposal {
                chain_id: chain,
                owner: safe,
                route: Route::Safe,
                requests,
                bare_calls: vec![],
                calls: decode(&tx, &expected).calls,
                warnings: vec![],
                review_warnings: vec![],
                safe_version: Some(version),
                safe_tx: Some(tx),
                domain_hash: Some(hashes.domain_hash),
                message_hash: Some(hashes.message_hash),
                safe_tx_hash: Some(hashes.safe_tx_hash),
                owners: vec![],
                threshold: None,
                around: None,
                nested_owners: vec![],
                confirmations: vec![],
            };
            look(&proposal, &wanted(0xaa)).unwrap().warnings
        };
        assert_eq!(warnings(vec![wanted(0xaa)]), [""; 0]);
        for requests in [vec![wanted(0xaa), wanted(0xee)], vec![wanted(0xee)]] {
            let told = warnings(requests);
            assert!(told.iter().any(|one| one.contains("names a request twice")), "{told:?}");
        }
    }
}
