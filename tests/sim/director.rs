//! Lets one activity at a time have the stage, and does to it what its gates say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use alloy::primitives::B256;
use chrono::TimeDelta;
use countersign::{
    clock::Time,
    flow::{Service, Wake},
    request::ids::ChainId,
    store::Store,
};
use sqlx::PgConnection;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::{
    clock::SkewedClock,
    cloud::answers::CHAIN,
    instance::{Body, Hand, Outcome, Outside, Reader, follow, handle, remind, submit, work},
    laws::Broken,
    rng::Rng,
    scene::Content,
    stage::Told,
    world::paper_chain::lock,
};

/// No activity takes longer in the machine's time, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Turns of the runtime in which nothing moves when everything waits.
const QUIET: usize = 16;

/// What an instance is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Work,
    Follow,
    Submit(usize),
    Remind,
    Handle(Uuid, Hand),
}

/// Something under way.
struct Activity {
    id: u64,
    at: usize,
    task: Task,
    handle: JoinHandle<Outcome>,
    /// The request it works on, and by which lease, once that is known.
    lease: Option<(Uuid, Uuid)>,
    resume: Option<oneshot::Sender<()>>,
    until: Time,
}

/// A preparation that a person wants to hand in.
#[derive(Debug, Clone)]
pub struct Desk {
    pub content: Content,
    pub device: B256,
    pub body: serde_json::Value,
    pub id: Uuid,
    pub is_done: bool,
}

pub struct Director<'a> {
    pub outside: Outside,
    pub bodies: &'a [Body],
    /// Past all faults.
    pub store: &'a Store,
    pub sql: &'a mut PgConnection,
    pub told: &'a mut mpsc::UnboundedReceiver<Told>,
    pub rng: Rng,
    pub clocks: Vec<SkewedClock>,
    pub readers: Vec<Option<Box<Reader>>>,
    /// What the follower of each instance has left to its workers.
    wakes: Vec<Arc<Wake>>,
    pub desk: Vec<Desk>,
    pub broken: Vec<Broken>,
    pub errors: Vec<String>,
    /// Requests that a person asked to be withdrawn, and after how many commits that was done.
    pub withdrawn: BTreeMap<Uuid, Option<usize>>,
    /// Whether faults may still happen.
    pub is_stormy: bool,
    paused: Vec<Activity>,
    seen_leases: BTreeSet<Uuid>,
    next_id: u64,
}

pub fn chain_id() -> ChainId {
    ChainId::new(CHAIN).expect("it is small")
}

impl<'a> Director<'a> {
    pub fn new(
        outside: Outside,
        bodies: &'a [Body],
        store: &'a Store,
        sql: &'a mut PgConnection,
        told: &'a mut mpsc::UnboundedReceiver<Told>,
        rng: Rng,
    ) -> Self {
        let count = outside.scene.instances;
        let clocks = (0..count).map(|_| SkewedClock::new(&outside.time)).collect();
        Self {
            outside,
            bodies,
            store,
            sql,
            told,
            rng,
            clocks,
            readers: (0..count).map(|_| None).collect(),
            wakes: (0..count).map(|_| Arc::default()).collect(),
            desk: vec![],
            broken: vec![],
            errors: vec![],
            withdrawn: BTreeMap::new(),
            is_stormy: true,
            paused: vec![],
            seen_leases: BTreeSet::new(),
            next_id: 1,
        }
    }

    pub fn instances(&self) -> usize {
        self.clocks.len()
    }

    /// Whether the instance has a follower that is put off.
    fn follows_later(&self, at: usize) -> bool {
        self.paused.iter().any(|one| one.at == at && one.task == Task::Follow)
    }

