//! The YAML of a compose file, read with limits: what aliases stand for is counted, so that a small
//! file cannot become a large one.

use serde_json::Value;
use serde_saphyr::{Options, options::DuplicateKeyPolicy};

/// Values that a compose file may have, those that aliases repeat included.
const NODES_MAX: usize = 20_000;
const EVENTS_MAX: usize = 60_000;
const ALIASES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 48;

/// The file as a JSON value, or the line on which it stops making sense, if that is known.
pub(super) fn read(text: &str) -> Result<Value, Option<u64>> {
    serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| error.location().map(|place| place.line()))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: EVENTS_MAX,
            max_nodes: NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_depth: DEPTH_MAX,
            max_documents: 1,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: EVENTS_MAX,
            max_replay_stack_depth: 16,
        },
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_compose_file_is_read_with_its_anchors() {
        let text = "x-log: &log { driver: json }\nservices:\n  web:\n    image: nginx\n    logging: *log\n    ports: ['80:80', 443]\n    privileged: true\n  db: { image: pg, <<: *log }\n";
        let read = read(text).unwrap();
        assert_eq!(read["services"]["web"]["logging"], json!({ "driver": "json" }));
        assert_eq!(read["services"]["web"]["ports"], json!(["80:80", 443]));
        assert_eq!(read["services"]["web"]["privileged"], json!(true));
        assert_eq!(read["services"]["db"]["driver"], "json");
    }

    #[test]
    fn a_small_file_cannot_become_a_large_one() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..12 {
            let before = at - 1;
            let all = vec![format!("*a{before}"); 9].join(", ");
            bomb.extend([format!("a{at}: &a{at} [{all}]\n")]);
        }
        assert!(read(&bomb).is_err());
        assert!(read(&"[".repeat(10_000)).is_err());
        assert!(read(&"- ".repeat(10_000)).is_err());
        assert!(read(&"- a\n".repeat(30_000)).is_err());
    }

    #[test]
    fn what_does_not_read_says_where() {
        assert_eq!(read("services:\n  web: [\n"), Err(Some(2)));
        assert!(read("a: 1\na: 2\n").is_err(), "a key twice");
        assert!(read("a: 1\n---\nb: 2\n").is_err(), "two documents");
        assert!(read("\u{0}").is_err());
    }
}
