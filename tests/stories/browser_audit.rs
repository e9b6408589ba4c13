//! What auditors look at with a browser: the history as a drawing, files, paper, and the journal, which
//! the browser checks by itself.

use serde_json::{Value, json};

use super::audit_files::{DEVICE, OTHER, audited, known};
use crate::world::{World, browser::Browser};

#[tokio::test]
async fn the_history_is_drawn_saved_and_printed() {
    let Some(browser) = Browser::start().await else { return };
    let (world, running, app) = audited().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    let ledger = known(api, &app, 8).await;
    let of = |kind: &str, value: &str| {
        let found = ledger.iter().find(|one| one["kind"] == kind && one["value"] == value);
        let found = found.unwrap();
        json!({ "block": found["block"]["number"], "tx": found["tx"] })
    };
    let other = OTHER.to_string();
    let head = api.get("/v1/journal?limit=1").await.body[0].clone();
    let scene = json!({
        "base": api.base(), "token": api.token(), "app": app,
        "device": DEVICE, "other": other,
        "added": of("device_added", &other), "removed": of("device_removed", &other),
        "safe": world.town.chain.safe.to_string(), "events": ledger.len(), "head": head,
    });
    browser.run("audit.mjs", &scene).await;
    running.stop().await;
}

/// Entries as another program would append them: the hashes are PostgreSQL's own.
const MANY: &str = r#"
do $$
declare
    last bigint; before bytea; id uuid; moment timestamptz; what text; hashed bytea;
    actor bytea := convert_to('token:größer', 'UTF8'); kind bytea := convert_to('retried', 'UTF8');
begin
    select seq, hash into last, before from journal order by seq desc limit 1;
    select r.id into id from requests r limit 1;
    for n in last + 1 .. last + 1200 loop
        moment := '2026-11-03 10:00:00.123456+00'::timestamptz + n * interval '1 microsecond';
        what := '{"event": "retried", "number": 12345678901234567890.50, "reason": "größer ' || n || '"}';
        hashed := sha256(before || int8send(n) || int8send((extract(epoch from moment) * 1000000)::bigint)
            || int8send(16) || uuid_send(id)
            || int8send(octet_length(actor)) || actor || int8send(octet_length(kind)) || kind
            || convert_to(what, 'UTF8'));
        insert into journal (seq, at, request_id, actor, kind, body, prev_hash, hash)
        values (n, moment, id, convert_from(actor, 'UTF8'), 'retried', what, before, hashed);
        before := hashed;
    end loop;
end $$"#;

#[tokio::test]
async fn a_browser_finds_out_whether_the_journal_was_changed() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let id = api.submit(&world.submission(&world.prepare().await)).await;
    api.wait_for(&id, "proposed").await;
    let says = async |noted: &str| {
        let scene = json!({ "base": api.base(), "token": api.token(), "noted": noted });
        let said = browser.run("journal.mjs", &scene).await;
        (said["words"].as_str().unwrap().to_owned(), said["class"] == "good")
    };
    let chain = async |after: u64| -> Value {
        let page = api.get(&format!("/v1/journal/chain?after={after}&limit=1")).await;
        page.body[0].clone()
    };
    let early = chain(1).await["hash"].as_str().unwrap().to_owned();
    world.database.execute(MANY).await;
    let head = api.get("/v1/journal?limit=1").await.body[0].clone();
    let (count, hash) = (&head["seq"], head["hash"].as_str().unwrap());
    let whole = format!("{count} entries, chain whole, head {hash}.");
    assert_eq!(says("").await, (whole.clone(), true));
    assert_eq!(says(&early).await, (format!("{whole} The noted head is entry 2."), true));
    let (words, is_good) = says(&"ab".repeat(32)).await;
    assert!(words.contains("no entry has the noted head") && !is_good, "{words}");

    world
        .database
        .execute("alter table journal disable trigger all; create table kept as table journal")
        .await;
    for (change, expected) in [
        (
            "update journal set actor = 'nobody' where seq = 2",
            "at entry 2: its content was changed",
        ),
        (
            "update journal set body = replace(body, '.50', '.5') where seq = 900",
            "at entry 900: its content was changed",
        ),
        (
            "update journal set at = at + interval '1 microsecond' where seq = 700",
            "at entry 700: its content was changed",
        ),
        ("delete from journal where seq = 1100", "at entry 1101: an entry before it is missing"),
        (
            "update journal set request_id = null where seq = 501",
            "at entry 501: its content was changed",
        ),
        (
            "update journal set prev_hash = hash where seq = 3",
            "at entry 3: it does not follow from the entry before it",
        ),
    ] {
        world.database.execute(change).await;
        let (words, is_good) = says("").await;
        assert!(words.contains(expected) && !is_good, "{change}: {words}");
        world.database.execute("delete from journal; insert into journal table kept").await;
    }
    assert_eq!(says("").await, (whole, true));
    // Who may not look at the journal is told so.
    let now = running.service.clock.now();
    let viewer = crate::world::api::make_token(&running.service.store, &["viewer"], now).await;
    let scene = json!({
        "base": api.base(), "token": api.token(), "noted": "", "other": viewer,
    });
    let said = browser.run("journal.mjs", &scene).await;
    assert_eq!(said["words"], "Not checked: the service answered 403.");
    running.stop().await;
}
