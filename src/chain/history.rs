//! Reads what a chain has long settled: logs of many blocks, receipts, and when a contract came.

use alloy::{
    primitives::Address,
    rpc::types::{Log, TransactionReceipt},
};
use futures::future::join_all;

use super::{Chain, ChainError, EndpointError, Wanted, endpoint::Endpoint, wanted::normal};
use crate::request::{facts::BlockRef, ids::TxHash};

/// From this many logs on an answer is checked for having been cut off.
const CUT_SUSPECTED: usize = 100;

impl Chain {
    /// Logs of the blocks from `from` to `to`, from endpoints that have `to` and everything below.
    /// Where several must agree, they must agree on these too. Logs say when to look and which
    /// transaction did it, never that something is so.
    pub async fn logs(
        &self,
        wanted: &Wanted,
        from: u64,
        to: BlockRef,
    ) -> Result<Vec<Log>, ChainError> {
        if self.settings.quorum > 1 {
            let what = format!("the logs of blocks {from} to {}", to.number);
            let logs = self.ask(&what, |endpoint| async move {
                range(endpoint, wanted, from, to).await.map(normal)
            });
            let logs = logs.await.map_err(|error| ChainError::Logs(error.to_string()))?;
            return wanted.check(logs, from, to.number);
        }
        let mut problem = ChainError::Logs(String::new());
        let (resting, awake): (Vec<_>, Vec<_>) =
            self.endpoints.iter().partition(|endpoint| endpoint.health.rests());
        for endpoint in awake.into_iter().chain(resting) {
            match range(endpoint, wanted, from, to).await {
                Ok(logs) => match wanted.check(logs, from, to.number) {
                    Ok(logs) => return Ok(logs),
                    Err(error) => problem = error,
                },
                Err(error) => problem = ChainError::Logs(error.to_string()),
            }
        }
        Err(problem)
    }

    /// The receipt of a transaction, from the first endpoint that has it.
    pub async fn receipt(&self, tx: TxHash) -> Result<TransactionReceipt, ChainError> {
        let mut last = None;
        for endpoint in self.endpoints.iter() {
            match endpoint.receipt(tx).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => last = Some(error),
            }
        }
        let problem = last.map_or_else(String::new, |error| error.to_string());
        Err(ChainError::Unreadable { what: format!("transaction {tx}"), problem })
    }

    /// The block that brought a contract's code, by bisection; none when no endpoint keeps the old
    /// state it takes.
    pub async fn deployed_at(
        &self,
        address: Address,
        head: BlockRef,
    ) -> Result<Option<u64>, ChainError> {
        let mut last = None;
        for endpoint in self.endpoints.iter() {
            match bisect(endpoint, address, head.number).await {
                Ok(Some(found)) if self.had_none_below(address, found).await => {
                    return Ok(Some(found));
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(EndpointError::Refused { .. }) => return Ok(None),
                Err(error) => last = Some(error),
            }
        }
        let Some(problem) = last else { return Ok(None) };
        let what = format!("when {address} was deployed");
        Err(ChainError::Unreadable { what, problem: problem.to_string() })
    }

    /// Whether no endpoint that keeps old state says that there was code below a block already. One
    /// that keeps none may say of any block that there was none.
    async fn had_none_below(&self, address: Address, block: u64) -> bool {
        let Some(below) = block.checked_sub(1) else { return true };
        let answers =
            join_all(self.endpoints.iter().map(|endpoint| endpoint.had_code(address, below))).await;
        !answers.iter().flatten().any(|had| *had)
    }
}

/// One endpoint's logs of a range. An endpoint that is behind would answer for the blocks it has
/// and not say so; one that cuts long answers off is found out by asking for the end once more.
async fn range(
    endpoint: &Endpoint,
    wanted: &Wanted,
    from: u64,
    to: BlockRef,
) -> Result<Vec<Log>, EndpointError> {
    if endpoint.header(to.number).await?.block != to {
        return Err(endpoint.differs(to.number));
    }
    let filter = wanted.filter().from_block(from).to_block(to.number);
    let logs = endpoint.logs(&filter).await?;
    let Some(last) = logs.last().and_then(|log| log.block_number) else { return Ok(logs) };
    if logs.len() < CUT_SUSPECTED {
        return Ok(logs);
    }
    let end = endpoint.logs(&wanted.filter().from_block(last).to_block(to.number)).await?;
    let known = logs.iter().filter(|log| log.block_number == Some(last)).count();
    if end.len() == known { Ok(logs) } else { Err(endpoint.cut_off(from, to.number)) }
}

async fn bisect(
    endpoint: &Endpoint,
    address: Address,
    head: u64,
) -> Result<Option<u64>, EndpointError> {
    // Invariant: no code before `low`, code after `high`.
    let (mut low, mut high) = (0, head);
    if !endpoint.had_code(address, high).await? {
        return Ok(None);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if endpoint.had_code(address, middle).await? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Some(high))
}
