//! Accepts preparations: reads what people and programs send, checks it, seals the token and opens
//! a request; prepares, and prepares again.

mod accept;
mod asked;
pub mod prepare;
mod read;
pub mod webhook;

pub use accept::{AcceptError, accept};
pub use asked::{PREPARE_BODY_BYTES_MAX, PrepareBody};
pub use read::{FieldProblem, Submission, read};
