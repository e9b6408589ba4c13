//! Seals the token of a submission and stores it.

use super::read::Submission;
use crate::{
    clock::Time,
    request::ids::RequestId,
    store::{
        Store,
        intake::{NewPreparation, StorePreparationError, Stored},
        journal::Actor,
    },
    vault::Vault,
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
    let token = submission.token.secret();
    let seal = |request: RequestId| vault.seal(request.0, token);
    store.store_preparation(&new, &seal, actor, now).await
}

pub(super) fn to_store(
    vault: &Vault,
    submission: &Submission,
    request: RequestId,
) -> NewPreparation {
    let token = submission.token.secret();
    NewPreparation {
        request,
        chain: submission.chain,
        app: submission.app,
        source: submission.source.clone(),
        node: submission.node.clone(),
        compose: submission.compose,
        device: submission.device,
        note: submission.note.clone(),
        token_fingerprint: vault.fingerprint(token),
        token_fingerprints: vault.fingerprints(token),
        prepared_at: submission.prepared_at,
        expires_at: submission.expires_at,
    }
}
