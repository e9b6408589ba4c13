//! Puts what is missing on chain to the owner of the app: builds the owner's transaction, collects
//! signatures, here and in Safe's mailbox, and replaces a proposal that can no longer be executed.

mod build;
mod confirm;
mod hint;
mod mail;
mod nested_hint;
mod queue;
mod refresh;
mod standing_signatures;

/// Stands in the reason of a request that nothing but its execution is missing to.
pub const ANYONE_MAY_EXECUTE: &str = "anyone may execute it";

pub use build::{ProposeError, propose, route, singleton_warning};
pub use confirm::{ConfirmError, confirm, to_sign};
pub use mail::{Exchanged, MailError, Mailbox, exchange};
pub use queue::look_into_queue;
pub use refresh::refresh;
