//! The simple workflow: no chain governs the app, so its replicas are created at once.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Order, Place, advised};
use crate::{
    cli::{
        cells::text,
        page::{Cell, Page, Tone},
        print::{Answer, Ending, spinner},
    },
    phala::{Created, PhalaCloud, PhalaError, Surroundings},
    request::ids::SourceCvm,
};

const WHAT: &str = "Phala Cloud did not create the replica";
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a replica may take to boot before nobody waits any longer.
const PATIENCE: Duration = Duration::from_mins(15);
/// Where people look at instances.
const PORTAL: &str = "https://cloud.phala.com";

/// How a boot ended.
enum Boot {
    Runs,
    Fails(String),
    Unknown,
}

/// Creates the replicas of an order, one after the other, and waits until they run. What was created
/// before one fails is told.
pub async fn create_all(cloud: &PhalaCloud, order: &Order, wait: bool) -> Result<Answer> {
    let source = &order.source.vm_uuid;
    let around = cloud.surroundings(source).await.unwrap_or_default();
    let (mut made, mut failed) = (vec![], None);
    for place in &order.places {
        match create(cloud, order, place).await {
            Ok(created) => made.push(created),
            Err(error) if made.is_empty() => return Err(error),
            Err(error) => {
                failed = Some((place, error));
                break;
            }
        }
    }
    let mut ending = Ending::Done;
    let mut page = Page::default();
    let mut notes = vec![];
    for created in &mut made {
        if wait {
            match until_running(cloud, created).await {
                Boot::Runs => created.vm["status"] = json!("running"),
                Boot::Fails(reason) => {
                    notes.push(format!("{} does not boot: {reason}", created.instance.id));
                    ending = Ending::Attention;
                }
                Boot::Unknown => {
                    notes.push(format!("{} does not run yet", created.instance.id));
                    ending = Ending::Attention;
                }
            }
        }
        page = page.lines(block(source, created, &around).into_iter().map(Cell::from).collect());
    }
    if let Some((place, error)) = &failed {
        let told = format!("{} were created, none on {}: {error:#}", made.len(), place.name);
        page = page.line(Cell::toned(told, Tone::Bad));
        ending = Ending::Failed;
    }
    let json = json_of(&made, failed.map(|(_, error)| format!("{error:#}")).as_deref());
    let answer = notes.into_iter().fold(Answer::new(page, json), Answer::note);
    Ok(answer.ending(ending))
}

async fn create(cloud: &PhalaCloud, order: &Order, place: &Place) -> Result<Created> {
    let body = order.body(place)?;
    let spinner = spinner("Phala Cloud creates the replica");
    let created = cloud.create_replica(&order.source.vm_uuid, &body).await;
    spinner.finish_and_clear();
    match created {
        Ok(created) => Ok(created),
        Err(error @ (PhalaError::NoAnswer { .. } | PhalaError::Malformed { .. })) => {
            let app = order.source.app;
            bail!(
                "{error}: look whether it is there before you try again: countersign replicas {app}"
            )
        }
        Err(error) => Err(advised(error, WHAT)),
    }
}

async fn until_running(cloud: &PhalaCloud, created: &Created) -> Boot {
    let spinner = spinner("the replica boots");
    let looked = tokio::time::timeout(PATIENCE, async {
        let mut clock = tokio::time::interval(LOOK_EVERY);
        loop {
            clock.tick().await;
            // A look that fails tells nothing of the replica.
            let Ok(boot) = cloud.boot(&created.instance.id).await else { continue };
            if let Some(error) = boot.error {
                return Boot::Fails(error);
            }
            match boot.status.as_str() {
                "running" => return Boot::Runs,
                "stopped" | "error" | "failed" => return Boot::Fails(boot.status),
                _ => {}
            }
        }
    });
    let ended = looked.await.unwrap_or(Boot::Unknown);
    spinner.finish_and_clear();
    ended
}

