//! Our client of a Transaction Service that fails, lies and forgets: nothing false is believed, and
//! every error says what to do.

use std::time::Duration;

use alloy::{primitives::Bytes, signers::SignerSync};
use chrono::TimeDelta;
use countersign::{
    clock::Clock,
    devnet::Wallet,
    safe::{OwnerSignature, SafeTx, SafeVersion},
    safe_service::{
        DelegateRequest, DeleteRequest, Disbelief, Hour, Permission, SafeServiceError, WhatToDo,
        next_nonce,
    },
};
use serde_json::json;

use super::mailbox_scene::{Mailbox, rejection, stranger};

/// A mailbox in which one transaction lies, signed by its proposer.
async fn with_one() -> (Mailbox, SafeTx) {
    let mailbox = Mailbox::set().await;
    let tx = mailbox.tx().await;
    let post = mailbox.post(&tx, mailbox.owner(0));
    mailbox.client().propose(mailbox.chain.safe, &post).await.unwrap();
    (mailbox, tx)
}

#[tokio::test]
async fn every_lie_about_a_transaction_is_noticed() {
    let (mailbox, tx) = with_one().await;
    let (client, account, hash) = (mailbox.client(), mailbox.account(), mailbox.hash(&tx));
    let nonce: u64 = tx.nonce.to();
    for lie in ["wrong_hash", "swap_call"] {
        mailbox.switch(json!({ lie: true }));
        let error = client.transaction(&account, hash).await.unwrap_err();
        let noticed = matches!(
            &error,
            SafeServiceError::NotBelieved { source: Disbelief::WrongHash { .. }, .. }
        );
        assert!(noticed, "{lie}: {error}");
        let queue = client.queue(&account, nonce).await.unwrap();
        assert_eq!((queue.transactions.len(), queue.refused.len()), (0, 1), "{lie}");
        assert_eq!(
            next_nonce(&queue, nonce),
            nonce,
            "a row that is not believed counts for nothing"
        );
        mailbox.switch(json!({ lie: false }));
    }
    mailbox.switch(json!({ "foreign_signature": true }));
    for read in [
        client.confirmations(hash).await.unwrap(),
        client.transaction(&account, hash).await.unwrap().unwrap().confirmations,
    ] {
        assert_eq!((read.signed.len(), read.refused.len()), (0, 1));
        assert!(read.refused[0].contains(&mailbox.owner(0).address().to_string()));
    }
    mailbox.switch(json!({ "foreign_signature": false }));
    assert_eq!(client.confirmations(hash).await.unwrap().signed.len(), 1);
}

#[tokio::test]
async fn a_service_of_another_chain_is_told_nothing_not_even_after_it_was_the_right_one() {
    let mailbox = Mailbox::set().await;
    let tx = mailbox.tx().await;
    let post = mailbox.post(&tx, mailbox.owner(0));
    mailbox.switch(json!({ "chain_id": 1 }));
    let client = mailbox.client();
    let error = client.propose(mailbox.chain.safe, &post).await.unwrap_err();
    assert!(matches!(error, SafeServiceError::OtherChain { found: Some(1), .. }), "{error}");
    assert_eq!(error.what_to_do(), WhatToDo::AskAPerson);
    mailbox.switch(json!({ "chain_id": 0 }));
    client.propose(mailbox.chain.safe, &post).await.unwrap();

    // It goes away, and comes back as another one.
    mailbox.switch(json!({ "swallow_next": ["confirmations"], "chain_id": 1 }));
    let error = client.confirmations(post.hash).await.unwrap_err();
    assert!(matches!(error, SafeServiceError::NoAnswer { .. }), "{error}");
    let error = client.confirmations(post.hash).await.unwrap_err();
    assert!(matches!(error, SafeServiceError::OtherChain { .. }), "{error}");
    // It was asked for its chain when it was new and after it was away, and not in between.
    let asked = mailbox.emulator.requests();
    let about = asked.iter().filter(|request| request.path.contains("/about/")).count();
    assert_eq!(about, 3);
}

