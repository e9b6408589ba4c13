//! `countersign import`: hand a preparation to the service, in whatever form it was printed.
//!
//! What comes in holds a commit token, so nothing of it is ever repeated.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Globals,
    client::{Client, Reply},
    print::{self, Answer},
    request_page::{self, page_of},
};
use crate::{
    clock::Time,
    request::ids::{ChainId, NodeId, SourceCvm},
};

const INPUT_BYTES_MAX: u64 = 256 * 1024;
/// Places at which the JSON of a noisy text may begin that are tried.
const PLACES_MAX: usize = 100;

/// Hand a preparation to the service: what the `phala` CLI printed (text or JSON), Phala Cloud's
/// answer, or Countersign's own fields. Whether it is for a replica or an update is read from it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  phala cvms replicate my-cvm --node-id 5 --prepare-only --json \\
    | countersign import --source-cvm my-cvm --node 5
  countersign import prepared.txt \\
    --source-cvm 0b7c4a52-6d7e-4f0a-9c1d-2f3a4b5c6d7e --node 5
  countersign import --prepared-at 2026-11-21T09:30:00Z --note 'second region' \\
    < prepared.json")]
pub struct ImportArgs {
    /// File to read; standard input when it is `-` or not given.
    file: Option<PathBuf>,
    /// The CVM that the replica is made from, or that is updated; needed where the links of what the
    /// `phala` CLI printed do not name it.
    #[arg(long, value_name = "ID")]
    source_cvm: Option<SourceCvm>,
    /// The node it was prepared for, so that it can be prepared again when the token dies.
    #[arg(long, value_name = "ID")]
    node: Option<NodeId>,
    /// The chain of the app; needed when the service follows several and the input does not tell.
    #[arg(long, value_name = "ID")]
    chain: Option<ChainId>,
    /// When it was prepared; now, unless given. The token lives 14 days from then.
    #[arg(long, value_name = "TIME")]
    prepared_at: Option<Time>,
    /// A note for those who review it.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

pub async fn run(args: ImportArgs, globals: &Globals) -> Result<Answer> {
    let text = read_input(args.file.as_deref())?;
    let body = args.body(&text)?;
    let client = Client::new(&globals.service)?;
    Ok(submitted(client.post(&["v1", "requests"], &Value::Object(body)).await?))
}

/// What the service made of a preparation.
fn submitted(reply: Reply) -> Answer {
    let title = if reply.status == 201 {
        "Opened a request"
    } else {
        "This preparation belongs to a request that was here before"
    };
    request_page::answer(page_of(&reply.body, title), reply.body)
}

impl ImportArgs {
    /// The body to post: what was read, with the flags filled in.
    fn body(&self, text: &str) -> Result<Map<String, Value>> {
        let mut body = understand(text);
        if body.get("prepare_response").and_then(Value::as_str).is_some_and(is_unrelated) {
            bail!(
                "this is no preparation: neither JSON, nor the lines `App ID:`, `Compose Hash:` and \
                 `Commit Token:` that the `phala` CLI prints after `--prepare-only`"
            );
        }
        let flags = [
            ("source_cvm", self.source_cvm.as_ref().map(|id| json!(id.as_str()))),
            ("node_id", self.node.as_ref().map(|id| json!(id.as_str()))),
            ("chain_id", self.chain.map(|id| json!(id.get()))),
            ("prepared_at", self.prepared_at.map(|at| json!(at))),
            ("note", self.note.as_ref().map(|note| json!(note))),
        ];
        for (name, value) in flags {
            let Some(value) = value else { continue };
            if body.get(name).is_some_and(|known| !known.is_null()) {
                bail!("{name}: given by a flag and in the input; leave one away");
            }
            body.insert(name.into(), value);
        }
        Ok(body)
    }
}

/// Our own fields as they are; anything else as `prepare_response`, which the service reads.
fn understand(text: &str) -> Map<String, Value> {
    let text = text.trim().trim_start_matches('\u{feff}');
    let prepared = match find_object(text) {
        Some(object) if is_ours(&object) => return object,
        Some(object) => Value::Object(object),
        None => Value::String(text.into()),
    };
    Map::from_iter([("prepare_response".to_owned(), prepared)])
}

/// Whether a text has nothing of what the `phala` CLI prints.
fn is_unrelated(text: &str) -> bool {
    const LABELS: [&str; 4] = ["App ID", "Compose Hash", "Device ID", "Commit Token"];
    let label = |line: &str| line.split_once(':').map(|(label, _)| label.trim().to_owned());
    !text.lines().filter_map(label).any(|label| LABELS.contains(&label.as_str()))
}

fn is_ours(object: &Map<String, Value>) -> bool {
    object.contains_key("prepare_response")
        || (object.contains_key("commit_token") && object.contains_key("app"))
}

/// The JSON object in a text. Lines before it are passed over: a library of the `phala` CLI
/// prints `[]` to standard output.
fn find_object(text: &str) -> Option<Map<String, Value>> {
    let line_starts = text.match_indices('\n').map(|(newline, _)| newline + 1);
    std::iter::once(0)
        .chain(line_starts)
        .map(|start| text[start..].trim_start())
        .filter(|rest| rest.starts_with('{'))
        .take(PLACES_MAX)
        .find_map(|rest| {
            let first = serde_json::Deserializer::from_str(rest).into_iter().next()?;
            first.ok()
        })
}

fn read_input(file: Option<&Path>) -> Result<String> {
    if let Some(file) = file.filter(|file| *file != Path::new("-")) {
        let opened = File::open(file);
        return read_limited(opened.with_context(|| format!("cannot read {}", file.display()))?);
    }
    if io::stdin().is_terminal() {
        print::note_to_stderr(
            "paste what `phala cvms replicate … --prepare-only` printed, then press Ctrl-D",
        );
    }
    read_limited(io::stdin().lock())
}

fn read_limited(input: impl Read) -> Result<String> {
    let mut bytes = vec![];
    input.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).context("cannot read the input")?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        bail!("the input is longer than {} KiB, so it is no preparation", INPUT_BYTES_MAX / 1024);
    }
    let text = String::from_utf8(bytes).ok().context("the input is not UTF-8 text")?;
    if text.trim().is_empty() {
        bail!("the input is empty: did the command before the pipe fail?");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ImportArgs {
        ImportArgs {
            file: None,
            source_cvm: None,
            node: None,
            chain: None,
            prepared_at: None,
            note: None,
        }
    }

    fn body(text: &str) -> Value {
        Value::Object(args().body(text).unwrap())
    }

    #[test]
    fn our_own_fields_go_as_they_are() {
        let own = json!({"app": "0x11", "commit_token": "t", "note": "x"});
        assert_eq!(body(&own.to_string()), own);
        let wrapped = json!({"source_cvm": "s", "prepare_response": {"commitToken": "t"}});
        assert_eq!(body(&wrapped.to_string()), wrapped);
    }

    #[test]
    fn everything_else_is_a_prepare_response() {
        for theirs in [
            json!({"success": true, "commitToken": "t", "appId": "0x11"}),
            json!({"commit_token": "t", "app_id": "0x11"}),
            json!({"error_code": "ERR-01-005", "details": []}),
        ] {
            assert_eq!(body(&theirs.to_string()), json!({ "prepare_response": theirs }));
        }
        let text = "CVM replica prepared successfully\n\nCompose Hash:    0xaa\n";
        assert_eq!(body(text), json!({ "prepare_response": text.trim() }));
    }

    #[test]
    fn a_text_about_something_else_is_refused_here_and_not_repeated() {
        for text in ["hello: secret", "# a file\nkey = 1", "[]", "error: not logged in"] {
            let error = args().body(text).unwrap_err().to_string();
            assert!(error.starts_with("this is no preparation"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn noise_around_the_json_is_passed_over() {
        let theirs = json!({"commitToken": "t", "kmsInfo": {"chain_id": 1}});
        let pretty = serde_json::to_string_pretty(&theirs).unwrap();
        for text in [
            format!("[]\n[]\n{pretty}\n"),
            format!("\u{feff}{pretty}"),
            format!("(node:1) Warning: {{old}}\n{{ broken\n{theirs}\nmore noise"),
            format!("[]\r\n  {theirs}\r\n"),
        ] {
            assert_eq!(body(&text), json!({ "prepare_response": theirs }), "{text:?}");
        }
    }

    #[test]
    fn flags_fill_in_and_never_replace() {
        let flags = ImportArgs {
            source_cvm: Some("my-cvm".parse().unwrap()),
            chain: Some(ChainId::BASE),
            ..args()
        };
        let filled = flags.body(r#"{"commitToken":"t"}"#).unwrap();
        let expected = json!({
            "prepare_response": {"commitToken": "t"}, "source_cvm": "my-cvm", "chain_id": 8453,
        });
        assert_eq!(Value::Object(filled), expected);
        let twice = r#"{"app":"0x11","commit_token":"secret","source_cvm":"other"}"#;
        let error = flags.body(twice).unwrap_err().to_string();
        assert!(error.starts_with("source_cvm: ") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn input_has_a_limit() {
        let most = usize::try_from(INPUT_BYTES_MAX).unwrap();
        assert!(read_limited("x".repeat(most).as_bytes()).is_ok());
        assert!(read_limited("x".repeat(most + 1).as_bytes()).is_err());
        assert!(read_limited(" \n".as_bytes()).is_err());
        assert!(read_limited([0xff_u8].as_slice()).is_err());
        assert_eq!(find_object(&"{\"a\":\"\n".repeat(30_000)), None, "and is quick on nonsense");
    }
}
