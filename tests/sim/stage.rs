//! Where the director meets what is going on: every statement and every call passes a gate here,
//! and is let through, stopped, put off or spoiled as the seed has it.
//!
//! One activity runs at a time. What happens to it is drawn when it starts: at which of its gates,
//! and what. So a gate costs nothing when nothing happens there, and a run repeats exactly.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::{rng::Rng, tally::Tally};

/// Gates of one activity among which something may happen.
const GATES: usize = 45;

/// Something that an activity wants to do to the outside world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Sends a statement to the database.
    Statement { in_transaction: bool, is_commit: bool },
    /// Sends a call to Phala Cloud.
    Call,
    /// Gets the answer to one.
    Answer,
}

/// What happens at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// The task ends before it does that.
    CrashBefore,
    /// The task ends after it did that, and never learns so.
    CrashAfter,
    /// The whole instance ends there.
    InstanceCrash,
    InstanceCrashAfter,
    /// Nothing moves on in this task for a while.
    Pause,
    /// The database answers that it would not.
    Serialization,
    /// The database restarts.
    Restart,
    /// The connection breaks after the statement took effect.
    AnswerLost,
}

const PLANS: [(usize, Plan); 8] = [
    (3, Plan::CrashBefore),
    (3, Plan::CrashAfter),
    (1, Plan::InstanceCrash),
    (1, Plan::InstanceCrashAfter),
    (5, Plan::Pause),
    (3, Plan::Serialization),
    (1, Plan::Restart),
    (2, Plan::AnswerLost),
];

impl Plan {
    fn name(self) -> &'static str {
        match self {
            Self::CrashBefore => "fault task dropped before a step outside",
            Self::CrashAfter => "fault task dropped after a step outside",
            Self::InstanceCrash => "fault instance crashed before a step outside",
            Self::InstanceCrashAfter => "fault instance crashed after a step outside",
            Self::Pause => "fault task paused",
            Self::Serialization => "fault serialization failure",
            Self::Restart => "fault database restarted",
            Self::AnswerLost => "fault answer of the database lost",
        }
    }

    fn fits(self, gate: Gate) -> bool {
        match self {
            // A paused task must hold no locks: in the world a database ends such a session.
            Self::Pause => !matches!(gate, Gate::Statement { in_transaction: true, .. }),
            Self::Serialization | Self::Restart | Self::AnswerLost => {
                matches!(gate, Gate::Statement { .. })
            }
            _ => true,
        }
    }
}

/// What whoever waits at a gate is to do.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// Wait for ever: the task is dropped.
    Stop,
    /// Do it, then say [`Stage::crashed`] and wait for ever.
    DoAndStop {
        whole: bool,
    },
    /// Wait until told.
    Wait(oneshot::Receiver<()>),
    Refuse,
    /// Wait until the connection is cut.
    Cut,
    DoAndCut,
}

/// What the director is told.
#[derive(Debug)]
pub enum Told {
    Crashed { whole: bool },
    Paused(oneshot::Sender<()>),
    Restart,
}

pub struct Stage {
    inner: Mutex<Inner>,
    /// A connection changed.
    pub moved: Notify,
}

struct Inner {
    rng: Rng,
    tally: Tally,
    plan: Option<(usize, Plan)>,
    passed: usize,
    moves: u64,
    /// Whose turn it is.
    actor: u64,
    told: mpsc::UnboundedSender<Told>,
    /// What happened, in one number: two runs of a seed must come to the same.
    trace: u64,
    log: Option<Vec<String>>,
}

