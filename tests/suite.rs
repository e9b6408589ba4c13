//! The one integration binary.

/// The pure ground, seen from outside.
#[cfg(feature = "devnet")]
mod ground {
    mod safe_fixtures;
}
