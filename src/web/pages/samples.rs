//! A request, its proposal and its signatures, for the tests of the pages.

use alloy::primitives::{Address, B256, U256};
use uuid::Uuid;

use crate::{
    dstack::{Addition, Write},
    owner::{Call, Route, nonce::NonceChoice},
    request::{
        LivePreparation, Request,
        facts::Facts,
        ids::{AppId, ChainId, ComposeHash, DeviceId, RequestId},
        kind::Kind,
    },
    safe::{self, Around, Extensions, Operation, SafeTx, SafeVersion},
    store::proposals::{Proposal, SafeProposal},
};

pub fn request() -> Request {
    let prepared_at = "2026-11-03T14:05:09Z".parse().unwrap();
    let expires_at = "2026-11-17T14:05:09Z".parse().unwrap();
    Request {
        id: RequestId(Uuid::from_u128(7)),
        kind: Kind::Replica,
        chain: ChainId::BASE,
        app: AppId(Address::repeat_byte(0x11)),
        source: "cvm-7".parse().unwrap(),
        node: Some("5".parse().unwrap()),
        compose: ComposeHash(B256::repeat_byte(0xaa)),
        device: DeviceId(B256::repeat_byte(0xbb)),
        note: None,
        created_at: prepared_at,
        created_by: "token:ci".into(),
        facts: Facts { proposal: Some(Uuid::from_u128(9)), ..Facts::default() },
        preparation: Some(LivePreparation { id: Uuid::from_u128(8), prepared_at, expires_at }),
        expires_at,
        prepared_at,
        is_repeatable: true,
        reason: None,
        next_try_at: prepared_at,
        held_until: None,
        attempts: 0,
    }
}

/// Only the device is missing: one plain call of the Safe.
pub fn proposal() -> Proposal {
    let request = request();
    let write = Write::AddDevice(request.device);
    let owner = Address::repeat_byte(0x5a);
    let tx = SafeTx::new(Call::of_write(request.app, &write), Operation::Call, U256::from(7));
    let hashes = safe::hashes(&tx, request.chain, owner, SafeVersion::V1_4_1);
    let extensions = Some(Extensions::default());
    let around = Around { block: 30, extensions, contract_owners: vec![] };
    Proposal {
        id: Uuid::from_u128(9),
        route: Route::Safe,
        chain: request.chain,
        owner,
        additions: vec![Addition { app: request.app, write }],
        warnings: vec![],
        safe: Some(SafeProposal {
            version: SafeVersion::V1_4_1,
            tx,
            nonce: 7,
            nonce_choice: NonceChoice::NextFree,
            threshold: 2,
            owners: vec![Address::repeat_byte(1), Address::repeat_byte(2)],
            hashes,
            around: Some(around),
            queue: None,
        }),
        created_at: request.created_at,
    }
}
