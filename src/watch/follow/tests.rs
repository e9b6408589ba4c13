use alloy::primitives::B256;

use super::*;
use crate::request::ids::BlockHash;

fn ids(count: u128) -> Vec<RequestId> {
    (1..=count).map(|number| RequestId(uuid::Uuid::from_u128(number))).collect()
}

#[test]
fn few_are_left_to_be_committed_at_once_and_each_only_once() {
    let at = BlockRef { number: 7, hash: BlockHash(B256::with_last_byte(7)) };
    let deep = Some(BlockRef { number: 5, hash: BlockHash(B256::with_last_byte(5)) });
    // Found one after the other, by the number of requests; who is written, and who is left.
    let few = AT_ONCE_MAX as u128;
    for found in [
        vec![(0, deep, 0, 0)],
        vec![(1, deep, 0, 1), (1, deep, 1, 0)],
        vec![(1, deep, 0, 1), (2, deep, 1, 1), (2, deep, 1, 1)],
        vec![(few, deep, 0, few)],
        vec![(few + 1, deep, few + 1, 0)],
        vec![(few, deep, 0, few), (few + 1, deep, few + 1, 0)],
        vec![(2, None, 2, 0)],
    ] {
        let mut follower = Follower::default();
        for (count, deep, written, left) in found {
            let now = follower.leave(ids(count), deep, at, "2 blocks");
            let later = follower.take_at_once();
            assert_eq!((now.len() as u128, later.len() as u128), (written, left), "{count}");
            assert!(later.iter().all(|(id, seen)| seen.at == at && !now.contains(id)));
        }
    }
}
