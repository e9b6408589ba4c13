//! The one noun: a request, from prepared to running.
//!
//! ```text
//! prepared → proposed → approved → executed → registered → committing → committed → running
//!     └──────────┴──────────┴──────────┴───────→ ┘ ↑              │
//!                                                  └─ no effect ──┘
//! ```
//!
//! Pure: no clock, no network, no database. Facts say what is known; [`status::status`] turns them
//! into the one word that every page, worker and query uses; [`event::Event`] is the only way to
//! change them.

pub mod deadline;
pub mod event;
pub mod facts;
pub mod ids;
pub mod status;
