//! Who owns the Safe of an app, as the chain shows it now. What does not read is an error, and makes
//! nobody a signer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use alloy::primitives::Address;
use chrono::TimeDelta;
use futures::{StreamExt, TryStreamExt, stream};
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
/// Answers that are kept.
const KEPT_MAX: usize = 1_000;
/// Apps of a chain that are looked through for whoever asks what they own.
const APPS_MAX: i64 = 100;
/// Apps that are read at the same time.
const AT_ONCE: usize = 8;

/// The Safe that owns an app, and its owners.
#[derive(Debug, PartialEq, Eq)]
struct OwningSafe {
    safe: Address,
    owners: Vec<Address>,
}

type Known = HashMap<(ChainId, AppId), (Time, Option<Arc<OwningSafe>>)>;

/// What was read lately; an app without a Safe is remembered too.
#[derive(Debug, Default)]
pub struct Owners(Mutex<Known>);

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
    let known = || state.owners.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, safe)) = known().get(&(chain.id(), app))
        && (*at..*at + FRESH).contains(&now)
    {
        return Ok(safe.clone());
    }
    let at = chain.head().await?.block;
    let owner = chain.owner(app, at).await?;
    let signers = chain.signers(owner, at).await?;
    let safe = signers.map(|signers| Arc::new(OwningSafe { safe: owner, owners: signers.owners }));
    let mut known = known();
    if known.len() >= KEPT_MAX {
        known.clear();
    }
    known.insert((chain.id(), app), (now, safe.clone()));
    Ok(safe)
}

/// Which Safes a wallet owns, of those that own an app which is governed here.
pub async fn owned(state: &WebState, wallet: Address) -> Result<Owned, StoreError> {
    let mut owned = Owned::default();
    for chain in state.service.chains.iter() {
        let apps = state.service.store.governed_apps(chain.id(), APPS_MAX).await?;
        match owned_on(state, chain, apps, wallet).await {
            Ok(safes) => owned.safes.extend(safes),
            Err(error) => {
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
    apps: Vec<AppId>,
    wallet: Address,
) -> Result<Vec<OwnedSafe>, ChainError> {
    let read = stream::iter(apps)
        .map(async |app| owning_safe(state, chain, app).await.map(|safe| (app, safe)))
        .buffered(AT_ONCE);
    let read: Vec<_> = read.try_collect().await?;
    let mut owned: Vec<OwnedSafe> = vec![];
    for (app, safe) in read {
        let Some(safe) = safe.filter(|safe| safe.owners.contains(&wallet)) else { continue };
        if let Some(one) = owned.iter_mut().find(|one| one.safe == safe.safe) {
            one.apps.push(app);
        } else {
            owned.push(OwnedSafe { chain_id: chain.id(), safe: safe.safe, apps: vec![app] });
        }
    }
    Ok(owned)
}
