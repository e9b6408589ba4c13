//! A request that a quiet block makes deep enough is registered in one transaction with the intent to
//! commit it; whatever comes between, it is registered with the next block or taken back.

use std::time::Duration;

use countersign::{
    dstack::Write,
    flow::Service,
    intake,
    owner::Call,
    request::{ids::RequestId, status::Status},
    store::{advance::Seen, chain::Leadership, intake::Stored, journal::Actor, lease::Lane},
    watch::follow::{Follower, Tick},
};
use serde_json::json;
use uuid::Uuid;

use crate::world::{
    DEPTH, World, eventually,
    line::{Fault, Line},
};

/// A service that nothing drives but the story, with one request whose execution is to be followed.
struct Scene {
    world: World,
    service: Service,
    id: RequestId,
    lead: Leadership,
    follower: Follower,
}

/// Nothing is called finalized that a story still wants to take away.
async fn world() -> World {
    World::with(|options| options.epoch_blocks = 10_000).await
}

impl Scene {
    /// Up to the block that makes the execution deep enough, which is there and not read yet.
    async fn before_the_last_block() -> Self {
        Self::before_the_last_block_of(world().await).await
    }

    async fn before_the_last_block_of(world: World) -> Self {
        let running = world.start().await;
        let id = running.api.submit(&world.submission(&world.prepare().await)).await;
        world.sign(&running.api, &id).await;
        let call = running.api.proposal(&id).await["execution"].clone();
        running.stop().await;
        let service = world.service().await;
        let chain = world.town.chain.chain_id;
        let lead = eventually("the lead", async || service.store.lead(chain).await.unwrap());
        let lead = lead.await;
        let id = id.parse().unwrap();
        let mut scene = Self { world, service, id, lead, follower: Follower::default() };
        scene.world.send(&call).await;
        scene.catch_up().await;
        scene.work().await;
        for _ in 1..DEPTH {
            scene.world.mine(1).await;
            scene.catch_up().await;
        }
        assert_eq!(scene.status().await, Status::Executed);
        scene.world.mine(1).await;
        scene
    }

    /// Reads up to the head; what is left to be committed at once.
    async fn catch_up(&mut self) -> Vec<(RequestId, Seen)> {
        let Self { service, lead, follower, .. } = self;
        let chain = service.chains.iter().next().unwrap();
        loop {
            let now = service.clock.now();
            match follower.tick(&service.store, chain, lead, now).await.unwrap() {
                Tick::More => {}
                Tick::CaughtUp { .. } | Tick::Unchanged => return follower.take_at_once(),
            }
        }
    }

    /// Takes steps until none is due.
    async fn work(&self) {
        while Box::pin(self.service.work_once()).await.unwrap() {}
    }

    async fn status(&self) -> Status {
        self.service.store.request(self.id).await.unwrap().status()
    }

    fn commits(&self) -> usize {
        self.world.town.cloud.commit_log().len()
    }

    /// Whether the registration was written in one transaction with the intent.
    async fn is_one_transaction(&self) -> bool {
        let same = "select (r.xmin = c.xmin)::text from journal r join journal c using (request_id)
            where r.kind = 'registered' and c.kind = 'commit_started'";
        self.world.database.text(same).await == "true"
    }

    async fn leave(self) {
        self.lead.resign().await;
        self.service.store.close().await;
    }
}

#[tokio::test]
async fn the_registration_is_written_with_the_intent_and_nothing_stands_between_it_and_the_commit()
{
    let mut scene = Scene::before_the_last_block().await;
    let left = scene.catch_up().await;
    assert_eq!(left.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [scene.id]);
    assert_eq!(scene.status().await, Status::Executed, "nobody hears of it before its commit");
    scene.service.wake.commit_at_once(left);
    assert!(Box::pin(scene.service.work_once()).await.unwrap());
    assert_eq!((scene.status().await, scene.commits()), (Status::Committed, 1));
    assert!(scene.is_one_transaction().await);
    scene.leave().await;
}

#[tokio::test]
async fn what_no_worker_takes_is_registered_by_the_next_look_and_committed_once() {
    let mut scene = Scene::before_the_last_block().await;
    let left = scene.catch_up().await;
    assert_eq!(left.len(), 1);
    assert_eq!(scene.catch_up().await.len(), 0, "it is left once");
    assert_eq!((scene.status().await, scene.commits()), (Status::Registered, 0));
    // A worker that comes late finds it taken, and commits it in its turn.
    scene.service.wake.commit_at_once(left);
    assert!(Box::pin(scene.service.work_once()).await.unwrap());
    assert_eq!((scene.status().await, scene.commits()), (Status::Committed, 1));
    assert!(!scene.is_one_transaction().await);
    scene.leave().await;
}

