//! The list as a queue: what needs a person first, then by deadline; filtered and turned page by page
//! without scripts; and no slower for a hundred thousand requests.

use std::time::{Duration, Instant};

use countersign::devnet::Wallet;
use serde_json::json;

use crate::world::{Visitor, World, browser::Browser, eventually};

/// A hundred thousand requests, most of them over, of a thousand apps. Nobody looks at them: they are
/// due tomorrow. One of a hundred asks a person, and of those that wait the later ones die first.
const MANY: &str = r"
-- Triggers one by one would take a minute; what they keep up is written here.
set session_replication_role = replica;
insert into apps (chain_id, app, first_seen_at, ledger_from, history_start, history_is_whole)
select 8453, decode(lpad(to_hex(n), 40, '0'), 'hex'), now(), 0, 0, true from generate_series(0, 999) as n;
insert into requests (id, kind, chain_id, app, source_cvm, node_id, compose_hash, device_id, note,
    created_at, created_by, next_try_at, token_expires_at, attention, ended_at, ended_as,
    ended_reason)
select gen_random_uuid(), 'replica', 8453, decode(lpad(to_hex(n % 1000), 40, '0'), 'hex'),
    'cvm-' || n, n % 7, decode(lpad(to_hex(n), 64, '0'), 'hex'), decode(lpad(to_hex(n), 64, '0'), 'hex'),
    'note ' || n, now() - n * interval '1 second', 'token:story', now() + interval '1 day',
    now() + interval '14 days' - n * interval '1 second',
    case when n % 100 = 7 then 'look at ' || n end,
    case when n % 5 > 0 and n % 100 <> 7 then now() - n * interval '1 second' end,
    case when n % 5 = 1 and n % 100 <> 7 then 'failed'
         when n % 5 > 0 and n % 100 <> 7 then 'withdrawn' end,
    case when n % 5 > 0 and n % 100 <> 7 then 'no longer wanted' end
from generate_series(1, 100000) as n;
insert into preparations (id, request_id, source_cvm, token_sealed, token_fingerprint, prepared_at,
    expires_at, received_at)
select gen_random_uuid(), id, source_cvm, '\x00', decode(lpad(substr(source_cvm, 5), 64, '0'), 'hex'),
    now(), now() + interval '14 days' - substr(source_cvm, 5)::integer * interval '1 second', now()
from requests;
analyze;
";

/// How long the service may take for a page, in a build for tests and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_queue_of_a_hundred_thousand_is_in_order_and_without_lag() {
    let Some(browser) = Browser::start().await else { return };
    let mut world = World::new().await;
    let admin = Wallet::funded(5).unwrap();
    let admins = vec![admin.address().to_string()];
    world.set_access(|lists| lists.admins = admins);
    drop(world.service().await.store);
    world.database.execute(MANY).await;
    let running = world.start().await;
    let api = &running.api;
    let app = "0x0000000000000000000000000000000000000007";
    let owner = Visitor::signed_in(api, &admin).await;
    for path in [
        "/".to_owned(),
        "/?status=failed".into(),
        "/?status=expired".into(),
        format!("/?app={app}"),
        format!("/?app={app}&status=withdrawn"),
        "/?q=cvm-99".into(),
        "/?q=no+such+thing".into(),
        "/?q=prod6".into(),
        "/?mine=1".into(),
        "/?mine=1&q=no+such+thing".into(),
    ] {
        let mut times = vec![];
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(owner.get(&path).await.status, 200, "{path}");
            times.push(begun.elapsed());
        }
        let best = times.into_iter().min().unwrap();
        println!("{path}: {best:?}");
        assert!(best < PATIENCE, "{path} takes {best:?}");
    }
    // The server tells its counts with some delay.
    for index in ["requests_queue", "requests_queue_by_status", "requests_queue_of_app"] {
        let used = "select idx_scan from pg_stat_user_indexes where indexrelname = $1";
        let mut connection = world.database.connect().await;
        eventually(format!("{index} to be used"), async || {
            let query = sqlx::query_scalar::<_, i64>(used).bind(index);
            let scans = query.fetch_one(&mut connection).await.ok()?;
            (scans > 0).then_some(())
        })
        .await;
    }
    let scene = json!({ "base": api.base(), "token": api.token(), "app": app });
    browser.run("queue.mjs", &scene).await;
    running.stop().await;
}

/// The requests that a page lists, in its order.
fn listed_ids(page: &str) -> Vec<String> {
    let rows = page.split("<th scope=\"row\"><a id=\"r-").skip(1);
    rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
}

