//! Another implementation, in a process of its own. It is asked in lines of JSON and answers each
//! with a line.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// `@safe-global/protocol-kit`, from npm.
    ProtocolKit,
    /// `safe-eth-py`, from `PyPI`.
    SafeEthPy,
    /// `@phala/dstack-sdk` and `@phala/cloud`, which the `phala` command line tool is made of.
    DstackSdk,
    /// `@phala/cloud`, from npm. It knows nothing of Safes.
    PhalaCloud,
    /// The script of our own pages.
    Page,
}

/// Says that a missing Python peer is a failure.
const MANDATORY: &str = "required";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Peer {
    /// Those for Safes that are installed. npm is needed for everything here; Python is not, so without it
    /// one peer is left out, which `make` has said. `PEERS=required` makes that a failure.
    pub fn present() -> Vec<Self> {
        let mut present = vec![Self::ProtocolKit];
        // The installation keeps what it was made from, so that one of other versions is none.
        let [installed, wanted] = ["target/peers/installed", "tests/peers/requirements.txt"]
            .map(|path| fs::read(here(path)).ok());
        if installed.is_some() && installed == wanted {
            present.push(Self::SafeEthPy);
        } else {
            let required = env::var_os("PEERS").is_some_and(|value| value == MANDATORY);
            assert!(
                !required,
                "PEERS=required, and safe-eth-py is not installed: run `make peers`"
            );
            eprintln!("SKIPPED: nothing is compared with safe-eth-py; `make peers` installs it");
        }
        present
    }

    fn command(self) -> Command {
        let (program, script) = match self {
            Self::ProtocolKit => ("node".into(), "tests/peers/protocol-kit.mjs"),
            Self::DstackSdk => ("node".into(), "tests/peers/dstack-sdk.mjs"),
            Self::PhalaCloud => ("node".into(), "tests/peers/phala-cloud.mjs"),
            Self::Page => ("node".into(), "tests/peers/page.mjs"),
            Self::SafeEthPy => (here("target/peers/venv/bin/python"), "tests/peers/safe_eth_py.py"),
        };
        let mut command = Command::new(program);
        command.arg(here(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Asks everything and waits for all answers. Panics with what the peer says about a question
    /// that it cannot answer.
    #[track_caller]
    pub fn ask(self, questions: &[Value]) -> Vec<Value> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?} does not start: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let mut lines = questions.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        lines.push('\n');
        // The end of its input ends it, whatever becomes of us.
        let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let answers: Vec<Value> = stdout
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).expect("an answer is JSON"))
            .collect();
        let status = child.wait().expect("a child can be waited for");
        writer.join().expect("nothing panics there").expect("it reads what it is asked");
        assert!(status.success(), "{self:?} ended with {status}");
        assert_eq!(answers.len(), questions.len(), "{self:?} answers every question");
        for (question, answer) in questions.iter().zip(&answers) {
            assert!(answer["error"].is_null(), "{self:?}: {}\nasked {question}", answer["error"]);
        }
        answers
    }
}
