//! The calls, one by one.

use alloy::primitives::{Address, Bytes};
use reqwest::Method;
use serde::Serialize;

use super::{
    Account, Ask, Confirmations, Delegate, Disbelief, MailTransaction, Post, Queue, SafeService,
    SafeServiceError, at_nonce, body, delegates, json, queue, signatures, transaction,
};
use crate::{
    request::ids::SafeTxHash,
    safe::{packed::Part, signature::SignatureKind},
};

/// An owner's permission for a key to propose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// None: for every Safe of the owner.
    #[serde(serialize_with = "checksummed")]
    pub safe: Option<Address>,
    #[serde(with = "crate::owner::text::address")]
    pub delegate: Address,
    #[serde(with = "crate::owner::text::address")]
    pub delegator: Address,
    /// At most 50 characters.
    pub label: String,
    /// The delegator's, over a [`DelegateRequest`](super::DelegateRequest).
    pub signature: Bytes,
}

#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn checksummed<S: serde::Serializer>(
    address: &Option<Address>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_none(),
    }
}

#[derive(Serialize)]
struct Signed {
    signature: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    safe_tx_hash: SafeTxHash,
    signature: Bytes,
}

#[derive(Serialize)]
struct Removal {
    #[serde(with = "crate::owner::text::address")]
    delegator: Address,
    signature: Bytes,
}

fn not_believed(call: &'static str) -> impl FnOnce(Disbelief) -> SafeServiceError {
    move |source| SafeServiceError::NotBelieved { call, source }
}

impl SafeService {
    async fn get(
        &self,
        call: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<serde_json::Value, SafeServiceError> {
        let answer = self.ask(Ask { call, method: Method::GET, path, query, body: None }).await?;
        json(call, &self.expect_success(call, answer)?)
    }

    /// An answer to a change says nothing that is needed.
    async fn change(
        &self,
        call: &'static str,
        method: Method,
        path: &[&str],
        content: &impl Serialize,
    ) -> Result<(), SafeServiceError> {
        let ask = Ask { call, method, path, query: &[], body: Some(body(content)) };
        let answer = self.ask(ask).await?;
        self.expect_success(call, answer).map(drop)
    }

    /// Finds out whether the service is there and serves this chain.
    pub async fn ping(&self) -> Result<(), SafeServiceError> {
        self.make_sure_of_the_chain().await
    }

    /// Puts a transaction into the mailbox. The same one again changes nothing.
    pub async fn propose(&self, safe: Address, post: &Post) -> Result<(), SafeServiceError> {
        let safe = safe.to_string();
        let path = ["v2", "safes", &safe, "multisig-transactions", ""];
        self.change("propose", Method::POST, &path, &post.body()).await
    }

    /// Adds an owner's signature. The same one again changes nothing. One of a contract goes out as a
    /// transaction with one owner takes it: the 65 bytes that name it, then its bytes and their length.
    ///
    /// # Errors
    /// [`SafeServiceError::EthSign`] for one that Safe's web application would choke on.
    pub async fn confirm(
        &self,
        hash: SafeTxHash,
        signature: &Part,
    ) -> Result<(), SafeServiceError> {
        if signature.kind() == SignatureKind::EthSign {
            return Err(SafeServiceError::EthSign);
        }
        let hash = hash.to_string();
        let path = ["v1", "multisig-transactions", &hash, "confirmations", ""];
        let signed = Signed { signature: signature.to_bytes() };
        self.change("confirm", Method::POST, &path, &signed).await
    }

    /// Who signed a transaction, checked.
    pub async fn confirmations(&self, hash: SafeTxHash) -> Result<Confirmations, SafeServiceError> {
        const CALL: &str = "read confirmations";
        let text = hash.to_string();
        let path = ["v1", "multisig-transactions", &text, "confirmations", ""];
        signatures(&self.get(CALL, &path, &[]).await?, hash).map_err(not_believed(CALL))
    }

    /// A transaction with its signatures, checked; none when the mailbox has none of this hash: it
    /// never came, or was deleted.
    pub async fn transaction(
        &self,
        account: &Account,
        hash: SafeTxHash,
    ) -> Result<Option<MailTransaction>, SafeServiceError> {
        const CALL: &str = "read transaction";
        let text = hash.to_string();
        match self.get(CALL, &["v2", "multisig-transactions", &text, ""], &[]).await {
            Ok(answer) => transaction(&answer, account, hash).map(Some).map_err(not_believed(CALL)),
            Err(SafeServiceError::Refused(refusal)) if refusal.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What waits at a Safe from its nonce on, checked. Without the nonce the service lists what was
    /// replaced for ever.
    pub async fn queue(&self, account: &Account, from: u64) -> Result<Queue, SafeServiceError> {
        const CALL: &str = "read queue";
        let (safe, nonce) = (account.safe.to_string(), from.to_string());
        let path = ["v2", "safes", &safe, "multisig-transactions", ""];
        let query = [("executed", "false"), ("nonce__gte", nonce.as_str())];
        queue(&self.get(CALL, &path, &query).await?, account, from).map_err(not_believed(CALL))
    }

    /// Everything that is or was proposed with one nonce, checked; `asked` is the transaction that
    /// matters.
    pub async fn at_nonce(
        &self,
        account: &Account,
        nonce: u64,
        asked: SafeTxHash,
    ) -> Result<Vec<MailTransaction>, SafeServiceError> {
        const CALL: &str = "read nonce";
        let (safe, text) = (account.safe.to_string(), nonce.to_string());
        let path = ["v2", "safes", &safe, "multisig-transactions", ""];
        let answer = self.get(CALL, &path, &[("nonce", text.as_str())]).await?;
        at_nonce(&answer, account, nonce, asked).map_err(not_believed(CALL))
    }

    /// Takes a transaction out of the mailbox that is not executed. The signature is the
    /// proposer's, or that of the delegate that proposed it.
    pub async fn delete(&self, hash: SafeTxHash, signature: Bytes) -> Result<(), SafeServiceError> {
        let text = hash.to_string();
        let path = ["v2", "multisig-transactions", &text, ""];
        let deletion = Deletion { safe_tx_hash: hash, signature };
        self.change("delete transaction", Method::DELETE, &path, &deletion).await
    }

    /// Who may propose for a Safe.
    pub async fn delegates(&self, safe: Address) -> Result<Vec<Delegate>, SafeServiceError> {
        const CALL: &str = "read delegates";
        let safe = safe.to_string();
        let answer = self.get(CALL, &["v2", "delegates", ""], &[("safe", &safe)]).await?;
        delegates(&answer).map_err(not_believed(CALL))
    }

    /// Lets a key propose for an owner.
    pub async fn add_delegate(&self, permission: &Permission) -> Result<(), SafeServiceError> {
        self.change("add delegate", Method::POST, &["v2", "delegates", ""], permission).await
    }

    /// Lets a key propose for an owner no longer; signed by either of them.
    pub async fn remove_delegate(
        &self,
        delegate: Address,
        delegator: Address,
        signature: Bytes,
    ) -> Result<(), SafeServiceError> {
        let text = delegate.to_string();
        let removal = Removal { delegator, signature };
        let path = ["v2", "delegates", &text, ""];
        self.change("remove delegate", Method::DELETE, &path, &removal).await
    }
}
