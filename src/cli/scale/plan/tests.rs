use super::*;
use crate::clock::Time;

const DAY: &str = "2026-11-0";

fn device(byte: u8) -> DeviceId {
    DeviceId([byte; 32].into())
}

fn compose_hash(byte: u8) -> ComposeHash {
    ComposeHash([byte; 32].into())
}

fn node(id: u8, devices: &[u8]) -> Node {
    let device_ids = devices.iter().map(|byte| device(*byte)).collect();
    Node {
        id: id.to_string().parse().unwrap(),
        name: format!("prod{id}"),
        region: None,
        device_ids,
        kms: vec![],
    }
}

fn instance(id: &str, node: u8, day: u8) -> Instance {
    Instance {
        id: id.parse().unwrap(),
        name: id.into(),
        status: "running".into(),
        node_id: Some(node.to_string().parse().unwrap()),
        node_name: None,
        compose_hash: Some(compose_hash(0xc0)),
        device_id: Some(device(node)),
        created_at: (day > 0).then(|| format!("{DAY}{day}T00:00:00Z").parse::<Time>().unwrap()),
        boot_error: None,
    }
}

fn open(node: u8, replica: Option<&str>) -> Open {
    Open {
        id: RequestId(uuid::Uuid::from_u128(node.into())),
        node: Some(node.to_string().parse().unwrap()),
        replica: replica.map(|id| id.parse().unwrap()),
    }
}

/// The source on node 5 and a replica on node 6; node 5 is allowed, and what runs.
fn present() -> Present {
    Present {
        instances: vec![instance("source", 5, 1), instance("b", 6, 2)],
        open: vec![],
        source: "source".parse().unwrap(),
        compose: Some(compose_hash(0xc0)),
        allowed: Allowed::Known {
            composes: vec![compose_hash(0xc0)],
            devices: vec![device(5)],
            any_device: false,
        },
    }
}

fn created(plan: Result<Plan, NoPlan>) -> (Vec<(String, Entry)>, Entry, Cost) {
    let Ok(Plan::Create { creations, compose, cost }) = plan else { panic!("{plan:?}") };
    let told = |one: Creation| (one.node.id.to_string(), one.device);
    (creations.into_iter().map(told).collect(), compose, cost)
}

fn deleted(plan: Result<Plan, NoPlan>) -> Vec<String> {
    let Ok(Plan::Delete(gone)) = plan else { panic!("{plan:?}") };
    gone.into_iter().map(|one| one.id.to_string()).collect()
}

#[test]
fn new_replicas_go_where_the_fewest_are_and_need_what_is_not_allowed() {
    let (on, fresh) = ([node(5, &[5]), node(6, &[6])], node(7, &[7]));
    let place = |node: &str, device| (node.to_owned(), device);
    let (places, compose, cost) = created(plan(&present(), 4, &on));
    assert_eq!(places, [place("5", Entry::Allowed), place("6", Entry::New)]);
    assert_eq!((compose, cost), (Entry::Allowed, Cost { requests: 2, approvals: 1 }));
    let three = [on[0].clone(), on[1].clone(), fresh];
    let (places, ..) = created(plan(&present(), 5, &three));
    let nodes: Vec<&str> = places.iter().map(|(node, _)| node.as_str()).collect();
    assert_eq!(nodes, ["7", "5", "6"], "the empty one first, then in the order they were named");
    // All of it is allowed: nobody is asked.
    let (.., cost) = created(plan(&present(), 3, &on[..1]));
    assert_eq!(cost, Cost { requests: 1, approvals: 0 });
}

#[test]
fn a_batch_has_room_for_twenty() {
    for (wanted, approvals) in [(22, 1), (23, 2), (42, 2), (43, 3)] {
        let (places, _, cost) = created(plan(&present(), wanted, &[node(7, &[7])]));
        assert_eq!((places.len(), cost.approvals), (wanted - 2, approvals), "{wanted}");
    }
}

