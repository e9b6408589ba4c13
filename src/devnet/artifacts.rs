//! Where the pinned tools and the compiled contracts are: the npm packages and forge's output in
//! the source folder. Nothing of it ships, so the devnet runs from a source folder only.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use alloy::{
    hex,
    primitives::{B256, Bytes, b256},
};
use serde_json::Value;

use crate::safe::SafeVersion;

/// Names the source folder, for an executable that runs outside of it.
const ROOT_VARIABLE: &str = "COUNTERSIGN_ROOT";

/// Why an artifact cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("{path} is missing: run `make tools` in the source folder", path = .0.display())]
    Tools(PathBuf),
    #[error("no source folder of Countersign found from here: set {ROOT_VARIABLE} to it")]
    NoRoot,
    #[error("no {contract:?} was published with Safe {version}")]
    NotPublished { contract: SafeContract, version: SafeVersion },
    #[error("cannot read {path}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} holds no creation code: {problem}", path = .path.display())]
    Content { path: PathBuf, problem: String },
}

/// A contract that belongs to a release of Safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeContract {
    Safe,
    /// The variant that emits events for indexers, which rollups use. There is one since 1.3.0.
    SafeL2,
    ProxyFactory,
    MultiSendCallOnly,
    FallbackHandler,
}

impl SafeContract {
    pub const ALL: [Self; 5] = [
        Self::Safe,
        Self::SafeL2,
        Self::ProxyFactory,
        Self::MultiSendCallOnly,
        Self::FallbackHandler,
    ];

    /// Path and name of the contract in the package of a version, where the package has it. Until
    /// 1.3.0 Safe was called Gnosis Safe.
    fn place(self, version: SafeVersion) -> Option<(&'static str, &'static str)> {
        use SafeVersion::{V1_0_0, V1_1_1, V1_2_0, V1_3_0};
        Some(match (self, version) {
            (Self::Safe, V1_0_0 | V1_1_1 | V1_2_0 | V1_3_0) => ("", "GnosisSafe"),
            (Self::Safe, _) => ("", "Safe"),
            (Self::ProxyFactory, V1_0_0 | V1_1_1) => ("", "ProxyFactory"),
            (Self::ProxyFactory, V1_2_0) => ("", "GnosisSafeProxyFactory"),
            (Self::ProxyFactory, V1_3_0) => ("proxies/", "GnosisSafeProxyFactory"),
            (Self::ProxyFactory, _) => ("proxies/", "SafeProxyFactory"),
            (Self::FallbackHandler, V1_1_1 | V1_2_0) => ("", "DefaultCallbackHandler"),
            (_, V1_0_0 | V1_1_1 | V1_2_0) => return None,
            (Self::SafeL2, V1_3_0) => ("", "GnosisSafeL2"),
            (Self::SafeL2, _) => ("", "SafeL2"),
            (Self::MultiSendCallOnly, _) => ("libraries/", "MultiSendCallOnly"),
            (Self::FallbackHandler, _) => ("handler/", "CompatibilityFallbackHandler"),
        })
    }
}

/// The source folder.
#[derive(Clone, Debug)]
pub struct Artifacts {
    root: PathBuf,
}

impl Artifacts {
    /// Looks where `COUNTERSIGN_ROOT` says; otherwise upwards from the current folder, then from
    /// where this executable was built.
    pub fn find() -> Result<Self, ArtifactError> {
        if let Some(root) = env::var_os(ROOT_VARIABLE) {
            return Self::at(root.into());
        }
        let here = env::current_dir().unwrap_or_default();
        let built = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .ancestors()
            .chain(built.ancestors())
            .find(|folder| is_source_folder(folder))
            .ok_or(ArtifactError::NoRoot)?;
        Self::at(root.to_owned())
    }

    /// The source folder at this path, if its tools are installed and its contracts compiled.
    pub fn at(root: PathBuf) -> Result<Self, ArtifactError> {
        if !is_source_folder(&root) {
            return Err(ArtifactError::NoRoot);
        }
        let this = Self { root };
        let needed =
            [this.root.join("node_modules"), this.root.join("contracts/out"), this.anvil()];
        match needed.into_iter().find(|path| !path.exists()) {
            Some(missing) => Err(ArtifactError::Tools(missing)),
            None => Ok(this),
        }
    }

    /// The program `anvil`.
    pub fn anvil(&self) -> PathBuf {
        self.root.join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
    }

    /// Creation code of one of our own contracts, or of `OpenZeppelin` that they use.
    pub fn contract(&self, name: &str) -> Result<Bytes, ArtifactError> {
        let path = self.root.join(format!("contracts/out/{name}.sol/{name}.json"));
        creation_code(path, "/bytecode/object")
    }

