//! The one integration binary.

/// The pure ground, seen from outside.
#[cfg(feature = "devnet")]
mod ground {
    mod safe_fixtures;
}

/// Flows, told as stories.
#[cfg(feature = "devnet")]
mod stories {
    mod devnet_chain;
}
