//! Seals the secrets of a submission and stores it.

use super::read::Submission;
use crate::{
    clock::Time,
    request::ids::RequestId,
    store::{
        Store,
        intake::{NewPreparation, Secrets, StorePreparationError, Stored},
        journal::Actor,
    },
    vault::{Vault, VaultError},
};

/// Why a checked submission was not taken in.
pub type AcceptError = StorePreparationError;

/// Opens the request `id` for a submission, or finds the one it belongs to.
pub async fn accept(
    store: &Store,
    vault: &Vault,
    id: RequestId,
    submission: &Submission,
    actor: &Actor,
    now: Time,
) -> Result<Stored, AcceptError> {
    let new = to_store(vault, submission, id);
    let seal = |request: RequestId| seal(vault, submission, request);
    store.store_preparation(&new, &seal, actor, now).await
}

pub(super) fn seal(
    vault: &Vault,
    submission: &Submission,
    request: RequestId,
) -> Result<Secrets, VaultError> {
    let body = submission.body.as_ref();
    Ok(Secrets {
        token: vault.seal(request.0, submission.token.secret())?,
        body: body.map(|body| vault.seal_body(request.0, body.secret())).transpose()?,
    })
}

pub(super) fn to_store(
    vault: &Vault,
    submission: &Submission,
    request: RequestId,
) -> NewPreparation {
    let token = submission.token.secret();
    NewPreparation {
        request,
        kind: submission.kind,
        chain: submission.chain,
        app: submission.app,
        source: submission.source.clone(),
        node: submission.node.clone(),
        compose: submission.compose,
        device: submission.device,
        copy: submission.copy,
        note: submission.note.clone(),
        token_fingerprint: vault.fingerprint(token),
        token_fingerprints: vault.fingerprints(token),
        prepared_at: submission.prepared_at,
        issued: submission.issued,
        expires_at: submission.expires_at,
    }
}