#[tokio::test]
async fn a_lost_answer_costs_nothing_but_another_try() {
    let mailbox = Mailbox::set().await;
    let tx = mailbox.tx().await;
    let (client, safe) = (mailbox.client(), mailbox.chain.safe);
    let post = mailbox.post(&tx, mailbox.owner(0));
    let signature = mailbox.owner(1).sign(post.hash).into();
    mailbox.switch(json!({ "swallow_next": ["propose", "confirm"] }));
    let lost = client.propose(safe, &post).await.unwrap_err();
    assert!(matches!(lost, SafeServiceError::NoAnswer { .. }), "{lost}");
    assert_eq!(lost.what_to_do(), WhatToDo::TryLater(None));
    assert!(client.confirm(post.hash, &signature).await.is_err());
    client.propose(safe, &post).await.unwrap();
    client.confirm(post.hash, &signature).await.unwrap();
    assert_eq!(mailbox.emulator.mail(), [(post.hash, 2)]);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_too_many_calls_are_not_made() {
    let (mailbox, tx) = with_one().await;
    let (client, hash) = (mailbox.client(), mailbox.hash(&tx));
    let fail = |status: u16, more: serde_json::Value| {
        let mut failure = json!({ "endpoint": "confirmations", "status": status });
        failure.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mailbox.switch(json!({ "fail_next": [failure] }));
    };
    for (status, says, what) in [
        (451, "without it", WhatToDo::AskAPerson),
        (503, "tried again", WhatToDo::TryLater(None)),
        (422, "no advice is better than wrong advice", WhatToDo::AskAPerson),
    ] {
        let body = json!({ "nonFieldErrors": ["no advice is better than wrong advice"] });
        fail(status, json!({ "body": body }));
        let error = client.confirmations(hash).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.what_to_do(), what, "{status}");
    }
    let quota = json!({ "detail": "Monthly quota exceeded." });
    fail(429, json!({ "body": quota, "retry_after": 30 }));
    let error = client.confirmations(hash).await.unwrap_err();
    assert!(error.to_string().contains("Monthly quota exceeded."), "{error}");
    let pause = Duration::from_secs(30);
    assert_eq!(error.what_to_do(), WhatToDo::TryLater(Some(pause)));
    let count = mailbox.emulator.requests().len();
    let error = client.delegates(mailbox.chain.safe).await.unwrap_err();
    assert!(matches!(error, SafeServiceError::Rests { .. }), "{error}");
    assert_eq!(mailbox.emulator.requests().len(), count, "it was not asked");
    mailbox.clock.advance(TimeDelta::seconds(31));
    client.delegates(mailbox.chain.safe).await.unwrap();
}

#[tokio::test]
async fn a_key_is_sent_and_a_wrong_one_is_named_but_not_repeated() {
    let mailbox = Mailbox::set().await;
    mailbox.switch(json!({ "api_key": "eyJright" }));
    let of = |key| mailbox.client_of(&mailbox.emulator, key);
    assert!(of(Some("eyJright")).ping().await.is_ok());
    for key in [None, Some("eyJwrong")] {
        let error = of(key).ping().await.unwrap_err();
        assert_eq!(error.what_to_do(), WhatToDo::AskAPerson);
        let text = format!("{error} {error:?} {:?}", of(key));
        assert!(text.contains("SAFE_API_KEY") && !text.contains("eyJwrong"), "{text}");
    }
}

