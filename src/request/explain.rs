//! Why a request is where it is, what happens next, and when: what a person asks at two in the
//! morning. Words about what [`plan`] decides; nothing is decided here.

mod signatures;
mod when;

use serde::{Deserialize, Serialize};

pub use signatures::{Executions, Rival, Signed, SignedBefore};
pub use when::When;

use super::{
    Request, age,
    deadline::time_left,
    ids::RequestId,
    kind::Kind,
    plan::{Means, Plan, RENEW_BEFORE, plan},
    status::Status,
};
use crate::clock::Time;
use signatures::taken_back;
use when::from_now;

/// What is known around a request, beside its own facts.
#[expect(clippy::struct_excessive_bools, reason = "each is known by itself, and none follows")]
#[derive(Debug, Clone, Copy)]
pub struct Around {
    pub means: Means,
    /// A newer preparation of the same source CVM is known, which mostly voids this one's token.
    pub suspect: bool,
    /// Its chain is not followed on until a person has looked.
    pub halted: bool,
    /// When its execution should lie deep enough, by the pace of the chain.
    pub deep_at: Option<Time>,
    /// A request of the same app whose commit is under way: they take turns.
    pub behind: Option<RequestId>,
    /// A relayer executes what the owners have signed.
    pub relays: bool,
    /// The owner is no Safe: it makes the calls in its own way, and nobody signs here.
    pub acts_itself: bool,
    /// What is signed at the nonce of its transaction, and not for it.
    pub signed_before: SignedBefore,
    /// It may not be put to the owner before the document of its compose hash is known.
    pub needs_document: bool,
    /// What the chain did with what its owners were asked to sign, where that was seen.
    pub seen: Executions,
}

impl Around {
    /// Nothing is known but what the service is able to do.
    pub fn only(means: Means) -> Self {
        Self {
            means,
            suspect: false,
            halted: false,
            deep_at: None,
            behind: None,
            relays: false,
            acts_itself: false,
            signed_before: SignedBefore::default(),
            needs_document: false,
            seen: Executions::default(),
        }
    }
}

/// Why a request is where it is, what happens next, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Explanation {
    pub why: String,
    pub next: String,
    pub when: When,
}

/// Explains a request.
pub fn explain(request: &Request, around: &Around, now: Time) -> Explanation {
    let plan = plan(request, around.suspect, around.means, now);
    let has_key = around.means.can_prepare;
    let around = &Around { means: around.means.of(request), ..*around };
    // From the commit on the chain has no say.
    let halted = around.halted && request.status().is_before_commit();
    let next = if halted {
        "nothing, until the chain is followed again".into()
    } else if !has_key && matches!(plan, Plan::Commit { .. }) {
        "nothing is committed before the service has an API key of the Phala Cloud workspace".into()
    } else {
        next(request, plan, around, now)
    };
    let when = if halted {
        let restart = format!("countersign chain restart {}", request.chain);
        When::Person { commands: vec![restart], at: None }
    } else {
        when(request, plan, around, now)
    };
    let why = format!("{}{}", why(request, plan, around), overdue(request, now));
    Explanation { why, next, when }
}

/// That it is where it is for longer than usual.
fn overdue(request: &Request, now: Time) -> String {
    let status = request.status();
    match (age::overdue(request, now), age::usual(status)) {
        (Some(overdue), Some(usual)) => {
            let (here, at_most) = (time_left(now, overdue.since), time_left(now + usual, now));
            format!("; this has taken {here}, and usually takes {at_most} at most")
        }
        _ => String::new(),
    }
}

fn why(request: &Request, plan: Plan, around: &Around) -> String {
    let facts = &request.facts;
    if let Some(end) = &facts.end {
        return match &end.code {
            Some(code) if !end.reason.contains(code) => format!("{} ({code})", end.reason),
            _ => end.reason.clone(),
        };
    }
    let told = request.reason.as_deref();
    match (&facts.attention, told) {
        (Some(asked), Some(told)) if told != asked && plan != Plan::Ask => {
            format!("{asked}; the last look says: {told}")
        }
        (Some(asked), _) => asked.clone(),
        (None, Some(told)) if is_failing(request) => {
            format!("{told} (tried {} times in a row)", request.attempts)
        }
        (None, Some(told)) => told.to_owned(),
        (None, None) => match around.behind {
            Some(other) => {
                format!("commits of an app take turns, and request {other} is before it")
            }
            None if is_for_owner(request, around) => "the calls stand ready for the owner".into(),
            None => so_far(request).into(),
        },
    }
}

