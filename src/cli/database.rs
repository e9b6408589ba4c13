//! Which database a command works on: the one of `DATABASE_URL`, or a private PostgreSQL in the
//! data folder.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::print;
use crate::store::{
    Store, StoreError,
    managed::{Keep, ManagedError, ManagedPostgres},
};

const NAME: &str = "countersign";
/// A server that is there lets in sooner.
const AT_ONCE: Duration = Duration::from_millis(300);

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL to use; without it, a private one is started in the data folder.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    /// Folder of the private PostgreSQL [default: `$XDG_DATA_HOME/countersign`, or
    /// `~/.local/share/countersign`; for root `/var/lib/countersign`].
    #[arg(long, global = true, env = "COUNTERSIGN_DATA_DIR", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// An open database, and the server it runs on when that is ours.
pub struct Database {
    pub store: Store,
    /// For people: which database it is.
    pub place: String,
    server: Option<ManagedPostgres>,
}

impl Database {
    pub async fn close(self) {
        self.store.close().await;
        drop(self.server);
    }
}

/// Opens the database for as long as a service runs. A private PostgreSQL is started, never
/// shared: it must not end with another process.
pub async fn open(args: &DatabaseArgs) -> Result<Database> {
    if let Some(url) = &args.database_url {
        return connect(url, |text| tracing::warn!("{text}")).await;
    }
    let folder = args.folder()?;
    let server = ManagedPostgres::start(&folder, Keep::Data).await;
    managed(&folder, server).await
}

/// Opens the database for one command, beside a service that may be running. A private one must be there
/// already: a new one would be another than the service's.
pub async fn visit(args: &DatabaseArgs) -> Result<Database> {
    if let Some(url) = &args.database_url {
        return connect(url, print::note_to_stderr).await;
    }
    let folder = args.folder()?;
    if !folder.join("data").join("PG_VERSION").exists() {
        bail!(
            "there is no database in {}: give the --data-dir or DATABASE_URL of `countersign serve`, \
             which makes it",
            folder.display()
        );
    }
    let spinner = print::spinner("opens the database");
    let server = ManagedPostgres::attach_or_start(&folder, Keep::Data).await;
    let database = managed(&folder, server).await;
    spinner.finish_and_clear();
    database
}

/// `say` tells what is waited for.
async fn connect(url: &SecretString, say: impl Fn(&str)) -> Result<Database> {
    let url = url.expose_secret();
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        bail!("DATABASE_URL does not lead to PostgreSQL: expected postgres://USER@HOST/DATABASE");
    }
    let at = Store::place_of_url(url)?;
    let mut opening = pin!(Store::open_url(url));
    let opened = if let Ok(opened) = tokio::time::timeout(AT_ONCE, &mut opening).await {
        opened
    } else {
        say(&format!("waits for the database at {at}"));
        opening.await
    };
    let store = opened.map_err(|error| {
        // A server that let us in is the right one.
        let check = match error {
            StoreError::Migrate(_) if error.lacks_rights() => {
                ": let the role own the database, or `grant create on schema public` to it"
            }
            StoreError::Migrate(_) => "",
            _ => {
                ": check that PostgreSQL runs there and lets this machine in, and that DATABASE_URL \
                 has the right host, port, user, password and database"
            }
        };
        anyhow::Error::new(error).context(format!("cannot open the database at {at}{check}"))
    })?;
    Ok(Database { store, place: format!("the database at {at}"), server: None })
}

async fn managed(folder: &Path, server: Result<ManagedPostgres, ManagedError>) -> Result<Database> {
    let server = server.context("cannot start a private PostgreSQL")?;
    server.create_database(NAME).await.context("cannot make a database")?;
    let store = Store::open(server.options(NAME)).await?;
    let place = format!("the private database in {}", folder.display());
    Ok(Database { store, place, server: Some(server) })
}

impl DatabaseArgs {
    fn folder(&self) -> Result<PathBuf> {
        let folder = match &self.data_dir {
            Some(folder) => folder.clone(),
            None => default_folder()?,
        };
        // PostgreSQL runs in another folder, so a relative one would be somewhere else.
        let folder = std::path::absolute(&folder)
            .with_context(|| format!("cannot tell where {} is", folder.display()))?;
        Ok(folder.join("postgres"))
    }
}

fn default_folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    if let Some(folder) = variable("XDG_DATA_HOME") {
        return Ok(folder.join("countersign"));
    }
    // Root's PostgreSQL runs as another user, who cannot enter root's home.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Ok("/var/lib/countersign".into());
    }
    let home = variable("HOME").context("no home folder: give --data-dir or DATABASE_URL")?;
    Ok(home.join(".local/share/countersign"))
}
