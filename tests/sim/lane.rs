//! Runs seeds one after another, each in a world of its own, on a database that is emptied between.

use std::{
    any::Any,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    config::{Overrides, Settings},
    notify::Webhooks,
    store::Store,
};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tokio::sync::mpsc;

use crate::{
    clock::SimTime,
    cloud::Cloud,
    director::Director,
    instance::{Body, Outside},
    laws::Broken,
    lines::Sessions,
    rng::Rng,
    scene::{SETTLE_SECONDS, Scene},
    stage::{Stage, Told},
    tally::Tally,
    truth::Truth,
    world::{
        paper_chain::{Endpoint, lock},
        postgres::database,
    },
};

/// The most instances that a seed has.
const BODIES: usize = 3;

/// What became of a seed.
pub struct Report {
    pub seed: u64,
    pub broken: Vec<Broken>,
    pub tally: Tally,
    /// The same for every run of the seed.
    pub trace: u64,
    /// What happened, when that was asked for.
    pub story: Vec<String>,
}

impl Report {
    /// Of a seed that did not come to its end.
    pub fn of_panic(seed: u64, panic: &(dyn Any + Send)) -> Self {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        let broken = vec![Broken::new("it comes to its end", said)];
        Self { seed, broken, tally: Tally::default(), trace: 0, story: vec![] }
    }
}

pub struct Lane {
    bodies: Vec<Body>,
    stage: Arc<Stage>,
    told: mpsc::UnboundedReceiver<Told>,
    /// Past all faults.
    store: Store,
    sql: PgConnection,
    empty: String,
    webhooks: Webhooks,
    settings: Settings,
    logged: Logged,
}

/// What the service logged.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    pub fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *lock(&self.0))).into_owned()
    }
}

impl Lane {
    pub async fn open(logged: Logged) -> Self {
        let database = database().await;
        let options = database.options();
        let sessions = Sessions::of(options.get_socket().expect("it listens on a socket"));
        let (stage, told) = Stage::new();
        let stage = Arc::new(stage);
        let mut bodies = vec![];
        for _ in 0..BODIES {
            bodies.push(Body::open(options.clone(), &sessions, &stage).await);
        }
        let store = Store::open(options.clone()).await.expect("the database opens");
        let mut sql = options.connect().await.expect("the database is there");
        let tables: Vec<String> = sqlx::query_scalar(
            "select tablename::text from pg_tables
             where schemaname = 'public' and tablename not like '\\_sqlx%'",
        )
        .fetch_all(&mut sql)
        .await
        .expect("the database answers");
        sqlx::raw_sql("alter table requests set (autovacuum_enabled = false)")
            .execute(&mut sql)
            .await
            .expect("the table is packed by us alone");
        let deletes: Vec<String> =
            tables.iter().map(|table| format!("delete from {table}")).collect();
        // Without its triggers: the journal refuses to be emptied.
        let empty = format!(
            "set session_replication_role = replica; {}; set session_replication_role = origin",
            deletes.join("; ")
        );
        let mut settings = Settings::read("", Overrides::default()).expect("defaults are settings");
        settings.phala_api_prefix = "http://cloud.test/api/v1".parse().expect("it is a URL");
        settings.settle = Duration::from_secs(SETTLE_SECONDS.unsigned_abs());
        let webhooks = Webhooks::new(vec![]).expect("a client is made");
        Self { bodies, stage, told, store, sql, empty, webhooks, settings, logged }
    }

    /// Runs one seed.
    pub async fn run(&mut self, seed: u64, is_told: bool) -> Report {
        let empty = sqlx::raw_sql(AssertSqlSafe(self.empty.clone()));
        empty.execute(&mut self.sql).await.expect("the tables are emptied");
        // Of requests that are due at the same moment the first one on disk is taken, so what
        // earlier seeds left behind must not matter.
        let vacuum = sqlx::raw_sql("vacuum requests");
        vacuum.execute(&mut self.sql).await.expect("the table is packed");
        self.logged.take();
        let mut rng = Rng::of(seed);
        let scene = Scene::draw(&mut rng);
        self.stage.begin(rng.fork(), is_told);
        self.stage.note(|| format!("{scene:?}"));
        let truth = Truth::new(usize::try_from(scene.depth).expect("it is small"), scene.lag);
        let endpoints = (0..scene.endpoints as u64)
            .map(|number| Endpoint::of(truth.paper(), crate::cloud::answers::CHAIN, number))
            .collect();
        let cloud = Cloud::new(
            scene.switches.clone(),
            scene.sources.clone(),
            scene.nodes.clone(),
            rng.fork(),
        );
        let mut settings = self.settings.clone();
        settings.chains = vec![scene.chain()];
        let outside = Outside {
            scene: Arc::new(scene),
            stage: Arc::clone(&self.stage),
            time: SimTime::new(),
            truth: Arc::new(truth),
            cloud: Arc::new(Mutex::new(cloud)),
            endpoints,
            webhooks: self.webhooks.clone(),
            settings,
        };
        let (sql, hears) = (&mut self.sql, &mut self.told);
        let mut director = Director::new(outside, &self.bodies, &self.store, sql, hears, rng);
        director.play().await;
        director.check(&self.logged.take()).await;
        director.leave().await;
        let broken = std::mem::take(&mut director.broken);
        let (tally, trace, story) = (self.stage.tally(), self.stage.trace(), self.stage.log());
        Report { seed, broken, tally, trace, story }
    }
}
