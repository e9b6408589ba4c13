//! What a payer of gas asks of a chain, and how a transaction is given to it.

use alloy::{
    eips::BlockId,
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, Log, U256},
    providers::{DynProvider, Provider},
    rpc::types::{TransactionReceipt, TransactionRequest},
};
use futures::future::join_all;

use super::{Chain, ChainError, EndpointError, calls::is_revert, endpoint::Endpoint};
use crate::request::{
    facts::BlockRef,
    ids::{BlockHash, TxHash},
};

/// A transaction in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mined {
    pub block: BlockRef,
    /// Whether it did anything: one that reverted only cost gas.
    pub success: bool,
    pub logs: Vec<Log>,
}

/// What nodes say of the gas of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimate {
    Gas(u64),
    /// It would revert.
    Reverts,
}

/// No endpoint took a transaction: what each of them said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NotTaken(pub Vec<EndpointError>);

impl Endpoint {
    async fn tip(&self) -> Result<u64, EndpointError> {
        let tip =
            self.tell(|provider| async move { provider.get_max_priority_fee_per_gas().await });
        u64::try_from(tip.await?).map_err(|_| self.missing("a readable tip"))
    }

    async fn estimate(
        &self,
        from: Address,
        to: Address,
        data: &Bytes,
    ) -> Result<Estimate, EndpointError> {
        let call =
            TransactionRequest::default().with_from(from).with_to(to).with_input(data.clone());
        // Some nodes estimate on what is pending, which may be this very call.
        let latest = BlockId::latest();
        let estimate =
            |provider: DynProvider| async move { provider.estimate_gas(call).block(latest).await };
        match self.ask(estimate).await? {
            Ok(gas) => Ok(Estimate::Gas(gas)),
            Err(failure) if is_revert(&failure) => Ok(Estimate::Reverts),
            Err(failure) => Err(self.failed(&failure).await),
        }
    }

    async fn take(&self, raw: &Bytes) -> Result<(), EndpointError> {
        let raw = raw.clone();
        let taken = self.tell(|provider| async move {
            provider.raw_request::<_, B256>("eth_sendRawTransaction".into(), (raw,)).await
        });
        match taken.await {
            Err(EndpointError::Refused { message, .. }) if is_had_already(&message) => Ok(()),
            taken => taken.map(|_| ()),
        }
    }

    async fn mined(&self, tx: TxHash) -> Result<Option<Mined>, EndpointError> {
        let receipt = self
            .tell(|provider| async move { provider.get_transaction_receipt(tx.0).await })
            .await?;
        let Some(receipt) = receipt else { return Ok(None) };
        match read(&receipt).filter(|_| receipt.transaction_hash == tx.0) {
            Some(mined) => Ok(Some(mined)),
            None => Err(self.missing(format!("a readable receipt of {tx}"))),
        }
    }
}

/// Whether a refusal only says that the node has the transaction, or a block with its nonce, already.
/// What that comes to, the chain tells.
fn is_had_already(message: &str) -> bool {
    let message = message.to_ascii_lowercase().replace([' ', '_'], "");
    ["alreadyknown", "knowntransaction", "alreadyimported", "alreadyexists", "noncetoolow"]
        .iter()
        .any(|words| message.contains(words))
}

fn read(receipt: &TransactionReceipt) -> Option<Mined> {
    let hash = BlockHash(receipt.block_hash?);
    Some(Mined {
        block: BlockRef { number: receipt.block_number?, hash },
        success: receipt.status(),
        logs: receipt.logs().iter().map(|log| log.inner.clone()).collect(),
    })
}

impl Chain {
    /// What an account holds at one block, in wei.
    pub async fn balance(&self, account: Address, at: BlockRef) -> Result<U256, ChainError> {
        let what = format!("the balance of {account}");
        self.ask(&what, |endpoint| endpoint.balance(account, at.hash)).await
    }

    /// How many transactions an account has sent up to one block: the next one has this nonce.
    pub async fn account_nonce(&self, account: Address, at: BlockRef) -> Result<u64, ChainError> {
        let what = format!("the nonce of {account}");
        self.ask(&what, |endpoint| endpoint.nonce(account, at.hash)).await
    }

