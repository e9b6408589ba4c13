//! Which nodes are meant, and how many replicas each of them gets. Pure.

use crate::{phala::Node, request::ids::NodeId};

/// Most replicas that one command makes.
pub const REPLICAS_MAX: usize = 100;

/// Why it is not clear which node is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeProblem {
    #[error("no node is called `{name}` ({})", candidates(.nodes))]
    Missing { name: String, nodes: Vec<Node> },
    #[error("several nodes are called `{name}`, so name one by its id ({})", candidates(.nodes))]
    Ambiguous { name: String, nodes: Vec<Node> },
    #[error("node {0} is named twice; --count makes several replicas on it")]
    Twice(String),
    #[error("--count: expected 1 to {REPLICAS_MAX}")]
    Count,
    #[error("--count: fewer than the {0} nodes that are named; name as many as are wanted")]
    Fewer(usize),
}

fn candidates(nodes: &[Node]) -> String {
    let called = |node: &Node| format!("{} has id {}", node.name, node.id);
    match nodes {
        [] => "this workspace has no nodes".into(),
        nodes => nodes.iter().map(called).collect::<Vec<_>>().join(", "),
    }
}

/// A node that is meant, and what to say of how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub node: Node,
    pub note: Option<String>,
}

/// Finds the nodes that are meant by names or ids, each once. A name is meant in any letter case; a
/// number is an id, unless a node is called that.
///
/// # Errors
/// [`NodeProblem`], with the nodes there are.
pub fn resolve(names: &[String], nodes: &[Node]) -> Result<Vec<Chosen>, NodeProblem> {
    let mut chosen: Vec<Chosen> = vec![];
    for name in names {
        let found = one(name.trim(), nodes)?;
        if chosen.iter().any(|other| other.node.id == found.node.id) {
            return Err(NodeProblem::Twice(found.node.id.to_string()));
        }
        chosen.push(found);
    }
    Ok(chosen)
}

fn one(name: &str, nodes: &[Node]) -> Result<Chosen, NodeProblem> {
    let is_called = |node: &&Node| node.name.to_lowercase() == name.to_lowercase();
    let called: Vec<&Node> = nodes.iter().filter(is_called).collect();
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let by_id = nodes.iter().find(|node| node.id.as_str() == name);
    match (&called[..], by_id) {
        ([node], by_id) => {
            let other = by_id.filter(|other| other.id != node.id);
            let not_meant = other.map(|other| format!(", and not node {name} ({})", other.name));
            let said = is_number.then(|| {
                let not_meant = not_meant.unwrap_or_default();
                format!("`{name}` is the name of node {}, which is meant{not_meant}", node.id)
            });
            Ok(Chosen { node: (*node).clone(), note: said })
        }
        ([], Some(node)) => Ok(Chosen { node: node.clone(), note: None }),
        ([], None) => Err(NodeProblem::Missing { name: name.into(), nodes: nodes.to_vec() }),
        (several, _) => {
            let nodes = several.iter().map(|node| (*node).clone()).collect();
            Err(NodeProblem::Ambiguous { name: name.into(), nodes })
        }
    }
}

/// One replica to be: its node, and which one of the same kind it is there, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: NodeId,
    pub name: String,
    pub copy: u32,
}

/// Spreads replicas over nodes, one after the other. Without a count each node gets one.
///
/// # Errors
/// [`NodeProblem::Count`], [`NodeProblem::Fewer`]
pub fn spread(nodes: &[Chosen], count: Option<usize>) -> Result<Vec<Place>, NodeProblem> {
    let count = count.unwrap_or(nodes.len());
    if !(1..=REPLICAS_MAX).contains(&count) {
        return Err(NodeProblem::Count);
    }
    if count < nodes.len() {
        return Err(NodeProblem::Fewer(nodes.len()));
    }
    let rounds = (1..).flat_map(|copy| nodes.iter().map(move |chosen| (copy, &chosen.node)));
    let place =
        |(copy, node): (u32, &Node)| Place { node: node.id.clone(), name: node.name.clone(), copy };
    Ok(rounds.take(count).map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: &str) -> Node {
        Node {
            id: id.parse().unwrap(),
            name: name.into(),
            region: None,
            device_ids: vec![],
            kms: vec![],
        }
    }

    fn town() -> Vec<Node> {
        vec![
            node("5", "prod5"),
            node("6", "Prod6"),
            node("7", "9"),
            node("8", "twin"),
            node("9", "nine"),
            node("10", "TWIN"),
        ]
    }

    fn found(names: &[&str]) -> Result<Vec<String>, NodeProblem> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let chosen = resolve(&names, &town())?;
        Ok(chosen.into_iter().map(|chosen| chosen.node.id.to_string()).collect())
    }

    #[test]
    fn a_node_is_meant_by_its_whole_name_in_any_case_or_by_its_id() {
        for (names, ids) in [
            (&["prod5"][..], &["5"][..]),
            (&["PROD5", "prod6"], &["5", "6"]),
            (&["5", "10"], &["5", "10"]),
            (&[" prod6 "], &["6"]),
        ] {
            assert_eq!(found(names).unwrap(), ids, "{names:?}");
        }
        for name in ["prod", "prod55", "", "11", "05", "5 6"] {
            let problem = found(&[name]).unwrap_err();
            let told = problem.to_string();
            assert!(matches!(problem, NodeProblem::Missing { .. }), "{name:?}");
            assert!(told.contains("prod5 has id 5, Prod6 has id 6"), "{told}");
        }
        assert_eq!(found(&["5", "prod5"]), Err(NodeProblem::Twice("5".into())));
    }

    #[test]
    fn two_nodes_of_one_name_are_told_apart_by_id_only() {
        let told = found(&["Twin"]).unwrap_err().to_string();
        assert!(
            told.contains("twin has id 8, TWIN has id 10") && !told.contains("prod5"),
            "{told}"
        );
        assert_eq!(found(&["8"]).unwrap(), ["8"]);
    }

    #[test]
    fn a_number_that_is_a_name_is_that_name_and_it_is_said() {
        let chosen = resolve(&["9".into()], &town()).unwrap();
        assert_eq!(chosen[0].node.id.as_str(), "7");
        let note = "`9` is the name of node 7, which is meant, and not node 9 (nine)";
        assert_eq!(chosen[0].note.as_deref(), Some(note));
        let chosen = resolve(&["nine".into()], &town()).unwrap();
        assert_eq!((chosen[0].node.id.as_str(), &chosen[0].note), ("9", &None));
    }

    #[test]
    fn replicas_go_round_the_nodes() {
        let nodes = resolve(&["5".into(), "6".into()], &town()).unwrap();
        let places = |count| -> Vec<(String, u32)> {
            let places = spread(&nodes, count).unwrap();
            places.into_iter().map(|place| (place.node.to_string(), place.copy)).collect()
        };
        let place = |node: &str, copy| (node.to_owned(), copy);
        assert_eq!(places(None), [place("5", 1), place("6", 1)]);
        assert_eq!(spread(&nodes, Some(1)), Err(NodeProblem::Fewer(2)));
        assert_eq!(places(Some(3)), [place("5", 1), place("6", 1), place("5", 2)]);
        for count in [0, REPLICAS_MAX + 1] {
            assert_eq!(spread(&nodes, Some(count)), Err(NodeProblem::Count));
        }
    }
}
