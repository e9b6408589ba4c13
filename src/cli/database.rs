//! The database of the commands that use it directly.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::store::{
    Store,
    managed::{Keep, ManagedPostgres},
};

#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL to use; without it a private one is started in the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<SecretString>,
    /// Where the private PostgreSQL keeps its data.
    #[arg(long, env = "COUNTERSIGN_DATA_DIR", value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

pub struct Database {
    pub store: Store,
    server: Option<ManagedPostgres>,
}

impl Database {
    pub async fn close(self) {
        self.store.close().await;
        drop(self.server);
    }
}

pub async fn open(args: &DatabaseArgs) -> Result<Database> {
    if let Some(url) = &args.database_url {
        return Ok(Database {
            store: Store::open(url.expose_secret().parse()?).await?,
            server: None,
        });
    }
    let folder = args.data_dir.clone().unwrap_or_else(|| PathBuf::from("/tmp/x"));
    let server = ManagedPostgres::attach_or_start(&folder, Keep::Data).await?;
    server.create_database("countersign").await?;
    Ok(Database { store: Store::open(server.options("countersign")).await?, server: Some(server) })
}