    /// What one block asked for gas at least, in wei.
    pub async fn base_fee(&self, at: BlockRef) -> Result<u64, ChainError> {
        let what = format!("block {}", at.number);
        Ok(self.ask(&what, |endpoint| endpoint.surroundings(at)).await?.base_fee)
    }

    /// The tip that is paid at the moment, in wei per gas: the highest that enough endpoints name.
    pub async fn tip(&self) -> Result<u64, ChainError> {
        let answers = self.collect("the tip", Endpoint::tip).await;
        self.reached("the tip", &answers, |tip| Some(*tip))
    }

    /// The gas that a call needs at the newest block: the highest that enough endpoints name. When
    /// too few name any, one that says it reverts is believed.
    pub async fn estimate(
        &self,
        from: Address,
        to: Address,
        data: &Bytes,
    ) -> Result<Estimate, ChainError> {
        let what = "the gas of an execution";
        let answers = self.collect(what, |endpoint| endpoint.estimate(from, to, data)).await;
        let gas = |estimate: &Estimate| match estimate {
            Estimate::Gas(gas) => Some(*gas),
            Estimate::Reverts => None,
        };
        match self.reached(what, &answers, gas) {
            Ok(gas) => Ok(Estimate::Gas(gas)),
            Err(_) if answers.contains(&Ok(Estimate::Reverts)) => Ok(Estimate::Reverts),
            Err(error) => Err(error),
        }
    }

    fn reached<T: PartialEq + Clone>(
        &self,
        what: &str,
        answers: &[Result<T, EndpointError>],
        number: impl Fn(&T) -> Option<u64>,
    ) -> Result<u64, ChainError> {
        let numbers = answers.iter().flatten().filter_map(number).collect();
        let quorum = self.quorum();
        match quorum.reached(numbers) {
            Some(number) => Ok(number),
            None => Err(quorum.agree(what, answers).err().unwrap_or(ChainError::Moved("gas"))),
        }
    }

    /// Where a transaction is; none while it is in no block.
    pub async fn mined(&self, tx: TxHash) -> Result<Option<Mined>, ChainError> {
        self.ask(&format!("the receipt of {tx}"), |endpoint| endpoint.mined(tx)).await
    }

    /// Whether a transaction is in no block, as far as every endpoint can tell that answers: as many
    /// as must agree do not have it, and none has. All are asked, since the one that has it decides.
    pub async fn is_in_no_block(&self, tx: TxHash) -> Result<bool, ChainError> {
        let answers = join_all(self.endpoints.iter().map(|endpoint| endpoint.mined(tx))).await;
        if answers.iter().flatten().any(Option::is_some) {
            return Ok(false);
        }
        let agreed = self.quorum().agree(&format!("the receipt of {tx}"), &answers);
        agreed.map(|mined| mined.is_none())
    }

    /// Gives a signed transaction to every endpoint. The same bytes may be given again and again.
    ///
    /// # Errors
    /// None of them took it, and what each said. It may be known to them all the same.
    pub async fn broadcast(&self, raw: &Bytes) -> Result<(), NotTaken> {
        let given = join_all(self.endpoints.iter().map(|endpoint| endpoint.take(raw))).await;
        let mut refusals = vec![];
        for one in given {
            match one {
                Ok(()) => return Ok(()),
                Err(error) => refusals.push(error),
            }
        }
        Err(NotTaken(refusals))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_has_already_is_not_refused() {
        for (message, had) in [
            ("already known", true),
            ("AlreadyKnown", true),
            ("ALREADY_EXISTS: already known", true),
            ("Known transaction", true),
            ("transaction already imported", true),
            ("nonce too low: next nonce 5, tx nonce 4", true),
            ("insufficient funds for gas * price + value", false),
            ("replacement transaction underpriced", false),
            ("unknown account", false),
            ("", false),
        ] {
            assert_eq!(is_had_already(message), had, "{message}");
        }
    }

    #[test]
    fn what_every_endpoint_says_is_told() {
        let refused = |name: &str| EndpointError::Refused {
            endpoint: name.into(),
            code: -32000,
            message: "insufficient funds".into(),
        };
        let told = NotTaken(vec![refused("a:1"), EndpointError::Silent { endpoint: "b".into() }]);
        let expected = "a:1 answers error -32000: insufficient funds; b does not answer";
        assert_eq!(told.to_string(), expected);
    }
}
