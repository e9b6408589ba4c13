//! A world to try everything in without touching anybody's: anvil with the real Safe contracts, a
//! KMS and an app that a Safe owns, wallets to sign and execute with, and an emulated Phala Cloud.
//! For trying and testing; release packaging leaves it out, together with every signer.
//!
//! - [`artifacts`]: where the tools and the compiled contracts are;
//! - [`anvil`] and [`rpc`]: the node, and how to talk to it;
//! - [`wallets`]: the owners of the Safe, and who pays for gas;
//! - [`safe_release`] and [`apps`]: what is deployed;
//! - [`chain_scene`]: the chain, ready to use;
//! - [`mod@execute`]: what an executor of the Safe does;
//! - [`cloud`]: the emulated Phala Cloud;
//! - [`safe_service`]: the emulated Safe Transaction Service;
//! - [`test_wallets`]: wallets for the pages, as a browser's extensions would be;
//! - [`town`]: chain and cloud together, with an instance that already runs.

pub mod anvil;
pub mod apps;
pub mod artifacts;
pub mod chain_scene;
pub mod cloud;
pub mod execute;
pub mod rpc;
pub mod safe_release;
pub mod safe_service;
pub mod test_wallets;
pub mod town;
pub mod wallets;

pub use anvil::{Anvil, AnvilOptions};
pub use artifacts::Artifacts;
pub use chain_scene::{ChainScene, SceneError, SceneOptions};
pub use execute::{Executed, execute};
pub use rpc::{LocalRpcError, Rpc};
pub use town::{Town, TownError, TownOptions};
pub use wallets::Wallet;
