//! A world to try Countersign in without touching anybody's. Never part of a release build.

pub mod cloud;
