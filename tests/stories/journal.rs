//! Every change of a request has one journal entry in the same transaction, the journal cannot be
//! changed unseen, and the status everybody reads is the one the facts amount to (invariant I6).

use std::collections::{BTreeSet, HashMap};

use countersign::{
    request::{Request, event::Event, facts::Facts, ids::RequestId, status::Status},
    store::{
        Store,
        journal::{Entry, Verdict},
        requests::Filter,
    },
};
use serde_json::json;
use sqlx::{Connection, Row};

use crate::world::{Api, DEPTH, Running, World};

/// A world with something of everything in its journal.
async fn eventful() -> (World, Running) {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let trouble = json!({
        "fail_next": [{ "endpoint": "commit", "status": 503, "retry_after": 0 }],
        "boot_error": "no room in the rack",
    });
    world.switch(trouble);
    let submission = world.submission(&world.prepare().await);
    let id = api.submit(&submission).await;
    world.sign(api, &id).await;
    // A newer token, and an execution that the chain takes back.
    let newer = world.submission(&world.prepare().await);
    assert_eq!(api.post("/v1/requests", &newer).await.status, 200);
    execute_and_take_back(&world, api, &id).await;
    world.execute(api, &id).await;
    world.mine(DEPTH).await;
    api.last_told(&id, "attention_needed").await;
    let other = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    api.wait_for(&other, "proposed").await;
    let reason = json!({ "reason": "not needed" });
    assert_eq!(api.post(&format!("/v1/requests/{other}/withdraw"), &reason).await.status, 200);
    let third = api.submit(&world.submission_on(&world.prepare_on(7).await, 7)).await;
    assert_eq!(api.post(&format!("/v1/requests/{third}/reject"), &reason).await.status, 200);
    (world, running)
}

async fn execute_and_take_back(world: &World, api: &Api, id: &str) {
    world.execute(api, id).await;
    api.wait_for(id, "executed").await;
    world.town.chain.rpc.reorg(1).await.unwrap();
    api.last_told(id, "retracted").await;
    api.wait_for(id, "approved").await;
}

async fn whole_journal(store: &Store) -> Vec<Entry> {
    let mut entries = store.journal_page(None, None, 500).await.unwrap();
    entries.reverse();
    entries
}

async fn every_request(store: &Store) -> Vec<Request> {
    store.requests(&Filter::default(), 200).await.unwrap()
}

/// What the journal alone says about each request.
fn folded(journal: &[Entry]) -> HashMap<RequestId, Facts> {
    let mut facts: HashMap<RequestId, Facts> = HashMap::new();
    for entry in journal {
        let event: Event = serde_json::from_value(entry.body.clone()).unwrap();
        assert_eq!(event.kind(), entry.kind);
        let known = facts.entry(RequestId(entry.request.unwrap())).or_default();
        *known =
            known.apply(&event, entry.at.unwrap()).expect("the journal tells legal changes only");
    }
    facts
}

#[tokio::test]
async fn the_journal_alone_tells_what_every_request_has_come_to() {
    let (_world, running) = eventful().await;
    let store = &running.service.store;
    let journal = whole_journal(store).await;
    let facts = folded(&journal);
    let requests = every_request(store).await;
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(facts[&request.id], request.facts, "{}", request.id);
    }
    let told: BTreeSet<&str> = journal.iter().map(|entry| entry.kind.as_str()).collect();
    for kind in [
        "opened",
        "renewed",
        "proposed",
        "confirmed",
        "executed",
        "retracted",
        "registered",
        "commit_started",
        "commit_refused",
        "committed",
        "attention_needed",
        "withdrawn",
        "rejected",
    ] {
        assert!(told.contains(kind), "{kind} was met: {told:?}");
    }
    assert!(matches!(store.verify_journal(|_| {}).await.unwrap(), Verdict::Intact { .. }));
    running.stop().await;
}

