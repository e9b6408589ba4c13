//! The wire to the cloud on paper: what may happen to a call on its way there and back.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use alloy::primitives::B256;
use chrono::TimeDelta;
use countersign::{
    clock::Time,
    wire::{Wire, WireAnswer, WireError},
};
use futures::future::BoxFuture;
use reqwest::Request;
use serde_json::Value;

use super::{
    Cloud, Commit, Late,
    answers::refusal,
    catalogue::{LEFT_OPEN, clear_refusal},
};
use crate::{
    clock::SimTime,
    rng::Rng,
    stage::{Gate, Stage},
    truth::Truth,
    world::paper_chain::lock,
};

/// How long a client waits for an answer.
const TIMEOUT: TimeDelta = TimeDelta::seconds(30);

/// What a call wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    Cvm(String),
    Boot(String),
    List(String),
    Prepare { source: String, node: Option<u64>, compose: Option<B256> },
    Commit { source: String, token: String, compose: Option<B256> },
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub want: Want,
}

impl Call {
    fn read(request: &Request) -> Self {
        let path: Vec<&str> =
            request.url().path_segments().expect("it has a path").skip(2).collect();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let compose = || serde_json::from_value(body["compose_hash"].clone()).ok();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let want = match path.as_slice() {
            ["cvms", id] => Want::Cvm((*id).to_owned()),
            ["cvms", source, "replicas"] => Want::Prepare {
                source: (*source).to_owned(),
                node: body["node_id"].as_u64(),
                compose: compose(),
            },
            ["cvms", source, "commit-replica"] => Want::Commit {
                source: (*source).to_owned(),
                token: text(&body["token"]),
                compose: compose(),
            },
            ["status", "batch"] => Want::Boot(text(&body["vm_uuids"][0])),
            ["apps", app, "cvms"] => Want::List((*app).to_owned()),
            _ => Want::Other,
        };
        Self { want }
    }

    fn name(&self) -> &'static str {
        match self.want {
            Want::Cvm(_) => "GET cvm",
            Want::Boot(_) => "POST status",
            Want::List(_) => "GET list",
            Want::Prepare { .. } => "POST prepare",
            Want::Commit { .. } => "POST commit",
            Want::Other => "something else",
        }
    }

    /// How likely something goes wrong, in percent of what is usual: most where most depends on it.
    fn danger(&self) -> usize {
        match self.want {
            Want::Commit { .. } => 180,
            Want::Prepare { .. } | Want::List(_) => 100,
            _ => 40,
        }
    }

    fn has_effect(&self) -> bool {
        matches!(self.want, Want::Prepare { .. } | Want::Commit { .. })
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    NotSent,
    LostBefore,
    LostAfter,
    Late,
    Twice,
    Slow,
    Refused,
    LeftOpen,
    Unreadable,
}

const FATES: [(usize, Fate); 9] = [
    (3, Fate::NotSent),
    (4, Fate::LostBefore),
    (7, Fate::LostAfter),
    (6, Fate::Late),
    (5, Fate::Twice),
    (3, Fate::Slow),
    (10, Fate::Refused),
    (4, Fate::LeftOpen),
    (3, Fate::Unreadable),
];

/// The wire of one instance.
#[derive(Clone)]
pub struct SimWire {
    pub stage: Arc<Stage>,
    pub cloud: Arc<Mutex<Cloud>>,
    pub truth: Arc<Truth>,
    pub time: SimTime,
}

impl fmt::Debug for SimWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimWire")
    }
}

type Carried = Result<WireAnswer, WireError>;

impl Wire for SimWire {
    fn carry(&self, request: Request) -> BoxFuture<'_, Carried> {
        let call = Call::read(&request);
        Box::pin(async move {
            self.stage.mark(call.name().as_bytes());
            self.stage.count("calls");
            self.stage.cross(Gate::Call).await;
            let carried = self.there_and_back(&call);
            self.stage.note(|| told(&call, &carried));
            self.stage.cross(Gate::Answer).await;
            carried
        })
    }
}

fn told(call: &Call, carried: &Carried) -> String {
    let end = match carried {
        Ok(answer) => {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(160).collect();
            format!("{} {body}", answer.status)
        }
        Err(WireError::NotSent(_)) => "not sent".into(),
        Err(_) => "no answer".into(),
    };
    format!("{:?} -> {end}", call.want)
}

