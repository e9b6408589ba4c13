//! What an executor does once the owners have signed: anyone may send the transaction and pay for
//! it.

use alloy::{
    primitives::{Address, Bytes},
    rpc::types::TransactionReceipt,
};

use super::{LocalRpcError, Rpc, Wallet};
use crate::{
    request::{
        facts::BlockRef,
        ids::{BlockHash, SafeTxHash, TxHash},
    },
    safe::{SafeEvent, SafeTx, tx::Safe},
};

/// Gas on top of what is estimated. The estimate is the least with which the Safe's own transaction
/// succeeds, and before 1.3.0 it does so when its calls run out of gas.
const CALLS_GAS: u64 = 1_000_000;

/// A Safe transaction that is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    pub tx_hash: TxHash,
    pub block: BlockRef,
    /// Whether this very transaction succeeded. With `safeTxGas`, or before 1.3.0, it may be false:
    /// then the nonce is spent and nothing was done.
    pub success: bool,
}

/// Executes a Safe transaction with packed signatures, and waits until it is mined. A transaction
/// that would revert as a whole is refused by the node and never sent.
pub async fn execute(
    rpc: &Rpc,
    executor: &Wallet,
    safe: Address,
    tx: &SafeTx,
    signatures: &Bytes,
) -> Result<Executed, LocalRpcError> {
    let hash = own_hash(rpc, safe, tx).await?;
    let data = tx.exec_calldata(signatures);
    let gas = rpc.estimate(executor, safe, &data).await? + CALLS_GAS;
    let receipt = rpc.send_with(executor, safe, data, Some(gas)).await?;
    Ok(Executed {
        tx_hash: TxHash(receipt.transaction_hash),
        block: BlockRef {
            number: receipt.block_number.unwrap_or_default(),
            hash: BlockHash(receipt.block_hash.unwrap_or_default()),
        },
        success: succeeded(&receipt, safe, hash),
    })
}

/// The Safe's own hash of a transaction.
pub async fn own_hash(rpc: &Rpc, safe: Address, tx: &SafeTx) -> Result<SafeTxHash, LocalRpcError> {
    let call = Safe::getTransactionHashCall {
        to: tx.to,
        value: tx.value,
        data: tx.data.clone(),
        operation: tx.operation.number(),
        safeTxGas: tx.safe_tx_gas,
        baseGas: tx.base_gas,
        gasPrice: tx.gas_price,
        gasToken: tx.gas_token,
        refundReceiver: tx.refund_receiver,
        nonce: tx.nonce,
    };
    rpc.ask(safe, &call).await.map(SafeTxHash)
}

/// Whether a mined transaction did what it says. Every Safe tells when it did not; 1.0.0 tells nothing
/// else.
fn succeeded(receipt: &TransactionReceipt, safe: Address, hash: SafeTxHash) -> bool {
    receipt
        .logs()
        .iter()
        .filter(|log| log.address() == safe)
        .filter_map(|log| SafeEvent::decode(log.topics(), &log.data().data).ok().flatten())
        .all(|event| event != SafeEvent::ExecutionFailure(hash))
}
