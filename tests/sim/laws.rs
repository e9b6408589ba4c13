//! What must hold after every run, against the cloud's own record and the database.

use std::collections::BTreeMap;

use alloy::primitives::B256;
use countersign::{
    clock::Time,
    request::{
        Request,
        event::Event,
        facts::{EndKind, Facts},
        ids::RequestId,
        status::Status,
    },
    store::{journal, requests::Filter},
};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    cloud::{Cloud, Made, Maker, answers::runs},
    director::Director,
    instance::vault,
    world::paper_chain::lock,
};

/// A law that did not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    pub law: &'static str,
    pub how: String,
}

impl Broken {
    pub fn new(law: &'static str, how: impl Into<String>) -> Self {
        Self { law, how: how.into() }
    }
}

const ALL: u32 = 1_000;

impl Director<'_> {
    /// Holds the run against the laws.
    pub async fn check(&mut self, logged: &str) {
        let requests = self.store.requests(&Filter::default(), ALL).await;
        let requests = match requests {
            Ok(requests) => requests,
            Err(error) => return self.broken.push(Broken::new("I6", error.to_string())),
        };
        let owners = self.owners_of_tokens().await;
        let mut broken = vec![];
        {
            let cloud = lock(&self.outside.cloud);
            commits_hold(&cloud, &requests, &owners, &mut broken);
            replicas_hold(&cloud, &requests, &owners, &mut broken);
            ends_hold(&cloud, &requests, &owners, &mut broken);
        }
        self.broken.append(&mut broken);
        self.withdrawals_hold(&requests, &owners);
        self.journal_holds(&requests).await;
        self.nothing_leaked(logged).await;
        self.count_commits_at_once().await;
    }

    /// Not a law: how many were registered in one transaction with the intent to commit.
    async fn count_commits_at_once(&mut self) {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from journal r join journal c using (request_id)
             where r.kind = 'registered' and c.kind = 'commit_started'
               and r.xmin = c.xmin",
        )
        .fetch_one(&mut *self.sql)
        .await
        .expect("the database answers");
        for _ in 0..count {
            self.outside.stage.count("commits with their registration");
        }
    }

    /// I8: only what a person took back is withdrawn, and it is not committed any more.
    fn withdrawals_hold(&mut self, requests: &[Request], owners: &[Option<RequestId>]) {
        let is_withdrawn = |request: &&Request| request.status() == Status::Withdrawn;
        for request in requests.iter().filter(is_withdrawn) {
            let Some(commits) = self.withdrawn.get(&request.id.0) else {
                let text = format!("request {} was withdrawn by nobody", request.id);
                self.broken.push(Broken::new("I8", text));
                continue;
            };
            let cloud = lock(&self.outside.cloud);
            let since = commits.map_or(&[][..], |commits| &cloud.commits[commits..]);
            let is_of_it = |commit: &&crate::cloud::Commit| {
                commit.token.and_then(|token| owners[token]) == Some(request.id)
            };
            if let Some(late) = since.iter().find(is_of_it) {
                let text =
                    format!("request {} was committed at {} all the same", request.id, late.at);
                self.broken.push(Broken::new("I8", text));
            }
        }
    }

    /// Which request each token belongs to, by its fingerprint.
    pub async fn owners_of_tokens(&mut self) -> Vec<Option<RequestId>> {
        let rows: Vec<(Vec<u8>, Uuid)> =
            sqlx::query_as("select token_fingerprint, request_id from preparations")
                .fetch_all(&mut *self.sql)
                .await
                .expect("the database answers");
        let known: BTreeMap<Vec<u8>, RequestId> =
            rows.into_iter().map(|(print, id)| (print, RequestId(id))).collect();
        let vault = vault();
        let tokens = &lock(&self.outside.cloud).tokens;
        let print = |text: &str| vault.fingerprint(&SecretString::from(text)).to_vec();
        tokens.iter().map(|token| known.get(&print(&token.text)).copied()).collect()
    }

    /// I6: the journal verifies, and folded it gives the facts of each request. I5: what was taken
    /// back was gone.
    async fn journal_holds(&mut self, requests: &[Request]) {
        match self.store.verify_journal(|_| {}).await {
            Ok(journal::Verdict::Intact { .. }) => {}
            other => self.broken.push(Broken::new("I6", format!("the journal: {other:?}"))),
        }
        let mut entries = self.store.journal_page(None, None, 100_000).await.unwrap_or_default();
        entries.reverse();
        for request in requests {
            let mut facts = Facts::default();
            for entry in entries.iter().filter(|entry| entry.request == Some(request.id.0)) {
                let event: Result<Event, _> = serde_json::from_value(entry.body.clone());
                let next = event.map_err(|error| error.to_string()).and_then(|event| {
                    let at = entry.at.ok_or_else(|| "it has no time".to_owned())?;
                    facts.apply(&event, at).map_err(|error| error.to_string())
                });
                match next {
                    Ok(next) => facts = next,
                    Err(error) => {
                        let text = format!("entry {}: {error}", entry.seq);
                        self.broken.push(Broken::new("I6", text));
                    }
                }
                if entry.kind == "retracted" {
                    self.retraction_holds(request);
                }
            }
            if facts != request.facts {
                let text = format!(
                    "request {}: the journal gives {facts:?}, the row says {:?}",
                    request.id, request.facts
                );
                self.broken.push(Broken::new("I6", text));
            }
        }
    }

    fn retraction_holds(&mut self, request: &Request) {
        let truth = &self.outside.truth;
        let B256Pair { compose, device } = B256Pair::of(request);
        // An endpoint that is behind shows what was before the approval.
        let may_be_behind = self.outside.scene.lag > 0 && self.outside.scene.unrest > 0;
        let was_gone = truth.was_reorganised()
            || may_be_behind
            || truth.was_ever_revoked(request.app.0, compose, device);
        if !was_gone {
            let text = format!("request {} was retracted, and nothing was gone", request.id);
            self.broken.push(Broken::new("I5", text));
        }
    }

    /// I4: no token stands anywhere in clear.
    async fn nothing_leaked(&mut self, logged: &str) {
        let dump: Option<String> =
            sqlx::query_scalar(DUMP).fetch_one(&mut *self.sql).await.expect("the database answers");
        let dump = dump.unwrap_or_default();
        let errors = self.errors.join("\n");
        for token in &lock(&self.outside.cloud).tokens {
            let hex = alloy::hex::encode(&token.text);
            for (place, text) in
                [("the database", &*dump), ("a log", logged), ("an error", &errors)]
            {
                if text.contains(&token.text) || text.contains(&hex) {
                    self.broken.push(Broken::new("I4", format!("a token stands in {place}")));
                }
            }
        }
        if logged.contains("panicked") || dump.contains("panicked") {
            self.broken.push(Broken::new("I9", "a step panicked"));
        }
    }
}

