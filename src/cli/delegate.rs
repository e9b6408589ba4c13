//! `countersign delegate`: who may propose for an owner in Safe's mailbox.

use std::{num::NonZeroU32, path::PathBuf, sync::Arc};

use alloy::primitives::{Address, Bytes, Signature};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use super::{
    page::{Cell, Page},
    print::{self, Answer, Ending},
    secret_file,
};
use crate::{
    clock::{Clock, SystemClock, Time},
    request::ids::ChainId,
    safe_service::{DelegateRequest, Hour, Permission, ProposerKey, SafeService, hosted_root},
    wire::{Http, Throttle},
};

/// Calls a second: what the hosted service allows without a key.
const RATE: NonZeroU32 = NonZeroU32::new(2).unwrap();
const LABEL: &str = "countersign";
const SIGNER_KEY: &str = "the key to sign with";
const LABEL_CHARS_MAX: usize = 50;

/// Let a key propose for an owner of a Safe, in Safe's Transaction Service, or no longer.
///
/// An owner signs an EIP-712 document that is good for one to two hours. Without a signature or a
/// key the document is printed (exit code 3); run the command again with what the owner's wallet
/// made of it. A delegate can propose and take back what it proposed. It cannot sign for the owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  countersign delegate add --chain-id 8453 --safe 0xSAFE --delegate 0xKEY \\
    --delegator 0xOWNER
  countersign delegate add --chain-id 8453 --safe 0xSAFE --delegate 0xKEY \\
    --delegator 0xOWNER \\
    --signature 0x…
  countersign delegate list --chain-id 8453 --safe 0xSAFE --json")]
pub struct DelegateArgs {
    #[command(subcommand)]
    command: DelegateCommand,
}

#[derive(Debug, Subcommand)]
enum DelegateCommand {
    /// Let a key propose for an owner.
    #[command(after_help = "Example, which prints the document that the owner's wallet signs:
  countersign delegate add --chain-id 8453 --safe 0xSAFE --delegate 0xKEY \\
    --delegator 0xOWNER")]
    Add {
        #[command(flatten)]
        pair: Pair,
        /// What the service calls it, at most 50 characters.
        #[arg(long, default_value = LABEL)]
        label: String,
        #[command(flatten)]
        place: Place,
    },
    /// List who may propose for a Safe.
    #[command(after_help = "Example:
  countersign delegate list --chain-id 8453 --safe 0xSAFE")]
    List {
        /// The Safe.
        #[arg(long, value_name = "ADDRESS")]
        safe: Address,
        #[command(flatten)]
        place: Place,
    },
    /// Let a key propose for an owner no longer. The delegate itself may sign too.
    #[command(after_help = "Example:
  countersign delegate remove --chain-id 8453 --safe 0xSAFE --delegate 0xKEY \\
    --delegator 0xOWNER --signer-key-file owner.key")]
    Remove {
        #[command(flatten)]
        pair: Pair,
        #[command(flatten)]
        place: Place,
    },
}

/// Which service.
#[derive(Debug, Args)]
struct Place {
    /// Chain of the Safe.
    #[arg(long, value_name = "ID")]
    chain_id: ChainId,
    /// Root of the Safe Transaction Service [default: Safe's hosted one].
    #[arg(long, value_name = "URL")]
    safe_service: Option<Url>,
    /// API key of the service.
    #[arg(long, env = "SAFE_API_KEY", hide_env_values = true, value_name = "KEY")]
    safe_api_key: Option<SecretString>,
}

/// Who lets whom, and by which signature.
#[derive(Debug, Args)]
struct Pair {
    /// The Safe. Without it: every Safe of the owner.
    #[arg(long, value_name = "ADDRESS")]
    safe: Option<Address>,
    /// Address of the key that is to propose.
    #[arg(long, value_name = "ADDRESS")]
    delegate: Address,
    /// The owner it proposes for.
    #[arg(long, value_name = "ADDRESS")]
    delegator: Address,
    /// What the owner's wallet made of the document.
    #[arg(long, value_name = "HEX", conflicts_with = "signer_key_file")]
    signature: Option<Bytes>,
    /// File that holds the private key to sign with, instead of a wallet.
    #[arg(long, value_name = "FILE")]
    signer_key_file: Option<PathBuf>,
}

impl Place {
    fn service(&self) -> Result<SafeService> {
        let root = match &self.safe_service {
            Some(root) => root.clone(),
            None => hosted_root(self.chain_id).with_context(|| {
                format!(
                    "no hosted service of {} is known: give --safe-service",
                    self.chain_id.label()
                )
            })?,
        };
        let http = Http::new().context("cannot set up the HTTP client")?;
        let throttle = Arc::new(Throttle::new(Arc::new(SystemClock), RATE));
        Ok(SafeService::new(http, &root, self.chain_id, self.safe_api_key.clone(), throttle))
    }
}

pub async fn run(args: DelegateArgs) -> Result<Answer> {
    match args.command {
        DelegateCommand::Add { pair, label, place } => add(&pair, label, &place).await,
        DelegateCommand::List { safe, place } => list(safe, &place).await,
        DelegateCommand::Remove { pair, place } => remove(&pair, &place).await,
    }
}

