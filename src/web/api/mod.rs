//! The JSON API, one resource a file.

pub mod apps;
pub mod batch_files;
pub mod chains;
pub mod compose;
pub mod devices;
pub mod exports;
pub mod journal;
pub mod operator;
pub mod proposals;
pub mod request_list;
pub mod requests;
pub mod review;
pub mod session;
pub mod simulation;
mod submission;
