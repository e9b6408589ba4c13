//! The only room with SQL. One table family a file; every write says how many rows it must touch.

pub mod advance;
pub mod apps;
pub mod attempts;
pub mod batches;
pub mod chain;
pub mod commit_tokens;
pub mod compose_documents;
pub mod confirmations;
mod copies;
mod dependents;
pub mod device_uses;
pub mod devices;
pub mod elsewhere;
pub mod foreign_queue;
pub mod gateway;
pub mod history;
pub mod intake;
pub mod journal;
pub mod lease;
pub mod ledger;
pub mod lists;
pub mod mailings;
pub mod managed;
pub mod outbox;
pub mod paths;
mod prepare_body;
pub mod proposals;
pub mod queues;
pub mod relays;
pub mod reliance;
mod request_rows;
pub mod requests;
pub mod retries;
pub mod sessions;
pub mod snapshot;
pub mod tokens;
pub mod troubles;
pub mod watched;

use std::{error::Error, iter::successors, time::Duration};

use alloy::primitives::B256;
use sqlx::{
    ConnectOptions, Connection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgQueryResult},
};

use crate::request::event::Illegal;

/// One database transaction.
pub type Tx = Transaction<'static, Postgres>;

/// The channel on which a change of a request is announced, with the request's id; also `head` with a
/// chain's id, and [`WAKE`].
const CHANGES: &str = "countersign_changes";
/// The same for changes that leave nothing to do: only those who look on hear of them.
const QUIET_CHANGES: &str = "countersign_quiet_changes";
/// Says that requests became due although none of them changed.
pub const WAKE: &str = "wake";

const CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// An instance that stands still inside a transaction must not hold up the others.
const LIMITS: [(&str, &str); 2] =
    [("idle_in_transaction_session_timeout", "20s"), ("lock_timeout", "15s")];
/// How long an idle connection counts as alive.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {operation}")]
    Database {
        operation: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// Connecting was tried again and again meanwhile.
    #[error("PostgreSQL let nobody in for {} s", ACQUIRE_TIMEOUT.as_secs())]
    NoServer,
    #[error("cannot bring the database to this version")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A row that this version cannot read: another version wrote it, or somebody changed it.
    #[error("{table}.{column} of row {row} does not read")]
    Inconsistent { table: &'static str, column: &'static str, row: String },
    #[error("{operation} touched {found} rows instead of one")]
    Touched { operation: &'static str, found: u64 },
    #[error("nonce {0} of the Safe was given to another proposal at the same moment")]
    NonceTaken(u64),
    #[error("the requests that are proposed together changed at the same moment")]
    BatchChanged,
    #[error("another worker has taken over this request")]
    LeaseLost,
    /// What was read rests on a block that the follower does not stand on, or no longer.
    #[error("the chain moved on while it was read")]
    ChainMoved,
    #[error(
        "a commit of this request was sent, and may still make its replica: it cannot be taken back"
    )]
    CommitOnItsWay,
    #[error("no such {0}")]
    NotFound(&'static str),
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

/// "PostgreSQL Error Codes": no connection, one that it writes nothing on, nobody let in, no such
/// database, one that takes no connections, too many, one that stops or starts. Whoever looks after the
/// database mends these, and then the same succeeds.
const PASSING: [&str; 9] =
    ["08", "25006", "28", "3D000", "53300", "55000", "57P01", "57P02", "57P03"];
/// "PostgreSQL Error Codes", class 42.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

impl StoreError {
    /// Whether it is no fault of what was asked: PostgreSQL is away, or in a state that passes.
    pub fn is_unusable(&self) -> bool {
        let Self::Database { source, .. } = self else { return matches!(self, Self::NoServer) };
        match source {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(told) => {
                told.code().is_some_and(|code| PASSING.iter().any(|one| code.starts_with(one)))
            }
            _ => false,
        }
    }

    /// Whether PostgreSQL let us in, and then refused for want of a right.
    pub fn lacks_rights(&self) -> bool {
        let this: &(dyn Error + 'static) = self;
        let causes = successors(Some(this), |error| (*error).source());
        let mut told = causes.filter_map(|cause| cause.downcast_ref::<sqlx::Error>());
        let code = told.find_map(|error| error.as_database_error()?.code());
        code.is_some_and(|code| code == INSUFFICIENT_PRIVILEGE)
    }
}

/// Names the operation that a database error interrupted.
trait During<T> {
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { operation, source })
    }
}

