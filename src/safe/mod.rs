//! Everything about a Safe that can be known without asking anyone: its transaction and its
//! hashes, batches, signatures, what a transaction says in plain words, and the forms in which its
//! owners take it elsewhere: files, links, texts, QR codes.
//!
//! A hash that somebody else computed proves nothing. Whatever is proposed, signed or executed is
//! hashed here again, from the chain id, the Safe, its version and the ten fields.

pub mod around;
pub mod batch_file;
pub mod contract_signature;
pub mod decode;
pub mod deployments;
pub mod event;
pub mod exports;
pub mod failure;
pub mod hash;
pub mod known;
pub mod multisend;
pub mod nested;
pub mod network;
pub mod packed;
pub mod qr;
pub mod signature;
pub mod tx;
pub mod version;

pub use around::{Around, Extensions};
pub use batch_file::BatchFile;
pub use decode::{Decoded, Expected, decode};
pub use event::{RECONFIGURATIONS, SafeEvent};
pub use exports::{Exports, WalletLinks};
pub use hash::{SafeTxHashes, eip712_document, hashes, read_eip712};
pub use nested::NestedOwner;
pub use signature::OwnerSignature;
pub use tx::{Operation, SafeTx};
pub use version::SafeVersion;
