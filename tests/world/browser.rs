//! A real browser, and scripts that look at pages with it.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use countersign::child::{GuardedChild, Plan};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, sync::Semaphore};

use super::eventually;

/// How long a script may take before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_mins(4);
const MANDATORY: &str = "required";
/// Two scripts beside each other take as long as one after the other, and cost each its patience.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// Chromium without a window, a script at a time. Dropping it ends it.
pub struct Browser {
    child: Option<GuardedChild>,
    folder: TempDir,
}

/// A script that did not do what it should, in its own words.
#[derive(Debug)]
pub struct Failed(pub String);

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `CHROMIUM`, or what the distribution installs.
fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let places = ["chromium", "chromium-browser"];
    places
        .iter()
        .flat_map(|name| folders.iter().map(move |it| it.join(name)))
        .find(|it| it.is_file())
}

impl Browser {
    /// None where there is no Chromium, which `make` has said. `BROWSER=required` makes that a failure.
    pub async fn start() -> Option<Self> {
        let Some(program) = program() else {
            let required = env::var_os("BROWSER").is_some_and(|value| value == MANDATORY);
            assert!(!required, "BROWSER=required, and there is no Chromium: run `make browser`");
            eprintln!("SKIPPED: no browser looks at the pages; `make browser` installs Chromium");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("countersign-browser-").tempdir().unwrap();
        let profile = format!("--user-data-dir={}", folder.path().display());
        let arguments = [
            "--headless",
            // It sees nothing but pages made here, and containers often forbid what the sandbox needs.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            &profile,
            "about:blank",
        ];
        let child = GuardedChild::spawn(Plan {
            program: program.as_os_str(),
            arguments: arguments.iter().map(AsRef::as_ref).collect(),
            folder: folder.path(),
            user: None,
            remove: None,
            stdout: Stdio::null(),
            stderr: Stdio::null(),
        });
        let browser = Self { child: Some(child.expect("Chromium starts")), folder };
        eventually("Chromium to listen", async || browser.address()).await;
        Some(browser)
    }

    /// Where it takes commands, as soon as it does.
    fn address(&self) -> Option<String> {
        let told = fs::read_to_string(self.folder.path().join("DevToolsActivePort")).ok()?;
        let (port, path) = told.split_once('\n')?;
        Some(format!("ws://127.0.0.1:{port}{}", path.trim()))
    }

    /// Runs a script of `tests/browser` with what it reads; what it prints last, or what it saw.
    pub async fn run(&self, script: &str, asked: &Value) -> Value {
        match self.run_for(PATIENCE, script, asked).await {
            Ok(answer) => answer,
            Err(Failed(words)) => panic!("{script}: {words}"),
        }
    }

    /// The same with another patience, from its turn on. A script that takes longer is ended.
    pub async fn run_for(
        &self,
        patience: Duration,
        script: &str,
        asked: &Value,
    ) -> Result<Value, Failed> {
        let _turn = ONE_AT_A_TIME.acquire().await.expect("it stays open");
        let log = self.folder.path().join("script.log");
        let mut command = Command::new("node");
        command
            .arg(here("tests/browser").join(script))
            .env("NODE_MODULES", here("node_modules"))
            .env("BROWSER_ADDRESS", self.address().expect("it listens"))
            // What a script that was ended leaves behind goes with the browser.
            .env("TMPDIR", self.folder.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("a log"));
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().expect("node is installed");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(asked.to_string().as_bytes()).await.expect("it reads");
        drop(stdin);
        let output = tokio::time::timeout(patience, child.wait_with_output()).await;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let Ok(output) = output else {
            return Err(Failed(format!("not done after {patience:?}; it said:\n{}", said())));
        };
        let output = output.expect("node is waited for");
        if !output.status.success() {
            return Err(Failed(said()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Failed(error.to_string()))
    }

    /// Ends it now; the folder that no process may name any more.
    pub fn end(mut self) -> PathBuf {
        drop(self.child.take());
        self.folder.path().to_owned()
    }
}