/// Insists that exactly one row was touched.
fn one_row(operation: &'static str, result: &PgQueryResult) -> Result<(), StoreError> {
    match result.rows_affected() {
        1 => Ok(()),
        found => Err(StoreError::Touched { operation, found }),
    }
}

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Connects and brings the tables to this version.
    pub async fn open(options: PgConnectOptions) -> Result<Self, StoreError> {
        Self::open_trusting(options, TRUSTED_FOR).await
    }

    /// The same, with how long an idle connection counts as alive. Without any such time, nothing
    /// depends on the machine's clock.
    pub async fn open_trusting(
        options: PgConnectOptions,
        trusted_for: Duration,
    ) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // One that was in use a moment ago is not asked whether it still lives: that would
            // double the way of every statement.
            .test_before_acquire(false)
            .before_acquire(move |connection, about| {
                Box::pin(async move {
                    if trusted_for.is_zero() || about.idle_for > trusted_for {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.application_name("countersign").options(LIMITS))
            .await
            .map_err(|source| match source {
                sqlx::Error::PoolTimedOut => StoreError::NoServer,
                source => StoreError::Database { operation: "connect to PostgreSQL", source },
            })?;
        sqlx::migrate!().run(&pool).await.map_err(StoreError::Migrate)?;
        Ok(Self { pool })
    }

    /// The same, from a URL. No error repeats the URL, which may hold a password.
    pub async fn open_url(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse().during("read the database URL")?;
        Self::open(options.disable_statement_logging()).await
    }

    /// Where the database of a URL is, for people: no user and no password.
    pub fn place_of_url(url: &str) -> Result<String, StoreError> {
        let options: PgConnectOptions = url.parse().during("read the database URL")?;
        let database = options.get_database().unwrap_or_default();
        Ok(match options.get_socket() {
            Some(folder) => format!("{}/{database}", folder.display()),
            None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
        })
    }

    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.pool.begin().await.during("begin a transaction")
    }

    /// Listens for all changes of requests, made by this or any other instance.
    pub async fn changes(&self) -> Result<PgListener, StoreError> {
        self.listen(&[CHANGES, QUIET_CHANGES]).await
    }

    /// Listens for changes that may have left something to do.
    pub async fn work(&self) -> Result<PgListener, StoreError> {
        self.listen(&[CHANGES]).await
    }

    async fn listen(&self, channels: &[&str]) -> Result<PgListener, StoreError> {
        let mut listener =
            PgListener::connect_with(&self.pool).await.during("listen for changes")?;
        listener.listen_all(channels.iter().copied()).await.during("listen for changes")?;
        Ok(listener)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("select 1 as one").fetch_one(&self.pool).await.during("ping").map(|_| ())
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Commits, so that callers need not know the driver.
pub async fn commit(tx: Tx) -> Result<(), StoreError> {
    tx.commit().await.during("commit a transaction")
}

/// A number that PostgreSQL keeps signed and this crate unsigned.
fn unsigned(
    table: &'static str,
    column: &'static str,
    row: impl std::fmt::Display,
    value: i64,
) -> Result<u64, StoreError> {
    value.try_into().map_err(|_| StoreError::Inconsistent { table, column, row: row.to_string() })
}

/// Block numbers, nonces and chain ids stay far below 2^63; a larger one is capped, and then
/// matches nothing.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value of a row that does not read.
#[expect(clippy::needless_pass_by_value, reason = "rows are told by small copies")]
fn inconsistent(table: &'static str, column: &'static str, row: impl ToString) -> StoreError {
    StoreError::Inconsistent { table, column, row: row.to_string() }
}

/// A 32-byte column.
fn hash_of(bytes: &[u8], table: &'static str, row: impl ToString) -> Result<B256, StoreError> {
    bytes.try_into().map_err(|_| inconsistent(table, "hash", row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_host_and_database_and_no_secret() {
        for (url, place) in [
            ("postgres://me:SECRET@db.example.org/countersign", "db.example.org:5432/countersign"),
            ("postgres://db.example.org:6000/other?sslmode=require", "db.example.org:6000/other"),
            ("postgres:///countersign?host=/run/postgresql", "/run/postgresql/countersign"),
        ] {
            assert_eq!(Store::place_of_url(url).unwrap(), place);
        }
    }
}
