//! The one noun: a request, from prepared to running. Pure: no clock, no network, no database.

pub mod ids;
