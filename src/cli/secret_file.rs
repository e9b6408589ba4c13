//! Files that hold secrets: how each of them is read, and whether others on the machine can read it
//! too.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use anyhow::{Context, Result};
use secrecy::{SecretString, zeroize::Zeroizing};

/// More than any key has, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// Reads a secret; what was read beside it is wiped. `what` names it in errors: "the seal key".
///
/// # Errors
/// It cannot be read or is no text. Nothing of it is repeated.
pub fn read(file: &Path, what: &str) -> Result<SecretString> {
    let cannot = || format!("cannot read {what} in {}", file.display());
    let mut bytes = Zeroizing::new(vec![]);
    let opened = File::open(file).with_context(cannot)?;
    opened.take(BYTES_MAX).read_to_end(&mut bytes).with_context(cannot)?;
    let text = std::str::from_utf8(&bytes).ok().context("it is no text").with_context(cannot)?;
    Ok(SecretString::from(text))
}

/// What is wrong with the rights on a file with a secret, in words; none when only its owner can read
/// it.
pub fn exposed(file: &Path, what: &str) -> Option<String> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let who = match (mode & 0o040 != 0, mode & 0o004 != 0) {
        (_, true) => "everybody on its machine",
        (true, false) => "its group",
        (false, false) => return None,
    };
    let name = file.display();
    Some(format!("{what} in {name} can be read by {who}: chmod 400 {name}"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.key");
        fs::write(&file, "secret").unwrap();
        for (mode, who) in [
            (0o400, None),
            (0o600, None),
            (0o440, Some("its group")),
            (0o644, Some("everybody")),
            (0o604, Some("everybody")),
        ] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let told = exposed(&file, "the seal key");
            assert_eq!(told.is_some(), who.is_some(), "{mode:o}");
            let (told, who) = (told.unwrap_or_default(), who.unwrap_or_default());
            assert!(told.contains(who) && !told.contains("secret"), "{told}");
        }
        assert_eq!(read(&file, "it").unwrap().expose_secret(), "secret");
        assert_eq!(exposed(&folder.path().join("none"), "it"), None);
    }

    #[test]
    fn what_is_no_text_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.key");
        fs::write(&file, [0xff, b's']).unwrap();
        let error = format!("{:#}", read(&file, "the seal key").unwrap_err());
        assert!(error.contains("cannot read the seal key") && error.ends_with("it is no text"));
    }
}
