//! What the emulator asks the chain: the Safe as it is now, and what was executed.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolCall,
};
use serde_json::Value;

use crate::{
    clock::Time,
    devnet::{LocalRpcError, Rpc},
    request::ids::SafeTxHash,
    safe::{Operation, SafeEvent, SafeTx, SafeVersion, tx::Safe},
};

/// Why the chain told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// What stands there is no Safe.
    NoSafe,
    /// The node is out of reach.
    NoNode,
}

impl From<LocalRpcError> for Trouble {
    fn from(error: LocalRpcError) -> Self {
        match error {
            LocalRpcError::Request { source, .. } if source.as_error_resp().is_none() => {
                Self::NoNode
            }
            _ => Self::NoSafe,
        }
    }
}

/// A Safe as it is now.
#[derive(Debug, Clone)]
pub(super) struct SafeNow {
    pub owners: Vec<Address>,
    pub threshold: U256,
    pub nonce: u64,
    pub version: SafeVersion,
    pub singleton: Address,
}

/// An execution as the chain shows it.
#[derive(Debug, Clone)]
pub(super) struct Execution {
    pub hash: SafeTxHash,
    pub tx_hash: B256,
    pub block: u64,
    pub at: Time,
    pub success: bool,
    pub executor: Address,
    /// The transaction and its signatures, when the Safe was called directly.
    pub content: Option<(SafeTx, Bytes)>,
}

#[derive(Clone)]
pub(super) struct Chain {
    pub rpc: Rpc,
}

impl Chain {
    pub async fn safe(&self, address: Address) -> Result<SafeNow, Trouble> {
        let version = self.rpc.ask(address, &Safe::VERSIONCall {}).await?;
        let slot = self.rpc.provider().get_storage_at(address, U256::ZERO).await;
        let slot = slot.map_err(|_| Trouble::NoNode)?;
        Ok(SafeNow {
            owners: self.rpc.ask(address, &Safe::getOwnersCall {}).await?,
            threshold: self.rpc.ask(address, &Safe::getThresholdCall {}).await?,
            nonce: self.rpc.ask(address, &Safe::nonceCall {}).await?.saturating_to(),
            version: version.parse().map_err(|_| Trouble::NoSafe)?,
            singleton: Address::from_word(B256::from(slot)),
        })
    }

    pub async fn head(&self) -> Result<u64, Trouble> {
        self.rpc.provider().get_block_number().await.map_err(|_| Trouble::NoNode)
    }

    pub async fn is_approved(
        &self,
        safe: Address,
        owner: Address,
        hash: SafeTxHash,
    ) -> Result<bool, Trouble> {
        let call = Safe::approvedHashesCall { owner, hash: hash.0 };
        Ok(!self.rpc.ask(safe, &call).await?.is_zero())
    }

    /// Everything a Safe has executed, in order.
    pub async fn executions(&self, safe: Address) -> Result<Vec<Execution>, Trouble> {
        let filter = Filter::new().address(safe).from_block(0);
        let logs = self.rpc.provider().get_logs(&filter).await.map_err(|_| Trouble::NoNode)?;
        let mut executions = vec![];
        for log in logs {
            let event = SafeEvent::decode(log.topics(), &log.data().data).ok().flatten();
            let (hash, success) = match event {
                Some(SafeEvent::ExecutionSuccess(hash)) => (hash, true),
                Some(SafeEvent::ExecutionFailure(hash)) => (hash, false),
                _ => continue,
            };
            // A Safe executes in the order of its nonces.
            let nonce = executions.len() as u64;
            let tx_hash = log.transaction_hash.unwrap_or_default();
            let block = log.block_number.unwrap_or_default();
            let tx: Value = self.rpc.raw("eth_getTransactionByHash", (tx_hash,)).await?;
            executions.push(Execution {
                hash,
                tx_hash,
                block,
                at: self.time_of(block).await?,
                success,
                executor: tx["from"]
                    .as_str()
                    .and_then(|from| from.parse().ok())
                    .unwrap_or_default(),
                content: content(&tx, safe, nonce),
            });
        }
        Ok(executions)
    }

    async fn time_of(&self, block: u64) -> Result<Time, Trouble> {
        let block = self.rpc.provider().get_block_by_number(block.into()).await;
        let block = block.map_err(|_| Trouble::NoNode)?.ok_or(Trouble::NoNode)?;
        let seconds = i64::try_from(block.header.timestamp).unwrap_or_default();
        Ok(Time::from_timestamp(seconds, 0).unwrap_or_default())
    }
}

/// The Safe transaction in a call of the Safe's `execTransaction`.
fn content(tx: &Value, safe: Address, nonce: u64) -> Option<(SafeTx, Bytes)> {
    let to: Address = tx["to"].as_str()?.parse().ok()?;
    let input: Bytes = tx["input"].as_str()?.parse().ok()?;
    let call = Safe::execTransactionCall::abi_decode(&input).ok().filter(|_| to == safe)?;
    let content = SafeTx {
        to: call.to,
        value: call.value,
        data: call.data,
        operation: Operation::try_from(call.operation).ok()?,
        safe_tx_gas: call.safeTxGas,
        base_gas: call.baseGas,
        gas_price: call.gasPrice,
        gas_token: call.gasToken,
        refund_receiver: call.refundReceiver,
        nonce: U256::from(nonce),
    };
    Some((content, call.signatures))
}