async fn add(pair: &Pair, label: String, place: &Place) -> Result<Answer> {
    if label.is_empty() || label.chars().count() > LABEL_CHARS_MAX {
        bail!("--label: expected 1 to {LABEL_CHARS_MAX} characters");
    }
    let now = SystemClock.now();
    let Some(signature) = pair.signed(place.chain_id, &[pair.delegator], now)? else {
        return Ok(pair.to_sign("add", place.chain_id, now));
    };
    let Pair { safe, delegate, delegator, .. } = *pair;
    let permission = Permission { safe, delegate, delegator, label, signature };
    place.service()?.add_delegate(&permission).await?;
    let page = Page::default().line(format!("{delegate} may propose for {delegator} now"));
    Ok(Answer::new(page, pair.to_json(true)))
}

async fn remove(pair: &Pair, place: &Place) -> Result<Answer> {
    let now = SystemClock.now();
    let Pair { delegate, delegator, .. } = *pair;
    let Some(signature) = pair.signed(place.chain_id, &[delegator, delegate], now)? else {
        return Ok(pair.to_sign("remove", place.chain_id, now));
    };
    place.service()?.remove_delegate(delegate, delegator, signature).await?;
    let page = Page::default().line(format!("{delegate} may not propose for {delegator} any more"));
    Ok(Answer::new(page, pair.to_json(false)))
}

async fn list(safe: Address, place: &Place) -> Result<Answer> {
    let delegates = place.service()?.delegates(safe).await?;
    let every =
        |safe: Option<Address>| safe.map_or("every Safe of the owner".into(), |it| it.to_string());
    let rows = delegates.iter().map(|one| {
        let cells: Vec<Cell> = vec![
            Cell::hash(one.delegate.to_string()),
            Cell::hash(one.delegator.to_string()),
            every(one.safe).into(),
            one.label.clone().into(),
        ];
        cells
    });
    let page = Page::default()
        .title(format!("Who may propose for Safe {safe}"))
        .table(vec!["delegate", "for the owner", "where", "label"], rows.collect());
    let views: Vec<Value> = delegates
        .iter()
        .map(|one| {
            json!({
                "delegate": one.delegate.to_string(), "delegator": one.delegator.to_string(),
                "safe": one.safe.map(|safe| safe.to_string()), "label": one.label,
            })
        })
        .collect();
    Ok(Answer::new(page, views))
}

impl Pair {
    fn request(&self, chain: ChainId, hour: Hour) -> DelegateRequest {
        DelegateRequest { chain, delegate: self.delegate, hour }
    }

    /// The signature that was given or is made now, none when a wallet must make it. It is checked
    /// before anybody is told: a refusal of the service would not say what is wrong with it.
    fn signed(&self, chain: ChainId, allowed: &[Address], now: Time) -> Result<Option<Bytes>> {
        let Hour(hour) = Hour::of(now);
        if let Some(file) = &self.signer_key_file {
            if let Some(exposed) = secret_file::exposed(file, SIGNER_KEY) {
                print::note_to_stderr(&format!("warning: {exposed}"));
            }
            let text = secret_file::read(file, SIGNER_KEY)?;
            let key = ProposerKey::from_hex(&text)?;
            if !allowed.contains(&key.address()) {
                bail!(
                    "the key in {} is of {}, who may not sign this",
                    file.display(),
                    key.address()
                );
            }
            let hash = self.request(chain, Hour(hour)).signing_hash();
            return Ok(Some(key.sign_for_mailbox(hash)?));
        }
        let Some(given) = &self.signature else { return Ok(None) };
        let signature = Signature::from_raw(given).context("--signature: not 65 bytes of one")?;
        let is_of = |hour: u64| {
            let hash = self.request(chain, Hour(hour)).signing_hash();
            let signer = signature.recover_address_from_prehash(&hash);
            signer.is_ok_and(|signer| allowed.contains(&signer))
        };
        if !is_of(hour) && !is_of(hour.saturating_sub(1)) {
            bail!(
                "--signature: not of {} over this document, or older than an hour: run the command \
                 without it to get the present document",
                allowed[0]
            );
        }
        Ok(Some(Bytes::copy_from_slice(&signature.as_bytes())))
    }

    fn to_json(&self, registered: bool) -> Value {
        json!({
            "registered": registered, "delegate": self.delegate.to_string(),
            "delegator": self.delegator.to_string(), "safe": self.safe.map(|safe| safe.to_string()),
        })
    }

    /// What an owner is to sign, and what to do with it.
    fn to_sign(&self, what: &str, chain: ChainId, now: Time) -> Answer {
        let hour = Hour::of(now);
        let request = self.request(chain, hour);
        let document = request.document();
        let until = i64::try_from(hour.0 + 2)
            .ok()
            .and_then(|hour| Time::from_timestamp(hour.checked_mul(3_600)?, 0));
        let until = until.map(|until| until.format("%Y-%m-%d %H:%M UTC").to_string());
        let until = until.unwrap_or_default();
        let mut json = self.to_json(false);
        json["document"] = document.clone();
        json["signing_hash"] = json!(request.signing_hash());
        json["good_until"] = json!(until);
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        let page = Page::default()
            .title(format!("To be signed by {} (eth_signTypedData_v4)", self.delegator))
            .verbatim(text)
            .facts(vec![
                ("EIP-712 hash", Cell::hash(request.signing_hash().to_string())),
                ("Good until", until.into()),
            ])
            .line(format!("then: the same `countersign delegate {what} …` with --signature 0x…"));
        Answer::new(page, json).ending(Ending::Attention)
    }
}