#[tokio::test]
async fn a_delegate_proposes_and_takes_back_and_cannot_confirm() {
    let mailbox = Mailbox::set().await;
    let (client, safe) = (mailbox.client(), mailbox.chain.safe);
    let (bot, owner) = (stranger(), mailbox.owner(0).clone());
    let tx = mailbox.tx().await;
    let post = mailbox.post(&tx, &bot);
    let error = client.propose(safe, &post).await.unwrap_err();
    assert!(error.to_string().contains("countersign delegate add"), "{error}");

    let permit = |signer: &Wallet, hour: Hour| {
        let request =
            DelegateRequest { chain: mailbox.chain.chain_id, delegate: bot.address(), hour };
        let signature = signer.signer().sign_hash_sync(&request.signing_hash()).unwrap();
        Permission {
            safe: Some(safe),
            delegate: bot.address(),
            delegator: owner.address(),
            label: "bot".into(),
            signature: Bytes::copy_from_slice(&signature.as_bytes()),
        }
    };
    let hour = Hour::of(mailbox.clock.now());
    for (signer, hour) in [(&bot, hour), (&owner, Hour(hour.0 - 2)), (&owner, Hour(hour.0 + 1))] {
        let error = client.add_delegate(&permit(signer, hour)).await.unwrap_err();
        assert!(error.to_string().contains("does not match provided delegator"), "{error}");
    }
    let permission = permit(&owner, hour);
    mailbox.an_hour_passes();
    client.add_delegate(&permission).await.unwrap();
    assert_eq!(client.delegates(safe).await.unwrap()[0].delegate, bot.address());

    client.propose(safe, &post).await.unwrap();
    client.propose(safe, &post).await.unwrap();
    assert_eq!(
        mailbox.emulator.mail(),
        [(post.hash, 0)],
        "a delegate's signature is none of an owner"
    );
    let error = client.confirm(post.hash, &bot.sign(post.hash).into()).await.unwrap_err();
    assert!(error.to_string().contains("is not an owner"), "{error}");

    let delete = |signer: &Wallet| {
        let hour = Hour::of(mailbox.clock.now());
        let request = DeleteRequest { chain: mailbox.chain.chain_id, safe, hash: post.hash, hour };
        let signature = signer.signer().sign_hash_sync(&request.signing_hash()).unwrap();
        Bytes::copy_from_slice(&signature.as_bytes())
    };
    assert!(client.delete(post.hash, delete(mailbox.owner(1))).await.is_err());
    client.delete(post.hash, delete(&bot)).await.unwrap();
    assert_eq!(client.transaction(&mailbox.account(), post.hash).await.unwrap(), None);

    let again = permit(&owner, Hour::of(mailbox.clock.now())).signature;
    client.remove_delegate(bot.address(), owner.address(), again).await.unwrap();
    assert!(client.propose(safe, &post).await.is_err());
}

#[tokio::test]
async fn eth_sign_signatures_stay_at_home() {
    let (mailbox, tx) = with_one().await;
    let hash = mailbox.hash(&tx);
    let owner = mailbox.owner(1);
    let signed = owner.signer().sign_message_sync(hash.0.as_slice()).unwrap();
    let mut bytes = signed.as_bytes();
    bytes[64] += 4;
    let signature = OwnerSignature::from_bytes(&bytes).unwrap();
    assert_eq!(signature.recover(hash), Ok(owner.address()));
    let count = mailbox.emulator.requests().len();
    let error = mailbox.client().confirm(hash, &signature.into()).await.unwrap_err();
    assert!(matches!(error, SafeServiceError::EthSign), "{error}");
    assert_eq!(mailbox.emulator.requests().len(), count);
}

#[tokio::test]
async fn what_became_of_a_nonce_is_read_for_every_version_of_the_safe() {
    for version in [SafeVersion::V1_3_0, SafeVersion::V1_5_0] {
        let mailbox = Mailbox::of(version).await;
        let (client, account) = (mailbox.client(), mailbox.account());
        let tx = mailbox.tx().await;
        let post = mailbox.post(&tx, mailbox.owner(0));
        client.propose(account.safe, &post).await.unwrap();
        mailbox.switch(json!({ "replace": post.hash }));
        let nonce: u64 = tx.nonce.to();
        let queue = client.queue(&account, nonce).await.unwrap();
        let rival = mailbox.hash(&rejection(account.safe, tx.nonce));
        assert_eq!(queue.transactions.len(), 2, "{version}");
        assert!(queue.transactions.iter().any(|queued| queued.hash == rival));
        mailbox.execute(&tx).await;
        let read = client.transaction(&account, post.hash).await.unwrap().unwrap();
        assert_eq!(read.execution.unwrap().success, Some(true), "{version}");
        mailbox.switch(json!({ "delete": post.hash }));
    }
}