#[test]
fn what_is_not_known_is_not_taken_for_allowed_or_new() {
    let known = present().allowed;
    let any = Allowed::Known { composes: vec![], devices: vec![], any_device: true };
    for (allowed, devices, compose, device) in [
        (known.clone(), &[5, 6][..], Entry::Allowed, Entry::Unknown),
        (known.clone(), &[5], Entry::Allowed, Entry::Allowed),
        (known, &[], Entry::Allowed, Entry::Unknown),
        (Allowed::Unknown("no answer".into()), &[5], Entry::Unknown, Entry::Unknown),
        (any, &[9], Entry::New, Entry::Allowed),
        (Allowed::NotGoverned, &[9], Entry::Allowed, Entry::Allowed),
    ] {
        let present = Present { allowed: allowed.clone(), ..present() };
        let (places, found, cost) = created(plan(&present, 3, &[node(7, devices)]));
        assert_eq!((places[0].1, found), (device, compose), "{allowed:?}");
        let is_free = compose == Entry::Allowed && device == Entry::Allowed;
        assert_eq!(cost.approvals, usize::from(!is_free), "{allowed:?}");
        assert_eq!(cost.requests, usize::from(allowed != Allowed::NotGoverned));
    }
    let unknown = Present { compose: None, ..present() };
    assert_eq!(created(plan(&unknown, 3, &[node(5, &[5])])).1, Entry::Unknown);
}

#[test]
fn what_is_under_way_counts_so_that_the_same_again_plans_nothing() {
    let waiting = Present { open: vec![open(7, None), open(8, Some("b"))], ..present() };
    let on = [node(7, &[7]), node(8, &[8])];
    assert_eq!((plan(&waiting, 3, &on), waiting.coming().count()), (Ok(Plan::Nothing), 1));
    let (places, ..) = created(plan(&waiting, 4, &on));
    assert_eq!(places[0].0, "8", "node 7 has one coming");
    for wanted in [1, 2] {
        let ids = vec![open(7, None).id];
        assert_eq!(plan(&waiting, wanted, &on), Err(NoPlan::UnderWay(ids)), "{wanted}");
    }
    assert_eq!((plan(&present(), 2, &on), present().coming().count()), (Ok(Plan::Nothing), 0));
}

#[test]
fn the_newest_go_first_and_the_source_and_what_is_followed_stay() {
    let many = |open| Present {
        instances: vec![
            instance("a", 6, 3),
            instance("source", 5, 9),
            instance("b", 6, 2),
            instance("c", 7, 4),
        ],
        open,
        ..present()
    };
    assert_eq!(deleted(plan(&many(vec![]), 3, &[])), ["c"]);
    assert_eq!(deleted(plan(&many(vec![]), 1, &[])), ["c", "a", "b"]);
    assert_eq!(deleted(plan(&many(vec![]), 3, &[node(6, &[])])), ["a"], "only on these nodes");
    // That one boots, and its request would be told that it is gone.
    assert_eq!(deleted(plan(&many(vec![open(7, Some("c"))]), 3, &[])), ["a"]);
    let few = NoPlan::TooFew { found: 2, wanted: 3, on_nodes: false };
    assert_eq!(plan(&many(vec![open(7, Some("c"))]), 1, &[]), Err(few));
}

#[test]
fn there_is_no_plan_without_nodes_or_dates_or_for_nothing() {
    assert_eq!(plan(&present(), 0, &[]), Err(NoPlan::Last));
    assert_eq!(plan(&present(), 3, &[]), Err(NoPlan::NoNodes));
    let mut undated = present();
    undated.instances.push(instance("c", 7, 0));
    assert_eq!(plan(&undated, 2, &[]), Err(NoPlan::Undated("c".parse().unwrap())));
    let told = NoPlan::UnderWay(vec![open(7, None).id]).to_string();
    assert!(told.contains("countersign withdraw 00000000-0000-0000-0000-000000000007"), "{told}");
}

#[test]
fn instances_of_one_moment_go_in_one_order() {
    let mut twins = present();
    twins.instances.extend([instance("c", 7, 2), instance("d", 7, 2)]);
    assert_eq!(deleted(plan(&twins, 1, &[])), ["d", "c", "b"]);
}
