//! Talking to the local chain: ask, send with a local key, deploy, and the powers that only a
//! development node gives.

use std::time::Duration;

use alloy::{
    network::{EthereumWallet, TransactionBuilder},
    primitives::{Address, Bytes, TxHash, U256},
    providers::{DynProvider, PendingTransactionError, Provider, ProviderBuilder},
    rpc::{
        client::{ClientBuilder, RpcClient},
        json_rpc::{RpcRecv, RpcSend},
        types::{TransactionReceipt, TransactionRequest},
    },
    sol_types::{self, SolCall},
    transports::TransportError,
};
use serde_json::Value;
use url::Url;

use super::Wallet;

/// How often to look for a receipt. The first look is immediate.
const POLL: Duration = Duration::from_millis(50);

/// Why the local chain did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum LocalRpcError {
    #[error("the local chain refused {operation}")]
    Request { operation: &'static str, source: TransportError },
    #[error("transaction {hash} got no receipt")]
    Receipt { hash: TxHash, source: PendingTransactionError },
    #[error("transaction {0} was reverted")]
    Reverted(TxHash),
    #[error("the answer to {operation} does not decode")]
    Answer { operation: &'static str, source: sol_types::Error },
    #[error("transaction {0} made no contract")]
    NoContract(TxHash),
}

/// Makes an error of a request.
fn request(operation: &'static str) -> impl FnOnce(TransportError) -> LocalRpcError {
    move |source| LocalRpcError::Request { operation, source }
}

/// A connection to the local chain.
#[derive(Clone, Debug)]
pub struct Rpc {
    url: Url,
    client: RpcClient,
    provider: DynProvider,
    hurry: bool,
}

impl Rpc {
    /// The process must have installed a TLS provider: the HTTP client asks for one even here.
    pub fn new(url: Url) -> Self {
        let client = ClientBuilder::default().http(url.clone()).with_poll_interval(POLL);
        let provider = ProviderBuilder::new().connect_client(client.clone()).erased();
        Self { url, client, provider, hurry: false }
    }

    /// The same, but every transaction is mined at once: a chain with a block time is set up
    /// without waiting for it.
    #[must_use]
    pub fn hurried(&self) -> Self {
        Self { hurry: true, ..self.clone() }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// For every other read.
    pub fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Any method of the node.
    pub async fn raw<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        parameters: P,
    ) -> Result<R, LocalRpcError> {
        let answer = self.provider.raw_request(method.into(), parameters).await;
        answer.map_err(request(method))
    }

    /// Asks a contract, at the latest block.
    pub async fn ask<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, LocalRpcError> {
        let operation = C::SIGNATURE;
        let transaction = TransactionRequest::default().to(to).input(call.abi_encode().into());
        let answer = self.provider.call(transaction).await.map_err(request(operation))?;
        C::abi_decode_returns(&answer).map_err(|source| LocalRpcError::Answer { operation, source })
    }

    pub async fn code(&self, address: Address) -> Result<Bytes, LocalRpcError> {
        self.provider.get_code_at(address).await.map_err(request("eth_getCode"))
    }

    /// What creation code would leave behind as a contract's code.
    pub async fn runtime_code(&self, creation_code: Bytes) -> Result<Bytes, LocalRpcError> {
        let transaction = TransactionRequest::default().with_deploy_code(creation_code);
        self.provider.call(transaction).await.map_err(request("eth_call"))
    }

    /// Sends a transaction and waits until it is mined and has succeeded.
    pub async fn send(
        &self,
        from: &Wallet,
        to: Address,
        data: Bytes,
    ) -> Result<TransactionReceipt, LocalRpcError> {
        self.send_with(from, to, data, None).await
    }

    /// The same with a gas limit, where the node's estimate will not do.
    pub async fn send_with(
        &self,
        from: &Wallet,
        to: Address,
        data: Bytes,
        gas_limit: Option<u64>,
    ) -> Result<TransactionReceipt, LocalRpcError> {
        let mut transaction = TransactionRequest::default().to(to).input(data.into());
        transaction.gas = gas_limit;
        self.mined(from, transaction).await
    }

    /// The least gas with which a transaction succeeds.
    pub async fn estimate(
        &self,
        from: &Wallet,
        to: Address,
        data: &Bytes,
    ) -> Result<u64, LocalRpcError> {
        let transaction =
            TransactionRequest::default().from(from.address()).to(to).input(data.clone().into());
        self.provider.estimate_gas(transaction).await.map_err(request("eth_estimateGas"))
    }

    /// Makes a contract; constructor arguments stand behind the creation code.
    pub async fn deploy(&self, from: &Wallet, code: Bytes) -> Result<Address, LocalRpcError> {
        let receipt =
            self.mined(from, TransactionRequest::default().with_deploy_code(code)).await?;
        receipt.contract_address.ok_or(LocalRpcError::NoContract(receipt.transaction_hash))
    }

    async fn mined(
        &self,
        from: &Wallet,
        transaction: TransactionRequest,
    ) -> Result<TransactionReceipt, LocalRpcError> {
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(from.signer().clone()))
            .connect_client(self.client.clone());
        let pending = provider.send_transaction(transaction).await;
        let pending = pending.map_err(request("the transaction"))?;
        if self.hurry {
            self.mine(1).await?;
        }
        let hash = *pending.tx_hash();
        let receipt = pending.get_receipt().await;
        let receipt = receipt.map_err(|source| LocalRpcError::Receipt { hash, source })?;
        if receipt.status() { Ok(receipt) } else { Err(LocalRpcError::Reverted(hash)) }
    }

    // What only a development node does.

    pub async fn set_code(&self, address: Address, code: &Bytes) -> Result<(), LocalRpcError> {
        self.raw("anvil_setCode", (address, code.clone())).await
    }

    pub async fn set_balance(&self, address: Address, wei: U256) -> Result<(), LocalRpcError> {
        self.raw("anvil_setBalance", (address, wei)).await
    }

    pub async fn mine(&self, blocks: u64) -> Result<(), LocalRpcError> {
        self.raw("anvil_mine", (U256::from(blocks),)).await
    }

    /// Whether a transaction gets a block of its own at once; otherwise it waits for
    /// [`Self::mine`], as those do that are to stand in one block.
    pub async fn mine_at_once(&self, at_once: bool) -> Result<(), LocalRpcError> {
        self.raw("evm_setAutomine", (at_once,)).await
    }

    /// Replaces the last blocks by empty ones. Their transactions are gone for good.
    pub async fn reorg(&self, depth: u64) -> Result<(), LocalRpcError> {
        self.raw("anvil_reorg", (depth, Vec::<Value>::new())).await
    }

    /// Replaces the last blocks, and puts a transaction that was in one of them into the first new
    /// one.
    pub async fn reorg_keeping(&self, depth: u64, tx: TxHash) -> Result<(), LocalRpcError> {
        let raw: Bytes = self.raw("eth_getRawTransactionByHash", (tx,)).await?;
        self.raw("anvil_reorg", (depth, [(raw, 0)])).await
    }

    /// Takes the last blocks away: the head goes back.
    pub async fn rollback(&self, depth: u64) -> Result<(), LocalRpcError> {
        self.raw("anvil_rollback", (depth,)).await
    }

    /// Pretends to be another chain from now on.
    pub async fn set_chain_id(&self, chain_id: u64) -> Result<(), LocalRpcError> {
        self.raw("anvil_setChainId", (chain_id,)).await
    }

    /// Lets [`Self::send_as`] act for this account.
    pub async fn impersonate(&self, account: Address) -> Result<(), LocalRpcError> {
        self.raw("anvil_impersonateAccount", (account,)).await
    }

    /// Sends without a key, from an account that is impersonated and has ether to pay with.
    pub async fn send_as(
        &self,
        from: Address,
        to: Address,
        data: Bytes,
    ) -> Result<TxHash, LocalRpcError> {
        let transaction = TransactionRequest::default().from(from).to(to).input(data.into());
        self.raw("eth_sendTransaction", (transaction,)).await
    }
}