    /// Lets an instance do something. Returns whether there was something to do.
    pub async fn perform(&mut self, at: usize, task: Task) -> bool {
        if task == Task::Follow && (self.follows_later(at) || !self.lead(at).await) {
            return false;
        }
        let id = self.next_id;
        self.next_id += 1;
        let chance = if self.is_stormy { self.outside.scene.chance } else { 0 };
        self.outside.stage.enter(id, chance);
        self.outside.stage.note(|| format!("instance {at}: {task:?}"));
        self.outside.truth.begins(id);
        let service = self.outside.service(&self.bodies[at], &self.clocks[at]);
        let service = Service { wake: Arc::clone(&self.wakes[at]), ..service };
        let handle = match task {
            Task::Work => tokio::spawn(work(service)),
            Task::Follow => {
                let reader = self.readers[at].take().expect("it has the lead");
                tokio::spawn(follow(service, chain_id(), reader))
            }
            Task::Submit(place) => {
                let desk = &self.desk[place];
                tokio::spawn(submit(service, chain_id(), place, desk.body.clone(), desk.id))
            }
            Task::Remind => tokio::spawn(remind(service)),
            Task::Handle(request, hand) => {
                if hand == Hand::Withdraw {
                    self.withdrawn.entry(request).or_default();
                }
                tokio::spawn(handle(service, request, hand))
            }
        };
        let until = self.outside.time.now();
        self.watch(Activity { id, at, task, handle, lease: None, resume: None, until }).await
    }

    /// Takes the lead on the chain, unless another instance has it.
    async fn lead(&mut self, at: usize) -> bool {
        if self.readers[at].is_none() {
            self.outside.stage.enter(0, 0);
            let lead = self.bodies[at].store.lead(chain_id()).await;
            self.bodies[at].lines.settle().await;
            match lead {
                Ok(Some(lead)) => self.readers[at] = Some(Box::new(Reader::new(lead))),
                Ok(None) => {}
                Err(error) => self.errors.push(error.to_string()),
            }
        }
        self.readers[at].is_some()
    }

    /// Follows an activity until it ends or is put off.
    async fn watch(&mut self, mut activity: Activity) -> bool {
        // One that failed after its claim has left a lease that is not this one's.
        self.note_leases().await;
        loop {
            let step = tokio::time::timeout(PATIENCE, async {
                tokio::select! {
                    biased;
                    told = self.told.recv() => Ok(told.expect("the stage stays")),
                    done = &mut activity.handle => Err(done),
                }
            });
            let Ok(step) = step.await else {
                self.broken.push(Broken::new("I9", format!("{:?} hangs", activity.task)));
                activity.handle.abort();
                return false;
            };
            match step {
                Ok(Told::Restart) => {
                    for body in self.bodies {
                        body.lines.restart().await;
                    }
                }
                Ok(Told::Paused(resume)) => {
                    self.come_to_rest().await;
                    self.put_off(activity, resume).await;
                    return true;
                }
                Ok(Told::Crashed { whole }) => {
                    let (at, id) = (activity.at, activity.id);
                    let followed = activity.task == Task::Follow;
                    activity.handle.abort();
                    drop(activity.handle.await);
                    let lines = &self.bodies[at].lines;
                    lines.cut(|actor| actor == id || (followed && actor == 0)).await;
                    if whole {
                        self.crash(at).await;
                    }
                    self.settle().await;
                    self.note_leases().await;
                    return true;
                }
                Err(Ok(outcome)) => {
                    self.settle().await;
                    return self.done(activity.at, outcome);
                }
                Err(Err(error)) => {
                    self.broken.push(Broken::new("I9", format!("{:?}: {error}", activity.task)));
                    self.settle().await;
                    return true;
                }
            }
        }
    }

    async fn settle(&self) {
        for body in self.bodies {
            body.lines.settle().await;
        }
    }

    /// Waits until the task has done what it does beside that at which it was stopped.
    async fn come_to_rest(&self) {
        loop {
            let moves = self.outside.stage.moves();
            for _ in 0..QUIET {
                tokio::task::yield_now().await;
            }
            self.settle().await;
            if self.outside.stage.moves() == moves {
                return;
            }
        }
    }

    fn done(&mut self, at: usize, outcome: Outcome) -> bool {
        if let Some(error) = outcome.error() {
            self.outside.stage.note(|| format!("failed: {error}"));
            self.errors.push(error.to_owned());
        }
        match outcome {
            Outcome::Worked(worked) => worked.unwrap_or(true),
            Outcome::Followed(reader, _) => {
                self.readers[at] = reader;
                true
            }
            Outcome::Submitted(place, settled) => {
                self.desk[place].is_done |= settled.is_ok();
                true
            }
            Outcome::Handled(request, Hand::Withdraw, Ok(true)) => {
                let commits = lock(&self.outside.cloud).commits.len();
                self.withdrawn.insert(request, Some(commits));
                true
            }
            Outcome::Reminded(_) | Outcome::Handled(..) => true,
        }
    }

