//! What somebody may see: everything, or what belongs to the apps of Safes that they own. Lists are
//! narrowed by it in the database, so that pages are as long as they should be.

use alloy::primitives::Address;
use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, StatusCode, request::Parts},
};

use super::{
    WebState,
    gate::Caller,
    owners::{Owned, owned},
    problem::Problem,
};
use crate::{
    request::ids::{AppId, ChainId},
    roles::Action,
    store::StoreError,
};

/// Chains of which it is not known what the caller owns there, so that an answer lacks it.
pub const UNREAD_CHAINS: HeaderName = HeaderName::from_static("countersign-unread-chains");

/// What somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    All,
    /// What an owner may see.
    Of {
        wallet: Address,
        apps: Vec<(ChainId, AppId)>,
        /// Chains that do not read now: what is theirs there is not seen.
        unread: Vec<ChainId>,
    },
}

impl Sight {
    async fn of(caller: &Caller, state: &WebState) -> Result<Self, Problem> {
        let Err(forbidden) = caller.may(Action::Look) else { return Ok(Self::All) };
        let Some(session) = caller.session else { return Err(forbidden) };
        match Self::of_wallet(session.address, state).await? {
            Self::Of { apps, unread, .. } if apps.is_empty() && !unread.is_empty() => {
                Err(Self::unreadable())
            }
            Self::Of { apps, .. } if apps.is_empty() => Err(forbidden),
            sight => Ok(sight),
        }
    }

    /// What somebody is told of whom it is not known now what they may see.
    pub fn unreadable() -> Problem {
        let title = "it cannot be read now which apps are yours: try again soon";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "chain-unreadable", title)
    }

    /// What the owner of Safes may see, by that alone.
    pub async fn of_wallet(wallet: Address, state: &WebState) -> Result<Self, StoreError> {
        let Owned { safes, unread } = owned(state, wallet).await?;
        let apps = safes
            .iter()
            .flat_map(|safe| safe.apps.iter().map(|app| (safe.chain_id, *app)))
            .collect();
        Ok(Self::Of { wallet, apps, unread })
    }

    /// The only apps of which anything is seen; none when it is all of them.
    pub fn apps(&self) -> Option<&[(ChainId, AppId)]> {
        match self {
            Self::All => None,
            Self::Of { apps, .. } => Some(apps),
        }
    }

    pub fn has(&self, chain: ChainId, app: AppId) -> bool {
        self.apps().is_none_or(|apps| apps.contains(&(chain, app)))
    }

    pub fn has_some_on(&self, chain: ChainId) -> bool {
        self.apps().is_none_or(|apps| apps.iter().any(|(on, _)| *on == chain))
    }

    pub fn unread(&self) -> &[ChainId] {
        match self {
            Self::All => &[],
            Self::Of { unread, .. } => unread,
        }
    }

    /// What an answer says of the chains that it lacks.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let ids: Vec<String> = self.unread().iter().map(ToString::to_string).collect();
        let value = HeaderValue::from_str(&ids.join(", ")).ok()?;
        (!ids.is_empty()).then_some((UNREAD_CHAINS, value))
    }
}

impl FromRequestParts<WebState> for Sight {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Problem> {
        if state.service.settings.open_reads {
            return Ok(Self::All);
        }
        Self::of(&Caller::of(parts, state).await?, state).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_sees_the_own_apps_and_hears_of_what_is_missing() {
        let app = |byte: u8| AppId(Address::repeat_byte(byte));
        let sight = Sight::Of {
            wallet: Address::ZERO,
            apps: vec![(ChainId::BASE, app(1))],
            unread: vec![ChainId::ETHEREUM],
        };
        assert!(sight.has(ChainId::BASE, app(1)) && !sight.has(ChainId::BASE, app(2)));
        assert!(!sight.has(ChainId::ETHEREUM, app(1)), "the same address on another chain");
        assert!(sight.has_some_on(ChainId::BASE) && !sight.has_some_on(ChainId::ETHEREUM));
        assert_eq!(sight.header().unwrap().1, "1");
        assert!(Sight::All.has(ChainId::BASE, app(2)) && Sight::All.header().is_none());
    }
}