/// What has brought a request to where it is, when nothing holds it there.
fn so_far(request: &Request) -> &'static str {
    match request.status() {
        Status::Prepared => "its commit token is sealed; nothing stands ready for the owner yet",
        Status::Proposed => "the owner's transaction stands ready for its signatures",
        Status::Approved => "enough owners signed, and the chain does not show it yet",
        Status::Executed => "the chain shows both entries, not yet deep enough",
        Status::Registered => "both entries read true at the depth of the policy",
        Status::Committing => "a commit is under way, or its outcome is being found out",
        Status::Committed => match request.kind {
            Kind::Replica => "the replica exists",
            Kind::Update => "Phala Cloud has taken the update on",
        },
        Status::Running => match request.kind {
            Kind::Replica => "the replica runs what was approved",
            Kind::Update => "the CVM runs what was approved",
        },
        Status::Rejected | Status::Withdrawn | Status::Expired | Status::Failed => "it has ended",
    }
}

fn next(request: &Request, plan: Plan, around: &Around, now: Time) -> String {
    let (kind, subject) = (request.kind, request.kind.subject());
    let step = match plan {
        Plan::Watch { renew } => {
            let (what, before) = (to_wait_for(request, around), around.signed_before.words());
            format!("{what}{before}{}", token(request, renew, around, now))
        }
        Plan::Commit { renew: false } => {
            format!("Countersign reads both entries once more and commits the {kind}")
        }
        Plan::Commit { renew: true } => format!(
            "Countersign gets a fresh commit token, since {}, and commits the {kind} with it",
            stale(request, around, now)
        ),
        Plan::Settle if kind == Kind::Update => {
            "Countersign looks whether the CVM is being updated; if not, the commit had no effect"
                .into()
        }
        Plan::Settle => {
            "Countersign looks whether the app has a new instance; if none comes, the commit had \
             no effect"
                .into()
        }
        Plan::Ask => {
            return "nothing is committed again before a person has said which instance is this \
                    request's, or that none is"
                .into();
        }
        Plan::Boot => {
            format!(
                "Countersign looks at the {subject} until it runs, and compares it with what was \
                 approved"
            )
        }
        Plan::Expire(why) if !request.is_repeatable => {
            format!("it ends as expired: {why}; prepare it again, its approval stays good")
        }
        Plan::Expire(why) => {
            format!("it ends as expired: {why}, and without an API key no other can be had")
        }
        Plan::Rest => return at_the_end(request, around),
    };
    if request.facts.attention.is_some() {
        format!("a person sees to what is asked; then, or when it is tried all the same: {step}")
    } else {
        step
    }
}

/// Whether the owner makes the calls in its own way.
fn is_for_owner(request: &Request, around: &Around) -> bool {
    request.status() == Status::Proposed && around.acts_itself
}

fn to_wait_for(request: &Request, around: &Around) -> &'static str {
    match request.status() {
        Status::Prepared if around.needs_document => {
            "once the document of the compose hash is found, or somebody hands it in, Countersign \
             puts what is missing to the owner"
        }
        Status::Prepared => {
            "Countersign reads the owner and what is missing on chain, and puts it to the owner"
        }
        Status::Proposed if around.acts_itself => {
            "the owner makes the calls that the page of the request and `countersign payload` show, \
             or acts in any other way that the chain shows"
        }
        Status::Proposed => "the owners sign here, or act in any other way that the chain shows",
        Status::Approved if around.relays => {
            "the relayer executes the approved transaction, once no earlier nonce of the Safe is \
             open and unless anyone else does"
        }
        Status::Approved => {
            "anyone executes the approved transaction, once no earlier nonce of the Safe is open"
        }
        _ => "the chain buries the execution as deep as the policy asks; then comes the commit",
    }
}

