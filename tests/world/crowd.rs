//! Many requests of several apps and sources that one block registers, and the order in which they
//! are committed.

use alloy::{primitives::Address, providers::Provider, sol_types::SolCall};
use chrono::{DateTime, TimeDelta, Utc};
use countersign::{
    clock::Clock,
    devnet::cloud::{CommitCall, SwitchChange},
    request::ids::SourceCvm,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sqlx::Row;

use super::{Api, DEPTH, Running, World, eventually};

pub const APPS: usize = 10;
const SOURCES_PER_APP: usize = 4;
pub const SOURCES: usize = APPS * SOURCES_PER_APP;
const FIRST_NODE: u64 = 100;
/// Calls at the same time, so that it does not take long to gather a crowd.
const HANDS: usize = 8;

alloy::sol! {
    function setAllowAnyDevice(bool anyDevice) external;
}

/// A world with sources in it, and the tokens for a replica of each on several nodes.
pub struct Crowd {
    pub world: World,
    apps: Vec<Address>,
    /// In order of deadline. Sources take turns, and so do apps: one of a place belongs to the app
    /// `place % APPS` and the source `place % SOURCES`.
    pub prepared: Vec<Prepared>,
}

#[derive(Debug)]
pub struct Prepared {
    pub source_cvm: SourceCvm,
    pub node: u64,
    pub answer: Value,
}

impl Crowd {
    /// So many requests, which nobody has heard of yet. With `voids`, each preparation voids the token
    /// of the one before of its source, as Phala Cloud does.
    pub async fn gather(count: usize, voids: bool) -> Self {
        let world = World::with(|town| {
            town.missing_compose = false;
            town.boot_polls = 0;
        })
        .await;
        let town = &world.town;
        let voids = SwitchChange { supersede_per_source: Some(voids), ..Default::default() };
        town.cloud.control(voids);
        let mut apps = vec![town.chain.app];
        while apps.len() < APPS {
            apps.push(town.add_app().await.expect("an app is made"));
        }
        let sources = (0..SOURCES).map(|number| match number {
            0 => town.source.clone(),
            _ => town.add_source(apps[number % APPS]),
        });
        let sources: Vec<SourceCvm> = sources.collect();
        let nodes = FIRST_NODE..=FIRST_NODE + u64::try_from(count / SOURCES).expect("few nodes");
        nodes.for_each(|node| town.add_node(node));
        let prepare = async |place: usize| {
            let source_cvm = sources[place % SOURCES].clone();
            let node = FIRST_NODE + u64::try_from(place / SOURCES).expect("few nodes");
            let answer = world.prepare_from(&source_cvm, node).await;
            (place, Prepared { source_cvm, node, answer })
        };
        let prepared = stream::iter(mixed(count)).map(prepare).buffered(HANDS);
        let mut prepared: Vec<_> = prepared.collect().await;
        prepared.sort_by_key(|(place, _)| *place);
        let prepared = prepared.into_iter().map(|(_, prepared)| prepared).collect();
        let apps = apps.iter().map(|app| app.0).collect();
        Self { world, apps, prepared }
    }

    /// Lets every app allow what is asked for, in one block.
    pub async fn allow(&self) {
        let rpc = &self.world.town.chain.rpc;
        let any = setAllowAnyDeviceCall { anyDevice: true }.abi_encode();
        rpc.mine_at_once(false).await.expect("anvil takes it");
        for app in &self.apps {
            self.world.as_the_safe(*app, any.clone().into()).await;
        }
        rpc.mine_at_once(true).await.expect("anvil takes it");
        self.world.mine(1).await;
    }

    /// Submits everything, in the order of preparation, and waits until each is seen to be allowed.
    pub async fn submit(&self, running: &Running) {
        let head = self.world.town.chain.rpc.provider().get_block_number().await.expect("anvil");
        let chain = self.world.town.chain.chain_id;
        eventually("the block to be followed", async || {
            let ours = running.service.store.head(chain).await.ok()??;
            (ours.block.number == head).then_some(())
        })
        .await;
        let now = self.world.clock.now();
        stream::iter(mixed(self.prepared.len()))
            .map(|place| submit(&running.api, &self.prepared[place], prepared_at(now, place)))
            .buffer_unordered(HANDS)
            .for_each(|()| async {})
            .await;
        self.wait_for("executed").await;
        // Tokens that void each other die long before what they are for is approved.
        self.world.clock.pass(TimeDelta::minutes(20));
    }

    /// Lets one block register all.
    pub async fn register(&self) {
        self.world.mine(DEPTH).await;
    }

    /// Waits until every request has this status, as long as some get there.
    pub async fn wait_for(&self, status: &str) {
        let mut connection = self.world.database.connect().await;
        let mut left = self.prepared.len();
        while left > 0 {
            let what = format!("one more of {left} to be {status}");
            left = eventually(what, async || {
                let others = sqlx::query("select count(*) from requests where status <> $1");
                let others = others.bind(status).fetch_one(&mut connection).await;
                let others = others.expect("requests read").get::<i64, _>(0);
                let others = usize::try_from(others).expect("a count");
                (others < left).then_some(others)
            })
            .await;
        }
    }

    /// The commits in the order they came in, each with the place of its request in order of
    /// deadline.
    pub fn served(&self) -> Vec<(CommitCall, usize)> {
        let cloud = &self.world.town.cloud;
        let issued = cloud.issued();
        let mut commits = cloud.commit_log();
        commits.sort_by_key(|call| call.at);
        // The token may be a newer one by now.
        let place = |call: &CommitCall| {
            let token = &issued[call.token.expect("every token was given out here")];
            let source = token.source.to_string();
            let mut places = self.prepared.iter();
            let place =
                places.position(|it| it.node == token.node && it.source_cvm.as_str() == source);
            place.expect("the replica was asked for")
        };
        commits.into_iter().map(|call| (call.clone(), place(&call))).collect()
    }
}

/// Every place once, in an order that is not that of deadlines. Those of one source are far apart.
fn mixed(count: usize) -> impl Iterator<Item = usize> {
    // A prime that is no divisor.
    (0..count).map(move |number| number * 7_919 % count)
}

/// The later in order, the later the token dies.
fn prepared_at(now: DateTime<Utc>, place: usize) -> DateTime<Utc> {
    now - TimeDelta::days(1) + TimeDelta::seconds(i64::try_from(place).expect("a small number"))
}

async fn submit(api: &Api, prepared: &Prepared, at: DateTime<Utc>) {
    let Prepared { source_cvm, node, answer, .. } = prepared;
    let mut body = World::submission_from(source_cvm, *node, answer);
    body["prepared_at"] = json!(at);
    api.submit(&body).await;
}
