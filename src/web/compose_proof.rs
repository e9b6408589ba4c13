//! What the compose hash of a request means, for the API and the page: whether its document is known,
//! what to look at in it, and what differs from what runs and from what was approved before.

use std::collections::HashMap;

use serde::Serialize;

use crate::{
    audit::{EntryKind, allowlist},
    clock::Time,
    compose::{Change, Compose, Diff, Finding, Form, lint},
    flow::Service,
    request::{
        Request,
        ids::{ComposeHash, RequestId},
    },
    store::{
        StoreError,
        compose_documents::{Origin, Proof, Tried},
    },
};

/// Whether it is known what a compose hash stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    /// A document has this hash.
    Proved,
    /// No document with this hash was found so far.
    Unproved,
    /// Phala Cloud shows a document as the one of this hash, which it is not.
    Contradicted,
}

/// How the proof of a compose hash stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ComposeProofView {
    pub state: ProofState,
    /// In a sentence.
    pub words: String,
    /// How the bytes with this hash were come by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Origin>,
    /// Where the document came from, or who handed it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub received_at: Option<Time>,
    /// Where it was looked for last, and what came of it; not in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub looked_at: Option<Time>,
    /// When it is looked for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Time>,
}

impl From<Proof> for ComposeProofView {
    fn from(proof: Proof) -> Self {
        let Proof { found, contradicted, tried, looked_at, next_try_at, .. } = proof;
        let (state, words) = match (&found, contradicted) {
            (Some(found), _) => {
                let from = match found.origin {
                    Origin::Attached => format!("handed in by {}", found.place),
                    Origin::Derived => format!("put together from {}", found.place),
                    _ => format!("from {}", found.place),
                };
                let words =
                    format!("proved: a document {from} has this hash, {}", found.form.words());
                (ProofState::Proved, words)
            }
            (None, Some(why)) => (ProofState::Contradicted, format!("contradicted: {why}")),
            (None, None) if looked_at.is_none() => {
                (ProofState::Unproved, "unproved: its document has not been looked for yet".into())
            }
            (None, None) => {
                let words = "unproved: no document with this hash was found, so nobody here knows what \
                     it stands for";
                (ProofState::Unproved, words.into())
            }
        };
        Self {
            state,
            words,
            form: found.as_ref().map(|found| found.form),
            source: found.as_ref().map(|found| found.origin),
            received_at: found.as_ref().map(|found| found.received_at),
            place: found.map(|found| found.place),
            tried,
            looked_at,
            next_try_at,
        }
    }
}

impl ComposeProofView {
    pub fn is_proved(&self) -> bool {
        self.state == ProofState::Proved
    }

    /// What a signer must know, if anything.
    pub fn warning(&self, request: RequestId) -> Option<String> {
        let ComposeProofView { state, words, .. } = self;
        match state {
            ProofState::Proved => None,
            ProofState::Unproved => {
                Some(format!("The compose hash of request {request} is {words}"))
            }
            ProofState::Contradicted => Some(format!(
                "The compose hash of request {request} is {words}. Do not approve it before that is \
                 explained"
            )),
        }
    }
}

/// How the proofs of some requests stand, without what was tried.
pub async fn proofs(
    service: &Service,
    requests: &[RequestId],
) -> Result<HashMap<RequestId, ComposeProofView>, StoreError> {
    let brief = |proof: Proof| ComposeProofView { tried: vec![], ..proof.into() };
    let proofs = service.store.proofs(requests).await?;
    Ok(proofs.into_iter().map(|(id, proof)| (id, brief(proof))).collect())
}

/// How the proof of one request stands.
pub async fn proof(service: &Service, request: RequestId) -> Result<ComposeProofView, StoreError> {
    Ok(service.store.proofs(&[request]).await?.remove(&request).unwrap_or_default().into())
}

/// Another document beside that of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Against {
    pub compose_hash: ComposeHash,
    /// Whether it is the very same.
    pub is_same: bool,
    /// Absent when one of the two documents is not known.
    pub diff: Option<Diff>,
}

/// What the compose hash of a request means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ComposeView {
    pub compose_hash: ComposeHash,
    pub proof: ComposeProofView,
    /// What to look at in the document; absent unless it is proved. Beside what the source runs, or else
    /// beside what was approved before, only what is new is told of names, ports, flags and scripts.
    pub lint: Option<Vec<Finding>>,
    /// What it was compared with for that.
    pub lint_beside: Option<ComposeHash>,
    /// What the source was seen to run.
    pub running: Option<Against>,
    /// The newest other compose hash that the chain allows the app and whose document is known.
    pub approved: Option<Against>,
}

/// Findings and changes that a review tells, so that with its headings it takes at most 60 lines.
pub const REVIEW_MAX: usize = 50;

/// What to look at in the document of a compose hash, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ComposeReview {
    pub compose_hash: ComposeHash,
    /// What it was compared with: what the source runs, or else what was approved before.
    pub beside: Option<ComposeHash>,
    /// The most important first.
    pub findings: Vec<Finding>,
    /// The fields that differ from that.
    pub changes: Vec<Change>,
    /// Findings and changes that are left out here, and not in `/v1/requests/{id}/compose`.
    pub more: usize,
}

