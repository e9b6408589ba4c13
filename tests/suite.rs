//! The one integration binary.

/// The pure ground, seen from outside.
#[cfg(feature = "devnet")]
mod ground {
    mod safe_fixtures;
}

/// Flows told as stories.
#[cfg(feature = "devnet")]
mod stories {
    mod cloud_emulator;
    mod cloud_scene;
    mod devnet_chain;
    mod hostile_cloud;
    mod phala_cli;
}