/// Every table that holds anything of a request, as text.
const DUMP: &str = "select string_agg(row, ' ') from (
    select r::text as row from requests r union all select r::text from preparations r
    union all select r::text from proposals r union all select r::text from commit_attempts r
    union all select r::text from journal r union all select r::text from outbox r
    union all select r::text from apps r union all select r::text from ledger r
    union all select r::text from chain_troubles r) as rows";

struct B256Pair {
    compose: B256,
    device: B256,
}

impl B256Pair {
    fn of(request: &Request) -> Self {
        Self { compose: request.compose.0, device: request.device.0 }
    }
}

/// I1 and I3: what was sent was allowed, and was what the request is about.
fn commits_hold(
    cloud: &Cloud,
    requests: &[Request],
    owners: &[Option<RequestId>],
    broken: &mut Vec<Broken>,
) {
    for commit in &cloud.commits {
        let Some(index) = commit.token else {
            broken.push(Broken::new("I3", "a commit with a token that nobody issued"));
            continue;
        };
        let token = &cloud.tokens[index];
        if !commit.allowed {
            let text =
                format!("a commit at {} of what the chain did not allow at depth", commit.at);
            broken.push(Broken::new("I1", text));
        }
        let request = owners[index].and_then(|id| requests.iter().find(|one| one.id == id));
        let Some(request) = request else {
            broken.push(Broken::new("I3", "a commit with a token that belongs to no request"));
            continue;
        };
        let B256Pair { compose, device } = B256Pair::of(request);
        if commit.compose != Some(compose) || token.compose != compose || token.device != device {
            let text = format!("request {}: a commit of something else", request.id);
            broken.push(Broken::new("I3", text));
        }
    }
}

