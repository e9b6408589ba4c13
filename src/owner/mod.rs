//! How the owner of an app acts.
//!
//! An app obeys one address. What stands at that address decides how a change reaches it: a Safe
//! signs a transaction, a timelock waits, a governor votes, a key just sends. Countersign acts
//! through a Safe; every other kind of owner is recognised by name and handed the bare calls.

use std::{fmt, str::FromStr};

use alloy::primitives::{Address, Bytes, U256};
use serde::{Deserialize, Serialize};

use crate::{
    dstack::{Addition, Write},
    request::ids::AppId,
};

mod acted;
pub mod nonce;
pub mod safe;
pub mod text;
pub mod trace;

pub use acted::{Account, ActedBy, GovernorProposal};

/// One contract call, whoever makes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Call {
    #[serde(with = "text::address")]
    #[schema(value_type = String)]
    pub to: Address,
    /// In wei.
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "0")]
    pub value: U256,
    #[schema(value_type = String, example = "0x")]
    pub data: Bytes,
}

impl Call {
    /// The call that makes one change to an app. It never carries ether.
    #[must_use]
    pub fn of_write(app: AppId, write: &Write) -> Self {
        Self { to: app.0, value: U256::ZERO, data: write.calldata() }
    }

    /// The call as a command of Foundry's `cast`. How the account signs is for its holder to add.
    #[must_use]
    pub fn cast_command(&self, from: Address) -> String {
        let Self { to, value, data } = self;
        let value = if value.is_zero() { String::new() } else { format!(" --value {value}") };
        format!("cast send --rpc-url URL --from {from}{value} {to} {data}")
    }
}

impl From<&Addition> for Call {
    fn from(addition: &Addition) -> Self {
        Self::of_write(addition.app, &addition.write)
    }
}

/// The kinds of owner, by how they act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Owners sign one transaction of the Safe.
    Safe,
    /// A Safe whose owners include Safes.
    NestedSafe,
    /// Schedule, wait, execute.
    Timelock,
    /// Propose, vote, queue, execute.
    Governor,
    /// A plain key, or a contract we do not know.
    Eoa,
}

/// A name that is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of safe, nested_safe, timelock, governor, eoa")]
pub struct UnknownRoute;

impl Route {
    /// The stable name, as in the API and in storage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::NestedSafe => "nested_safe",
            Self::Timelock => "timelock",
            Self::Governor => "governor",
            Self::Eoa => "eoa",
        }
    }

    /// Whether Countersign builds the owner's own transaction. For the other routes a proposal is
    /// the bare calls, and only the state of the app tells that they were made.
    #[must_use]
    pub fn builds_transaction(self) -> bool {
        self == Self::Safe
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Route {
    type Err = UnknownRoute;
    fn from_str(name: &str) -> Result<Self, UnknownRoute> {
        [Self::Safe, Self::NestedSafe, Self::Timelock, Self::Governor, Self::Eoa]
            .into_iter()
            .find(|route| route.name() == name)
            .ok_or(UnknownRoute)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;

    use super::*;
    use crate::request::ids::DeviceId;

    #[test]
    fn routes_have_one_name_everywhere() {
        for route in [Route::Safe, Route::NestedSafe, Route::Timelock, Route::Governor, Route::Eoa]
        {
            assert_eq!(route.to_string().parse(), Ok(route));
            assert_eq!(serde_json::to_string(&route).unwrap(), format!("\"{route}\""));
        }
        assert_eq!("dao".parse::<Route>(), Err(UnknownRoute));
    }

    #[test]
    fn a_call_prints_what_people_compare() {
        let write = Write::AddDevice(DeviceId(B256::repeat_byte(0xbb)));
        let app = "0xd27e699f481e849dbc69cdef7e822e19f402993c".parse().unwrap();
        let call = Call::of_write(app, &write);
        let json = serde_json::to_value(&call).unwrap();
        assert_eq!(json["to"], "0xD27E699f481e849DBC69CdEF7E822e19F402993C");
        assert_eq!(json["value"], "0");
        assert_eq!(serde_json::from_value::<Call>(json).unwrap(), call);
        let from = Address::repeat_byte(0x77);
        let (to, data) = (call.to, call.data.clone());
        let line = format!("cast send --rpc-url URL --from {from} {to} {data}");
        assert_eq!(call.cast_command(from), line);
        let rich = Call { value: U256::from(7), ..call };
        assert!(rich.cast_command(from).contains(" --value 7 "), "what is paid is not left out");
    }
}
