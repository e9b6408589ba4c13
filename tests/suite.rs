//! The one integration binary.

/// The pure ground, seen from outside.
#[cfg(feature = "devnet")]
mod ground {
    mod hostile_bytes;
    mod openapi;
    mod phala_codes;
    mod rooms;
    mod safe_deployments;
    mod safe_fixtures;
    mod word_reader;
}

/// Flows told as stories.
#[cfg(feature = "devnet")]
mod stories {
    mod access;
    mod acts;
    mod answers;
    mod approval;
    mod at_once;
    mod audit;
    mod audit_files;
    mod batch_races;
    mod batches;
    mod browser;
    mod browser_audit;
    mod browser_hostile;
    mod browser_live;
    mod browser_queue;
    mod browser_try;
    mod browser_wallet;
    mod chain_faults;
    mod cloud_client;
    mod cloud_emulator;
    mod cloud_scene;
    mod cloud_sdk;
    mod commit_faults;
    mod commit_once;
    mod compose_proof;
    mod contract_owners;
    mod crash;
    mod crowd;
    mod delegates;
    mod descriptions;
    mod devices;
    mod devnet;
    mod devnet_chain;
    mod direct;
    mod endpoints;
    mod endurance;
    mod eoa;
    mod exports;
    mod fencing;
    mod foreseen;
    mod gateway;
    mod gateway_callers;
    mod gateway_cli;
    mod gateway_faults;
    mod gateway_scene;
    mod history;
    mod hostile_cloud;
    mod intake;
    mod journal;
    mod kill;
    mod kinds;
    mod kit;
    mod ledger_law;
    mod mailbox;
    mod mailbox_contracts;
    mod mailbox_emulator;
    mod mailbox_hostile;
    mod mailbox_kit;
    mod mailbox_scene;
    mod main_job;
    mod nested_safes;
    mod nonces;
    mod operator;
    mod operator_page;
    mod phala_cli;
    mod prepare_people;
    mod relayer;
    mod relayer_crash;
    mod relayer_endpoints;
    mod reorg;
    mod roles;
    mod rpc_fuzz;
    mod safe_versions;
    mod scale;
    mod secrets;
    mod sign_in;
    mod signature_kinds;
    mod signers;
    mod simulate;
    mod stalls;
    mod start;
    mod test_wallets;
    mod twice;
    mod unclear;
    mod updates;
    mod variables;
    mod verify;
    mod webhook_intake;
}

/// Other implementations of what a Safe does, and the contracts themselves, asked the same.
#[cfg(feature = "devnet")]
mod peers {
    mod batches;
    mod compose;
    mod contracts;
    mod draw;
    mod env;
    mod hashes;
    pub mod peer;
    mod signatures;
}

/// Chain, cloud, database and service, for the stories to happen in.
#[cfg(feature = "devnet")]
mod world;
