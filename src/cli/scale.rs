//! `countersign scale`: have as many instances of an app as wanted. A plan first, then what it says.

mod plan;

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Globals,
    cells::text,
    client::Client,
    follow,
    page::{Cell, Look, Page, Tone},
    prepare::{CloudArgs, Order, Place, advised, create_all, prepare_all, resolve},
    print::{self, Answer, Ending, spinner},
    replicas::{app_of, day, node, requests_of},
};
use crate::{
    phala::{Cvm, Instance, Node, PhalaCloud},
    request::{
        ids::{AppId, ChainId, ComposeHash, DeviceId, SourceCvm},
        status::Status,
    },
};
use plan::{Allowed, Creation, Entry, Open, Plan, Present, plan};

/// Have so many instances of an app: show what that takes, and do it after a yes.
///
/// New replicas go to the nodes of --on that have the fewest. They are prepared, put to the owner in
/// one transaction, and committed by the service; where no chain governs the app they are created at
/// once. Fewer instances: the newest are deleted, never the one that replicas are made from. What is
/// under way counts, so that the same command again does nothing twice. Exit code 3 when something
/// needs attention, or nobody said yes.
#[derive(Debug, Args)]
#[command(
    override_usage = "countersign scale <APP|CVM> --replicas <N> [--on <NODE>...] [OPTIONS]",
    after_help = "Examples:
  countersign scale my-cvm --replicas 4 --on prod5 prod6
  countersign scale my-cvm --replicas 2 --yes"
)]
pub struct ScaleArgs {
    /// The app, or one of its CVMs: an address, an id or a name.
    #[arg(value_name = "APP|CVM")]
    app: SourceCvm,
    /// How many instances there are to be, the source among them.
    #[arg(long, value_name = "N")]
    replicas: usize,
    /// Nodes for new replicas, by name or id; when there are to be fewer, only those there go.
    #[arg(long, value_name = "NODE", num_args = 1..)]
    on: Vec<String>,
    /// The CVM that replicas are made from [default: the oldest one].
    #[arg(long, value_name = "CVM")]
    source: Option<SourceCvm>,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// A note for those who review the requests.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Follow new replicas until they run.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    cloud: CloudArgs,
}

/// What was looked at.
struct Seen {
    source: Cvm,
    present: Present,
    on: Vec<Node>,
}

pub async fn run(args: ScaleArgs, globals: &Globals) -> Result<Answer> {
    if !args.cloud.has_key() {
        bail!("no API key of the Phala Cloud workspace: give it as PHALA_CLOUD_API_KEY");
    }
    let cloud = args.cloud.client()?;
    let client = Client::new(&globals.service)?;
    let spinner = spinner("looks at the app");
    let seen = look(&cloud, &client, &args).await;
    spinner.finish_and_clear();
    let seen = seen?;
    let plan = plan(&seen.present, args.replicas, &seen.on)?;
    let page = page(&seen, &plan, args.replicas);
    let json = json_of(&seen, &plan);
    if matches!(plan, Plan::Nothing) {
        return Ok(Answer::new(page, json!({ "plan": json, "applied": false })));
    }
    if !args.yes && (globals.json || !io::stdin().is_terminal()) {
        let note = "nothing was done: --yes does it";
        let answer = Answer::new(page, json!({ "plan": json, "applied": false }));
        return Ok(answer.note(note).ending(Ending::Attention));
    }
    // On standard error, so that it is said before it is done whatever is printed afterwards.
    print::note_to_stderr(&page.render(Look::of_stdout()));
    if !args.yes && !is_yes("do it? [y/N]")? {
        let answer = Answer::new(Page::default(), json!({ "plan": json, "applied": false }));
        return Ok(answer.note("nothing was done").ending(Ending::Attention));
    }
    apply(&cloud, &client, args, seen, plan).await
}

async fn apply(
    cloud: &PhalaCloud,
    client: &Client,
    args: ScaleArgs,
    seen: Seen,
    plan: Plan,
) -> Result<Answer> {
    match plan {
        Plan::Nothing => Ok(Answer::silent()),
        Plan::Delete(gone) => delete(cloud, &gone).await,
        Plan::Create { creations, .. } => {
            let is_governed = seen.present.allowed != Allowed::NotGoverned;
            let places = places(&seen.present, &creations);
            let order = Order {
                source: seen.source,
                places,
                // What was said, and nothing else that the app may run by then.
                compose: seen.present.compose.filter(|_| is_governed),
                variables: None,
                note: args.note,
            };
            if !is_governed {
                return create_all(cloud, &order, true).await;
            }
            client.may_write().await?;
            let mut done = prepare_all(cloud, client, &order).await?;
            if args.wait && done.failed.is_none() {
                done.requests = follow::until_running(client, done.ids()).await?;
            }
            Ok(done.answer())
        }
    }
}

