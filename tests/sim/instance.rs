//! One instance of the service: its pool, its clock, its connections, and what it does when it has
//! the stage.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    chain::{Chain, Chains},
    flow::{Service, chain_of},
    intake,
    notify::Webhooks,
    phala::PhalaCloud,
    remind,
    request::ids::{ChainId, RequestId},
    review::{self, ReviewError},
    store::{Store, StoreError, chain::Leadership, intake::Stored, journal::Actor},
    vault::Vault,
    watch::{
        follow::{Follower, Tick},
        history::{History, Progress},
    },
};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use uuid::Uuid;

use crate::{
    clock::{SimTime, SkewedClock},
    cloud::{Cloud, wire::SimWire},
    lines::{Lines, Sessions},
    scene::Scene,
    stage::Stage,
    truth::Truth,
    world::paper_chain::Endpoint,
};

/// The sealing key of every instance.
pub const SEAL_KEY: &str = "5ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea1";
/// Ticks in a row while there is more to read.
const TICKS: usize = 4;

/// What stays from seed to seed, because it is dear to make.
pub struct Body {
    pub store: Store,
    pub lines: Lines,
}

impl Body {
    pub async fn open(options: PgConnectOptions, sessions: &Sessions, stage: &Arc<Stage>) -> Self {
        let lines = Lines::open(sessions, stage);
        let options = options.socket(lines.folder()).ssl_mode(PgSslMode::Disable);
        let store =
            Store::open_trusting(options, Duration::ZERO).await.expect("the database opens");
        Self { store, lines }
    }
}

/// The world that instances live in.
#[derive(Clone)]
pub struct Outside {
    pub scene: Arc<Scene>,
    pub stage: Arc<Stage>,
    pub time: SimTime,
    pub truth: Arc<Truth>,
    pub cloud: Arc<Mutex<Cloud>>,
    pub endpoints: Vec<Endpoint>,
    pub webhooks: Webhooks,
    pub settings: countersign::config::Settings,
}

/// The follower of the chain, and its proof that it is the only one.
pub struct Reader {
    lead: Leadership,
    follower: Follower,
    history: History,
}

impl Reader {
    pub fn new(lead: Leadership) -> Self {
        Self { lead, follower: Follower::default(), history: History::default() }
    }

    pub async fn resign(self) {
        self.lead.resign().await;
    }
}

/// How an activity ended.
pub enum Outcome {
    /// Whether something was due.
    Worked(Result<bool, String>),
    /// Still the leader, if so.
    Followed(Option<Box<Reader>>, Result<(), String>),
    Submitted(usize, Result<bool, String>),
    Reminded(Result<(), String>),
    /// Whether what a person asked for was done, and not refused.
    Handled(Uuid, Hand, Result<bool, String>),
}

/// What a person asks for of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    Withdraw,
    Retry,
}

impl Outcome {
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Worked(Err(error))
            | Self::Followed(_, Err(error))
            | Self::Submitted(_, Err(error))
            | Self::Reminded(Err(error))
            | Self::Handled(_, _, Err(error)) => Some(error),
            _ => None,
        }
    }
}

impl Outside {
    /// A service as it starts: nothing remembered, nothing contacted.
    pub fn service(&self, body: &Body, clock: &SkewedClock) -> Service {
        let wire = SimWire {
            stage: Arc::clone(&self.stage),
            cloud: Arc::clone(&self.cloud),
            truth: Arc::clone(&self.truth),
            time: self.time.clone(),
        };
        let key = SecretString::from("an API key");
        let base = self.settings.phala_api_prefix.clone();
        Service {
            store: body.store.clone(),
            chains: Chains::over(vec![self.chain()]),
            cloud: PhalaCloud::new(wire, base, Some(key)),
            can_prepare: true,
            vault: vault(),
            clock: Arc::new(clock.clone()),
            settings: self.settings.clone(),
            webhooks: self.webhooks.clone(),
            mailboxes: vec![],
            wake: Arc::default(),
            relayer: None,
            exposed_secrets: vec![],
            webhook_secrets: vec![],
        }
    }

    /// A chain anew for each activity: what it remembers of its endpoints' health runs by the
    /// machine's clock.
    fn chain(&self) -> Chain {
        let clients = self.endpoints.iter().map(|one| ("paper", one.client())).collect();
        Chain::over(self.scene.chain(), clients)
    }
}

pub fn vault() -> Vault {
    Vault::from_hex(&SEAL_KEY.into()).expect("it is a key")
}

/// Takes one step of whatever is due.
pub async fn work(service: Service) -> Outcome {
    Outcome::Worked(service.work_once().await.map_err(|error| chain_of(&error)))
}

/// Reads on, as the leader does.
pub async fn follow(service: Service, chain: ChainId, mut reader: Box<Reader>) -> Outcome {
    if !reader.lead.holds().await {
        return Outcome::Followed(None, Ok(()));
    }
    let (store, now) = (&service.store, service.clock.now());
    let chain = service.chains.get(chain).expect("it is configured");
    for _ in 0..TICKS {
        let tick = match reader.follower.tick(store, chain, &reader.lead, now).await {
            Ok(tick) => tick,
            Err(error) => return Outcome::Followed(Some(reader), Err(chain_of(&error))),
        };
        service.wake.commit_at_once(reader.follower.take_at_once());
        if tick != Tick::More {
            break;
        }
    }
    for _ in 0..TICKS {
        match reader.history.step(store, chain, &reader.lead, now).await {
            Ok(Progress::More) => {}
            Ok(Progress::Whole) => break,
            Err(error) => return Outcome::Followed(Some(reader), Err(chain_of(&error))),
        }
    }
    Outcome::Followed(Some(reader), Ok(()))
}

/// Takes a preparation in, as the API does; whether it is settled.
pub async fn submit(
    service: Service,
    chain: ChainId,
    place: usize,
    body: Value,
    id: Uuid,
) -> Outcome {
    let now = service.clock.now();
    let Ok(submission) = intake::read(&body, &[chain], now) else {
        // It is refused for good, as when its token died on the person's desk.
        return Outcome::Submitted(place, Ok(false));
    };
    let (store, actor) = (&service.store, Actor::wallet("person"));
    let stored =
        intake::accept(store, &service.vault, RequestId(id), &submission, &actor, now).await;
    let settled = match stored {
        Ok(Stored::Opened(_) | Stored::Renewed(_) | Stored::Known(_)) => Ok(true),
        Ok(Stored::TokenReused(_)) => Ok(false),
        Err(error) => Err(chain_of(&error)),
    };
    Outcome::Submitted(place, settled)
}

/// Does to a request what a person asks for, as the API does.
pub async fn handle(service: Service, id: Uuid, hand: Hand) -> Outcome {
    let (store, now, actor) = (&service.store, service.clock.now(), Actor::wallet("person"));
    let id = RequestId(id);
    let done = match hand {
        Hand::Withdraw => review::withdraw(store, id, "not wanted", &actor, now).await,
        Hand::Retry => review::retry(store, id, "mended", &actor, now).await,
    };
    let done = match done {
        Ok(_) => Ok(true),
        Err(ReviewError::Store(StoreError::Illegal(_) | StoreError::CommitOnItsWay)) => Ok(false),
        Err(error) => Err(chain_of(&error)),
    };
    Outcome::Handled(id.0, hand, done)
}

pub async fn remind(service: Service) -> Outcome {
    let written = remind::tick(&service.store, service.clock.now()).await;
    Outcome::Reminded(written.map(drop).map_err(|error| chain_of(&error)))
}
