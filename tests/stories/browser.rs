//! Every page, looked at with a real browser: the law that `tests/browser/law.mjs` writes down.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::world::{
    Api, World,
    browser::{Browser, Failed, PATIENCE},
    eventually,
};

/// Where pictures of the pages go, for people to look at.
pub const SCREENSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots");

/// Looks at pages with a name, a path and the answer they come with.
pub async fn hold_the_law(browser: &Browser, api: &Api, pages: &[Value]) {
    hold_the_law_as(browser, api, "", pages).await;
}

/// The same with the cookie of somebody who signed in.
pub async fn hold_the_law_as(browser: &Browser, api: &Api, cookie: &str, pages: &[Value]) {
    fs::create_dir_all(SCREENSHOTS).expect("a folder for pictures");
    let mut wrong = vec![];
    for page in pages {
        let scene = json!({
            "base": api.base(), "token": api.token(), "cookie": cookie, "page": page,
            "screenshots": SCREENSHOTS,
        });
        // A run of its own for each: patience is for a page, however many there are.
        if let Err(Failed(words)) = browser.run_for(PATIENCE, "law.mjs", &scene).await {
            wrong.push(format!("{}: {words}", page["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A page in the table, with a picture of it.
pub fn page(name: &str, path: &str) -> Value {
    json!({ "name": name, "path": path, "picture": name.replace([' ', ','], "-") })
}

fn refusal(name: &str, path: &str, status: u16) -> Value {
    json!({ "name": name, "path": path, "status": status, "picture": name.replace(' ', "-") })
}

/// A request on a node of its own.
pub async fn submit_on(world: &World, api: &Api, node: u64, words: &str) -> String {
    world.town.add_node(node);
    let mut body = world.submission_on(&world.prepare_on(node).await, node);
    body["note"] = json!(words);
    api.submit(&body).await
}

/// Waits until the node of a request is listed, which may come between two looks at its page.
pub async fn node_is_known(api: &Api, id: &str) {
    eventually("a node to be listed", async || {
        let meaning = &api.request(id).await["device_meaning"];
        meaning["words"].as_str()?.starts_with("node ").then_some(())
    })
    .await;
}

/// Requests in the statuses that people see, by name.
async fn requests(world: &World, api: &Api) -> Vec<(&'static str, String)> {
    let note = |what: &str| format!("{what}, for the release of November");
    let running = submit_on(world, api, 21, &note("More room")).await;
    world.sign(api, &running).await;
    world.execute(api, &running).await;
    world.mine(crate::world::DEPTH).await;
    api.wait_for(&running, "running").await;
    let approved = submit_on(world, api, 22, &note("A spare")).await;
    world.sign(api, &approved).await;
    let executed = submit_on(world, api, 23, &note("Another spare")).await;
    api.proposal(&executed).await;
    let device = api.request(&executed).await["device_id"].as_str().unwrap().parse().unwrap();
    let write = countersign::dstack::Write::AddDevice(device);
    let app = world.town.chain.app;
    let call = countersign::owner::Call::of_write(app, &write);
    world.as_the_safe(call.to, call.data).await;
    api.wait_for(&executed, "executed").await;
    let proposed = submit_on(world, api, 24, &note("Closer to readers")).await;
    world.sign_by(api, &proposed, 0).await;
    let withdrawn = submit_on(world, api, 25, &note("Not needed")).await;
    let reason = json!({ "reason": "the old ones are enough" });
    let answer = api.post(&format!("/v1/requests/{withdrawn}/withdraw"), &reason).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let asking = submit_on(world, api, 26, &note("Once more")).await;
    api.proposal(&asking).await;
    node_is_known(api, &asking).await;
    vec![
        ("running", running),
        ("approved", approved),
        ("executed", executed),
        ("proposed", proposed),
        ("withdrawn", withdrawn),
        ("asking", asking),
    ]
}

#[tokio::test]
async fn every_page_keeps_the_law() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    hold_the_law(&browser, api, &[page("list of nothing", "/")]).await;
    let requests = requests(&world, api).await;
    world
        .database
        .execute(
            "update requests set attention = 'two new instances fit, and nothing tells which one is its own'
             where node_id = '26'",
        )
        .await;
    let app = format!("/apps/{}/{}", world.town.chain.chain_id, world.town.chain.app);
    eventually("the history of the app", async || {
        api.get(&app).await.text.contains("The history is complete").then_some(())
    })
    .await;
    let mut pages = vec![
        page("list", "/"),
        page("list filtered", "/?status=proposed&q=readers"),
        page("list without a match", "/?q=no%20such%20thing"),
        page("apps", "/apps"),
        page("sign-in", "/sign-in"),
        page("operator", "/operator"),
        page("app", &app),
        page("app as of a block", &format!("{app}?at=3")),
        page("app as of a moment", &format!("{app}?time=2001-01-01")),
        page("ledger", &format!("{app}/ledger")),
        page("ledger filtered", &format!("{app}/ledger?kind=device_added&from=1")),
        page("ledger without a match", &format!("{app}/ledger?q=no%20such%20thing")),
        page("journal", "/journal"),
        refusal("nothing here", "/nowhere", 404),
        refusal("no such request", "/requests/00000000-0000-0000-0000-000000000000", 404),
        refusal("not an address", "/?status=moon", 422),
        refusal("not a kind of event", &format!("{app}/ledger?kind=moon"), 422),
    ];
    let of_requests = requests.iter();
    pages.extend(
        of_requests.map(|(name, id)| page(&format!("request {name}"), &format!("/requests/{id}"))),
    );
    hold_the_law(&browser, api, &pages).await;
    running.stop().await;
}

#[tokio::test]
async fn a_hung_browser_is_ended_and_leaves_no_process() {
    let Some(browser) = Browser::start().await else { return };
    let scene = json!({ "base": "http://127.0.0.1:1", "token": "" });
    let hung = browser.run_for(Duration::from_secs(10), "hang.mjs", &scene).await;
    let said = hung.expect_err("it cannot be done").0;
    assert!(said.contains("not done after") && said.contains("hangs"), "{said}");
    let folder = browser.end();
    let names = |process: &Path| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder.to_str().unwrap())
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = all.filter(|process| names(process)).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}
