//! Accepts preparations: reads what people and programs send, checks it, seals the token and opens
//! a request; prepares, and prepares again.

mod accept;
pub mod prepare;
mod read;

pub use accept::{AcceptError, accept};
pub use read::{FieldProblem, Submission, read};
