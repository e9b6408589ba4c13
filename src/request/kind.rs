//! What a request asks for, and where Phala Cloud is asked for it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::ids::{AppId, ReplicaId, SourceCvm};

/// What a request asks for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One more instance of an app.
    #[default]
    Replica,
    /// Another compose document for a CVM that is there.
    Update,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Replica, Self::Update];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Update => "update",
        }
    }

    /// What runs in the end.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Update => "CVM",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected replica or update")]
pub struct ParseKindError;

impl FromStr for Kind {
    type Err = ParseKindError;
    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(ParseKindError)
    }
}

/// What is prepared and committed, and so at which endpoints of Phala Cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A replica of this CVM.
    Replica(SourceCvm),
    /// An instance of this app, made from no CVM in particular.
    Instance(AppId),
    /// This CVM, with another compose document.
    Update(SourceCvm),
}

impl Target {
    /// Of a kind and the source that a request has of it.
    pub fn of(kind: Kind, source: &SourceCvm) -> Self {
        match (kind, source.app()) {
            (Kind::Update, _) => Self::Update(source.clone()),
            (Kind::Replica, Some(app)) => Self::Instance(app),
            (Kind::Replica, None) => Self::Replica(source.clone()),
        }
    }

    /// The CVM that is there after the commit because it was there before.
    pub fn updated(&self) -> Option<ReplicaId> {
        match self {
            Self::Update(source) => Some(source.as_instance()),
            Self::Replica(_) | Self::Instance(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;

    #[test]
    fn what_is_asked_for_says_where() {
        let cvm: SourceCvm = "0b7c4a526d7e4f0a9c1d2f3a4b5c6d7e".parse().unwrap();
        let app = AppId(Address::repeat_byte(0x11));
        let of_app: SourceCvm = format!("APP_{}", "11".repeat(20)).parse().unwrap();
        assert_eq!(Target::of(Kind::Replica, &cvm), Target::Replica(cvm.clone()));
        assert_eq!(Target::of(Kind::Replica, &of_app), Target::Instance(app));
        assert_eq!(SourceCvm::of_app(app), of_app.canonical());
        let update = Target::of(Kind::Update, &cvm);
        let same = update.updated().unwrap();
        assert_eq!(same.as_str(), "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e");
        assert_eq!("update".parse(), Ok(Kind::Update));
        assert!("Update".parse::<Kind>().is_err());
    }
}
