//! What a Safe transaction says, in plain words, and everything about it that is not expected.
//!
//! A signer expects one thing: exactly the wanted additions, nothing else, by a plain
//! call or through MultiSendCallOnly. Whatever differs is a warning, and none is too small: the
//! transactions that emptied other Safes differed in one field.

use std::collections::BTreeSet;

use alloy::primitives::{Address, Bytes, U256};
use serde::{Deserialize, Serialize};

use super::{
    Operation, SafeTx,
    deployments::find_multi_send_call_only,
    known::{Argument, Known, find_app_function, find_safe_function},
    multisend::{self, MultiSendError},
};
use crate::{
    dstack::{Addition, Write},
    owner::{Call, text},
    request::ids::AppId,
};

/// What the transaction should be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The Safe that would execute it.
    pub safe: Address,
    /// The app it should change. `None` when nobody said, and no additions either: then it is the
    /// first contract that something is added to, and everything must go there.
    pub app: Option<AppId>,
    /// The additions it should make, in any order, to that app or others. `None` when nobody said.
    pub additions: Option<&'a [Addition]>,
}

/// A transaction in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Decoded {
    /// The calls that would be made, those inside a batch one by one.
    pub calls: Vec<DecodedCall>,
    /// Empty only when the transaction is exactly what is expected.
    pub warnings: Vec<Warning>,
}

/// One call in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DecodedCall {
    #[serde(with = "text::address")]
    #[schema(value_type = String)]
    pub to: Address,
    #[schema(value_type = u8, minimum = 0, maximum = 1)]
    pub operation: Operation,
    /// In wei.
    #[serde(with = "text::decimal")]
    #[schema(value_type = String, example = "0")]
    pub value: U256,
    #[schema(value_type = String, example = "0x")]
    pub data: Bytes,
    /// What stands at `to`, when it is known.
    pub contract: Option<Contract>,
    /// Name of the function, when it is known.
    pub function: Option<String>,
    /// Empty when the function or the encoding of its arguments is not known.
    pub arguments: Vec<Argument>,
    /// One line for people.
    pub words: String,
}

/// A contract that has a name for a signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Contract {
    #[serde(rename = "app")]
    App,
    /// At a published address. Its code is for the reader of the chain to check.
    MultiSendCallOnly,
    #[serde(rename = "this Safe")]
    ThisSafe,
}

/// Something a signer must know before signing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Warning {
    pub code: WarningCode,
    pub text: String,
}

/// Stable names of the warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Foreign code would run as the Safe.
    UnknownDelegatecall,
    /// A batch that does not read back to its bytes, or holds what MultiSendCallOnly refuses.
    UnreadableBatch,
    /// The zero address, which MultiSend of 1.5.0 takes for the Safe itself.
    ZeroTarget,
    /// `safeTxGas` above zero: a failing call would spend the nonce.
    SafeTxGas,
    /// A refund field is set: executing could move funds of the Safe.
    Refund,
    /// Ether would be sent.
    ValueSent,
    /// A call to the Safe itself.
    ChangesSafe,
    /// A call to neither the app nor the Safe.
    OtherTarget,
    /// A function of the app that gives control away or loosens its rules.
    DangerousFunction,
    /// A harmless function of the app, but not an addition.
    UnexpectedFunction,
    UnknownFunction,
    /// A known function with arguments nobody writes like that.
    MalformedArguments,
    /// An addition that is not wanted.
    UnexpectedWrite,
    /// The same addition twice.
    DuplicateWrite,
    /// A wanted addition that is not made.
    MissingWrite,
    /// The Safe runs code that is not one of the published versions.
    UnknownSingleton,
    /// The Safe's own code is no published proxy: what stands at its singleton says nothing.
    UnknownProxy,
    /// Modules act for the Safe without signatures.
    Modules,
    /// Whether modules or guards act for the Safe does not read.
    ExtensionsUnreadable,
}

impl Warning {
    /// For the reader of the chain, who sees the code of the Safe itself.
    #[must_use]
    pub fn unknown_proxy(safe: Address) -> Self {
        let text = format!(
            "the code of {safe} is not that of a published Safe proxy: whatever it says of itself, \
             it may do anything, with or without these signatures"
        );
        Self { code: WarningCode::UnknownProxy, text }
    }

