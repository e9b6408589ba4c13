//! Owners of a Safe that are contracts: how they come to be, and what they give as a signature.

use alloy::{
    primitives::{Address, Bytes, U256},
    sol,
    sol_types::SolCall,
};
use countersign::{
    devnet::{ChainScene, Wallet},
    request::ids::SafeTxHash,
    safe::{
        SafeTx,
        contract_signature::{message, safe_message_hash},
        packed::Part,
    },
};

sol! {
    function addOwnerWithThreshold(address owner, uint256 _threshold) external;
}

/// An address becomes an owner of the Safe, which keeps its threshold.
pub async fn become_owner(chain: &ChainScene, owner: Address) {
    let threshold = U256::from(chain.threshold);
    let add = addOwnerWithThresholdCall { owner, _threshold: threshold }.abi_encode();
    let ether = U256::from(10).pow(U256::from(18));
    chain.rpc.set_balance(chain.safe, ether).await.unwrap();
    chain.rpc.impersonate(chain.safe).await.unwrap();
    chain.rpc.send_as(chain.safe, chain.safe, add.into()).await.unwrap();
}

/// A Safe of the same version that has one owner, and becomes an owner of the Safe.
pub async fn nested_safe(chain: &ChainScene, owner: &Wallet) -> Address {
    let owners = vec![owner.address()];
    let (singleton, salt) = (chain.singleton, 77);
    let made = chain.release.new_safe(&chain.rpc, &chain.executor, singleton, owners, 1, salt);
    let nested = made.await.unwrap();
    become_owner(chain, nested).await;
    nested
}

/// What the one owner of a nested Safe signs, as the signature of that Safe over a transaction.
pub fn signed_by_nested(chain: &ChainScene, nested: Address, owner: &Wallet, tx: &SafeTx) -> Part {
    let asked = message(chain.safe_version, &chain.hashes(tx));
    let hash = safe_message_hash(&asked, chain.chain_id, nested, chain.safe_version);
    let data = Bytes::from(owner.sign(SafeTxHash(hash)).to_bytes());
    Part::Contract { owner: nested, data }
}