    async fn put_off(&mut self, mut activity: Activity, resume: oneshot::Sender<()>) {
        let seconds = self.rng.pick(&[5, 40, 130, 200, 900]);
        activity.until = self.outside.time.now() + TimeDelta::seconds(seconds);
        activity.resume = Some(resume);
        let fresh = self.note_leases().await;
        if activity.task == Task::Work && activity.lease.is_none() {
            activity.lease = fresh;
        }
        self.paused.push(activity);
    }

    /// Takes note of leases that were not seen before; the one of them, if there is just one.
    async fn note_leases(&mut self) -> Option<(Uuid, Uuid)> {
        let leases: Vec<(Uuid, Uuid)> =
            sqlx::query_as("select id, lease_token from requests where lease_token is not null")
                .fetch_all(&mut *self.sql)
                .await
                .expect("the database answers");
        let fresh: Vec<_> =
            leases.into_iter().filter(|(_, token)| self.seen_leases.insert(*token)).collect();
        fresh.first().copied().filter(|_| fresh.len() == 1)
    }

    pub fn is_anyone_held_up(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Lets those go on whose time has come, or all.
    pub async fn resume(&mut self, all: bool) {
        let now = self.outside.time.now();
        while let Some(place) = self.paused.iter().position(|one| all || one.until <= now) {
            let mut activity = self.paused.remove(place);
            let fenced = match activity.lease {
                Some((request, token)) => !self.holds(request, token).await,
                None => false,
            };
            let before = self.written().await;
            let id = activity.id;
            self.outside.stage.reenter(id);
            self.outside.stage.note(|| format!("goes on; overtaken: {fenced}"));
            // One that has ended meanwhile does not hear it.
            _ = activity.resume.take().expect("it waits").send(());
            self.watch(activity).await;
            if fenced {
                self.outside.stage.count("overtaken tasks that went on");
                if self.written().await != before {
                    let text = format!("activity {id} wrote although its lease was taken");
                    self.broken.push(Broken::new("fencing", text));
                }
            }
        }
    }

    async fn holds(&mut self, request: Uuid, token: Uuid) -> bool {
        let held: Option<Uuid> =
            sqlx::query_scalar("select lease_token from requests where id = $1")
                .bind(request)
                .fetch_one(&mut *self.sql)
                .await
                .expect("the database answers");
        held == Some(token)
    }

    async fn written(&mut self) -> (i64, i64) {
        sqlx::query_as(
            "select (select count(*) from journal), (select count(*) from commit_attempts)",
        )
        .fetch_one(&mut *self.sql)
        .await
        .expect("the database answers")
    }

    /// Ends an instance with all that it was doing; it is there again at once.
    pub async fn crash(&mut self, at: usize) {
        self.outside.stage.note(|| format!("instance {at} ends"));
        let (gone, stay) =
            std::mem::take(&mut self.paused).into_iter().partition(|one| one.at == at);
        self.paused = stay;
        for activity in gone {
            let Activity { handle, .. } = activity;
            handle.abort();
            drop(handle.await);
        }
        self.readers[at] = None;
        self.wakes[at] = Arc::default();
        self.bodies[at].lines.cut(|_| true).await;
    }

    /// Ends the run: nothing of it stays.
    pub async fn leave(&mut self) {
        for at in 0..self.instances() {
            self.crash_quietly(at).await;
        }
    }

    /// Connections that nobody uses may serve the next run.
    async fn crash_quietly(&mut self, at: usize) {
        let paused = std::mem::take(&mut self.paused);
        for activity in paused {
            activity.handle.abort();
            let (at, id) = (activity.at, activity.id);
            drop(activity.handle.await);
            self.bodies[at].lines.cut(|actor| actor == id).await;
        }
        if let Some(reader) = self.readers[at].take() {
            reader.resign().await;
            self.bodies[at].lines.cut(|actor| actor == 0).await;
        }
        self.bodies[at].lines.settle().await;
    }

    pub async fn next_due(&self) -> Option<Time> {
        self.store.next_due().await.expect("the database answers")
    }
}