/// What the database computes for the order, held against what the program says of the same facts.
#[tokio::test]
async fn the_order_agrees_with_status_and_attention() {
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let mut ids = vec![];
    for node in 51..58 {
        ids.push(super::browser::submit_on(&world, api, node, "a note").await);
    }
    for id in &ids {
        api.proposal(id).await;
    }
    world.sign(api, &ids[0]).await;
    world.sign_by(api, &ids[5], 0).await;
    for (verb, id) in [("withdraw", &ids[1]), ("reject", &ids[2])] {
        let answer =
            api.post(&format!("/v1/requests/{id}/{verb}"), &json!({ "reason": "so" })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    // Nobody works on these two, and writes over what follows.
    for id in &ids[3..5] {
        api.wait_to_be_woken(id, "a signature").await;
    }
    world
        .database
        .execute(
            "update requests set attention = 'look' where node_id = '54';
             update requests set ended_at = now(), ended_as = 'failed', ended_code = 'boot-differs',
                ended_reason = 'another compose hash runs' where node_id = '55'",
        )
        .await;
    let page = api.get("/").await.text;
    let place = |id: &String| page.find(&format!("href=\"/requests/{id}\"")).expect("it is listed");
    let mut listed: Vec<&String> = ids.iter().collect();
    listed.sort_by_key(|id| place(id));
    let mut ranks = vec![];
    for id in listed {
        let request = api.request(id).await;
        let status = request["status"].as_str().unwrap();
        ranks.push(match status {
            // What is over is never in the way of what is not, however it ended.
            "withdrawn" | "rejected" | "failed" | "expired" | "running" => 3,
            _ if request["needs_attention"] == true => 0,
            "proposed" | "approved" => 1,
            _ => 2,
        });
    }
    assert_eq!(ranks, [0, 1, 1, 1, 3, 3, 3], "{page}");
    let (failed, first) = (&ids[4], listed_ids(&page)[4].clone());
    assert_eq!(*failed, first, "of what is over the newest comes first, alarm or not: {page}");
    // Page by page it is the same.
    let (mut next, mut paged) = (Some("/?limit=2".to_owned()), vec![]);
    while let Some(path) = next {
        let page = api.get(&path).await.text;
        paged.extend(listed_ids(&page));
        let link =
            page.split_once("\" rel=\"next\"").and_then(|(before, _)| before.rsplit_once('"'));
        next = link.map(|(_, address)| address.replace("&#38;", "&"));
    }
    assert_eq!(paged, listed_ids(&page));
    // An owner finds what waits for the own signature, and is told so.
    for (owner, waiting) in [(0, vec![&ids[3], &ids[6]]), (1, vec![&ids[3], &ids[5], &ids[6]])] {
        let owner = Visitor::signed_in(api, &world.town.chain.owners[owner]).await;
        let mut found = listed_ids(&owner.get("/?mine=1").await.text);
        assert_eq!(owner.get("/?mine=1&status=approved").await.text.matches("<tr>").count(), 0);
        let all = owner.get("/").await.text;
        assert_eq!(all.matches("your signature is missing").count(), waiting.len(), "{all}");
        found.sort_by_key(|id| ids.iter().position(|one| one == id));
        assert_eq!(found.iter().collect::<Vec<_>>(), waiting);
    }
    assert_eq!(api.get("/?mine=1").await.status, 401, "a token is no owner");
    // What a row shows of a node is found.
    world
        .database
        .execute(
            "insert into nodes (node_id, name, first_seen_at, last_seen_at)
             values ('54', 'prod54', now(), now())
             on conflict (node_id) do update set name = excluded.name",
        )
        .await;
    assert!(api.get("/").await.text.contains("prod54 (54)"));
    for (text, found) in [("prod54", &ids[3..4]), ("rod54+(54)", &ids[3..4]), ("prod59", &ids[..0])]
    {
        let page = api.get(&format!("/?q={text}")).await.text;
        assert_eq!(listed_ids(&page), found, "{text}");
    }
    // So are ids and hashes, by any part of them.
    let one = api.request(&ids[3]).await;
    let device = one["device_id"].as_str().unwrap();
    for text in [&ids[3][..], &ids[3][9..], &ids[3].replace('-', ""), device, &device[30..50]] {
        let page = api.get(&format!("/?q={text}")).await.text;
        assert!(listed_ids(&page).contains(&ids[3]), "{text}");
    }
    let page = api.get(&format!("/?q={}", ids[3].replace('-', ""))).await.text;
    assert_eq!(listed_ids(&page), &ids[3..4]);
    running.stop().await;
}
