//! Puts what is missing on chain to the owner of the app: builds the owner's transaction, collects
//! signatures, and replaces a proposal that can no longer be executed.

mod build;
mod confirm;
mod refresh;

pub use build::{ProposeError, propose, route, singleton_warning};
pub use confirm::{ConfirmError, confirm};
pub use refresh::refresh;
