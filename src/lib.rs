//! Countersign carries a Phala Cloud replica from prepared to running, with no human after the last
//! signature.
//!
//! ```text
//! prepared ─► proposed ─► approved ─► executed ─► registered ─► committing ─► committed ─► running
//!  intake      propose     owners      execute      watch         commit        commit
//! ```
//!
//! The modules stand in the order of the flow: doors, the conductor, the rooms of the flow, the
//! tools they use, and the ground everything stands on. A file uses only what stands below it.

// Doors.
pub mod cli;
#[cfg(feature = "devnet")]
pub mod devnet;
pub mod web;

// The conductor.
pub mod flow;

// The flow.
pub mod intake;
pub mod review;

pub mod propose;

pub mod execute;
pub mod watch;

pub mod commit;

pub mod audit;
pub mod remind;

// Tools.
pub mod access;
pub mod chain;
pub mod child;
pub mod notify;
pub mod phala;
pub mod safe_service;
pub mod store;
pub mod vault;
pub mod wire;

// The ground.
pub mod clock;
pub mod compose;
pub mod config;
pub mod dstack;
pub mod owner;
pub mod planted;
pub mod request;
pub mod roles;
pub mod safe;
pub mod siwe;
