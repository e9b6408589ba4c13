//! A transaction of a Safe: the ten fields its owners sign, and the contract's functions around it.

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::owner::{Call, text};

alloy::sol! {
    /// What Countersign uses of a Safe, the same in 1.0.0 to 1.5.0.
    interface Safe {
        function execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures) external payable returns (bool);
        function getTransactionHash(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, uint256 nonce) external view returns (bytes32);
        function domainSeparator() external view returns (bytes32);
        function getOwners() external view returns (address[]);
        function isOwner(address owner) external view returns (bool);
        function getThreshold() external view returns (uint256);
        function nonce() external view returns (uint256);
        function VERSION() external view returns (string);
        function approvedHashes(address owner, bytes32 hash) external view returns (uint256);
        function approveHash(bytes32 hashToApprove) external;
        function getModules() external view returns (address[]);
        function getModulesPaginated(address start, uint256 pageSize) external view returns (address[] modules, address next);
    }
}

/// How the Safe makes the call. JSON: the number the contract takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The target runs as itself.
    Call,
    /// The target's code runs **as the Safe** and can change anything about it.
    DelegateCall,
}

/// An operation that a Safe does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected operation 0 (call) or 1 (delegate call)")]
pub struct UnknownOperation;

impl Operation {
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Call => 0,
            Self::DelegateCall => 1,
        }
    }
}

impl TryFrom<u8> for Operation {
    type Error = UnknownOperation;
    fn try_from(number: u8) -> Result<Self, UnknownOperation> {
        match number {
            0 => Ok(Self::Call),
            1 => Ok(Self::DelegateCall),
            _ => Err(UnknownOperation),
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

/// The ten fields that make a Safe transaction. Together with the chain id, the Safe and its
/// version they give its hash, see [`hashes`](super::hashes).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SafeTx {
    #[serde(with = "text::address")]
    #[schema(value_type = String)]
    pub to: Address,
    /// In wei.
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "0")]
    pub value: U256,
    #[schema(value_type = String, example = "0x")]
    pub data: Bytes,
    #[schema(value_type = u8, minimum = 0, maximum = 1)]
    pub operation: Operation,
    /// Gas for the inner call; 0 means all of it, and that a failure reverts everything.
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "0")]
    pub safe_tx_gas: U256,
    /// Gas refunded besides that of the inner call.
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "0")]
    pub base_gas: U256,
    /// What the Safe refunds per gas, in units of `gas_token`; 0 means no refund.
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "0")]
    pub gas_price: U256,
    /// Token of the refund; zero means ether.
    #[serde(with = "text::address")]
    #[schema(value_type = String)]
    pub gas_token: Address,
    /// Who gets the refund; zero means who executes.
    #[serde(with = "text::address")]
    #[schema(value_type = String)]
    pub refund_receiver: Address,
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "7")]
    pub nonce: U256,
}

impl SafeTx {
    /// A transaction that refunds nobody: every gas field is zero.
    #[must_use]
    pub fn new(call: Call, operation: Operation, nonce: U256) -> Self {
        Self {
            to: call.to,
            value: call.value,
            data: call.data,
            operation,
            safe_tx_gas: U256::ZERO,
            base_gas: U256::ZERO,
            gas_price: U256::ZERO,
            gas_token: Address::ZERO,
            refund_receiver: Address::ZERO,
            nonce,
        }
    }

    /// Whether all five gas and refund fields are zero, as Countersign always proposes them.
    #[must_use]
    pub fn gas_fields_are_zero(&self) -> bool {
        [self.safe_tx_gas, self.base_gas, self.gas_price].iter().all(U256::is_zero)
            && self.gas_token.is_zero()
            && self.refund_receiver.is_zero()
    }

    /// What is sent to the Safe to execute this with packed signatures, see
    /// [`pack`](super::packed::pack).
    #[must_use]
    pub fn exec_calldata(&self, signatures: &Bytes) -> Bytes {
        Safe::execTransactionCall {
            to: self.to,
            value: self.value,
            data: self.data.clone(),
            operation: self.operation.number(),
            safeTxGas: self.safe_tx_gas,
            baseGas: self.base_gas,
            gasPrice: self.gas_price,
            gasToken: self.gas_token,
            refundReceiver: self.refund_receiver,
            signatures: signatures.clone(),
        }
        .abi_encode()
        .into()
    }

    /// What is sent to the Safe to ask for its own hash of this transaction.
    #[must_use]
    pub fn hash_calldata(&self) -> Bytes {
        Safe::getTransactionHashCall {
            to: self.to,
            value: self.value,
            data: self.data.clone(),
            operation: self.operation.number(),
            safeTxGas: self.safe_tx_gas,
            baseGas: self.base_gas,
            gasPrice: self.gas_price,
            gasToken: self.gas_token,
            refundReceiver: self.refund_receiver,
            nonce: self.nonce,
        }
        .abi_encode()
        .into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tx() -> SafeTx {
        let call = Call {
            to: Address::repeat_byte(0x11),
            value: U256::ZERO,
            data: Bytes::from_static(&[0xde, 0xad]),
        };
        SafeTx::new(call, Operation::Call, U256::from(7))
    }

    #[test]
    fn json_is_the_published_one() {
        let zero = "0x0000000000000000000000000000000000000000";
        let json = json!({
            "to": "0x1111111111111111111111111111111111111111", "value": "0", "data": "0xdead",
            "operation": 0, "safe_tx_gas": "0", "base_gas": "0", "gas_price": "0",
            "gas_token": zero, "refund_receiver": zero, "nonce": "7",
        });
        assert_eq!(serde_json::to_value(tx()).unwrap(), json);
        assert_eq!(serde_json::from_value::<SafeTx>(json).unwrap(), tx());
    }

    #[test]
    fn there_are_two_operations() {
        assert_eq!(Operation::try_from(0), Ok(Operation::Call));
        assert_eq!(Operation::try_from(1), Ok(Operation::DelegateCall));
        assert_eq!(Operation::try_from(2), Err(UnknownOperation));
        assert!(serde_json::from_str::<Operation>("2").is_err());
    }

    #[test]
    fn execution_calldata_holds_the_signatures() {
        let signatures = Bytes::from(vec![0x5a; 130]);
        let calldata = tx().exec_calldata(&signatures);
        assert_eq!(calldata[..4], [0x6a, 0x76, 0x12, 0x02], "selector of execTransaction");
        let call = Safe::execTransactionCall::abi_decode(&calldata).unwrap();
        assert_eq!((call.to, call.signatures), (tx().to, signatures));
    }
}