fn at_the_end(request: &Request, around: &Around) -> String {
    let (facts, kind, subject) = (&request.facts, request.kind, request.kind.subject());
    match (request.status(), &facts.replica) {
        (Status::Failed, Some(replica)) if facts.is_alarm() => format!(
            "a person stops {subject} {} in Phala Cloud: it runs, and is not what was approved",
            replica.id
        ),
        (Status::Failed, None) if facts.is_alarm() => {
            format!(
                "a person looks for a {subject} in Phala Cloud that nobody approved, and stops it"
            )
        }
        (Status::Failed, Some(replica)) => format!(
            "a person looks at {subject} {} in Phala Cloud, mends what made it fail, and prepares \
             the {kind} again; the approval stays good",
            replica.id
        ),
        (Status::Expired, _) => {
            format!("nothing by itself: prepare the {kind} again; the approval stays good")
        }
        (Status::Running, _) => "nothing: it is done".into(),
        (Status::Withdrawn | Status::Rejected, _) => taken_back(facts, around.seen),
        _ => "nothing: it has ended".into(),
    }
}

/// What becomes of a token that dies while the request waits.
fn token(request: &Request, renew: bool, around: &Around, now: Time) -> String {
    let Some(live) = &request.preparation else { return String::new() };
    let dies = from_now(live.expires_at, now);
    if renew && live.expires_at <= now {
        "; the commit token is dead, and Countersign gets a fresh one".into()
    } else if renew {
        format!("; the commit token dies {dies}, so Countersign gets a fresh one before")
    } else if !request.is_repeatable && live.expires_at <= now + RENEW_BEFORE {
        format!(
            "; the commit token dies {dies}, and the request with it, since what was sent to prepare \
             the update is not known"
        )
    } else if !around.means.can_prepare && live.expires_at <= now + RENEW_BEFORE {
        format!("; the commit token dies {dies}, and without an API key the request with it")
    } else {
        String::new()
    }
}

/// Why the token of a registered request is not used.
fn stale(request: &Request, around: &Around, now: Time) -> String {
    match &request.preparation {
        None => "the old one was superseded or refused".into(),
        Some(live) if live.expires_at <= now => "the old one is dead".into(),
        Some(_) if around.suspect => {
            "a newer preparation of the same source has probably voided the old one".into()
        }
        Some(live) => format!("the old one dies {}", from_now(live.expires_at, now)),
    }
}

fn when(request: &Request, plan: Plan, around: &Around, now: Time) -> When {
    let (id, at) = (request.id, request.next_try_at);
    let retry = format!("countersign retry {id}");
    if plan == Plan::Rest {
        return When::Never;
    }
    if plan == Plan::Ask {
        let settle = format!("countersign settle {id} --as REPLICA_UUID|none --reason TEXT");
        return When::Person { commands: vec![settle, retry], at: None };
    }
    if request.facts.attention.is_some() {
        return When::Person { commands: vec![retry], at: Some(at) };
    }
    let is_held = request.held_until.is_some_and(|until| until > now);
    let woken = |by: String| When::Woken { by, expected_at: None, at };
    match (plan, request.status()) {
        (Plan::Commit { .. }, _) if let Some(other) = around.behind => {
            woken(format!("the end of the commit of request {other}"))
        }
        _ if is_held || at <= now => When::Now,
        _ if is_failing(request) => When::At { at },
        (Plan::Watch { .. }, Status::Prepared) if around.needs_document => {
            woken(format!("the document, or `countersign compose attach {id} FILE`"))
        }
        (Plan::Watch { .. }, Status::Proposed) if around.acts_itself => {
            woken("a block in which the app or its owner changes".into())
        }
        (Plan::Watch { .. }, Status::Proposed) => {
            woken("a signature, or a block in which the app or its owner changes".into())
        }
        (Plan::Watch { .. }, Status::Approved) => woken("the block that executes it".into()),
        (Plan::Watch { .. }, Status::Executed) => When::Woken {
            by: "blocks on top of the execution".into(),
            expected_at: around.deep_at,
            at,
        },
        _ => When::At { at },
    }
}

/// Whether looks keep failing. One may be the look that is under way.
fn is_failing(request: &Request) -> bool {
    request.attempts > 1 && request.reason.is_some()
}

#[cfg(test)]
mod tests;
