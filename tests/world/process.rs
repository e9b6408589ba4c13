//! The real program, as an operator starts it, and as a power cut ends it.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
};

use countersign::{
    clock::{Clock, SystemClock},
    config::{DepthPolicy, SafeServiceSetting},
    store::Store,
};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
};

use super::{Api, PATIENCE, World, api, eventually};

/// `countersign serve`. Dropping it kills it.
pub struct Process {
    pub api: Api,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// Runs a command of the program against the service: exit code, standard output and standard
/// error.
pub async fn cli(api: &Api, arguments: &[&str]) -> (i32, String, String) {
    told_by(command(api, arguments)).await
}

fn command(api: &Api, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .env_clear()
        .env("COUNTERSIGN_URL", api.base())
        .env("COUNTERSIGN_TOKEN", api.token())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn told_by(mut command: Command) -> (i32, String, String) {
    let output = command.output().await.expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

impl World {
    /// Runs a command with the key of the workspace, as people have it.
    pub async fn cli(&self, api: &Api, arguments: &[&str]) -> (i32, String, String) {
        let mut command = command(api, arguments);
        command
            .env("PHALA_CLOUD_API_PREFIX", self.town.cloud.api_prefix())
            .env("PHALA_CLOUD_API_KEY", self.town.cloud.api_key());
        told_by(command).await
    }

    /// The same, for what it answers as JSON when it is done.
    pub async fn cli_json(&self, api: &Api, arguments: &[&str]) -> Value {
        let (code, told, said) = self.cli(api, &[arguments, &["--json"]].concat()).await;
        assert_eq!(code, 0, "{arguments:?}: {told}\n{said}");
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    }

    /// Starts the program on this world and waits until it listens.
    pub async fn spawn(&self) -> Process {
        self.spawn_logging("info").await
    }

    pub async fn spawn_logging(&self, filter: &str) -> Process {
        self.started(self.serve_command(filter)).await
    }

    async fn started(&self, command: Command) -> Process {
        Starting::of(command).listens(self).await
    }

    /// Starts the program on a private database in a folder, and waits for nothing.
    pub fn begin_in(&self, folder: &Path) -> Starting {
        let mut command = self.serve_command("info");
        command.env_remove("DATABASE_URL").env("COUNTERSIGN_DATA_DIR", folder);
        Starting::of(command)
    }

    /// Starts the program, changed by somebody, and returns what it says when it ends by itself.
    pub async fn refuses(&self, change: impl FnOnce(&mut Command)) -> String {
        let mut command = self.serve_command("info");
        change(&mut command);
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.expect("it ends").expect("the program starts");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        said
    }

    /// Starts the program, changed by somebody, and waits until it listens.
    pub async fn spawn_with(&self, change: impl FnOnce(&mut Command)) -> Process {
        let mut command = self.serve_command("info");
        change(&mut command);
        self.started(command).await
    }

    fn serve_command(&self, filter: &str) -> Command {
        let chain = &self.settings.chains[0];
        let DepthPolicy::Blocks(depth) = chain.depth else { panic!("stories count blocks") };
        let (rpc, poll) = (&chain.rpc[0], chain.poll.as_millis());
        let mailbox = match &chain.safe_service {
            SafeServiceSetting::At(root) => root.as_str(),
            _ => "off",
        };
        let chain_flag =
            format!("{}={rpc};depth={depth};poll_ms={poll};safe_service={mailbox}", chain.id);
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .arg("serve")
            .env_clear()
            .env("DATABASE_URL", self.database.url())
            .env("COUNTERSIGN_SEAL_KEY", self.seal_key.expose_secret())
            .env("COUNTERSIGN_LISTEN", self.settings.listen.to_string())
            .env("COUNTERSIGN_CHAIN", chain_flag)
            .env("COUNTERSIGN_SETTLE_SECONDS", "1")
            .env("COUNTERSIGN_BOOT_POLL_SECONDS", "1")
            .env("PHALA_CLOUD_API_PREFIX", self.settings.phala_api_prefix.as_str())
            .env("PHALA_CLOUD_API_KEY", self.town.cloud.api_key())
            .env("RUST_LOG", filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts the program with a key of Safe's service and one to post with, and waits until it
    /// listens.
    pub async fn spawn_with_keys(&self, api_key: &str, proposer_key: &str) -> Process {
        let mut command = self.serve_command("debug");
        command.env("SAFE_API_KEY", api_key).env("COUNTERSIGN_PROPOSER_KEY", proposer_key);
        self.started(command).await
    }

    /// Starts the program with the key of an account that executes, and waits until it listens.
    pub async fn spawn_relaying(&self, key_file: &Path) -> Process {
        let mut command = self.serve_command("trace");
        command.env("COUNTERSIGN_RELAYER_KEY_FILE", key_file);
        self.started(command).await
    }

    /// Makes an API token that may read and write, as `countersign token create` does.
    pub async fn write_token(&self) -> String {
        let store = Store::open(self.database.options()).await.expect("the database opens");
        let token = api::make_token(&store, &["read", "write"], SystemClock.now()).await;
        store.close().await;
        token
    }
}

/// The program before it listens. Dropping it kills it.
pub struct Starting {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Starting {
    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::<Mutex<String>>::default();
        let stderr = child.stderr.take().expect("stderr is piped");
        tokio::spawn(keep_log(stderr, log.clone()));
        Self { child, log }
    }

    /// Everything it has logged up to now.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub async fn listens(self, world: &World) -> Process {
        let Self { mut child, log } = self;
        let address = eventually("the program to listen", async || {
            let log = log.lock().unwrap().clone();
            let ended = child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "countersign serve ended: {log}");
            address_in(&log)
        });
        let base = format!("http://{}", address.await);
        let token = world.write_token().await;
        Process { api: Api::new(&base, &token), child, log }
    }
}

impl Process {
    /// Ends it as a power cut would: nothing is finished, nobody is told.
    pub async fn kill(mut self) {
        self.kill_now().await;
    }

    /// The same, for one that another takes the place of.
    pub async fn kill_now(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Asks it to stop, as a service manager does, and returns what it logged.
    pub async fn terminate(mut self) -> String {
        let pid = self.id().to_string();
        let asked = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await;
        assert!(asked.expect("there is a shell").success());
        let status = self.child.wait().await.expect("it ends");
        assert!(status.success(), "{status}: {}", self.log());
        eventually("the end of its log", async || self.log().contains("stopped").then_some(()))
            .await;
        self.log()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Everything it has logged up to now.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

async fn keep_log(stderr: ChildStderr, log: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().unwrap();
        log.push_str(&line);
        log.push('\n');
    }
}

/// Where it listens, once it has said so.
fn address_in(log: &str) -> Option<String> {
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("listens on http://"))
    })?;
    line["address"].as_str().map(str::to_owned)
}
