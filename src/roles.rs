//! Who may do what: one table, [`may`]. Pure.
//!
//! Roles are given by settings to wallets and by `token create` to API tokens. One is given by nobody:
//! a signer is whoever owns the Safe that owns the app of a request, as the chain shows it now.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// What somebody is here, whatever the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks, but not at the journal.
    Viewer,
    /// Looks at everything, the journal as well.
    Auditor,
    /// Submits requests, and takes the own ones back.
    Requester,
    /// Acts on every request; what an API token that may write has always been.
    #[value(skip)]
    Reviewer,
    /// Everything.
    Admin,
}

/// What can be done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Look,
    /// Look at who did what.
    Audit,
    Submit,
    Withdraw,
    Reject,
    Retry,
    Settle,
    /// Have requests proposed together, or at another nonce.
    Arrange,
    /// Hand in the document of a request.
    Attach,
    Comment,
}

impl Action {
    pub const ALL: [Self; 10] = [
        Self::Look,
        Self::Audit,
        Self::Submit,
        Self::Withdraw,
        Self::Reject,
        Self::Retry,
        Self::Settle,
        Self::Arrange,
        Self::Attach,
        Self::Comment,
    ];
}

/// Whether somebody with these roles may do this. `is_own`: to a request that they made. `is_owner`: to
/// what belongs to an app of a Safe that they own.
#[must_use]
pub fn may(roles: &[Role], action: Action, is_own: bool, is_owner: bool) -> bool {
    use Role::{Admin, Auditor, Requester, Reviewer, Viewer};
    let any_of = |wanted: &[Role]| roles.iter().any(|role| wanted.contains(role));
    match action {
        Action::Look => {
            is_own || is_owner || any_of(&[Viewer, Auditor, Requester, Reviewer, Admin])
        }
        Action::Audit => any_of(&[Auditor, Admin]),
        Action::Submit => any_of(&[Requester, Admin]),
        Action::Withdraw | Action::Attach => {
            is_owner || (is_own && any_of(&[Requester])) || any_of(&[Reviewer, Admin])
        }
        Action::Reject | Action::Retry | Action::Settle | Action::Arrange | Action::Comment => {
            is_owner || any_of(&[Reviewer, Admin])
        }
    }
}

impl Role {
    pub const ALL: [Self; 5] =
        [Self::Viewer, Self::Auditor, Self::Requester, Self::Reviewer, Self::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Requester => "requester",
            Self::Reviewer => "reviewer",
            Self::Admin => "admin",
        }
    }

    /// The roles of an API token, by what stands in the database: roles, and the two scopes that there
    /// were before them, which stay what they were.
    pub fn of_token(scopes: &[String]) -> Vec<Self> {
        let roles = scopes.iter().flat_map(|scope| match scope.as_str() {
            "read" => vec![Self::Viewer, Self::Auditor],
            "write" => vec![Self::Viewer, Self::Auditor, Self::Requester, Self::Reviewer],
            role => role.parse().into_iter().collect(),
        });
        let mut roles: Vec<Self> = roles.collect();
        roles.sort_by_key(|role| *role as u8);
        roles.dedup();
        roles
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of viewer, auditor, requester, reviewer, admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(UnknownRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y` always, `o` with what is their own, `-` never; then what owning the app's Safe adds.
    const TABLE: [(Action, &str, bool); 10] = [
        //                nobody viewer auditor requester reviewer admin
        (Action::Look, "o yyyyy", true),
        (Action::Audit, "- -y--y", false),
        (Action::Submit, "- --y-y", false),
        (Action::Withdraw, "- --oyy", true),
        (Action::Reject, "- ---yy", true),
        (Action::Retry, "- ---yy", true),
        (Action::Settle, "- ---yy", true),
        (Action::Arrange, "- ---yy", true),
        (Action::Attach, "- --oyy", true),
        (Action::Comment, "- ---yy", true),
    ];

    #[test]
    fn the_table_is_complete_and_holds() {
        assert_eq!(TABLE.map(|(action, ..)| action), Action::ALL);
        let nobody_and_each: Vec<Vec<Role>> =
            std::iter::once(vec![]).chain(Role::ALL.map(|role| vec![role])).collect();
        for (action, row, owner) in TABLE {
            let row = row.replace(' ', "");
            for (roles, cell) in nobody_and_each.iter().zip(row.chars()) {
                let told = |is_own, is_owner| may(roles, action, is_own, is_owner);
                assert_eq!(told(false, false), cell == 'y', "{roles:?} {action:?}");
                assert_eq!(told(true, false), cell != '-', "{roles:?} {action:?}, own");
                assert_eq!(told(false, true), cell == 'y' || owner, "{roles:?} {action:?}, owner");
            }
        }
    }

    #[test]
    fn a_token_of_old_is_what_it_was() {
        let of = |scopes: &[&str]| {
            Role::of_token(&scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>())
        };
        let looks = vec![Role::Viewer, Role::Auditor];
        let writes = vec![Role::Viewer, Role::Auditor, Role::Requester, Role::Reviewer];
        assert_eq!(of(&["read"]), looks);
        assert_eq!(of(&["write"]), writes);
        assert_eq!(of(&["read", "write"]), writes);
        assert_eq!(of(&["admin"]), vec![Role::Admin]);
        assert_eq!(of(&["viewer"]), vec![Role::Viewer]);
        assert_eq!(of(&["unheard-of"]), vec![]);
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
    }
}