    /// For the reader of the chain, who sees which code the Safe runs.
    #[must_use]
    pub fn unknown_singleton(singleton: Address) -> Self {
        let text = format!(
            "the Safe runs the code at {singleton}, which is not a published Safe: it may do \
             anything with these signatures"
        );
        Self { code: WarningCode::UnknownSingleton, text }
    }
}

/// Puts a transaction into words and compares it with what is expected. Never fails: what cannot
/// be read is shown as such, with a warning.
#[must_use]
pub fn decode(tx: &SafeTx, expected: &Expected<'_>) -> Decoded {
    let of_additions = expected.additions.iter().copied().flatten().map(|addition| addition.app);
    let apps = expected.app.into_iter().chain(of_additions).collect();
    let mut review = Review { safe: expected.safe, apps, warnings: Vec::new() };
    review.fields(tx);
    let calls = review.calls_of(tx);
    if review.apps.is_empty() {
        let adds = calls.iter().find(|(_, call)| Write::from_calldata(&call.data).is_some());
        review.apps.extend(adds.map(|(_, call)| AppId(call.to)));
    }
    let mut made = Vec::new();
    let calls = calls
        .into_iter()
        .map(|(operation, call)| review.call(operation, call, &mut made))
        .collect();
    review.additions(&made, expected.additions);
    Decoded { calls, warnings: review.warnings }
}

struct Review {
    safe: Address,
    apps: BTreeSet<AppId>,
    warnings: Vec<Warning>,
}

impl Review {
    fn warn(&mut self, code: WarningCode, text: impl Into<String>) {
        self.warnings.push(Warning { code, text: text.into() });
    }

    fn fields(&mut self, tx: &SafeTx) {
        if !tx.safe_tx_gas.is_zero() {
            let text =
                "safeTxGas is not 0: if a call fails, the nonce is spent and nothing is done";
            self.warn(WarningCode::SafeTxGas, text);
        }
        let refund = [
            ("baseGas", !tx.base_gas.is_zero()),
            ("gasPrice", !tx.gas_price.is_zero()),
            ("gasToken", !tx.gas_token.is_zero()),
            ("refundReceiver", !tx.refund_receiver.is_zero()),
        ];
        for (field, _) in refund.iter().filter(|(_, set)| *set) {
            let text = format!("{field} is not 0: executing may pay funds of the Safe as a refund");
            self.warn(WarningCode::Refund, text);
        }
    }

    /// The calls to show: those inside a readable batch, else the transaction itself.
    fn calls_of(&mut self, tx: &SafeTx) -> Vec<(Operation, Call)> {
        let whole = || Call { to: tx.to, value: tx.value, data: tx.data.clone() };
        if tx.operation == Operation::Call {
            return vec![(Operation::Call, whole())];
        }
        if find_multi_send_call_only(tx.to).is_none() {
            let text = format!(
                "delegate call to {}: its code would run as the Safe and can take it over",
                tx.to
            );
            self.warn(WarningCode::UnknownDelegatecall, text);
            return vec![(Operation::DelegateCall, whole())];
        }
        match multisend::decode(&tx.data) {
            Ok(calls) => {
                if !tx.value.is_zero() {
                    let text = format!("the batch itself carries {} wei", tx.value);
                    self.warn(WarningCode::ValueSent, text);
                }
                calls.into_iter().map(|call| (Operation::Call, call)).collect()
            }
            Err(error) => {
                let code = match error {
                    MultiSendError::ZeroTarget { .. } => WarningCode::ZeroTarget,
                    _ => WarningCode::UnreadableBatch,
                };
                self.warn(code, format!("the batch cannot be shown: {error}"));
                vec![(Operation::DelegateCall, whole())]
            }
        }
    }

    fn contract(&self, to: Address) -> Option<Contract> {
        if to == self.safe {
            Some(Contract::ThisSafe)
        } else if self.apps.contains(&AppId(to)) {
            Some(Contract::App)
        } else {
            find_multi_send_call_only(to).map(|_| Contract::MultiSendCallOnly)
        }
    }

