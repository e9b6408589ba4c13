//! Calm: faults are over, owners approve what is wanted, people answer what they are asked, and
//! everything must come to its end.

use alloy::primitives::{Address, B256};
use chrono::TimeDelta;
use countersign::{request::ids::RequestId, review, store::journal::Actor};
use uuid::Uuid;

use crate::{
    cloud::wire::next_late,
    director::{Director, Task},
    laws::{Broken, made_by},
    world::paper_chain::{Change, Tx, app::Action, lock},
};

/// Rounds of calm in which everything must have come to its end.
const CALM_ROUNDS: usize = 300;
/// Blocks of calm that come one after another, and how seldom they come later.
const CALM_BLOCKS: usize = 5;
const CALM_PAUSE: TimeDelta = TimeDelta::seconds(9);
/// Steps of work in one round of calm.
const CALM_STEPS: usize = 12;
impl Director<'_> {
    /// Faults end, there is room, the owner approves everything, and time moves on.
    pub async fn calm(&mut self) {
        self.is_stormy = false;
        for endpoint in &self.outside.endpoints {
            endpoint.set(None);
            endpoint.tamper(None);
        }
        {
            let mut cloud = lock(&self.outside.cloud);
            cloud.storm = 0;
            cloud.full_until = None;
        }
        self.outside.stage.note(|| "calm".into());
        self.resume(true).await;
        for round in 0..CALM_ROUNDS {
            if self.calm_round(round).await {
                return;
            }
        }
        for (id, status, reason) in self.open().await {
            let text = format!("request {id} stays {status}: {reason}");
            self.broken.push(Broken::new("I8", text));
        }
    }

    /// The requests that have not come to their end, and why.
    async fn open(&mut self) -> Vec<(Uuid, String, String)> {
        sqlx::query_as(
            "select id, status, concat_ws(', ', reason, attention) from requests
             where ended_as is null and running_at is null",
        )
        .fetch_all(&mut *self.sql)
        .await
        .expect("the database answers")
    }

    /// One round of calm; whether everything has come to its end.
    async fn calm_round(&mut self, round: usize) -> bool {
        while let Some(place) = self.desk.iter().position(|desk| !desk.is_done) {
            self.perform(place % self.instances(), Task::Submit(place)).await;
        }
        self.answer_what_is_asked().await;
        let missing = self.missing().await;
        if !missing.is_empty() || round <= CALM_BLOCKS || round.is_multiple_of(CALM_BLOCKS) {
            self.outside.truth.change(Change::Mine(missing));
            let leader = self.readers.iter().position(Option::is_some).unwrap_or(0);
            self.perform(leader, Task::Follow).await;
        }
        for _ in 0..CALM_STEPS {
            if !self.perform(round % self.instances(), Task::Work).await {
                break;
            }
        }
        let now = self.outside.time.now();
        let late = next_late(&lock(&self.outside.cloud));
        if late.is_none() && self.open().await.is_empty() {
            return true;
        }
        let next = self.next_due().await.into_iter().chain(late).min().unwrap_or(now);
        // Looking every two seconds would show the same. Clocks may be behind.
        let pause = (next - now).clamp(CALM_PAUSE, TimeDelta::hours(1));
        self.pass(pause + TimeDelta::seconds(1));
        false
    }

    /// What the owners have not approved of what is wanted.
    async fn missing(&mut self) -> Vec<Tx> {
        let wanted: Vec<[Vec<u8>; 3]> = self.wanted().await;
        let mut txs = vec![];
        for [app, compose, device] in wanted {
            let app = Address::from_slice(&app);
            let (compose, device) = (B256::from_slice(&compose), B256::from_slice(&device));
            if !self.outside.truth.allows_now(app, compose, device) {
                txs.push(self.tx(app, Action::AddComposeHash(compose)));
                txs.push(self.tx(app, Action::AddDevice(device)));
            }
        }
        txs
    }

    async fn wanted(&mut self) -> Vec<[Vec<u8>; 3]> {
        let rows: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "select app, compose_hash, device_id from requests
             where ended_as is null and committed_at is null order by created_at, id",
        )
        .fetch_all(&mut *self.sql)
        .await
        .expect("the database answers");
        rows.into_iter().map(|(app, compose, device)| [app, compose, device]).collect()
    }

    /// A person says how a commit ended that nobody else can tell.
    async fn answer_what_is_asked(&mut self) {
        let asked: Vec<Uuid> = sqlx::query_scalar(
            "select id from requests where status = 'committing' and attention is not null
             order by created_at, id",
        )
        .fetch_all(&mut *self.sql)
        .await
        .expect("the database answers");
        for id in asked {
            let owners = self.owners_of_tokens().await;
            let ours = made_by(&lock(&self.outside.cloud), &owners, RequestId(id))
                .first()
                .map(|made| made.id.parse().expect("it is an id"));
            // What was to happen to the activity before does not happen to a person.
            self.outside.stage.reenter(0);
            self.outside.stage.count("commits settled by a person");
            let service = self.outside.service(&self.bodies[0], &self.clocks[0]);
            let (cloud, now) = (&service.cloud, self.outside.time.now());
            let actor = Actor::wallet("person");
            let id = RequestId(id);
            let settled =
                review::settle(self.store, cloud, id, ours, "looked it up", &actor, now).await;
            if let Err(error) = settled {
                self.errors.push(error.to_string());
            }
        }
    }
}
