//! A request that a quiet block makes deep enough is registered in one transaction with the intent to
//! commit it; whatever comes between, it is registered with the next block or taken back.

use countersign::{
    flow::Service,
    request::{ids::RequestId, status::Status},
    store::{advance::Seen, chain::Leadership},
    watch::follow::{Follower, Tick},
};

use crate::world::{DEPTH, World, eventually};

/// A service that nothing drives but the story, with one request whose execution is to be followed.
struct Scene {
    world: World,
    service: Service,
    id: RequestId,
    lead: Leadership,
    follower: Follower,
}

impl Scene {
    /// Up to the block that makes the execution deep enough, which is there and not read yet.
    async fn before_the_last_block() -> Self {
        let world = World::with(|options| options.epoch_blocks = 10_000).await;
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