    fn call(&mut self, operation: Operation, call: Call, made: &mut Vec<Addition>) -> DecodedCall {
        let contract = self.contract(call.to);
        let known = match contract {
            Some(Contract::ThisSafe) => find_safe_function(&call.data),
            Some(Contract::App) => find_app_function(&call.data),
            _ => find_app_function(&call.data).or_else(|| find_safe_function(&call.data)),
        };
        let arguments = known.and_then(|known| known.arguments(&call.data));
        let words = words(&call, known, arguments.as_deref());
        if !call.value.is_zero() {
            let text = format!("{} wei would be sent to {}", call.value, call.to);
            self.warn(WarningCode::ValueSent, text);
        }
        // A delegate call has had its warning, and whatever its data resembles, it is no addition.
        if operation == Operation::Call {
            let write = Write::from_calldata(&call.data);
            match (contract, write) {
                (Some(Contract::App), Some(write)) => {
                    made.push(Addition { app: AppId(call.to), write });
                }
                (Some(Contract::App), None) => {
                    self.app_function(&words, known, arguments.is_some());
                }
                (Some(Contract::ThisSafe), _) => self.call_to_safe(&call, &words, known),
                _ if call.to.is_zero() => {
                    self.warn(
                        WarningCode::ZeroTarget,
                        format!("call to the zero address: {words}"),
                    );
                }
                _ => {
                    let text = format!("call to {}, which is not the app: {words}", call.to);
                    self.warn(WarningCode::OtherTarget, text);
                }
            }
        }
        DecodedCall {
            to: call.to,
            operation,
            value: call.value,
            data: call.data,
            contract,
            function: known.map(|known| known.name().into()),
            arguments: arguments.unwrap_or_default(),
            words,
        }
    }

    /// A call to the app that is not one of our additions.
    fn app_function(&mut self, words: &str, known: Option<&Known>, readable: bool) {
        let Some(known) = known else {
            return self.warn(WarningCode::UnknownFunction, format!("call to the app: {words}"));
        };
        if !readable {
            let text = format!("{} with arguments that cannot be read", known.name());
            self.warn(WarningCode::MalformedArguments, text);
        }
        match known.danger() {
            Some(danger) => {
                self.warn(WarningCode::DangerousFunction, format!("{words}: this {danger}"));
            }
            None if readable => {
                let text = format!("{words}: this is not an addition to the allowlist");
                self.warn(WarningCode::UnexpectedFunction, text);
            }
            None => {}
        }
    }

    fn call_to_safe(&mut self, call: &Call, words: &str, known: Option<&Known>) {
        let text = match known.and_then(Known::danger) {
            Some(danger) => format!("{words}: this {danger}"),
            None if call.data.is_empty() => {
                "an empty call to the Safe itself: it does nothing but spend the nonce".into()
            }
            None => format!("call to the Safe itself: {words}"),
        };
        self.warn(WarningCode::ChangesSafe, text);
    }

    /// Compares the additions made with those wanted.
    fn additions(&mut self, made: &[Addition], wanted: Option<&[Addition]>) {
        let is_several = self.apps.len() > 1;
        let mut warn = |code, addition: &Addition, what| {
            let words = addition_in_words(addition, is_several);
            self.warn(code, format!("{words}: {what}"));
        };
        for (index, one) in made.iter().enumerate() {
            if made[..index].contains(one) {
                warn(WarningCode::DuplicateWrite, one, "a second time");
            } else if wanted.is_some_and(|wanted| !wanted.contains(one)) {
                warn(WarningCode::UnexpectedWrite, one, "nobody asked for this");
            }
        }
        for one in wanted.unwrap_or_default().iter().filter(|one| !made.contains(one)) {
            warn(WarningCode::MissingWrite, one, "not in this transaction");
        }
    }
}

/// An addition as warnings name it: with its app where there are several.
pub fn addition_in_words(addition: &Addition, is_several: bool) -> String {
    if is_several { addition.to_string() } else { addition.write.to_string() }
}

/// One line for people, naming the function with its arguments in full.
fn words(call: &Call, known: Option<&Known>, arguments: Option<&[Argument]>) -> String {
    if let Some(write) = Write::from_calldata(&call.data) {
        return write.to_string();
    }
    match (known, arguments) {
        (Some(known), Some(arguments)) => {
            let list: Vec<String> =
                arguments.iter().map(|a| format!("{} = {}", a.name, a.value)).collect();
            format!("{}({})", known.name(), list.join(", "))
        }
        (Some(known), None) => format!("{}(unreadable arguments)", known.name()),
        (None, _) => match call.data.first_chunk::<4>() {
            Some(selector) => format!(
                "unknown function {} with {} bytes of arguments",
                alloy::hex::encode_prefixed(selector),
                call.data.len() - 4
            ),
            None if call.data.is_empty() => "no function, only a transfer".into(),
            None => format!("{} bytes that name no function", call.data.len()),
        },
    }
}

#[cfg(test)]
mod tests;
