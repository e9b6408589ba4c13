//! Who owns the Safe of an app, as the chain shows it now. What does not read is an error, and makes
//! nobody a signer.
//!
//! Of one app its owner is asked. Whoever wants to know what is theirs is told from one reading of the
//! owners of all apps of a chain, which is the same for everybody: so many questions are one call, and
//! however many apps somebody owns, a page costs no more than that.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::Address;
use chrono::TimeDelta;
use serde::Serialize;

use super::WebState;
use crate::{
    chain::{Chain, ChainError},
    clock::Time,
    flow::chain_of,
    request::ids::{AppId, ChainId},
    store::StoreError,
};

/// How long an answer of the chain is good for.
const FRESH: TimeDelta = TimeDelta::seconds(15);
/// Answers of a kind that are kept.
const KEPT_MAX: usize = 1_000;
/// Apps of a chain that are looked through for whoever asks what they own.
const APPS_MAX: i64 = 5_000;

/// The Safe that owns an app, and its owners.
#[derive(Debug, PartialEq, Eq)]
struct OwningSafe {
    owners: Vec<Address>,
}

type Known = HashMap<(ChainId, AppId), (Time, Option<Arc<OwningSafe>>)>;
/// The apps of a chain by their owner, and when that was read. Whoever comes while it is read waits.
type Holders = Arc<tokio::sync::Mutex<Option<(Time, Arc<ByOwner>)>>>;
type ByOwner = BTreeMap<Address, Vec<AppId>>;
type Lists = HashMap<(ChainId, Address), (Time, Arc<Vec<OwnedSafe>>)>;

/// What was read lately; an app without a Safe is remembered too.
#[derive(Debug, Default)]
pub struct Owners {
    apps: Mutex<Known>,
    holders: Mutex<HashMap<ChainId, Holders>>,
    lists: Mutex<Lists>,
}

/// A Safe that somebody owns, and the apps that it owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OwnedSafe {
    pub chain_id: ChainId,
    #[schema(value_type = String)]
    pub safe: Address,
    pub apps: Vec<AppId>,
}

/// The Safes that somebody owns, and the chains of which that could not be read.
#[derive(Debug, Default)]
pub struct Owned {
    pub safes: Vec<OwnedSafe>,
    pub unread: Vec<ChainId>,
}

/// Why it is not known what somebody owns.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn locked<T>(kept: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut kept = locked(kept);
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(key, value);
}

fn is_fresh(at: Time, now: Time) -> bool {
    (at..at + FRESH).contains(&now)
}

/// Whether a wallet owns the Safe that owns an app.
pub async fn owns(
    state: &WebState,
    chain: ChainId,
    app: AppId,
    wallet: Address,
) -> Result<bool, ChainError> {
    let safe = owning_safe(state, state.service.chains.get(chain)?, app).await?;
    Ok(safe.is_some_and(|safe| safe.owners.contains(&wallet)))
}

async fn owning_safe(
    state: &WebState,
    chain: &Chain,
    app: AppId,
) -> Result<Option<Arc<OwningSafe>>, ChainError> {
    let now = state.service.clock.now();
    let known = &state.owners.apps;
    if let Some((at, safe)) = locked(known).get(&(chain.id(), app))
        && is_fresh(*at, now)
    {
        return Ok(safe.clone());
    }
    let at = chain.head().await?.block;
    let owner = chain.owner(app, at).await?;
    let signers = chain.signers(owner, at).await?;
    let safe = signers.map(|signers| Arc::new(OwningSafe { owners: signers.owners }));
    keep(known, (chain.id(), app), (now, safe.clone()));
    Ok(safe)
}

/// Which Safes a wallet owns, of those that own an app which is governed here.
pub async fn owned(state: &WebState, wallet: Address) -> Result<Owned, StoreError> {
    let mut owned = Owned::default();
    for chain in state.service.chains.iter() {
        match owned_on(state, chain, wallet).await {
            Ok(safes) => owned.safes.extend(safes.iter().cloned()),
            Err(Unread::Store(error)) => return Err(error),
            Err(Unread::Chain(error)) => {
                tracing::warn!(chain.id = %chain.id(), error = chain_of(&error), "cannot read who owns apps");
                owned.unread.push(chain.id());
            }
        }
    }
    Ok(owned)
}

async fn owned_on(
    state: &WebState,
    chain: &Chain,
    wallet: Address,
) -> Result<Arc<Vec<OwnedSafe>>, Unread> {
    let (lists, key) = (&state.owners.lists, (chain.id(), wallet));
    if let Some((at, list)) = locked(lists).get(&key)
        && is_fresh(*at, state.service.clock.now())
    {
        return Ok(list.clone());
    }
    let (read_at, holders) = holders(state, chain).await?;
    let mut owned = vec![];
    if !holders.is_empty() {
        let at = chain.head().await?.block;
        let all: Vec<Address> = holders.keys().copied().collect();
        let named = chain.name_as_owner(&all, wallet, at).await?;
        // Any contract can name anybody: what it is that does so is looked at, as for one app.
        for safe in all.iter().zip(named).filter_map(|(safe, named)| named.then_some(*safe)) {
            let signers = chain.signers(safe, at).await?;
            if signers.is_some_and(|signers| signers.owners.contains(&wallet)) {
                let apps = holders[&safe].clone();
                owned.push(OwnedSafe { chain_id: chain.id(), safe, apps });
            }
        }
    }
    let owned = Arc::new(owned);
    // As old as the older of both readings.
    keep(lists, key, (read_at, owned.clone()));
    Ok(owned)
}

/// The governed apps of a chain by their owner. An app whose owner does not read has no signer.
async fn holders(state: &WebState, chain: &Chain) -> Result<(Time, Arc<ByOwner>), Unread> {
    let lately = locked(&state.owners.holders).entry(chain.id()).or_default().clone();
    let mut lately = lately.lock().await;
    let now = state.service.clock.now();
    if let Some((at, holders)) = lately.as_ref().filter(|(at, _)| is_fresh(*at, now)) {
        return Ok((*at, holders.clone()));
    }
    let apps = state.service.store.governed_apps(chain.id(), APPS_MAX).await?;
    let mut holders = ByOwner::new();
    if !apps.is_empty() {
        let owners = chain.owner_each(&apps, chain.head().await?.block).await?;
        for (app, owner) in apps.into_iter().zip(owners) {
            if let Some(owner) = owner.filter(|owner| !owner.is_zero()) {
                holders.entry(owner).or_default().push(app);
            }
        }
    }
    let holders = Arc::new(holders);
    *lately = Some((now, holders.clone()));
    Ok((now, holders))
}
