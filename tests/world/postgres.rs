//! One throw-away PostgreSQL for the whole test process, one database for each test: a copy of one with all
//! migrations, which takes a fraction of the time that they do.

use std::sync::atomic::{AtomicU32, Ordering};

use countersign::store::{
    Store,
    managed::{Keep, ManagedPostgres},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

static SERVER: OnceCell<ManagedPostgres> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);
/// What the others are copies of.
const MIGRATED: &str = "migrated";

/// A fresh database with all tables, and nothing in them.
pub struct Database {
    name: String,
    server: &'static ManagedPostgres,
}

impl Database {
    pub fn options(&self) -> PgConnectOptions {
        self.server.options(&self.name)
    }

    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub async fn connect(&self) -> PgConnection {
        self.options().connect().await.expect("the database is there")
    }

    /// Runs a statement behind the service's back.
    pub async fn execute(&self, statement: &'static str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("the statement runs");
        connection.close().await.expect("the connection ends");
    }

    /// The one text that a statement gives.
    pub async fn text(&self, statement: &'static str) -> String {
        let mut connection = self.connect().await;
        let text = sqlx::query_scalar(statement).fetch_one(&mut connection).await;
        connection.close().await.expect("the connection ends");
        text.expect("the statement gives one text")
    }
}

/// Makes a database. The server ends with this process, and its folder with it.
pub async fn database() -> Database {
    let server = SERVER.get_or_init(server).await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let copy = AssertSqlSafe(format!("create database {name} template {MIGRATED}"));
    let mut connection = server.options("postgres").connect().await.expect("PostgreSQL is there");
    sqlx::raw_sql(copy).execute(&mut connection).await.expect("a database is made");
    connection.close().await.expect("the connection ends");
    Database { name, server }
}

async fn server() -> ManagedPostgres {
    let folder = tempfile::Builder::new().prefix("countersign-test-").tempdir().unwrap();
    // The server deletes it when it ends, which is after the last test.
    let server = ManagedPostgres::start(&folder.keep(), Keep::Nothing).await;
    let server = server.expect("PostgreSQL starts");
    server.create_database(MIGRATED).await.expect("a database is made");
    let migrated = Store::open(server.options(MIGRATED)).await.expect("the migrations run");
    migrated.close().await;
    server
}