/// Where the replicas go. Those that are under way on the same node are others.
fn places(present: &Present, creations: &[Creation]) -> Vec<Place> {
    let mut places: Vec<Place> = vec![];
    for Creation { node, .. } in creations {
        let before = present.coming().filter(|open| open.node.as_ref() == Some(&node.id)).count()
            + places.iter().filter(|place| place.node == node.id).count();
        let copy = u32::try_from(before + 1).unwrap_or(u32::MAX);
        places.push(Place { node: node.id.clone(), name: node.name.clone(), copy });
    }
    places
}

async fn look(cloud: &PhalaCloud, client: &Client, args: &ScaleArgs) -> Result<Seen> {
    let app = app_of(cloud, &args.app).await?;
    let instances = cloud.instances(app).await;
    let instances = instances.map_err(|error| advised(error, "cannot list the instances"))?;
    let named =
        args.app.as_str().parse::<AppId>().is_err() && !args.app.as_str().starts_with("app_");
    let oldest = instances.iter().min_by_key(|one| (one.created_at.is_none(), one.created_at));
    let source = match (&args.source, oldest) {
        (Some(source), _) => source.clone(),
        (None, _) if named => args.app.clone(),
        (None, Some(oldest)) => oldest.id.as_str().parse()?,
        (None, None) => bail!("app {app} has no instance that a replica could be made from"),
    };
    let source = cloud.cvm(&source).await.map_err(|error| advised(error, "cannot read the CVM"))?;
    if source.app != app {
        bail!("--source: that CVM belongs to app {}", source.app);
    }
    let on = if args.on.is_empty() {
        vec![]
    } else {
        let nodes = cloud.nodes().await.map_err(|error| advised(error, "cannot list the nodes"))?;
        let chosen = resolve(&args.on, &nodes)?;
        for said in chosen.iter().filter_map(|chosen| chosen.note.as_ref()) {
            print::note_to_stderr(said);
        }
        chosen.into_iter().map(|chosen| chosen.node).collect()
    };
    let (allowed, open) = match source.chain_id {
        None => (Allowed::NotGoverned, vec![]),
        Some(chain) => {
            let requests = requests_of(client, app).await.map_err(|why| {
                anyhow::anyhow!("{why}; without the requests under way nothing is planned")
            })?;
            (allowed(client, chain, app).await, requests.iter().filter_map(open).collect())
        }
    };
    let compose = source.compose_hash;
    let present = Present { instances, open, source: source.vm_uuid.clone(), compose, allowed };
    Ok(Seen { source, present, on })
}

/// A request that has not ended and is for a new replica.
fn open(request: &Value) -> Option<Open> {
    let status: Option<Status> = text(request, "/status").parse().ok();
    // A word of a newer service is no end that is known.
    if status.is_some_and(Status::is_end) || request["kind"] == "update" {
        return None;
    }
    let replica = request.pointer("/replica/id").and_then(Value::as_str);
    Some(Open {
        id: text(request, "/id").parse().ok()?,
        node: request["node_id"].as_str().and_then(|node| node.parse().ok()),
        replica: replica.and_then(|id| id.parse().ok()),
    })
}

/// What the app allows, as the service has read it.
async fn allowed(client: &Client, chain: ChainId, app: AppId) -> Allowed {
    let (chain, app) = (chain.to_string(), app.to_string());
    let path = ["v1", "apps", chain.as_str(), app.as_str(), "allowlist"];
    let list = match client.get(&path, &[]).await {
        Ok(list) => list,
        Err(error) if error.status() == Some(404) => {
            return Allowed::Unknown("the service does not watch this app yet".into());
        }
        Err(error) => return Allowed::Unknown(error.to_string()),
    };
    let Some(entries) = list["entries"].as_array() else {
        return Allowed::Unknown("the service's list does not read".into());
    };
    // A part of the history shows less than is allowed, which is not the same as new.
    if list["is_whole"] != Value::Bool(true) {
        return Allowed::Unknown("the service has not read the app's whole history".into());
    }
    // One that does not read may be the very one that is asked about.
    let unreadable = || Allowed::Unknown("an entry of the service's list does not read".into());
    let values = |kind: &'static str| {
        let of_kind = entries.iter().filter(move |entry| entry["kind"] == kind);
        of_kind.map(|entry| text(entry, "/value"))
    };
    let composes: Result<Vec<ComposeHash>, _> =
        values("compose_hash").map(|text| text.parse()).collect();
    let devices: Result<Vec<DeviceId>, _> = values("device").map(|text| text.parse()).collect();
    let (Ok(composes), Ok(devices)) = (composes, devices) else { return unreadable() };
    let any_device = list["allow_any_device"] == Value::Bool(true);
    Allowed::Known { composes, devices, any_device }
}