    /// Creation code of a contract of Safe, as published.
    pub fn safe(
        &self,
        version: SafeVersion,
        contract: SafeContract,
    ) -> Result<Bytes, ArtifactError> {
        let none = ArtifactError::NotPublished { contract, version };
        let (folder, name) = contract.place(version).ok_or(none)?;
        let package = match version {
            SafeVersion::V1_0_0 => "safe-contracts-1.0.0",
            SafeVersion::V1_1_1 => "safe-contracts-1.1.1",
            SafeVersion::V1_2_0 => "safe-contracts-1.2.0",
            SafeVersion::V1_3_0 => "@gnosis.pm/safe-contracts",
            SafeVersion::V1_4_1 => "@safe-global/safe-contracts",
            SafeVersion::V1_5_0 => "@safe-global/safe-smart-account",
        };
        let file = if version < SafeVersion::V1_3_0 {
            format!("build/contracts/{name}.json")
        } else {
            format!("build/artifacts/contracts/{folder}{name}.sol/{name}.json")
        };
        let code =
            creation_code(self.root.join("node_modules").join(package).join(file), "/bytecode")?;
        Ok(if contract == SafeContract::Safe { as_deployed(version, code) } else { code })
    }

    /// Creation code of Multicall3, which viem carries as a constant.
    pub fn multicall3(&self) -> Result<Bytes, ArtifactError> {
        let path = self.root.join("node_modules/viem/_cjs/constants/contracts.js");
        let text = read(&path)?;
        let code = text
            .split_once("multicall3Bytecode = '")
            .and_then(|(_, rest)| rest.split_once('\''))
            .map(|(code, _)| code);
        code.ok_or_else(|| "no multicall3Bytecode".to_owned())
            .and_then(decode)
            .map_err(|problem| ArtifactError::Content { path, problem })
    }
}

fn is_source_folder(folder: &Path) -> bool {
    folder.join("foundry.toml").is_file() && folder.join("package.json").is_file()
}

fn read(path: &Path) -> Result<String, ArtifactError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ArtifactError::Tools(path.to_owned()),
        _ => ArtifactError::Read { path: path.to_owned(), source },
    })
}

/// The code at `pointer` of a JSON file.
fn creation_code(path: PathBuf, pointer: &str) -> Result<Bytes, ArtifactError> {
    let text = read(&path)?;
    serde_json::from_str::<Value>(&text)
        .map_err(|error| error.to_string())
        .and_then(|json| {
            let code = json.pointer(pointer).and_then(Value::as_str);
            decode(code.ok_or_else(|| format!("no {pointer}"))?)
        })
        .map_err(|problem| ArtifactError::Content { path, problem })
}

/// What the compiler of 1.2.0 wrote at the end of the code: a hash of a file that names the folders
/// it worked in. The package was built in another folder than the contract on the chains.
const METADATA_PACKAGED: B256 =
    b256!("a07c231908fb71aaf05b8692c1eab6a7a872ea94b4cbf3fdec1a115e1f66d681");
const METADATA_DEPLOYED: B256 =
    b256!("eba952a8e826ae22d1831da9d381d7b6c153687b8cb43c646ad31acd2ce84288");

/// The code of a Safe as it is on the chains, where the package's differs. Of 1.0.0 that hash is not
/// known: its code here is the published one but for these 32 bytes, which nothing executes.
fn as_deployed(version: SafeVersion, code: Bytes) -> Bytes {
    if version != SafeVersion::V1_2_0 {
        return code;
    }
    let mut code = code.to_vec();
    let place = code.windows(32).position(|window| window == METADATA_PACKAGED.as_slice());
    if let Some(place) = place {
        code[place..place + 32].copy_from_slice(METADATA_DEPLOYED.as_slice());
    }
    code.into()
}

fn decode(code: &str) -> Result<Bytes, String> {
    match hex::decode(code) {
        Ok(code) if code.is_empty() => Err("it is empty".to_owned()),
        Ok(code) => Ok(code.into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let at = || Artifacts::at(folder.path().to_owned()).unwrap_err().to_string();
        assert!(at().contains("set COUNTERSIGN_ROOT"), "{}", at());
        for file in ["foundry.toml", "package.json"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        for missing in ["node_modules", "contracts/out"] {
            assert!(at().contains(missing) && at().contains("run `make tools`"), "{}", at());
            fs::create_dir_all(folder.path().join(missing)).unwrap();
        }
        assert!(at().contains("bin/anvil"), "{}", at());
    }

    #[test]
    fn code_that_is_none_is_refused() {
        assert_eq!(decode("0x6001").unwrap().to_string(), "0x6001");
        assert!(decode("0x").is_err());
        assert!(decode("0x60__$placeholder$__").is_err(), "a library is not linked");
    }
}