#[tokio::test]
async fn a_reorganisation_between_takes_it_back_before_anything_is_written() {
    let mut scene = Scene::before_the_last_block().await;
    let left = scene.catch_up().await;
    scene.world.town.chain.rpc.reorg(DEPTH + 1).await.unwrap();
    // The follower has not seen it: what is read now decides.
    scene.service.wake.commit_at_once(left.clone());
    assert!(Box::pin(scene.service.work_once()).await.unwrap());
    assert_eq!((scene.status().await, scene.commits()), (Status::Executed, 0));
    // It has seen it: there is nothing to be claimed.
    scene.catch_up().await;
    assert_eq!(scene.status().await, Status::Approved);
    scene.service.wake.commit_at_once(left);
    scene.work().await;
    assert_eq!((scene.status().await, scene.commits()), (Status::Approved, 0));
    let told = "select count(*)::text from journal where kind in ('registered', 'commit_started')";
    assert_eq!(scene.world.database.text(told).await, "0");
    scene.leave().await;
}

/// Two requests of one app, on two nodes, that one block makes deep enough.
async fn two_of_one_app() -> (Scene, [RequestId; 2]) {
    let world = world().await;
    let running = world.start().await;
    let mut ids = vec![];
    for node in [6, 7] {
        let prepared = world.prepare_on(node).await;
        let id = running.api.submit(&world.submission_on(&prepared, node)).await;
        running.api.proposal(&id).await;
        ids.push(id);
    }
    let app = world.town.chain.app;
    let devices = [1, 2].map(|node: usize| Write::AddDevice(world.town.nodes[node].device_id));
    for write in [Write::AddComposeHash(world.town.compose_hash)].into_iter().chain(devices) {
        world.as_the_safe(app.0, Call::of_write(app, &write).data).await;
    }
    for id in &ids {
        running.api.wait_for(id, "executed").await;
    }
    running.stop().await;
    let service = world.service().await;
    let chain = world.town.chain.chain_id;
    let lead = eventually("the lead", async || service.store.lead(chain).await.unwrap()).await;
    let ids = [0, 1].map(|place: usize| ids[place].parse().unwrap());
    let mut scene = Scene { world, service, id: ids[0], lead, follower: Follower::default() };
    scene.catch_up().await;
    scene.world.mine(DEPTH).await;
    (scene, ids)
}

#[tokio::test]
async fn requests_of_one_app_have_one_turn_between_them() {
    let (mut scene, ids) = two_of_one_app().await;
    let left = scene.catch_up().await;
    assert_eq!(left.len(), 2);
    let store = &scene.service.store;
    let now = scene.service.clock.now();
    let until = now + Duration::from_mins(2);
    let first = store.claim_at_once(ids[0], now, until).await.unwrap();
    assert!(first.is_some());
    assert!(store.claim_at_once(ids[1], now, until).await.unwrap().is_none());
    // Nor does the other one get it by being registered.
    scene.catch_up().await;
    let store = &scene.service.store;
    assert_eq!(store.request(ids[1]).await.unwrap().status(), Status::Registered);
    assert!(store.claim(Lane::Commits, now, until).await.unwrap().is_none());
    scene.leave().await;
}

/// Hands in a newer preparation while a commit has opened the token of the older one, and has not
/// written its intent.
async fn replaced_while_it_is_open(at_once: bool) {
    let mut world = world().await;
    // Nobody has used the older one, so nothing is looked for before the newer one is used.
    world.settings.settle = Duration::ZERO;
    // Then both tokens would make a replica each.
    world.switch(json!({ "supersede_per_source": false }));
    let line = Line::to(&world.settings.phala_api_prefix).await;
    world.settings.phala_api_prefix = line.near();
    let mut scene = Scene::before_the_last_block_of(world).await;
    let left = scene.catch_up().await;
    if at_once {
        scene.service.wake.commit_at_once(left);
    } else {
        scene.catch_up().await;
        assert_eq!(scene.status().await, Status::Registered);
    }
    line.set(Fault::Delays("/cvms"));
    let Scene { world, service, id, .. } = &scene;
    let comes_between = async {
        line.caught_one().await;
        let (now, chain) = (service.clock.now(), world.town.chain.chain_id);
        let newer = world.submission(&world.prepare().await);
        let newer = intake::read(&newer, &[chain], now).unwrap();
        let (other, actor) = (RequestId(Uuid::now_v7()), Actor::token("person", Uuid::nil()));
        let (store, vault) = (&service.store, &service.vault);
        let stored = intake::accept(store, vault, other, &newer, &actor, now).await.unwrap();
        assert!(matches!(stored, Stored::Renewed(request) if request.id == *id));
        line.set(Fault::None);
    };
    let (worked, ()) = tokio::join!(Box::pin(service.work_once()), comes_between);
    assert!(worked.unwrap());
    assert_eq!(scene.commits(), 0, "the token is not kept, so it is not used");
    // The next step opens the token that is.
    scene.catch_up().await;
    scene.work().await;
    let tokens: Vec<_> =
        scene.world.town.cloud.commit_log().iter().map(|call| call.token).collect();
    assert_eq!((scene.status().await, tokens), (Status::Committed, vec![Some(1)]));
    scene.leave().await;
}

#[tokio::test]
async fn a_token_that_is_replaced_while_it_is_open_is_not_used() {
    Box::pin(replaced_while_it_is_open(false)).await;
}

#[tokio::test]
async fn nor_when_it_is_to_be_used_at_once() {
    Box::pin(replaced_while_it_is_open(true)).await;
}