/// The instances that a request's tokens made.
pub fn made_by<'a>(cloud: &'a Cloud, owners: &[Option<RequestId>], id: RequestId) -> Vec<&'a Made> {
    let is_ours =
        |made: &&Made| matches!(made.by, Maker::Token(token) if owners[token] == Some(id));
    cloud.made.iter().filter(is_ours).collect()
}

/// I2 and I3: at most one replica each, the one that is noted, running what was approved.
fn replicas_hold(
    cloud: &Cloud,
    requests: &[Request],
    owners: &[Option<RequestId>],
    broken: &mut Vec<Broken>,
) {
    for request in requests {
        let made = made_by(cloud, owners, request.id);
        if made.len() > 1 {
            let text = format!("request {} made {} replicas", request.id, made.len());
            broken.push(Broken::new("I2", text));
        }
        let Some(replica) = &request.facts.replica else { continue };
        let is_ours = |made: &&&Made| made.id == replica.id.as_str();
        let Some(ours) = made.iter().find(is_ours) else {
            // One that fits cannot be told from ours by a list that ours was not in yet.
            let is_twin = |one: &&Made| {
                (one.by == Maker::Stranger || one.is_past_us) && one.compose == request.compose.0
            };
            let twin = cloud.instance(replica.id.as_str()).filter(is_twin);
            let is_in = |made: &&Made, at: &Time| made.listed_at <= *at && !made.is_past_us;
            let is_alone = |twin: &Made, at: &Time| {
                twin.listed_at <= *at && !made.iter().any(|made| is_in(made, at))
            };
            if twin.is_some_and(|twin| cloud.lists.iter().any(|at| is_alone(twin, at))) {
                continue;
            }
            let text = format!("the replica of request {} is not of its making", request.id);
            broken.push(Broken::new("I2", text));
            continue;
        };
        let B256Pair { compose, device } = B256Pair::of(request);
        if request.status() == Status::Running && runs(ours) != (compose, device) {
            let text = format!("request {} runs something else and does not say so", request.id);
            broken.push(Broken::new("I3", text));
        }
    }
}

/// I8: what ended without a replica had a reason that the cloud's record knows.
fn ends_hold(
    cloud: &Cloud,
    requests: &[Request],
    owners: &[Option<RequestId>],
    broken: &mut Vec<Broken>,
) {
    for request in requests {
        let Some(end) = &request.facts.end else { continue };
        if end.kind == EndKind::Withdrawn {
            continue;
        }
        let code = end.code.as_deref().unwrap_or_default();
        let made = made_by(cloud, owners, request.id);
        let is_justified = match code {
            "boot-differs" => {
                // Of whose making the noted one is, is for I2 to say.
                let noted = request.facts.replica.as_ref();
                let noted = noted.and_then(|noted| cloud.instance(noted.id.as_str()));
                let B256Pair { compose, device } = B256Pair::of(request);
                made.iter().copied().chain(noted).any(|made| runs(made) != (compose, device))
            }
            "preparation-differs" => {
                let is_like = |token: &&crate::cloud::Token| {
                    cloud.source(request.source.as_str()) == Some(token.source)
                        && token.device != request.device.0
                };
                cloud.tokens.iter().any(|token| is_like(&token))
            }
            code => {
                let refused_so = |commit: &&crate::cloud::Commit| {
                    commit.token.and_then(|token| owners[token]) == Some(request.id)
                        && commit.answer.contains(code.strip_prefix("http-").unwrap_or(code))
                };
                !PASSING.contains(&code) && cloud.commits.iter().any(|commit| refused_so(&commit))
            }
        };
        if !is_justified {
            let text = format!("request {} ended as {end:?}", request.id);
            broken.push(Broken::new("I8", text));
        }
    }
}

/// Codes that pass by themselves, and never end a request.
const PASSING: [&str; 14] = [
    "ERR-01-005",
    "ERR-01-006",
    "ERR-01-007",
    "ERR-02-002",
    "ERR-02-003",
    "ERR-02-004",
    "ERR-02-005",
    "ERR-02-006",
    "ERR-02-007",
    "ERR-02-016",
    "http-409",
    "http-429",
    "http-503",
    "",
];