/// What the `phala` command line tool prints of a new replica: the same names in the same order.
fn block(source: &SourceCvm, created: &Created, around: &Surroundings) -> Vec<String> {
    let vm = &created.vm;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let team = match (&around.team, &around.slug) {
        (Some(team), Some(slug)) if team != slug => format!("{team} ({slug})"),
        (Some(team), _) => team.clone(),
        (None, slug) => or_dash(slug),
    };
    let node = ["/teepod/name", "/teepod_name", "/node_info/name"];
    let node = node.map(|place| text(vm, place)).into_iter().find(|name| name != "-");
    let node = node.unwrap_or_else(|| "-".into());
    [
        ("Source CVM ID", source.to_string()),
        ("Team", team),
        ("CVM UUID", created.instance.id.to_string()),
        ("App ID", text(vm, "/app_id")),
        ("Name", text(vm, "/name")),
        ("Status", text(vm, "/status")),
        ("KMS", or_dash(&around.kms)),
        ("Node", format!("{node} (ID: {})", text(vm, "/teepod_id"))),
        ("vCPUs", text(vm, "/vcpu")),
        ("Memory", format!("{} MB", text(vm, "/memory"))),
        ("Disk Size", format!("{} GB", text(vm, "/disk_size"))),
        ("App URL", address(created, around)),
    ]
    .map(|(name, value)| format!("{:<16} {value}", format!("{name}:")))
    .into()
}

fn address(created: &Created, around: &Surroundings) -> String {
    let portal = std::env::var("CLOUD_URL").ok().filter(|url| !url.is_empty());
    let portal = portal.as_deref().unwrap_or(PORTAL).trim_end_matches('/');
    match &around.slug {
        Some(slug) => {
            let id = created.instance.id.as_str().replace('-', "");
            format!("{portal}/{slug}/apps/{}/instances/{id}", text(&created.vm, "/app_id"))
        }
        None => text(&created.vm, "/app_url"),
    }
}

/// One replica as the `phala` command line tool gives it; several as a list.
fn json_of(made: &[Created], failed: Option<&str>) -> Value {
    let one = |created: &Created| {
        let mut value = json!({ "success": true });
        for (name, field) in created.vm.as_object().into_iter().flatten() {
            value[name] = field.clone();
        }
        value
    };
    if let ([created], None) = (made, failed) {
        return one(created);
    }
    let replicas: Vec<Value> = made.iter().map(one).collect();
    json!({ "success": failed.is_none(), "replicas": replicas, "failed": failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> Created {
        let id = "9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b";
        let vm = json!({
            "id": 7, "vm_uuid": id, "name": "payments-7", "status": "running", "app_id": "a0a1",
            "teepod_id": 5, "teepod": { "id": 5, "name": "prod5" }, "vcpu": 1, "memory": 2048,
            "disk_size": 20, "app_url": "https://x.example",
        });
        let instance = crate::phala::Instance {
            id: id.parse().unwrap(),
            name: "payments-7".into(),
            status: "running".into(),
            node_id: None,
            node_name: None,
            compose_hash: None,
            device_id: None,
            created_at: None,
            boot_error: None,
        };
        Created { instance, vm }
    }

    #[test]
    fn the_block_has_the_twelve_lines_that_people_know() {
        let around = Surroundings {
            team: Some("Acme".into()),
            slug: Some("acme".into()),
            kms: Some("phala".into()),
        };
        let lines = block(&"my-cvm".parse().unwrap(), &created(), &around).join("\n");
        insta::assert_snapshot!(lines, @"
        Source CVM ID:   my-cvm
        Team:            Acme (acme)
        CVM UUID:        9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b
        App ID:          a0a1
        Name:            payments-7
        Status:          running
        KMS:             phala
        Node:            prod5 (ID: 5)
        vCPUs:           1
        Memory:          2048 MB
        Disk Size:       20 GB
        App URL:         https://cloud.phala.com/acme/apps/a0a1/instances/9f8e7d6c5b4a49388271605f4e3d2c1b
        ");
        let bare = block(&"my-cvm".parse().unwrap(), &created(), &Surroundings::default());
        assert_eq!(bare.len(), 12);
        assert_eq!(bare[1], "Team:            -");
        assert_eq!(bare[11], "App URL:         https://x.example");
    }

    #[test]
    fn one_replica_is_flat_in_json_and_several_are_a_list() {
        let one = json_of(&[created()], None);
        assert_eq!((&one["success"], &one["vcpu"]), (&json!(true), &json!(1)));
        let two = json_of(&[created(), created()], Some("no room"));
        assert_eq!((&two["success"], &two["failed"]), (&json!(false), &json!("no room")));
        assert_eq!(two["replicas"].as_array().unwrap().len(), 2);
    }
}