impl ComposeView {
    /// What to look at, in short; none as long as the document is not known.
    pub fn review(self) -> Option<ComposeReview> {
        let mut findings = self.lint?;
        let beside = self.lint_beside;
        let others = [self.running, self.approved].into_iter().flatten();
        let diff = others.filter(|one| Some(one.compose_hash) == beside).find_map(|one| one.diff);
        let Diff { mut changes, more, .. } = diff.unwrap_or_default();
        let all = findings.len() + changes.len() + more;
        findings.truncate(REVIEW_MAX);
        changes.truncate(REVIEW_MAX - findings.len());
        let more = all - findings.len() - changes.len();
        Some(ComposeReview { compose_hash: self.compose_hash, beside, findings, changes, more })
    }
}

/// Everything that is known of the compose hash of a request.
pub async fn compose(service: &Service, request: &Request) -> Result<ComposeView, StoreError> {
    let store = &service.store;
    let known = store.proofs(&[request.id]).await?.remove(&request.id).unwrap_or_default();
    let running = known.source_runs;
    let approved = approved_before(service, request).await?;
    let mut texts = HashMap::new();
    for hash in [Some(request.compose), running, approved].into_iter().flatten() {
        if let Some(document) = store.document(hash).await? {
            texts.insert(hash, document.bytes);
        }
    }
    let (wanted, proof) = (request.compose, ComposeProofView::from(known));
    if texts.is_empty() {
        return Ok(assess(wanted, proof, running, approved, &texts));
    }
    // Comparing long texts takes its time.
    let assessed =
        tokio::task::spawn_blocking(move || assess(wanted, proof, running, approved, &texts));
    Ok(assessed.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
}

fn assess(
    wanted: ComposeHash,
    proof: ComposeProofView,
    running: Option<ComposeHash>,
    approved: Option<ComposeHash>,
    texts: &HashMap<ComposeHash, Vec<u8>>,
) -> ComposeView {
    let document = |hash: ComposeHash| Compose::parse(texts.get(&hash)?).ok();
    let ours = document(wanted);
    let against = |hash: ComposeHash| {
        let diff = ours.as_ref().zip(document(hash)).map(|(ours, old)| ours.diff_from(&old));
        Against { compose_hash: hash, is_same: hash == wanted, diff }
    };
    let mut others = [running, approved].into_iter().flatten().filter(|hash| *hash != wanted);
    let beside = others.find_map(|hash| Some((hash, document(hash)?)));
    ComposeView {
        compose_hash: wanted,
        proof,
        lint: ours.as_ref().map(|ours| lint(ours, beside.as_ref().map(|(_, old)| old))),
        lint_beside: beside.as_ref().map(|(hash, _)| *hash),
        running: running.map(against),
        approved: approved.map(against),
    }
}

async fn approved_before(
    service: &Service,
    request: &Request,
) -> Result<Option<ComposeHash>, StoreError> {
    let ledger = service.store.ledger(request.chain, request.app).await?;
    let mut allowed = allowlist(&ledger, None);
    allowed.retain(|one| one.kind == EntryKind::ComposeHash && one.value != request.compose.0);
    allowed.sort_by_key(|one| std::cmp::Reverse(one.since.number));
    let hashes: Vec<_> = allowed.iter().map(|one| ComposeHash(one.value)).collect();
    let documented = service.store.documented(&hashes).await?;
    Ok(hashes.into_iter().find(|hash| documented.contains(hash)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A review of a document with so many dangerous services and new variables, beside an empty one.
    fn review(services: usize, fields: usize) -> ComposeReview {
        let image = format!("image: web@sha256:{}", "a".repeat(64));
        let calm = format!("services:\n  web: {{ {image} }}\n");
        let privileged =
            (0..services).map(|at| format!("  s{at}: {{ {image}, privileged: true }}\n"));
        let file = format!("{calm}{}", privileged.collect::<String>());
        let mut new = json!({ "docker_compose_file": file });
        for at in 0..fields {
            new[format!("x-field{at}")] = json!(at);
        }
        let old = json!({ "docker_compose_file": calm });
        let [wanted, runs] = [0xaa, 0xbb].map(|byte| ComposeHash([byte; 32].into()));
        let texts = [(wanted, new), (runs, old)].map(|(hash, it)| (hash, it.to_string().into()));
        let proof = Proof::default().into();
        assess(wanted, proof, Some(runs), None, &texts.into()).review().unwrap()
    }

    #[test]
    fn a_review_tells_findings_first_then_changes_and_how_many_it_leaves_out() {
        let small = review(1, 2);
        let rules: Vec<_> = small.findings.iter().map(|one| one.rule).collect();
        assert_eq!((rules, small.changes.len(), small.more), (vec!["privileged"], 3, 0));
        assert_eq!(small.beside, Some(ComposeHash([0xbb; 32].into())));
        for (services, fields) in [(1, 80), (40, 40), (70, 0)] {
            let review = review(services, fields);
            assert_eq!(review.findings.len(), services.min(REVIEW_MAX), "{services} {fields}");
            let told = review.findings.len() + review.changes.len();
            assert_eq!((told, told + review.more), (REVIEW_MAX, 2 * services + fields));
        }
    }
}
