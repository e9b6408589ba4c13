//! The variables of `--env-file`: read, checked against what the app's document allows, and
//! encrypted on this machine. Their values go nowhere else.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use alloy::primitives::Address;
use anyhow::{Context, Result, bail};
use clap::Args;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;

use super::{
    print::{self, note_to_stderr},
    secret_file,
};
use crate::{
    phala::{Cvm, EnvKey, EnvVar, PhalaCloud, Signer, parse_env},
    request::ids::ComposeHash,
};

const BYTES_MAX: u64 = 64 * 1024;

/// Variables of the replica.
#[derive(Debug, Clone, Args)]
pub struct EnvArgs {
    /// File with environment variables, NAME=value a line. They take the place of those of the
    /// source, and are encrypted here, to the key of the app.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The KMS whose signature the key of the app must carry, by the address of its signing key.
    #[arg(long, value_name = "ADDRESS", requires = "env_file")]
    kms_signer: Option<Address>,
}

/// Variables, and the key to encrypt them to.
pub struct Variables {
    vars: Vec<EnvVar>,
    key: EnvKey,
}

impl Variables {
    /// For the field `encrypted_env`. Each time another text of the same.
    pub fn encrypted(&self) -> Result<String> {
        Ok(self.key.encrypt(&self.vars)?)
    }
}

impl EnvArgs {
    /// Reads the variables, if there are any, and everything that is needed to encrypt them for
    /// replicas of a CVM.
    pub async fn variables(
        &self,
        cloud: &PhalaCloud,
        source: &Cvm,
        compose: Option<ComposeHash>,
    ) -> Result<Option<Variables>> {
        let Some(file) = &self.env_file else { return Ok(None) };
        let vars = read(file)?;
        let spinner = print::spinner("reads what variables the app allows, and its key");
        let looked = async {
            let document = cloud.compose_file(&source.vm_uuid).await?;
            Ok::<_, anyhow::Error>((document, cloud.env_key(&source.vm_uuid, source.app).await?))
        };
        let looked = looked.await;
        spinner.finish_and_clear();
        let (document, key) = looked.context(
            "--env-file: what the variables are to be encrypted with cannot be read; nothing was sent",
        )?;
        if compose.is_none_or(|compose| source.compose_hash == Some(compose)) {
            if let Some(note) = check_names(&vars, &allowed(&document)?)? {
                note_to_stderr(&note);
            }
        } else {
            note_to_stderr(
                "the names of the variables are not checked: what the source runs is not what this \
                 compose hash is of",
            );
        }
        if let Some(note) = check_signer(key.signer, self.kms_signer)? {
            note_to_stderr(&note);
        }
        Ok(Some(Variables { vars, key }))
    }
}

/// Reads a file; whoever else can read it is told of.
fn read(file: &Path) -> Result<Vec<EnvVar>> {
    if let Some(exposed) = secret_file::exposed(file, "the variables") {
        note_to_stderr(&format!("warning: {exposed}"));
    }
    let cannot = || format!("cannot read the variables in {}", file.display());
    let mut bytes = Zeroizing::new(vec![]);
    let opened = File::open(file).with_context(cannot)?;
    opened.take(BYTES_MAX + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > BYTES_MAX {
        bail!("{} is longer than {} KiB", file.display(), BYTES_MAX / 1024);
    }
    let text = std::str::from_utf8(&bytes).ok().context("it is no text").with_context(cannot)?;
    let vars = parse_env(text)
        .map_err(|(line, problem)| anyhow::anyhow!("{}, line {line}: {problem}", file.display()))?;
    if vars.is_empty() {
        bail!("{} holds no variable", file.display());
    }
    Ok(vars)
}

/// The names that a compose document allows. One that names none allows none.
fn allowed(document: &[u8]) -> Result<Vec<String>> {
    let unreadable = "the compose document of the source does not read";
    let document: Value = serde_json::from_slice(document).ok().context(unreadable)?;
    match &document["allowed_envs"] {
        Value::Null if document.is_object() => Ok(vec![]),
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<_>>().context(unreadable)
        }
        _ => bail!(unreadable),
    }
}

