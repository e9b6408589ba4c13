//! What people do in the page of a request: by plain forms, which no other page can send; and what they
//! say there.

use countersign::{
    access::SessionId, devnet::Wallet, review::COMMENTS_MAX, store::journal::Verdict,
};
use futures::future::join_all;
use reqwest::{Method, RequestBuilder, header};
use serde_json::{Value, json};

use super::browser::{hold_the_law_as, node_is_known, page};
use crate::world::{Answer, Api, DEPTH, Running, Visitor, World, browser::Browser, process::cli};

const FORM: &str = "application/x-www-form-urlencoded";
const STRANGER: usize = 3;
const VIEWER: usize = 4;

fn wallet(index: usize) -> Wallet {
    Wallet::funded(index).expect("there are ten")
}

struct Scene {
    _world: World,
    running: Running,
    id: String,
}

impl Scene {
    async fn set() -> Self {
        let mut world = World::new().await;
        let viewers = vec![wallet(VIEWER).address().to_string()];
        world.set_access(|lists| lists.viewers = viewers);
        let running = world.start().await;
        let id = running.api.submit(&world.submission(&world.prepare().await)).await;
        running.api.wait_for(&id, "proposed").await;
        Self { _world: world, running, id }
    }

    fn api(&self) -> &Api {
        &self.running.api
    }

    fn path(&self, act: &str) -> String {
        format!("/requests/{}/{act}", self.id)
    }

    async fn visitor(&self, index: usize) -> Visitor {
        Visitor::signed_in(self.api(), &wallet(index)).await
    }

    async fn page(&self, visitor: &Visitor) -> Answer {
        visitor.get(&format!("/requests/{}", self.id)).await
    }

    async fn kinds(&self) -> Vec<String> {
        let told = self.api().timeline(&self.id).await;
        told.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    }
}

