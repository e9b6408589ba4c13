//! Killed at any point, the service goes on where it was: one replica, one commit that counts.

use chrono::TimeDelta;

use crate::world::{
    Api, DEPTH, World,
    line::{Fault, Line},
    process::Process,
};

/// What people and the chain do, and the status it leads to.
const STEPS: [(&str, &str); 5] = [
    ("nobody does anything", "proposed"),
    ("the first owner signs", "proposed"),
    ("the second owner signs", "approved"),
    ("somebody executes", "executed"),
    ("blocks pass", "running"),
];

async fn take(world: &World, api: &Api, id: &str, step: &str) {
    match step {
        "the first owner signs" => world.sign_by(api, id, 0).await,
        "the second owner signs" => world.sign_by(api, id, 1).await,
        "somebody executes" => world.execute(api, id).await,
        "blocks pass" => world.mine(DEPTH).await,
        _ => {}
    }
}

fn assert_one_replica(world: &World) {
    assert_eq!(world.replicas(), 1);
    assert_eq!(world.effective_commits(), 1);
}

#[tokio::test]
async fn the_program_is_killed_between_every_two_steps() {
    let world = World::new().await;
    let mut program = world.spawn().await;
    let id = program.api.submit(&world.submission(&world.prepare().await)).await;
    for (step, status) in STEPS {
        program.kill().await;
        world.leases_run_out().await;
        program = world.spawn().await;
        take(&world, &program.api, &id, step).await;
        program.api.wait_for(&id, status).await;
    }
    assert_one_replica(&world);
}

#[tokio::test]
async fn the_service_is_killed_at_once_after_every_step() {
    let world = World::new().await;
    let mut running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    for (step, status) in STEPS {
        take(&world, &running.api, &id, step).await;
        // Whatever it was about to do is broken off.
        running.kill().await;
        world.clock.pass(TimeDelta::minutes(3));
        running = world.start().await;
        running.api.wait_for(&id, status).await;
    }
    running.stop().await;
    assert_one_replica(&world);
}

/// A request whose owners have signed, and what executes it.
async fn approved(world: &World, program: &Process) -> String {
    let id = program.api.submit(&world.submission(&world.prepare().await)).await;
    world.sign(&program.api, &id).await;
    id
}

#[tokio::test]
async fn an_execution_while_the_program_is_down_is_not_missed() {
    let world = World::new().await;
    let program = world.spawn().await;
    let id = approved(&world, &program).await;
    let call = program.api.proposal(&id).await["execution"].clone();
    program.kill().await;

    world.send(&call).await;
    world.mine(DEPTH + 700).await;
    world.leases_run_out().await;
    let program = world.spawn().await;
    program.api.wait_for(&id, "running").await;
    assert_one_replica(&world);
}

#[tokio::test]
async fn killed_with_the_commit_answered_into_the_void() {
    let mut world = World::new().await;
    let cloud = Line::to(&world.settings.phala_api_prefix).await;
    world.settings.phala_api_prefix = cloud.near();
    let program = world.spawn().await;
    let id = approved(&world, &program).await;
    cloud.set(Fault::LosesAnswersTo("commit-replica"));
    world.execute(&program.api, &id).await;
    world.mine(DEPTH).await;
    cloud.caught_one().await;
    program.kill().await;

    world.leases_run_out().await;
    cloud.set(Fault::None);
    let program = world.spawn().await;
    program.api.wait_for(&id, "running").await;
    assert_one_replica(&world);
    let committed = program.api.last_told(&id, "committed").await;
    assert_eq!(committed["how"], "the list of instances");
    assert_eq!(world.town.cloud.commit_log().len(), 1);
}

#[tokio::test]
async fn killed_with_a_commit_that_arrives_after_the_next_one() {
    let mut world = World::new().await;
    let cloud = Line::to(&world.settings.phala_api_prefix).await;
    let direct = std::mem::replace(&mut world.settings.phala_api_prefix, cloud.near());
    let program = world.spawn().await;
    let id = approved(&world, &program).await;
    cloud.set(Fault::Delays("commit-replica"));
    world.execute(&program.api, &id).await;
    world.mine(DEPTH).await;
    cloud.caught_one().await;
    program.kill().await;
    assert_eq!(world.replicas(), 0);

    world.leases_run_out().await;
    world.settings.phala_api_prefix = direct;
    let program = world.spawn().await;
    program.api.wait_for(&id, "running").await;
    cloud.set(Fault::None);
    world.commits_arrived(2).await;
    assert_one_replica(&world);
}

#[tokio::test]
async fn killed_while_the_replica_boots() {
    let world = World::with(|town| town.boot_polls = 5).await;
    let program = world.spawn().await;
    let id = approved(&world, &program).await;
    world.execute(&program.api, &id).await;
    world.mine(DEPTH).await;
    program.api.wait_for(&id, "committed").await;
    program.kill().await;

    world.leases_run_out().await;
    let program = world.spawn().await;
    program.api.wait_for(&id, "running").await;
    assert_one_replica(&world);
    assert_eq!(world.town.cloud.commit_log().len(), 1, "nothing is committed again");
}

#[tokio::test]
async fn two_programs_share_the_work_and_killing_either_loses_nothing() {
    let world = World::new().await;
    let (first, second) = (world.spawn().await, world.spawn().await);
    let mut ids = vec![];
    for node in [6, 7] {
        let prepared = world.prepare_on(node).await;
        ids.push(second.api.submit(&world.submission_on(&prepared, node)).await);
    }
    for id in &ids {
        second.api.proposal(id).await;
    }
    for device in [1, 2].map(|node: usize| world.town.nodes[node].device_id) {
        world.allow(device).await;
    }
    world.mine(DEPTH).await;
    // Whatever it leads or works on at this moment goes to the other.
    world.commits_arrived(1).await;
    first.kill().await;
    world.leases_run_out().await;
    for id in &ids {
        second.api.wait_for(id, "running").await;
    }
    assert_eq!((world.replicas(), world.effective_commits()), (2, 2));
    second.terminate().await;
}

#[tokio::test]
async fn the_program_stops_in_order_when_asked() {
    let world = World::new().await;
    let program = world.spawn().await;
    let id = program.api.submit(&world.submission(&world.prepare().await)).await;
    program.api.wait_for(&id, "proposed").await;
    let log = program.terminate().await;
    assert!(log.lines().any(|line| line.contains("\"stopped\"")), "{log}");
}