/// Refuses names that an instance would not let in, and tells of those that it would miss.
fn check_names(vars: &[EnvVar], allowed: &[String]) -> Result<Option<String>> {
    let is_allowed = |var: &&EnvVar| !allowed.contains(&var.name);
    let unknown: Vec<&str> = vars.iter().filter(is_allowed).map(|var| var.name.as_str()).collect();
    if !unknown.is_empty() {
        let allowed = match allowed {
            [] => "it allows none".to_owned(),
            names => format!("it allows {}", names.join(", ")),
        };
        bail!("--env-file: the app's document does not allow {}; {allowed}", unknown.join(", "));
    }
    let missing = allowed.iter().filter(|name| !vars.iter().any(|var| var.name == **name));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    Ok((!missing.is_empty())
        .then(|| format!("the replica will not have {}: the file does not", missing.join(", "))))
}

/// Refuses a key that the wrong one signed, and tells what is not proved.
fn check_signer(signer: Signer, pinned: Option<Address>) -> Result<Option<String>> {
    match (signer, pinned) {
        (Signer::Kms(found), Some(pinned)) if found == pinned => Ok(None),
        (Signer::Kms(found), Some(pinned)) => bail!(
            "the key that the variables would be encrypted to is signed by {found}, and not by \
             {pinned}; nothing was sent"
        ),
        (Signer::Invalid, _) => bail!(
            "the key that the variables would be encrypted to carries no valid signature of a KMS; \
             nothing was sent"
        ),
        (Signer::Nobody, Some(_)) => bail!(
            "Phala Cloud keeps the keys of this app, so no KMS signs the key that the variables \
             would be encrypted to: leave --kms-signer away if that is good enough"
        ),
        (Signer::Kms(found), None) => Ok(Some(format!(
            "the variables are encrypted to a key that {found} signed; whether that is the KMS of \
             the app is not proved: --kms-signer ADDRESS pins it"
        ))),
        (Signer::Nobody, None) => Ok(Some(
            "the variables are encrypted to a key that Phala Cloud names; that it is the app's is \
             not proved"
                .into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(names: &[&str]) -> Vec<EnvVar> {
        let var = |name: &&str| EnvVar { name: (*name).into(), value: "secret".into() };
        names.iter().map(var).collect()
    }

    #[test]
    fn names_are_those_that_the_document_allows() {
        let names = allowed(br#"{"allowed_envs":["A","B"]}"#).unwrap();
        assert_eq!(check_names(&vars(&["B", "A"]), &names).unwrap(), None);
        let told = check_names(&vars(&["A"]), &names).unwrap().unwrap();
        assert_eq!(told, "the replica will not have B: the file does not");
        let told = check_names(&vars(&["A", "C", "a"]), &names).unwrap_err().to_string();
        assert!(told.contains("does not allow C, a; it allows A, B"), "{told}");
        let told = check_names(&vars(&["A"]), &allowed(b"{}").unwrap()).unwrap_err().to_string();
        assert!(told.contains("it allows none") && !told.contains("secret"), "{told}");
        for bad in [&b"[]"[..], b"{", br#"{"allowed_envs":"A"}"#, br#"{"allowed_envs":[1]}"#] {
            assert!(allowed(bad).is_err(), "what does not read is not an empty list");
        }
    }

    #[test]
    fn a_key_of_the_wrong_kms_is_refused_and_what_is_not_proved_is_said() {
        let (one, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        for (signer, pinned, says) in [
            (Signer::Kms(one), Some(one), Ok("")),
            (Signer::Kms(one), None, Ok("not proved")),
            (Signer::Nobody, None, Ok("not proved")),
            (Signer::Kms(one), Some(other), Err("and not by 0x02")),
            (Signer::Invalid, None, Err("no valid signature")),
            (Signer::Invalid, Some(one), Err("no valid signature")),
            (Signer::Nobody, Some(one), Err("no KMS signs")),
        ] {
            match (check_signer(signer, pinned), says) {
                (Ok(told), Ok(says)) => assert!(told.unwrap_or_default().contains(says)),
                (Err(told), Err(says)) => assert!(told.to_string().contains(says), "{told}"),
                (found, _) => panic!("{signer:?} {pinned:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_is_no_text_or_empty_or_endless_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        for (bytes, says) in [
            (vec![0xff], "no text"),
            (b"# nothing\n".to_vec(), "holds no variable"),
            (vec![b'#'; 65 * 1024], "longer than 64 KiB"),
            (b"A=1\nsecret".to_vec(), "line 2: expected NAME=value"),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let told = format!("{:#}", read(&file).unwrap_err());
            assert!(told.contains(says) && !told.contains("secret"), "{told}");
        }
        std::fs::write(&file, "A=1").unwrap();
        assert_eq!(read(&file).unwrap().len(), 1);
    }
}