impl Stage {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Told>) {
        let (told, hears) = mpsc::unbounded_channel();
        let (rng, tally) = (Rng::of(0), Tally::default());
        let inner = Inner {
            rng,
            tally,
            plan: None,
            passed: 0,
            moves: 0,
            actor: 0,
            told,
            trace: 0,
            log: None,
        };
        (Self { inner: Mutex::new(inner), moved: Notify::new() }, hears)
    }

    /// Begins another run; with `is_told` it is written down.
    pub fn begin(&self, rng: Rng, is_told: bool) {
        let mut inner = self.inner();
        inner.rng = rng;
        inner.tally = Tally::default();
        inner.plan = None;
        inner.actor = 0;
        inner.trace = 0;
        inner.log = is_told.then(Vec::new);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the stage to an activity; something happens to it in so many of a hundred cases.
    pub fn enter(&self, actor: u64, chance: usize) {
        let mut inner = self.inner();
        inner.actor = actor;
        inner.passed = 0;
        inner.plan = None;
        if inner.rng.percent(chance) {
            let what = inner.rng.weighted(&PLANS);
            // The first gates are where every activity comes by.
            let gates = inner.rng.pick(&[4, 12, GATES]);
            let at = inner.rng.below(gates);
            inner.plan = Some((at, what));
        }
    }

    /// Gives the stage back to an activity that was put off.
    pub fn reenter(&self, actor: u64) {
        let mut inner = self.inner();
        inner.actor = actor;
        inner.plan = None;
    }

    pub fn actor(&self) -> u64 {
        self.inner().actor
    }

    /// Gates that were ever passed.
    pub fn moves(&self) -> u64 {
        self.inner().moves
    }

    pub fn count(&self, what: &'static str) {
        self.inner().tally.count(what);
    }

    pub fn tally(&self) -> Tally {
        self.inner().tally.clone()
    }

    pub fn trace(&self) -> u64 {
        self.inner().trace
    }

    /// Draws for what is decided inside of an activity.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.inner().rng)
    }

    /// Notes what happened, for the trace and for whoever reads it.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let mut inner = self.inner();
        if inner.log.is_some() {
            let actor = inner.actor;
            let line = format!("[{actor}] {}", what());
            inner.log.as_mut().expect("it is there").push(line);
        }
    }

    pub fn log(&self) -> Vec<String> {
        self.inner().log.clone().unwrap_or_default()
    }

    /// Takes something into the trace.
    pub fn mark(&self, what: &[u8]) {
        let mut inner = self.inner();
        for byte in what {
            inner.trace = (inner.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Asks what happens at a gate.
    pub fn pass(&self, gate: Gate) -> Verdict {
        let mut inner = self.inner();
        let here = inner.passed;
        inner.passed += 1;
        inner.moves += 1;
        let Some((at, plan)) = inner.plan else { return Verdict::Go };
        if here < at || !plan.fits(gate) {
            return Verdict::Go;
        }
        inner.plan = None;
        inner.tally.count(plan.name());
        if plan == Plan::AnswerLost && matches!(gate, Gate::Statement { is_commit: true, .. }) {
            inner.tally.count("fault answer of a COMMIT lost");
        }
        if plan == Plan::Serialization && matches!(gate, Gate::Statement { is_commit: true, .. }) {
            inner.tally.count("fault COMMIT refused");
        }
        if let Some(log) = &mut inner.log {
            log.push(format!("    {} at gate {here} {gate:?}", plan.name()));
        }
        match plan {
            Plan::CrashBefore | Plan::InstanceCrash => {
                let whole = plan == Plan::InstanceCrash;
                drop(inner.told.send(Told::Crashed { whole }));
                Verdict::Stop
            }
            Plan::CrashAfter => Verdict::DoAndStop { whole: false },
            Plan::InstanceCrashAfter => Verdict::DoAndStop { whole: true },
            Plan::Pause => {
                let (resume, waits) = oneshot::channel();
                drop(inner.told.send(Told::Paused(resume)));
                Verdict::Wait(waits)
            }
            Plan::Serialization => Verdict::Refuse,
            Plan::Restart => {
                drop(inner.told.send(Told::Restart));
                Verdict::Cut
            }
            Plan::AnswerLost => Verdict::DoAndCut,
        }
    }

    /// What was to be done before a crash is done.
    pub fn crashed(&self, whole: bool) {
        drop(self.inner().told.send(Told::Crashed { whole }));
    }

    /// A gate on the way to Phala Cloud.
    pub async fn cross(&self, gate: Gate) {
        match self.pass(gate) {
            Verdict::Go | Verdict::Refuse | Verdict::Cut | Verdict::DoAndCut => {}
            Verdict::Stop => std::future::pending::<()>().await,
            Verdict::DoAndStop { whole } => {
                self.crashed(whole);
                std::future::pending::<()>().await;
            }
            Verdict::Wait(waits) => drop(waits.await),
        }
    }
}
