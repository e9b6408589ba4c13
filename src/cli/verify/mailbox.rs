//! A transaction as Safe's Transaction Service has it, named by a link into Safe{Wallet}.

use std::sync::Arc;

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::said::{Claimed, Said};
use crate::{
    clock::SystemClock,
    owner::Route,
    request::ids::{ChainId, SafeTxHash},
    safe::{SafeVersion, network},
    safe_service::{
        Account, Disbelief, MailTransaction, SafeService, SafeServiceError, hosted_root,
    },
    wire::{Http, Throttle},
};

/// Where Safe's Transaction Service is.
#[derive(Debug, Args)]
pub struct MailboxArgs {
    /// Safe's Transaction Service, when the subject is a link into Safe{Wallet} [default: the
    /// hosted one of the chain].
    #[arg(long, value_name = "URL", conflicts_with = "offline")]
    safe_service: Option<Url>,
    /// Key of an account at Safe; without one the hosted service answers rarely.
    #[arg(long, env = "SAFE_API_KEY", hide_env_values = true, value_name = "KEY")]
    safe_api_key: Option<SecretString>,
}

/// What a link into Safe{Wallet} is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletLink {
    chain: ChainId,
    safe: Address,
    hash: SafeTxHash,
}

impl WalletLink {
    /// Reads `…/transactions/tx?safe=base:0x…&id=multisig_0x…_0x…`, whatever host serves it: the
    /// last part of the id is the safeTxHash.
    pub fn read(url: &Url) -> Option<Self> {
        let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, it)| it);
        let (safe, id) = (value("safe")?, value("id")?);
        let (short_name, safe) = safe.split_once(':')?;
        let network = network::NETWORKS.iter().find(|one| one.short_name == short_name)?;
        let hash = id.strip_prefix("multisig_")?.rsplit('_').next()?;
        Some(Self {
            chain: ChainId::new(network.chain).ok()?,
            safe: safe.parse().ok()?,
            hash: hash.parse().ok()?,
        })
    }

    /// Asks the service, and believes only what hashes to the link's hash.
    pub async fn ask(&self, args: &MailboxArgs) -> Result<Said> {
        let Self { chain, safe, hash } = *self;
        let root = args.safe_service.clone().or_else(|| hosted_root(chain));
        let root =
            root.context("no Transaction Service is known for this chain: --safe-service")?;
        let rate = const { std::num::NonZeroU32::new(2).unwrap() };
        let throttle = Arc::new(Throttle::new(Arc::new(SystemClock), rate));
        let http = Http::new().context("cannot set up the HTTP client")?;
        let service = SafeService::new(http, &root, chain, args.safe_api_key.clone(), throttle);
        let Some((account, mail)) = find(&service, chain, safe, hash).await? else {
            bail!("Safe's service has no transaction {hash}: it was deleted, or never proposed");
        };
        let nonce = mail.tx.nonce.saturating_to();
        let others = service.at_nonce(&account, nonce, hash).await?;
        Ok(Said {
            by: service.root().origin().ascii_serialization(),
            request: None,
            wanted: None,
            with: vec![],
            claimed: Claimed {
                route: Route::Safe,
                chain,
                owner: safe,
                version: None,
                safe_tx: Some(mail.tx),
            },
            shown: None,
            batch: None,
            signatures: mail.confirmations.parts(),
            refused: mail.confirmations.refused,
            asked: Some(hash),
            same_nonce: others.into_iter().map(|one| one.hash).filter(|one| *one != hash).collect(),
        })
    }
}

/// The transaction, by the rules of the present Safes or of those before 1.3.0: its version is not
/// known yet, and only one of the two hashes to what was asked for.
async fn find(
    service: &SafeService,
    chain: ChainId,
    safe: Address,
    hash: SafeTxHash,
) -> Result<Option<(Account, MailTransaction)>, SafeServiceError> {
    let account = |version| Account { chain, safe, version };
    let (present, old) = (account(SafeVersion::V1_4_1), account(SafeVersion::V1_2_0));
    match service.transaction(&present, hash).await {
        Err(SafeServiceError::NotBelieved {
            source: Disbelief::WrongHash { .. } | Disbelief::OtherTransaction { .. },
            ..
        }) => Ok(service.transaction(&old, hash).await?.map(|mail| (old, mail))),
        found => Ok(found?.map(|mail| (present, mail))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: &str = "0xF71902B32C9854DB8d6f70Afa6Dcf685F7df8d79";
    const HASH: &str = "0x3c0550ea6f44c260e534bcd1e860ee901997b71c1efa334f751ec51975f900cb";

    #[test]
    fn a_link_names_chain_safe_and_hash() {
        let read = |query: &str| {
            let query = query.replace("SAFE", SAFE).replace("HASH", HASH);
            WalletLink::read(&format!("https://app.safe.global{query}").parse().unwrap())
        };
        let link = read("/transactions/tx?safe=base:SAFE&id=multisig_SAFE_HASH").unwrap();
        assert_eq!((link.chain, link.safe.to_string().as_str()), (ChainId::BASE, SAFE));
        assert_eq!(link.hash.to_string(), HASH);
        for other in [
            "/transactions/queue?safe=base:SAFE",
            "/transactions/tx?safe=SAFE&id=multisig_SAFE_HASH",
            "/transactions/tx?safe=nowhere:SAFE&id=multisig_SAFE_HASH",
            "/transactions/tx?safe=base:SAFE&id=module_SAFE_HASH",
            "/transactions/tx?safe=base:SAFE&id=multisig_SAFE_0x12",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
