//! Asking a contract, and whether what came back is its own answer or the node's.

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes},
    providers::Provider,
    rpc::types::TransactionRequest,
};

use super::{
    CallAnswer, Chain, ChainError,
    endpoint::{Endpoint, EndpointError, Failure, pinned},
};
use crate::request::{facts::BlockRef, ids::BlockHash};

/// What a contract that anybody may have written has to answer with. Nodes allow several times as much,
/// each by its own settings; by one limit for all, that it is used up is told by every node alike.
const CONTRACT_GAS: u64 = 10_000_000;

impl Chain {
    /// Calls a contract at one block.
    pub async fn call(
        &self,
        what: &str,
        to: Address,
        data: &Bytes,
        at: BlockRef,
    ) -> Result<CallAnswer, ChainError> {
        self.ask(what, |endpoint| endpoint.call(Some(to), data, at.hash)).await
    }

    /// Calls a contract at one block that anybody may have written, as somebody: it may answer each
    /// differently. That it uses up its gas, or breaks off in another way, is an answer as a refusal is.
    pub async fn call_stranger(
        &self,
        what: &str,
        from: Address,
        to: Address,
        data: &Bytes,
        at: BlockRef,
    ) -> Result<CallAnswer, ChainError> {
        self.ask(what, |endpoint| endpoint.call_stranger(from, to, data, at.hash)).await
    }
}

impl Endpoint {
    /// What a contract answers at one block; without `to`, what this creation code returns.
    pub async fn call(
        &self,
        to: Option<Address>,
        data: &Bytes,
        at: BlockHash,
    ) -> Result<CallAnswer, EndpointError> {
        let mut request = TransactionRequest::default().with_input(data.clone());
        match to {
            Some(to) => request.set_to(to),
            None => request.set_create(),
        }
        self.answer(request, at, is_revert).await
    }

    async fn call_stranger(
        &self,
        from: Address,
        to: Address,
        data: &Bytes,
        at: BlockHash,
    ) -> Result<CallAnswer, EndpointError> {
        let mut request = TransactionRequest::default().with_input(data.clone()).with_to(to);
        request.set_gas_limit(CONTRACT_GAS);
        if !from.is_zero() {
            request.set_from(from);
        }
        self.answer(request, at, |failure| is_revert(failure) || is_halt(failure)).await
    }

    async fn answer(
        &self,
        request: TransactionRequest,
        at: BlockHash,
        is_its_own: impl Fn(&Failure) -> bool,
    ) -> Result<CallAnswer, EndpointError> {
        let answer =
            self.ask(|provider| async move { provider.call(request).block(pinned(at)).await });
        match answer.await? {
            Ok(bytes) => Ok(CallAnswer::Returned(bytes)),
            Err(failure) if is_its_own(&failure) => Ok(CallAnswer::Reverted),
            Err(failure) => Err(self.failed(&failure).await),
        }
    }
}

/// Whether the contract itself refused, as opposed to the node: code 3, or revert data.
pub(super) fn is_revert(failure: &Failure) -> bool {
    failure.as_error_resp().is_some_and(|error| {
        error.code == 3
            || error.as_revert_data().is_some()
            || error.message.to_ascii_lowercase().contains("execution reverted")
    })
}

/// Nethermind's code for what a contract did; others use one that means anything.
const VM_ERROR: i64 = -32_015;

/// How nodes begin to tell that a contract broke off: geth, Erigon and Nethermind, then reth, then anvil.
/// What is worded in another way, and whatever the node itself failed at, is no answer.
const HALTS: [&str; 10] = [
    "out of gas",
    "gas uint64 overflow",
    "invalid opcode",
    "invalid jump destination",
    "stack underflow",
    "stack limit reached",
    "stack overflow",
    "write protection",
    "vm execution error",
    "return data out of bounds",
];
const HALTS_BY_NAME: [&str; 9] = [
    "outofgas",
    "memoryoog",
    "opcodenotfound",
    "invalidfeopcode",
    "invalidjump",
    "stackunderflow",
    "stackoverflow",
    "outofoffset",
    "statechangeduringstaticcall",
];

/// Whether a contract broke off: by its gas, or by doing what cannot be done. The same code does so on every
/// node that gives it the same gas.
fn is_halt(failure: &Failure) -> bool {
    failure.as_error_resp().is_some_and(|error| {
        let message = error.message.to_ascii_lowercase();
        let name =
            message.strip_prefix("evm error").map(|name| name.trim_start_matches([':', ' ']));
        error.code == VM_ERROR
            || HALTS.iter().any(|begin| message.starts_with(begin))
            || name.is_some_and(|name| HALTS_BY_NAME.iter().any(|halt| name.starts_with(halt)))
    })
}

#[cfg(test)]
mod tests {
    use alloy::{
        rpc::json_rpc::ErrorPayload,
        transports::{RpcError, TransportErrorKind},
    };

    use super::*;

    #[test]
    fn a_contract_that_breaks_off_is_told_from_a_node_that_fails() {
        for (code, message, expected) in [
            (-32_000, "out of gas", true),
            (-32_003, "out of gas: gas required exceeds: 10000000", true),
            (-32_000, "invalid opcode: INVALID", true),
            (-32_000, "invalid jump destination", true),
            (-32_000, "stack underflow (0 <=> 2)", true),
            (-32_015, "VM execution error.", true),
            (-32_603, "EVM error OutOfGas", true),
            (-32_603, "EVM error InvalidFEOpcode", true),
            (-32_003, "EVM error: InvalidJump", true),
            (-32_603, "EVM error FatalExternalError", false),
            (-32_603, "internal error", false),
            (-32_000, "header not found", false),
            (-32_000, "missing trie node", false),
            (-32_000, "execution timeout", false),
            (-32_000, "gas required exceeds allowance (0)", false),
            (-32_000, "intrinsic gas too low", false),
            (-32_005, "rate limited: you are out of gas", false),
            (429, "too many requests", false),
        ] {
            let error = ErrorPayload { code, message: message.into(), data: None };
            assert_eq!(is_halt(&RpcError::ErrorResp(error)), expected, "{code} {message}");
        }
        assert!(!is_halt(&TransportErrorKind::custom_str("out of gas")), "nobody said so");
    }
}
