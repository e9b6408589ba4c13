//! The local node. It chooses its own port, lives in a folder of its own, and cannot outlive this
//! process.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, PipeReader, Read},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use url::Url;

use super::{
    artifacts::{ArtifactError, Artifacts},
    rpc::Rpc,
};
use crate::{
    child::{GuardedChild, Plan},
    request::ids::ChainId,
};

const START_TIMEOUT: Duration = Duration::from_mins(1);
const LISTENING: &str = "Listening on ";
/// Lines of output that an error repeats.
const TAIL: usize = 5;

/// Why there is no local chain.
#[derive(Debug, thiserror::Error)]
pub enum AnvilError {
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error("cannot start anvil")]
    Spawn(#[source] io::Error),
    #[error("anvil ended before it listened: {0}")]
    Ended(String),
    #[error("anvil did not listen within {} s", START_TIMEOUT.as_secs())]
    Silent,
    #[error("anvil listens on something that is no address")]
    Address(#[source] url::ParseError),
}

/// What chain to play.
#[derive(Clone, Copy, Debug)]
pub struct AnvilOptions {
    pub chain_id: ChainId,
    /// A block this often; without it, one for each transaction as it comes.
    pub block_time: Option<Duration>,
    /// What it calls `safe` lies this many blocks below the head, `finalized` twice as many.
    pub epoch_blocks: u64,
}

/// A running anvil. Dropping it ends the process and deletes its folder.
#[derive(Debug)]
pub struct Anvil {
    url: Url,
    folder: PathBuf,
    _process: GuardedChild,
}

impl Anvil {
    /// Starts anvil and waits until it listens.
    pub async fn start(options: AnvilOptions) -> Result<Self, AnvilError> {
        let program = Artifacts::find()?.anvil();
        let folder = tempfile::Builder::new()
            .prefix("countersign-anvil-")
            .tempdir()
            .map_err(AnvilError::Spawn)?;
        let arguments = arguments(program, options, folder.path());
        let (output, process) = spawn(&arguments, folder.path())?;
        // From here on the folder is deleted with the process, and by nobody else.
        let folder = folder.keep();
        let (sender, listening) = oneshot::channel();
        thread::spawn(move || follow(output, sender));
        let address = match timeout(START_TIMEOUT, listening).await {
            Ok(Ok(Ok(address))) => address,
            Ok(Ok(Err(output))) => return Err(AnvilError::Ended(output)),
            Ok(Err(_)) | Err(_) => return Err(AnvilError::Silent),
        };
        let url = Url::parse(&format!("http://{address}")).map_err(AnvilError::Address)?;
        Ok(Self { url, folder, _process: process })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Everything it writes is here. The path is also on its command line, and on no other's.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn rpc(&self) -> Rpc {
        Rpc::new(self.url.clone())
    }
}

/// What to give to `env`. A shell's background process ignores the interrupt that ends it until it
/// installs a handler of its own, which anvil does late: one that is dropped while it starts would
/// stay for ever. `env` makes the interrupt deadly from the first moment on.
fn arguments(anvil: PathBuf, options: AnvilOptions, folder: &Path) -> Vec<OsString> {
    let mut arguments = vec!["--default-signal=INT".into(), anvil.into_os_string()];
    let settings = [
        "--port",
        "0",
        "--chain-id",
        &options.chain_id.to_string(),
        "--slots-in-an-epoch",
        &options.epoch_blocks.to_string(),
        "--color",
        "never",
        "--cache-path",
    ]
    .map(OsString::from);
    arguments.extend(settings);
    arguments.push(folder.into());
    if let Some(block_time) = options.block_time {
        arguments.extend(["--block-time".into(), block_time.as_secs_f64().to_string().into()]);
    }
    arguments
}

/// Both outputs go into one pipe: what anvil has to complain about goes to standard error.
fn spawn(arguments: &[OsString], folder: &Path) -> Result<(PipeReader, GuardedChild), AnvilError> {
    let (output, writer) = io::pipe().map_err(AnvilError::Spawn)?;
    let stderr = writer.try_clone().map_err(AnvilError::Spawn)?;
    let process = GuardedChild::spawn(Plan {
        program: "env".as_ref(),
        arguments: arguments.iter().map(OsString::as_os_str).collect(),
        folder,
        user: None,
        remove: Some(folder),
        stdout: Stdio::from(writer),
        stderr: Stdio::from(stderr),
    })
    .map_err(AnvilError::Spawn)?;
    Ok((output, process))
}

/// Reports the address it listens on, or its last words; then reads on to the end, because a full
/// pipe would stop anvil, which prints every request.
fn follow(output: PipeReader, listening: oneshot::Sender<Result<String, String>>) {
    let mut output = BufReader::new(output);
    let mut lines: Vec<String> = Vec::new();
    let mut found = None;
    for line in output.by_ref().lines().map_while(Result::ok) {
        if let Some(address) = line.strip_prefix(LISTENING) {
            found = Some(address.trim().to_owned());
            break;
        }
        if !line.trim().is_empty() {
            lines.push(line);
        }
    }
    let last_words = || lines[lines.len().saturating_sub(TAIL)..].join("; ");
    // Nobody may be waiting any more; the reading goes on all the same.
    drop(listening.send(found.ok_or_else(last_words)));
    drop(io::copy(&mut output, &mut io::sink()));
}
