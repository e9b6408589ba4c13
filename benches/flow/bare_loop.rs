//! What anybody would write first: hear of a row, claim it, send it. One that makes sure of nothing,
//! and one that makes sure as the commit protocol does: both entries are read at the head and at
//! depth, the app's instances are listed, and the intent is kept before the call.

use alloy::{
    eips::BlockId,
    primitives::{Address, B256},
    providers::{DynProvider, Provider},
};
use countersign::request::ids::DeviceId;
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{
    PgPool, Row,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::task::JoinHandle;

use crate::world::{Api, DEPTH, World};

alloy::sol! {
    #[sol(rpc)]
    interface App {
        function allowedComposeHashes(bytes32 composeHash) external view returns (bool);
        function allowedDeviceIds(bytes32 deviceId) external view returns (bool);
    }
}

const CHANNEL: &str = "countersign_changes";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    None,
    AsTheProtocol,
}

/// One commit to be sent.
pub struct Order {
    pub name: String,
    pub device: DeviceId,
    url: String,
    body: Value,
}

impl Order {
    /// What the service sends for what was prepared.
    pub fn new(world: &World, device: DeviceId, source: &str, prepared: &Value) -> Self {
        let token = World::token_of(prepared);
        let body = json!({
            "token": token,
            "compose_hash": world.town.compose_hash,
            "transaction_hash": "already-registered",
        });
        let url = format!("{}/cvms/{source}/commit-replica", world.town.cloud.api_prefix());
        Self { name: token, device, url, body }
    }
}

/// The loop and its table.
pub struct Loop {
    connections: PgPool,
    task: JoinHandle<()>,
}

impl Loop {
    pub async fn start(world: &World, care: Care) -> Self {
        let connections = PgPoolOptions::new().connect_with(world.database.options()).await;
        let connections = connections.expect("the database is there");
        let tables =
            "create table floor (name text primary key, place serial, device bytea not null,
                url text not null, body jsonb not null, claimed_at timestamptz);
            create table intents (name text primary key, instances jsonb not null)";
        sqlx::raw_sql(tables).execute(&connections).await.expect("tables are made");
        let mut changes = PgListener::connect_with(&connections).await.expect("it listens");
        changes.listen(CHANNEL).await.expect("it listens");
        let http = Api::bare();
        let careful = (care == Care::AsTheProtocol).then(|| Careful::new(world, http.clone()));
        let task = tokio::spawn(claim_and_post(connections.clone(), changes, http, careful));
        Self { connections, task }
    }

    /// Adds rows and announces each, in one transaction.
    pub async fn add(&self, orders: &[Order]) {
        let mut tx = self.connections.begin().await.expect("a transaction");
        for Order { name, device, url, body } in orders {
            let insert = "with row as (insert into floor (name, device, url, body)
                values ($1, $2, $3, $4)) select pg_notify($5, $1)";
            let insert = sqlx::query(insert).bind(name).bind(device.0.to_vec()).bind(url);
            let insert = insert.bind(body).bind(CHANNEL).execute(&mut *tx);
            insert.await.expect("a row is added");
        }
        tx.commit().await.expect("it is kept");
    }

    pub fn end(self) {
        self.task.abort();
    }
}

async fn claim_and_post(
    connections: PgPool,
    mut changes: PgListener,
    http: Client,
    careful: Option<Careful>,
) {
    loop {
        let mut tx = connections.begin().await.expect("a transaction");
        let claim = "update floor set claimed_at = now() where name =
            (select name from floor where claimed_at is null order by place limit 1
             for update skip locked)
            returning name, device, url, body";
        let row = sqlx::query(claim).fetch_optional(&mut *tx).await.expect("it is claimed");
        tx.commit().await.expect("it is kept");
        let Some(row) = row else {
            changes.recv().await.expect("the database announces");
            continue;
        };
        let (url, body): (String, Value) = (row.get("url"), row.get("body"));
        if let Some(careful) = &careful {
            let device: Vec<u8> = row.get("device");
            careful.make_sure(&connections, row.get("name"), B256::from_slice(&device)).await;
        }
        let answer = http.post(url).json(&body).send().await.expect("the emulator answers");
        assert!(answer.status().is_success(), "the emulator commits");
    }
}

/// What is asked before each call.
struct Careful {
    http: Client,
    instances: String,
    api_key: String,
    app: Address,
    compose: B256,
    provider: DynProvider,
}

impl Careful {
    fn new(world: &World, http: Client) -> Self {
        let town = &world.town;
        let app = town.chain.app.0;
        Self {
            http,
            instances: format!("{}/apps/{:x}/cvms", town.cloud.api_prefix(), app),
            api_key: town.cloud.api_key(),
            app,
            compose: town.compose_hash.0,
            provider: town.chain.rpc.provider().clone(),
        }
    }

    async fn make_sure(&self, connections: &PgPool, name: &str, device: B256) {
        let head = async { self.provider.get_block_number().await.expect("a head") };
        let read = async {
            let head = head.await;
            let (at_head, at_depth) =
                tokio::join!(self.allowed(device, head), self.allowed(device, head - DEPTH));
            assert!(at_head && at_depth, "both entries are there");
        };
        let ((), instances) = tokio::join!(read, self.list());
        let mut tx = connections.begin().await.expect("a transaction");
        let intent = sqlx::query("insert into intents (name, instances) values ($1, $2)");
        intent.bind(name).bind(instances).execute(&mut *tx).await.expect("an intent");
        tx.commit().await.expect("it is kept");
    }

    async fn allowed(&self, device: B256, block: u64) -> bool {
        let app = App::new(self.app, &self.provider);
        let block = BlockId::number(block);
        let (compose, device) =
            (app.allowedComposeHashes(self.compose), app.allowedDeviceIds(device));
        let (compose, device) = (compose.block(block), device.block(block));
        let (compose, device) = tokio::join!(compose.call(), device.call());
        compose.expect("it reads") && device.expect("it reads")
    }

    async fn list(&self) -> Value {
        let answer = self.http.get(&self.instances).header("X-API-Key", &self.api_key);
        let answer = answer.send().await.expect("the emulator answers");
        assert!(answer.status().is_success(), "the emulator lists: {}", answer.status());
        answer.json().await.expect("a list")
    }
}
