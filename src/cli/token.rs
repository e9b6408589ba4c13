//! `countersign token`: make, list and revoke API tokens, straight in the database: whoever can
//! reach that needs no token to make the first one.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::{
    database::{self, Database, DatabaseArgs},
    page::{Cell, Page, Tone},
    print::Answer,
};
use crate::{
    access::{OpenToken, Scope},
    clock::{Clock, SystemClock, Time},
    roles::Role,
    store::tokens::ApiToken,
};

/// Make, list and revoke API tokens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  export COUNTERSIGN_TOKEN=$(countersign token create ci)
  countersign token create dashboard --scope read
  countersign token create ledger-of-the-bank --role auditor
  countersign token revoke ci")]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token. It is printed once; only its hash is kept.
    #[command(after_help = "Examples:
  export COUNTERSIGN_TOKEN=$(countersign token create ci)
  countersign token create dashboard --scope read
  countersign token create ledger-of-the-bank --role auditor")]
    Create {
        /// What the journal calls whoever uses it.
        #[arg(value_parser = name)]
        name: String,
        /// What it may be used for; both, unless a scope or a role is given. `read` is the roles viewer
        /// and auditor; `write` these, requester, and what the owners of any app may do. May be given twice.
        #[arg(long, value_enum, value_name = "SCOPE", conflicts_with = "role")]
        scope: Vec<Scope>,
        /// What it is here, as wallets are by the settings; not together with a scope. May be given
        /// more than once.
        #[arg(long, value_enum, value_name = "ROLE")]
        role: Vec<Role>,
    },
    /// List the tokens, without their secrets.
    #[command(after_help = "Example:
  countersign token list --json | jq -r '.[].name'")]
    List,
    /// Make a token useless, at once.
    #[command(after_help = "Example:
  countersign token revoke ci")]
    Revoke {
        /// Its name or id.
        #[arg(value_name = "ID|NAME")]
        id_or_name: String,
    },
}

/// A name that stands in the journal and cannot be taken for an id.
fn name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if (1..=60).contains(&text.len()) && text.chars().all(plain) && Uuid::try_parse(text).is_err() {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 60 letters, digits, `-`, `_`, `.` or `@`")
    }
}

pub async fn run(args: TokenArgs) -> Result<Answer> {
    let database = database::visit(&args.database).await?;
    let now = SystemClock.now();
    let answer = match args.command {
        TokenCommand::Create { name, scope, role } => {
            create(&database, &name, scopes(&scope, &role), now).await
        }
        TokenCommand::List => list(&database).await,
        TokenCommand::Revoke { id_or_name } => revoke(&database, &id_or_name, now).await,
    };
    database.close().await;
    answer
}

/// What stands in the database: scopes and roles, each once.
fn scopes(scopes: &[Scope], roles: &[Role]) -> Vec<String> {
    let both = [Scope::Read, Scope::Write];
    let scopes = if scopes.is_empty() && roles.is_empty() { &both } else { scopes };
    let mut names: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    names.extend(roles.iter().map(ToString::to_string));
    names.sort();
    names.dedup();
    names
}

async fn create(database: &Database, name: &str, scopes: Vec<String>, now: Time) -> Result<Answer> {
    let known = database.store.tokens().await?;
    if known.iter().any(|token| token.name == name && token.revoked_at.is_none()) {
        bail!(
            "there is a token of this name: revoke it first, or the journal could not tell them apart"
        );
    }
    let open = OpenToken::generate()?;
    let stored = database.store.insert_token(name, &open.hash(), &scopes, now).await;
    let stored = stored.context("the token was not stored, so it is not shown")?;
    let json = json!({
        "id": stored.id, "name": name, "scopes": scopes, "created_at": now, "token": open.expose(),
    });
    // The token alone on standard output, so that a shell can take it as it is.
    let page = Page::default().verbatim(open.expose());
    let note = format!(
        "API token `{name}` ({}) for a service on {}; it is not shown again",
        scopes.join(", "),
        database.place
    );
    Ok(Answer::new(page, json).note(note))
}

async fn list(database: &Database) -> Result<Answer> {
    let tokens = database.store.tokens().await?;
    let page = if tokens.is_empty() {
        Page::default().line("no token yet: `countersign token create NAME` makes one")
    } else {
        let heads = vec!["name", "scopes", "created", "last used", "state", "id"];
        Page::default().table(heads, tokens.iter().map(row).collect())
    };
    Ok(Answer::new(page, tokens))
}

fn row(token: &ApiToken) -> Vec<Cell> {
    let day = |time: Time| time.format("%Y-%m-%d %H:%M UTC").to_string();
    let state = match token.revoked_at {
        Some(at) => Cell::toned(format!("revoked {}", day(at)), Tone::Bad),
        None => Cell::toned("live", Tone::Good),
    };
    vec![
        token.name.clone().into(),
        token.scopes.join(", ").into(),
        day(token.created_at).into(),
        token.last_used_at.map_or_else(|| "never".into(), day).into(),
        state,
        token.id.to_string().into(),
    ]
}

async fn revoke(database: &Database, id_or_name: &str, now: Time) -> Result<Answer> {
    let revoked = database.store.revoke_tokens(id_or_name, now).await?;
    if revoked == 0 {
        bail!("no live token has this name or id (`countersign token list` shows them)");
    }
    let page = Page::default().line(format!("revoked {revoked}"));
    Ok(Answer::new(page, json!({ "revoked": revoked })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_what_was_asked_for_and_both_scopes_otherwise() {
        assert_eq!(scopes(&[], &[]), ["read", "write"]);
        assert_eq!(scopes(&[Scope::Read, Scope::Read], &[]), ["read"]);
        assert_eq!(scopes(&[], &[Role::Auditor]), ["auditor"]);
        assert_eq!(scopes(&[], &[Role::Viewer, Role::Requester]), ["requester", "viewer"]);
    }

    #[test]
    fn a_name_is_plain_and_no_id() {
        assert!(name("ci").is_ok() && name("alice@example.com").is_ok());
        for text in ["", "two words", "a\u{1b}", "0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e"] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