fn is_yes(question: &str) -> Result<bool> {
    print::note_to_stderr(question);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn delete(cloud: &PhalaCloud, gone: &[Instance]) -> Result<Answer> {
    let mut deleted: Vec<Value> = vec![];
    for one in gone {
        let spinner = spinner("Phala Cloud deletes an instance");
        let answered = cloud.delete_instance(&one.id).await;
        spinner.finish_and_clear();
        if let Err(error) = answered {
            let told = format!(
                "{} of {} were deleted, the next one was not; run it again to go on",
                deleted.len(),
                gone.len()
            );
            return Err(advised(error, "Phala Cloud did not delete the instance").context(told));
        }
        deleted.push(json!(one.id));
    }
    let line = |id: &Value| Cell::from(format!("deleted {}", id.as_str().unwrap_or_default()));
    let page = Page::default().lines(deleted.iter().map(line).collect());
    Ok(Answer::new(page, json!({ "deleted": deleted, "applied": true })))
}

fn page(seen: &Seen, plan: &Plan, wanted: usize) -> Page {
    let there = seen.present.instances.len();
    let page = Page::default()
        .title(format!("App {}: instances now {there}, wanted {wanted}", seen.source.app));
    let page = seen.present.coming().fold(page, |page, open| {
        page.line(format!("one more counts that is under way: request {}", open.id))
    });
    match plan {
        Plan::Nothing => page.line("nothing is to be done"),
        Plan::Delete(gone) => {
            let row = |one: &Instance| -> Vec<Cell> {
                let created = one.created_at.map_or_else(|| "-".into(), day);
                let status = one.status.clone();
                vec![one.id.to_string().into(), node(one).into(), created.into(), status.into()]
            };
            let heads = vec!["delete", "node", "created", "status"];
            let page = page.table(heads, gone.iter().map(row).collect());
            page.line(Cell::toned("what they hold is gone with them", Tone::Bad))
        }
        Plan::Create { creations, compose, cost } => {
            let row = |one: &Creation| -> Vec<Cell> {
                let place = format!("{} ({})", one.node.name, one.node.id);
                vec!["a replica".into(), place.into(), entry(one.device), entry(*compose)]
            };
            let heads = vec!["create", "node", "device", "compose hash"];
            let page = page.table(heads, creations.iter().map(row).collect());
            let source = &seen.present.source;
            let page = page.line(match seen.present.compose {
                Some(compose) => {
                    format!("they are to run compose hash {compose}, as CVM {source} does")
                }
                None => format!(
                    "they are to run what CVM {source} runs, which Phala Cloud does not say"
                ),
            });
            let devices = |one: &Node| {
                let ids: Vec<_> = one.device_ids.iter().map(ToString::to_string).collect();
                let known = if ids.is_empty() { "not known".into() } else { ids.join(" or ") };
                Cell::from(format!("device of {} ({}): {known}", one.name, one.id))
            };
            let mut nodes: Vec<&Node> = creations.iter().map(|one| &one.node).collect();
            nodes.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
            nodes.dedup_by_key(|node| &node.id);
            let page = page.lines(nodes.into_iter().map(devices).collect());
            match &seen.present.allowed {
                Allowed::NotGoverned => {
                    page.line("no chain governs this app: they are created at once")
                }
                Allowed::Unknown(why) => page
                    .line(format!("what the app allows is not known: {why}"))
                    .line(costs(cost.requests, cost.approvals, true)),
                Allowed::Known { .. } => page.line(costs(cost.requests, cost.approvals, false)),
            }
        }
    }
}

fn costs(requests: usize, approvals: usize, at_most: bool) -> String {
    let of = |count: usize, one: &str| {
        if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
    };
    let most = if at_most { "at most " } else { "" };
    match approvals {
        0 => {
            format!("it costs {} and no approval: all is allowed already", of(requests, "request"))
        }
        _ => format!(
            "it costs {} and {most}{} of the owner",
            of(requests, "request"),
            of(approvals, "approval")
        ),
    }
}

fn entry(entry: Entry) -> Cell {
    match entry {
        Entry::Allowed => Cell::toned("allowed", Tone::Good),
        Entry::New => Cell::toned("new: to be approved", Tone::Waiting),
        Entry::Unknown => Cell::toned("not known", Tone::Waiting),
    }
}

fn json_of(seen: &Seen, plan: &Plan) -> Value {
    let word = |entry: Entry| match entry {
        Entry::Allowed => "allowed",
        Entry::New => "new",
        Entry::Unknown => "unknown",
    };
    let (app, present) = (seen.source.app, seen.present.instances.len());
    let under_way = seen.present.coming().count();
    match plan {
        Plan::Nothing => json!({ "app": app, "present": present, "under_way": under_way }),
        Plan::Delete(gone) => {
            let gone: Vec<_> = gone.iter().map(|one| &one.id).collect();
            json!({ "app": app, "present": present, "delete": gone })
        }
        Plan::Create { creations, compose, cost } => {
            let create = creations.iter().map(|one| {
                let Node { id, name, device_ids, .. } = &one.node;
                json!({
                    "node_id": id, "node": name, "device": word(one.device),
                    "device_ids": device_ids,
                })
            });
            json!({
                "app": app, "present": present, "under_way": under_way,
                "create": create.collect::<Vec<_>>(),
                "compose_hash": word(*compose), "runs": seen.present.compose,
                "source_cvm": seen.present.source, "requests": cost.requests,
                "approvals": cost.approvals,
            })
        }
    }
}
