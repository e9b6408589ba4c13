//! The connections of one instance to the database, each with a gate in it.
//!
//! The pool of the instance connects to a socket here. Behind it stands a real session of the real
//! server. When a connection is cut, its session is rolled back and emptied before anything else
//! moves on, as the server does when a client is gone; then it serves another connection, because
//! a new one costs milliseconds.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::{
    frames::{Batch, Known, Side, query, ready, refusal},
    stage::{Gate, Stage, Verdict},
};

/// Nothing here takes longer, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const SOCKET: &str = ".s.PGSQL.5432";
const SERIALIZATION_FAILURE: &str = "40001";
/// So much of a statement tells it from others.
const MARKED: usize = 24;
const IDLE: u8 = b'I';
const FAILED: u8 = b'E';

/// A session of the server, and what it said when it began.
struct Session {
    server: Side,
    greeting: Vec<u8>,
}

/// Sessions that serve nobody.
#[derive(Clone)]
pub struct Sessions {
    socket: PathBuf,
    free: Arc<Mutex<Vec<Session>>>,
}

impl Sessions {
    pub fn of(folder: &Path) -> Self {
        Self { socket: folder.join(SOCKET), free: Arc::default() }
    }

    async fn take(&self, startup: &[u8]) -> io::Result<Session> {
        if let Some(session) = lock(&self.free).pop() {
            return Ok(session);
        }
        let mut server = Side::new(UnixStream::connect(&self.socket).await?);
        server.send(startup).await?;
        let (greeting, _) = server.answer().await?;
        Ok(Session { server, greeting })
    }

    /// Ends whatever the session was in the middle of.
    async fn put_back(&self, mut session: Session) -> io::Result<()> {
        for statement in ["ROLLBACK", "DISCARD ALL"] {
            session.server.send(&query(statement)).await?;
            session.server.answer().await?;
        }
        lock(&self.free).push(session);
        Ok(())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Line {
    cut: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Who sent a statement over it last.
    actor: u64,
    is_busy: bool,
    /// Somebody waits at its gate until another time.
    is_parked: bool,
    /// It breaks as soon as it is used.
    is_doomed: bool,
    transaction: u8,
}

/// All connections of an instance.
pub struct Lines {
    folder: TempDir,
    open: Arc<Mutex<Vec<Arc<Line>>>>,
    stage: Arc<Stage>,
}

impl Lines {
    pub fn open(sessions: &Sessions, stage: &Arc<Stage>) -> Self {
        let folder = tempfile::Builder::new().prefix("sim-").tempdir().expect("a folder is made");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("a socket is bound");
        let lines = Arc::<Mutex<Vec<Arc<Line>>>>::default();
        let this = Self { folder, open: Arc::clone(&lines), stage: Arc::clone(stage) };
        let (sessions, stage) = (sessions.clone(), Arc::clone(stage));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let line = Arc::new(Line::new(stage.actor()));
                lock(&lines).push(Arc::clone(&line));
                tokio::spawn(carry(client, line, sessions.clone(), lines.clone(), stage.clone()));
            }
        });
        this
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Cuts the connections that these last used, and waits until the server has let go of them.
    pub async fn cut(&self, is_meant: impl Fn(u64) -> bool) {
        let meant = |line: &Arc<Line>| is_meant(lock(&line.state).actor);
        let cut: Vec<_> = lock(&self.open).iter().filter(|line| meant(line)).cloned().collect();
        for line in &cut {
            line.cut.cancel();
        }
        let is_there = |line: &Arc<Line>| cut.iter().any(|one| Arc::ptr_eq(one, line));
        self.until(|| !lock(&self.open).iter().any(is_there)).await;
    }

    /// Cuts all connections, as a restart of the server does. Whoever waits at a gate finds out
    /// when he goes on.
    pub async fn restart(&self) {
        for line in lock(&self.open).iter() {
            let mut state = lock(&line.state);
            if state.is_parked {
                state.is_doomed = true;
            } else {
                line.cut.cancel();
            }
        }
        let is_cut = |line: &Arc<Line>| line.cut.is_cancelled();
        self.until(|| !lock(&self.open).iter().any(is_cut)).await;
    }

    /// Waits until nothing is under way and no transaction is open.
    pub async fn settle(&self) {
        let is_settled = |line: &Arc<Line>| {
            let state = lock(&line.state);
            state.is_parked || (!state.is_busy && state.transaction == IDLE)
        };
        self.until(|| lock(&self.open).iter().all(is_settled)).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                self.stage.moved.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let states: Vec<_> =
                lock(&self.open).iter().map(|line| format!("{:?}", lock(&line.state))).collect();
            panic!("the connections of an instance do not come to rest: {states:?}");
        }
    }
}

