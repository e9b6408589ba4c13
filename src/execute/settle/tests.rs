use alloy::primitives::{B256, Bytes, Log, b256};
use uuid::Uuid;

use super::*;
use crate::request::ids::{BlockHash, ChainId, RequestId, SafeTxHash};

const SAFE: Address = Address::repeat_byte(0x5a);
const HASH: SafeTxHash = SafeTxHash(B256::repeat_byte(0xcc));
/// `ExecutionFailure(bytes32,uint256)`, the same for every version that has it.
const FAILURE: B256 = b256!("23428b18acfb3ea64b08dc0c1d296ea9c09702c09083ca5272e64d115b687d23");

fn one() -> Try {
    Try {
        id: Uuid::nil(),
        proposal: Uuid::nil(),
        request: RequestId(Uuid::nil()),
        chain: ChainId::BASE,
        safe: SAFE,
        safe_nonce: 7,
        safe_tx_hash: HASH,
        relayer: Address::ZERO,
        relayer_nonce: 0,
        gas_limit: 1,
        simulated_block: 1,
        created_at: crate::clock::Time::default(),
        settled_at: None,
        fate: None,
        tx: None,
        block: None,
        transactions: vec![],
    }
}

fn mined(success: bool, logs: Vec<Log>) -> Mined {
    Mined { block: BlockRef { number: 2, hash: BlockHash(B256::ZERO) }, success, logs }
}

/// A failure as 1.4.1 tells it.
fn failure(of: Address, hash: SafeTxHash) -> Log {
    Log::new(of, vec![FAILURE, hash.0], Bytes::from(vec![0; 32])).unwrap()
}

#[test]
fn a_receipt_is_success_only_when_the_safe_does_not_say_that_it_failed() {
    let stranger = Address::repeat_byte(0x66);
    let other = SafeTxHash(B256::repeat_byte(1));
    for (cancels, success, logs, expected) in [
        (false, true, vec![], Fate::Executed),
        (false, false, vec![], Fate::Reverted),
        (false, true, vec![failure(SAFE, HASH)], Fate::FailedInside),
        (false, true, vec![failure(stranger, HASH)], Fate::Executed),
        (false, true, vec![failure(SAFE, other)], Fate::Executed),
        (true, true, vec![], Fate::Cancelled),
    ] {
        let found = fate(&one(), cancels, &mined(success, logs.clone()));
        assert_eq!(found, expected, "{cancels} {success} {logs:?}");
    }
}