impl SimWire {
    fn there_and_back(&self, call: &Call) -> Carried {
        let mut cloud = lock(&self.cloud);
        cloud.catch_up(self.time.now());
        let storm = cloud.storm * call.danger() / 100;
        let fate = self.stage.draw(|rng| rng.percent(storm).then(|| rng.weighted(&FATES)));
        if let Want::Commit { token, compose, .. } = &call.want
            && fate != Some(Fate::NotSent)
        {
            let commit = self.record(&cloud, token, *compose);
            cloud.commits.push(commit);
            self.stage.count("commits sent");
        }
        let mut carried = match fate {
            None => Ok(cloud.serve(call, self.time.now())),
            Some(fate) => self.spoil(&mut cloud, call, fate),
        };
        if let Want::Commit { token, .. } = &call.want
            && fate.is_some()
            && cloud.switches.has_twins
            && self.stage.draw(|rng| rng.percent(70))
        {
            self.stage.count("fault stranger makes the same at the same time");
            cloud.make_twin(token, self.time.now());
        }
        if let Ok(answer) = &mut carried
            && cloud.switches.tells_date
        {
            let there = self.time.now() + TimeDelta::seconds(cloud.switches.skew);
            let date = there.to_rfc2822().replace("+0000", "GMT");
            let date = date.parse().expect("a date is a header");
            answer.headers.entry("date").or_insert(date);
        }
        if matches!(call.want, Want::Commit { .. })
            && fate != Some(Fate::NotSent)
            && let Some(commit) = cloud.commits.last_mut()
        {
            commit.answer = match &carried {
                Ok(answer) => {
                    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
                }
                Err(_) => "none".into(),
            };
        }
        carried
    }

    fn record(&self, cloud: &Cloud, text: &str, compose: Option<B256>) -> Commit {
        let (actor, token) = (self.stage.actor(), cloud.token(text));
        let allowed = token.is_some_and(|token| {
            let token = &cloud.tokens[token];
            let app = cloud.sources[token.source].app;
            self.truth.allowed_since(actor, app, token.compose, token.device)
        });
        Commit { at: self.time.now(), token, compose, allowed, answer: String::new() }
    }

    fn spoil(&self, cloud: &mut Cloud, call: &Call, fate: Fate) -> Carried {
        let now = self.time.now();
        let count = |what| self.stage.count(what);
        let half = || self.stage.draw(|rng| rng.percent(50));
        let lost = || {
            self.time.pass(TIMEOUT);
            Err(WireError::NoAnswer("the call timed out".into()))
        };
        match fate {
            Fate::NotSent => {
                count("fault call never sent");
                Err(WireError::NotSent("the connection was refused".into()))
            }
            Fate::LostBefore => {
                count("fault call lost on the way there");
                lost()
            }
            Fate::LostAfter => {
                count("fault answer lost");
                drop(cloud.serve(call, now));
                lost()
            }
            Fate::Late if call.has_effect() => {
                count("fault effect after the client gave up");
                let seconds = self.stage.draw(|rng| {
                    let most = rng.pick(&[60, 300, 1_800]);
                    rng.between(31, most)
                });
                cloud.late.push(Late { at: now + TimeDelta::seconds(seconds), call: call.clone() });
                lost()
            }
            Fate::Twice if call.has_effect() => {
                count("fault call delivered twice");
                let first = cloud.serve(call, now);
                let second = cloud.serve(call, now);
                Ok(if half() { first } else { second })
            }
            Fate::Late | Fate::Twice | Fate::Slow => {
                count("fault slow answer");
                let answer = cloud.serve(call, now);
                self.time.pass(TimeDelta::seconds(self.stage.draw(|rng| rng.between(2, 28))));
                Ok(answer)
            }
            Fate::Refused => {
                let (mut answer, kind) = self.stage.draw(|rng| clear_refusal(rng, now));
                count(kind);
                // Something in between may say this after it passed the call on.
                if matches!(answer.status, 409 | 425 | 429 | 503)
                    && self.stage.draw(|rng| rng.percent(20))
                {
                    count("fault refused by a status, but done");
                    drop(cloud.serve(call, now));
                }
                if let Want::Commit { token, .. } = &call.want
                    && half()
                {
                    count("fault refusal repeats the token");
                    repeat(&mut answer, token);
                }
                if let Want::Commit { token, .. } = &call.want
                    && answer.status == 466
                {
                    // What it calls dead is dead from then on.
                    cloud.kill(token);
                }
                Ok(answer)
            }
            Fate::LeftOpen => {
                count("fault status that leaves the effect open");
                if half() {
                    drop(cloud.serve(call, now));
                }
                let status = self.stage.draw(|rng| rng.pick(&LEFT_OPEN));
                Ok(refusal(status, None, "something in between broke"))
            }
            Fate::Unreadable => {
                count("fault answer that does not read");
                // A success in answer to a prepare would say that a replica was made.
                let answer = if half() || matches!(call.want, Want::Prepare { .. }) {
                    cloud.serve(call, now)
                } else {
                    refusal(200, None, "welcome to this network")
                };
                Ok(self.stage.draw(|rng| garble(rng, answer)))
            }
        }
    }
}

/// Has a refusal repeat the token that it was asked with, as servers do.
fn repeat(answer: &mut WireAnswer, token: &str) {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["message"] = format!("cannot commit with {token}").into();
    body["input"] = token.into();
    answer.body = body.to_string().into_bytes();
}

/// Makes an answer unreadable.
fn garble(rng: &mut Rng, mut answer: WireAnswer) -> WireAnswer {
    match rng.below(3) {
        0 => answer.body.truncate(answer.body.len() / 2),
        1 => answer.body = b"<html>please sign in</html>".to_vec(),
        _ => answer.body = b"{\"vm_uuid\": {}}".to_vec(),
    }
    answer
}

/// When a call on its way arrives next.
pub fn next_late(cloud: &Cloud) -> Option<Time> {
    cloud.late.iter().map(|late| late.at).min()
}