impl Line {
    fn new(actor: u64) -> Self {
        let (is_busy, is_parked, is_doomed) = (true, false, false);
        let state = State { actor, is_busy, is_parked, is_doomed, transaction: IDLE };
        Self { cut: CancellationToken::new(), state: Mutex::new(state) }
    }
}

/// Serves one connection to its end.
async fn carry(
    client: UnixStream,
    line: Arc<Line>,
    sessions: Sessions,
    lines: Arc<Mutex<Vec<Arc<Line>>>>,
    stage: Arc<Stage>,
) {
    let mut client = Side::new(client);
    let session = async {
        let startup = client.startup().await?;
        let session = sessions.take(&startup).await?;
        client.send(&session.greeting).await?;
        io::Result::Ok(session)
    };
    if let Ok(mut session) = session.await {
        lock(&line.state).is_busy = false;
        stage.moved.notify_one();
        let mut known = Known::default();
        while let Some(batch) = next(&mut client, &mut known, &line).await {
            lock(&line.state).is_busy = true;
            let goes_on = turn(&mut client, &mut session, &batch, &line, &stage).await;
            lock(&line.state).is_busy = false;
            stage.moved.notify_one();
            if !matches!(goes_on, Ok(true)) {
                break;
            }
        }
        drop(client);
        drop(sessions.put_back(session).await);
    }
    lock(&lines).retain(|one| !Arc::ptr_eq(one, &line));
    stage.moved.notify_one();
}

/// What the client wants next; none when it is gone or cut off.
async fn next(client: &mut Side, known: &mut Known, line: &Line) -> Option<Batch> {
    tokio::select! {
        biased;
        () = line.cut.cancelled() => None,
        batch = client.batch(known) => batch.ok().filter(|batch| !batch.is_end),
    }
}

/// Carries one batch there and its answer back; whether the connection goes on.
async fn turn(
    client: &mut Side,
    session: &mut Session,
    batch: &Batch,
    line: &Line,
    stage: &Stage,
) -> io::Result<bool> {
    let transaction = lock(&line.state).transaction;
    if batch.is_ping() {
        client.send(&ready(transaction)).await?;
        return Ok(true);
    }
    let verdict = match &batch.executes {
        // What ends a transaction that failed cannot fail itself.
        Some(_) if batch.is_rollback() => Verdict::Go,
        Some(sql) => {
            lock(&line.state).actor = stage.actor();
            stage.mark(&sql.as_bytes()[..sql.len().min(MARKED)]);
            stage.note(|| sql.split_whitespace().take(12).collect::<Vec<_>>().join(" "));
            stage.count("statements");
            let in_transaction = transaction != IDLE;
            stage.pass(Gate::Statement { in_transaction, is_commit: batch.is_commit() })
        }
        None => Verdict::Go,
    };
    match verdict {
        Verdict::Go => {}
        Verdict::Wait(resume) => {
            lock(&line.state).is_parked = true;
            tokio::select! {
                () = line.cut.cancelled() => return Ok(false),
                _ = resume => {}
            }
            let mut now = lock(&line.state);
            now.is_parked = false;
            now.actor = stage.actor();
            if now.is_doomed {
                return Ok(false);
            }
        }
        Verdict::Stop | Verdict::Cut => {
            line.cut.cancelled().await;
            return Ok(false);
        }
        Verdict::Refuse => {
            if batch.is_commit() {
                // The server refused it, so nothing of it is there.
                session.server.send(&query("ROLLBACK")).await?;
                session.server.answer().await?;
                lock(&line.state).transaction = IDLE;
            } else if transaction != IDLE {
                lock(&line.state).transaction = FAILED;
            }
            let left = lock(&line.state).transaction;
            client.send(&refusal(SERIALIZATION_FAILURE, left)).await?;
            return Ok(true);
        }
        Verdict::DoAndStop { .. } | Verdict::DoAndCut => {
            send(session, batch, line).await?;
            if let Verdict::DoAndStop { whole } = verdict {
                stage.crashed(whole);
                line.cut.cancelled().await;
            }
            return Ok(false);
        }
    }
    let answer = send(session, batch, line).await?;
    client.send(&answer).await?;
    Ok(true)
}

async fn send(session: &mut Session, batch: &Batch, line: &Line) -> io::Result<Vec<u8>> {
    session.server.send(&batch.bytes).await?;
    let (answer, state) = session.server.answer().await?;
    lock(&line.state).transaction = state;
    Ok(answer)
}