#[tokio::test]
async fn the_journal_cannot_be_changed() {
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "proposed").await;
    let mut connection = world.database.connect().await;
    for statement in [
        "update journal set actor = 'nobody' where seq = 1",
        "update journal set actor = actor where false",
        "delete from journal",
        "truncate journal",
        "truncate requests cascade",
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    connection.close().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn whoever_changes_it_all_the_same_is_found_out() {
    let changes = [
        ("update journal set actor = 'nobody' where seq = 2", 2),
        ("update journal set body = replace(body, 'safe', 'eoa') where seq = 2", 2),
        ("update journal set at = at + interval '1 microsecond' where seq = 1", 1),
        ("update journal set request_id = null where seq = 2", 2),
        ("delete from journal where seq = 1", 2),
        ("update journal set kind = 'proposed' where seq = 1", 1),
        ("update journal set prev_hash = hash where seq = 1", 1),
        ("update journal set prev_hash = '' where seq = 2", 2),
        ("update journal set hash = null where seq = 2", 2),
        ("update journal set body = null where seq = 1", 1),
        ("update journal set at = 'infinity' where seq = 2", 2),
        ("update journal set at = '-infinity' where seq = 1", 1),
        ("update journal set at = '290000-01-01' where seq = 2", 2),
        ("update journal set at = null where seq = 2", 2),
        ("update journal set seq = -1 where seq = 1", -1),
        ("update journal set seq = 9223372036854775807 where seq = 2", i64::MAX),
        (
            "insert into journal select 1, at, request_id, actor, kind, body, prev_hash, hash from journal where seq = 2",
            1,
        ),
    ];
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "proposed").await;
    let mut connection = world.database.connect().await;
    let guard = "alter table journal disable trigger all";
    sqlx::raw_sql(guard).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("create table kept as table journal").execute(&mut connection).await.unwrap();
    // Whoever can write here can take the checks of the columns away too.
    let open = "alter table journal drop constraint journal_pkey, drop constraint journal_hash_key,
        drop constraint journal_seq_check, drop constraint journal_hash_check,
        drop constraint journal_prev_hash_check, alter hash drop not null, alter body drop not null,
        alter at drop not null";
    sqlx::raw_sql(open).execute(&mut connection).await.unwrap();
    for (change, place) in changes {
        sqlx::raw_sql(change).execute(&mut connection).await.unwrap();
        let verdict = running.service.store.verify_journal(|_| {}).await.unwrap();
        assert!(
            matches!(verdict, Verdict::Broken { seq, .. } if seq == place),
            "{change}: {verdict:?}"
        );
        // The others can be read all the same.
        for path in ["/v1/journal", "/v1/journal/chain", "/journal", &format!("/requests/{id}")] {
            let answer = running.api.get(path).await;
            assert_eq!(answer.status, 200, "{change}, {path}: {}", answer.text);
        }
        let restore = "delete from journal; insert into journal table kept";
        sqlx::raw_sql(restore).execute(&mut connection).await.unwrap();
        let verdict = running.service.store.verify_journal(|_| {}).await.unwrap();
        assert!(matches!(verdict, Verdict::Intact { entries: 2, .. }), "{verdict:?}");
    }
    connection.close().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn what_is_taken_off_the_end_is_found_by_what_it_changed() {
    let world = World::new().await;
    let running = world.start().await;
    let id = running.api.submit(&world.submission(&world.prepare().await)).await;
    running.api.wait_for(&id, "proposed").await;
    let comment = json!({ "text": "nothing comes of this" });
    assert_eq!(
        running.api.post(&format!("/v1/requests/{id}/comments"), &comment).await.status,
        200
    );
    let mut connection = world.database.connect().await;
    sqlx::raw_sql("alter table journal disable trigger all")
        .execute(&mut connection)
        .await
        .unwrap();
    for (change, left, because) in [
        ("delete from journal where seq = 3", 2, None),
        ("delete from journal where seq = 2", 1, Some("its entries do not lead to where it is")),
        ("delete from journal", 0, Some("no entry tells that it was opened")),
    ] {
        sqlx::raw_sql(change).execute(&mut connection).await.unwrap();
        let verdict = running.service.store.verify_journal(|_| {}).await.unwrap();
        let found = match &verdict {
            Verdict::Intact { entries, .. } => (*entries, None),
            Verdict::Incomplete { entries, request, because, .. } => {
                assert_eq!(request.to_string(), id);
                (*entries, Some(*because))
            }
            Verdict::Broken { .. } => panic!("{change}: {verdict:?}"),
        };
        assert_eq!(found, (left, because), "{change}");
    }
    connection.close().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_change_that_is_not_journaled_does_not_happen() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    world
        .database
        .execute(
            "create function refuse() returns trigger language plpgsql as
             $$ begin raise exception 'the disk is full'; end $$;
             create trigger refuse before insert on journal for each row execute function refuse()",
        )
        .await;
    let reason = json!({ "reason": "not needed" });
    let answer = api.post(&format!("/v1/requests/{id}/withdraw"), &reason).await;
    assert_eq!((answer.status, answer.body["code"].as_str()), (500, Some("internal")));
    let answer = api.confirm(&id, &world.signature(api, &id, 0).await).await;
    assert_eq!(answer.status, 500);
    let answer =
        api.post("/v1/requests", &world.submission_on(&world.prepare_on(7).await, 7)).await;
    assert_eq!(answer.status, 500);
    assert_eq!(api.request(&id).await["status"], "proposed");
    assert_eq!(api.proposal(&id).await["confirmations"], json!([]));
    let list = api.get("/v1/requests").await.body;
    assert_eq!(list["requests"].as_array().unwrap().len(), 1, "nothing was stored");
    running.stop().await;
}

/// Every combination of facts that the columns can hold gives the same status by SQL as in Rust.
#[tokio::test]
async fn the_status_of_the_database_is_the_status_of_the_facts() {
    let (world, running) = eventful().await;
    let id = every_request(&running.service.store).await[0].id;
    running.stop().await;
    let store = Store::open(world.database.options()).await.unwrap();
    let mut connection = world.database.connect().await;
    let columns = [
        "proposal_id = (select id from proposals limit 1)",
        "approved_at = now()",
        "executed_at = now(), executed_block = 1, executed_block_hash = sha256('a')",
        "registered_at = now(), registered_block = 1, registered_block_hash = sha256('a')",
        "attempt_id = (select id from commit_attempts limit 1)",
        "committed_at = now(), replica_id = 'another'",
        "running_at = now()",
        "ended_at = now(), ended_as = 'failed', ended_reason = ''",
    ];
    let nothing = "proposal_id = null, approved_at = null, executed_at = null,
        executed_block = null, executed_block_hash = null, executed_tx = null,
        registered_at = null, registered_block = null, registered_block_hash = null,
        attempt_id = null, committed_at = null, replica_id = null, running_at = null,
        ended_at = null, ended_as = null, ended_code = null, ended_reason = null";
    let mut met = BTreeSet::new();
    for facts in 0..1_u32 << columns.len() {
        let chosen = columns.iter().enumerate().filter(|(bit, _)| facts & (1 << bit) != 0);
        let set: Vec<&str> = chosen.map(|(_, column)| *column).collect();
        let id_text = id.to_string();
        let mut write = async |set: &str| {
            let statement = format!("update requests set {set} where id = '{id_text}'");
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        };
        write(nothing).await;
        if !set.is_empty() {
            write(&set.join(", ")).await;
        }
        let row = sqlx::query("select status from requests where id = $1")
            .bind(id.0)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let stored: String = row.get("status");
        assert_eq!(stored, store.request(id).await.unwrap().status().as_str(), "{set:?}");
        met.insert(stored);
    }
    assert_eq!(met.len(), Status::ALL.len() - 3, "every status but the other three ends: {met:?}");
    connection.close().await.unwrap();
    store.close().await;
}
