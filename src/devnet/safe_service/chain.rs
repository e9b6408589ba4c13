//! What the emulator asks the chain: the Safe as it is now, and what was executed.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolCall,
};
use serde_json::{Value, json};

use crate::{
    clock::Time,
    devnet::{LocalRpcError, Rpc},
    request::ids::SafeTxHash,
    safe::{
        Operation, SafeEvent, SafeTx, SafeTxHashes, SafeVersion, contract_signature,
        event::APPROVE_HASH, tx::Safe,
    },
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

/// An owner's approval of a hash as the chain shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Approval {
    pub hash: SafeTxHash,
    pub owner: Address,
    pub tx_hash: B256,
}

/// What the logs of a Safe tell, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub executions: Vec<Execution>,
    pub approvals: Vec<Approval>,
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

    /// Whether a contract says that `data` is its signature. It is asked in nobody's name, and in both
    /// ways, whatever the version of the Safe: what the real service takes here a Safe may refuse, and
    /// the other way round.
    pub async fn is_signed(
        &self,
        owner: Address,
        hashes: &SafeTxHashes,
        data: &Bytes,
    ) -> Result<bool, Trouble> {
        for version in [SafeVersion::V1_5_0, SafeVersion::V1_4_1] {
            let question = contract_signature::question(version, hashes, data);
            let call = json!({ "to": owner, "data": question });
            match self.rpc.raw::<_, Bytes>("eth_call", (call, "latest")).await {
                Ok(answer) if contract_signature::is_yes(version, &answer) => return Ok(true),
                Ok(_) => {}
                Err(error) => match Trouble::from(error) {
                    Trouble::NoNode => return Err(Trouble::NoNode),
                    // It refuses, or is no contract of this kind.
                    Trouble::NoSafe => {}
                },
            }
        }
        Ok(false)
    }

    /// Everything a Safe has executed, and everything its owners approved on chain.
    pub async fn told(&self, safe: Address) -> Result<Told, Trouble> {
        let filter = Filter::new().address(safe).from_block(0);
        let logs = self.rpc.provider().get_logs(&filter).await.map_err(|_| Trouble::NoNode)?;
        let (mut executions, mut approvals) = (vec![], vec![]);
        for log in logs {
            let tx_hash = log.transaction_hash.unwrap_or_default();
            if let [APPROVE_HASH, hash, owner] = log.topics() {
                let (hash, owner) = (SafeTxHash(*hash), Address::from_word(*owner));
                approvals.push(Approval { hash, owner, tx_hash });
                continue;
            }
            let event = SafeEvent::decode(log.topics(), &log.data().data).ok().flatten();
            let (hash, success) = match event {
                Some(SafeEvent::ExecutionSuccess(hash)) => (hash, true),
                Some(SafeEvent::ExecutionFailure(hash)) => (hash, false),
                _ => continue,
            };
            // A Safe executes in the order of its nonces.
            let nonce = executions.len() as u64;
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
        Ok(Told { executions, approvals })
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