/// What stands in the forms of a page.
fn form_token(page: &str) -> String {
    let field = page.split("name=\"token\" value=\"").nth(1).expect("the page has a form");
    field.split('"').next().unwrap().to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The same, of a session that is shown no form.
fn token_of(visitor: &Visitor) -> String {
    let (_, id) = visitor.cookie.split_once('=').expect("somebody is signed in");
    SessionId::parse(id).expect("a cookie holds an id").form_token()
}

/// Without following to where it leads.
async fn send(call: RequestBuilder, body: &str) -> (u16, String, String) {
    let answer =
        call.header(header::CONTENT_TYPE, FORM).body(body.to_owned()).send().await.unwrap();
    let place = answer.headers().get(header::LOCATION);
    let place = place.map(|place| place.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status().as_u16(), place, answer.text().await.unwrap())
}

#[tokio::test]
async fn a_form_counts_from_a_page_of_this_site_with_the_token_of_this_session() {
    let scene = Scene::set().await;
    let (signer, other) = (scene.visitor(0).await, scene.visitor(1).await);
    let token = form_token(&scene.page(&signer).await.text);
    let of_another = form_token(&scene.page(&other).await.text);
    assert_ne!(token, of_another);
    let url = format!("{}{}", scene.api().base(), scene.path("reject"));
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let bare = || client.post(&url).header(header::COOKIE, &signer.cookie);
    let here = || bare().header(header::ORIGIN, &signer.origin);
    let with = |token: &str| form(&[("token", token), ("reason", "not ours")]);
    let mine = with(&token);
    let evil = "https://evil.example";
    for (name, call, body, status) in [
        ("no origin", bare(), &mine, 403),
        ("a foreign origin", bare().header(header::ORIGIN, evil), &mine, 403),
        ("a hidden origin", bare().header(header::ORIGIN, "null"), &mine, 403),
        ("another site", bare().header("sec-fetch-site", "cross-site"), &mine, 403),
        ("a sibling", bare().header("sec-fetch-site", "same-site"), &mine, 403),
        (
            "a lie",
            bare().header(header::ORIGIN, evil).header("sec-fetch-site", "same-origin"),
            &mine,
            403,
        ),
        ("no token", here(), &form(&[("reason", "not ours")]), 403),
        ("an empty token", here(), &with(""), 403),
        ("the token of another session", here(), &with(&of_another), 403),
        ("nobody", client.post(&url).header(header::ORIGIN, &signer.origin), &mine, 401),
        (
            "an API token",
            client
                .post(&url)
                .bearer_auth(scene.api().token())
                .header(header::ORIGIN, &signer.origin),
            &mine,
            401,
        ),
        ("no reason", here(), &form(&[("token", &token), ("reason", " ")]), 422),
    ] {
        let (told, _, text) = send(call, body).await;
        assert_eq!(told, status, "{name}: {text}");
        assert!(text.starts_with("<!doctype html>"), "{name} is told in a page: {text}");
    }
    let json = here().json(&json!({ "token": token, "reason": "not ours" })).send().await.unwrap();
    assert_eq!(json.status(), 415);
    assert!(!scene.kinds().await.contains(&"rejected".to_owned()), "nothing of it happened");
    // As browsers send a form of ours: the page tells nobody where it is.
    let call = bare().header(header::ORIGIN, "null").header("sec-fetch-site", "same-origin");
    let (status, place, text) = send(call, &mine).await;
    assert_eq!((status, place), (303, format!("/requests/{}#timeline", scene.id)), "{text}");
    let said = scene.api().timeline(&scene.id).await;
    let last = said.last().unwrap();
    let actor = format!("wallet:{}", wallet(0).address());
    assert_eq!((&last["kind"], &last["actor"]), (&json!("rejected"), &json!(actor)));
    assert_eq!(last["body"]["reason"], "not ours");
    // What has ended cannot end again, and a session that has ended ends nothing.
    let (status, _, text) = send(here(), &mine).await;
    assert_eq!(status, 409, "{text}");
    assert_eq!(signer.sign_out().await.status, 204);
    let (status, _, text) = send(here(), &mine).await;
    assert_eq!(status, 401, "{text}");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_page_offers_what_its_visitor_may_do_and_takes_nothing_else() {
    let scene = Scene::set().await;
    let nobody = scene.api().get(&format!("/requests/{}", scene.id)).await.text;
    assert!(!nobody.contains("<form") && nobody.contains("to comment on this"), "{nobody}");
    let (signer, viewer) = (scene.visitor(0).await, scene.visitor(VIEWER).await);
    let seen = scene.page(&viewer).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    let acts = format!("action=\"/requests/{}", scene.id);
    assert!(!seen.text.contains(&acts), "a viewer may do nothing: {}", seen.text);
    let page = scene.page(&signer).await.text;
    for act in ["comments", "retry", "withdraw", "reject"] {
        assert!(page.contains(&format!("action=\"{}\"", scene.path(act))), "{act}: {page}");
    }
    assert!(!page.contains("/settle\""), "nobody is asked: {page}");
    // A form of one's own does not make a signer.
    assert_eq!(token_of(&signer), form_token(&page));
    for (visitor, path, status) in [
        (&viewer, scene.path("withdraw"), 403),
        (&signer, scene.path("launch"), 404),
        (&signer, "/requests/00000000-0000-0000-0000-000000000000/reject".to_owned(), 404),
        (&signer, scene.path("settle"), 409),
    ] {
        let token = token_of(visitor);
        let body = form(&[("token", &token), ("reason", "because"), ("replica", "")]);
        let (told, _, text) = send(visitor.call(Method::POST, &path), &body).await;
        assert_eq!(told, status, "{path}: {text}");
    }
    scene.running.stop().await;
}

#[tokio::test]
async fn a_form_that_is_refused_comes_back_as_it_was_filled_in() {
    let scene = Scene::set().await;
    let signer = scene.visitor(0).await;
    let token = form_token(&scene.page(&signer).await.text);
    let sent = async |act: &str, name: &str, typed: &str| {
        let body = form(&[("token", &token), (name, typed)]);
        send(signer.call(Method::POST, &scene.path(act)), &body).await
    };
    let long = format!("\nI looked at </textarea><b>all of it</b>{}", "x".repeat(2_000));
    let shown = format!(
        "\nI looked at &#60;/textarea&#62;&#60;b&#62;all of it&#60;/b&#62;{}",
        "x".repeat(2_000)
    );
    let (status, _, page) = sent("comments", "text", &long).await;
    assert_eq!(status, 422, "{page}");
    // The first line feed in a field is not part of it.
    let field =
        page.split("aria-describedby=\"comments-wrong\" autofocus>\n").nth(1).expect("the field");
    assert!(field.starts_with(&format!("{shown}</textarea>")), "{field}");
    let told = "id=\"comments-wrong\" role=\"alert\">write a comment of 1 to 2000 characters.";
    assert!(field.contains(told), "{field}");
    assert!(page.contains(&format!("data-page=\"/requests/{}\"", scene.id)), "{page}");
    let (status, _, page) = sent("reject", "reason", "  ").await;
    assert_eq!(status, 422, "{page}");
    assert!(page.contains("<details id=\"act-reject\" open>"), "{page}");
    assert!(page.contains("<details id=\"act-withdraw\">"), "the others are as they were: {page}");
    let told = "id=\"reject-wrong\" role=\"alert\">give a reason of 1 to 1000 characters.";
    assert!(page.contains(told), "{page}");
    // Somebody else ends it meanwhile: then there is no form to show.
    let path = format!("/v1/requests/{}/withdraw", scene.id);
    let answer = scene.api().post(&path, &json!({ "reason": "not needed" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let (status, _, page) = sent("reject", "reason", "not ours").await;
    assert_eq!(status, 409, "{page}");
    assert!(page.contains("This did not work") && !page.contains("autofocus"), "{page}");
    scene.running.stop().await;
}

const HARM: &str =
    "<script>pwned=1</script> \"'><img src=x onerror=pwned=1> gnp\u{202e}exe\u{200b}";

#[tokio::test]
async fn a_comment_stands_in_the_timeline_and_changes_nothing() {
    let scene = Scene::set().await;
    let (api, path) = (scene.api(), format!("/v1/requests/{}/comments", scene.id));
    let before = api.wait_for_reason(&scene.id, "0 of 2 signatures").await;
    for (text, status) in [
        (json!("the image is of the tag of today\nI looked"), 200),
        (json!(HARM), 200),
        (json!("x".repeat(2_000)), 200),
        (json!("x".repeat(2_001)), 422),
        (json!("  "), 422),
        (json!("a\0b"), 422),
        (json!(7), 422),
        (Value::Null, 422),
    ] {
        let answer = api.post(&path, &json!({ "text": text })).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        if status == 422 {
            assert_eq!(answer.body["field"], "text");
        }
    }
    let told = api.request(&scene.id).await;
    for same in ["status", "reason", "attempts"] {
        assert_eq!(told[same], before[same], "{same}");
    }
    let (code, out, error) =
        cli(api, &["comment", &scene.id, "said on the command line", "--json"]).await;
    assert_eq!(code, 0, "{out}{error}");
    let (_, shown, _) = cli(api, &["show", &scene.id]).await;
    assert!(shown.contains("said on the command line") && shown.contains("I looked"), "{shown}");
    assert!(!shown.contains('\u{202e}'), "{shown}");
    let last = api.last_told(&scene.id, "commented").await;
    assert_eq!(last["text"], "said on the command line");
    let signer = scene.visitor(0).await;
    let token = form_token(&scene.page(&signer).await.text);
    let body = form(&[("token", &token), ("text", "by a form\r\nof two lines")]);
    let (status, _, text) = send(signer.call(Method::POST, &scene.path("comments")), &body).await;
    assert!(status == 200 || status == 303, "{status} {text}");
    let told = api.timeline(&scene.id).await;
    let last = told.last().unwrap();
    assert_eq!(last["body"]["text"], "by a form\nof two lines");
    assert_eq!(last["actor"], format!("wallet:{}", wallet(0).address()).as_str());
    let page = scene.page(&signer).await.text;
    assert!(page.contains("Comment: by a form\nof two lines"), "{page}");
    assert!(page.contains("gnp\\u{202e}exe\\u{200b}") && !page.contains('\u{202e}'), "{page}");
    assert!(page.contains("&#60;script&#62;pwned") && !page.contains("<img src=x"), "{page}");
    let journal = scene.running.service.store.verify_journal(|_| {}).await.unwrap();
    assert!(matches!(journal, Verdict::Intact { .. }), "{journal:?}");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_request_takes_so_many_comments_and_no_more() {
    let scene = Scene::set().await;
    let path = format!("/v1/requests/{}/comments", scene.id);
    for number in 1..COMMENTS_MAX {
        let answer = scene.api().post(&path, &json!({ "text": format!("{number}") })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    // Of many at once the last place takes one.
    let last = json!({ "text": "the last" });
    let at_once = join_all((0..8).map(|_| scene.api().post(&path, &last))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status == 200).count(), 1);
    let answer = scene.api().post(&path, &json!({ "text": "one more" })).await;
    let told = (answer.status, answer.body["code"].as_str());
    assert_eq!(told, (409, Some("too-many-comments")), "{}", answer.text);
    assert!(scene.kinds().await.contains(&"proposed".to_owned()), "what happened is still shown");
    scene.running.stop().await;
}

#[tokio::test]
async fn a_browser_without_script_settles_comments_and_rejects() {
    let Some(browser) = Browser::start().await else { return };
    let world = World::new().await;
    let running = world.start().await;
    let api = &running.api;
    let submission = world.submission(&world.prepare().await);
    world.switch(json!({ "swallow_next_commit": 1 }));
    world.switch(json!({ "add_with_commit": [{ "node": 6 }] }));
    let asking = world.carry(api, &submission).await;
    api.wait_for_reason(&asking, "which one is this request's").await;
    let made = world.town.cloud.commit_log()[0].created.expect("it had its effect").to_string();
    let proposed = super::browser::submit_on(&world, api, 24, "Closer to readers").await;
    api.wait_for(&proposed, "proposed").await;
    node_is_known(api, &proposed).await;
    let signer = Visitor::signed_in(api, &wallet(0)).await;
    hold_the_law_as(
        &browser,
        api,
        &signer.cookie,
        &[page("acts on a proposal", &format!("/requests/{proposed}"))],
    )
    .await;
    let scene = json!({
        "base": api.base(), "token": "", "cookie": signer.cookie,
        "asking": asking, "proposed": proposed, "made": made, "harm": HARM,
    });
    browser.run("acts.mjs", &scene).await;
    world.mine(DEPTH).await;
    let told = api.wait_for(&asking, "running").await;
    assert_eq!(told["replica"]["id"], made.as_str(), "{told}");
    assert_eq!(api.request(&proposed).await["status"], "rejected");
    let said = api.last_told(&proposed, "commented").await;
    assert_eq!(said["text"], HARM);
    // Nobody here is no signer, in whatever browser.
    let stranger = Visitor::signed_in(api, &wallet(STRANGER)).await;
    assert_eq!(stranger.get(&format!("/requests/{proposed}")).await.status, 404);
    running.stop().await;
}
