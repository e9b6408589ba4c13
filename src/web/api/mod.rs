//! The JSON API, one resource a file.

pub mod apps;
pub mod chains;
pub mod compose;
pub mod devices;
pub mod journal;
pub mod proposals;
pub mod requests;
pub mod review;
pub mod session;
pub mod simulation;
mod submission;
