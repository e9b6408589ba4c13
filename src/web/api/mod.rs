//! The JSON API, one resource a file.

pub mod apps;
pub mod journal;
pub mod proposals;
pub mod requests;
