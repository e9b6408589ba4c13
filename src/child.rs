//! A child process that cannot outlive this one: the private PostgreSQL, and the devnet's chain.
//!
//! The child runs under a small shell guardian that holds a pipe to this process. However this
//! process ends, `kill -9` included, the pipe closes, and the guardian interrupts the child. Both
//! stand in a process group of their own, so that Ctrl-C is ours to handle in order.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// Runs `"$@"` until standard input closes or it ends by itself; deletes `$REMOVE`, if set, after.
/// A shell starts its background children with interrupts ignored, so one that has not got as far
/// as to listen for them is asked again.
const GUARDIAN: &str = r#"
trap '' INT HUP TERM
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(cat <&3
tries=0
while kill -INT "$child" && [ "$tries" -lt 30 ]; do tries=$((tries + 1)); sleep 1; done
kill -KILL "$child") >/dev/null 2>&1 &
watcher=$!
wait "$child"
[ -z "$REMOVE" ] || rm -rf "$REMOVE"
kill -KILL "$watcher" 2>/dev/null
"#;

/// An unprivileged user and group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// What to run, and how.
pub struct Plan<'a> {
    pub program: &'a OsStr,
    pub arguments: Vec<&'a OsStr>,
    /// Working folder.
    pub folder: &'a Path,
    /// Whom to run it as; none means as ourselves.
    pub user: Option<User>,
    /// A folder to delete when it has ended.
    pub remove: Option<&'a Path>,
    pub stdout: Stdio,
    pub stderr: Stdio,
}

/// The running child. Dropping it ends the child and waits for its end.
#[derive(Debug)]
pub struct GuardedChild(Child);

impl GuardedChild {
    pub fn spawn(plan: Plan<'_>) -> io::Result<Self> {
        let mut guardian = command("/bin/sh".as_ref(), plan.folder, plan.user);
        if let Some(remove) = plan.remove {
            guardian.env("REMOVE", remove);
        }
        guardian
            .args(["-c", GUARDIAN, "guardian"])
            .arg(plan.program)
            .args(plan.arguments)
            .stdin(Stdio::piped())
            .stdout(plan.stdout)
            .stderr(plan.stderr)
            .spawn()
            .map(Self)
    }

    /// What the child prints, when the plan piped it.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Whether the child has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing useful can be done about a failure here: the guardian is gone either way.
        drop(self.0.wait());
    }
}

/// A command in its own process group, in `folder`, as `user`, with plain messages.
pub fn command(program: &OsStr, folder: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).process_group(0).env("LC_ALL", "C");
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    fn plan<'a>(script: &'a str, folder: &'a Path) -> Plan<'a> {
        Plan {
            program: "sh".as_ref(),
            arguments: vec!["-c".as_ref(), script.as_ref()],
            folder,
            user: None,
            remove: None,
            stdout: Stdio::piped(),
            stderr: Stdio::null(),
        }
    }

    #[test]
    fn dropping_it_ends_the_child_and_deletes_what_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let remove = folder.path().join("data");
        std::fs::create_dir(&remove).unwrap();
        let mut child = GuardedChild::spawn(Plan {
            remove: Some(&remove),
            ..plan(
                "exec 2>&1; echo $$; trap 'exit 0' INT; while :; do read -t 1 x </dev/zero; done",
                folder.path(),
            )
        })
        .unwrap();
        let mut line = String::new();
        BufReader::new(child.take_stdout().unwrap()).read_line(&mut line).unwrap();
        let process = Path::new("/proc").join(line.trim());
        assert!(process.exists());
        drop(child);
        assert!(!process.exists(), "the child is gone");
        assert!(!remove.exists(), "its data is gone");
    }

    #[test]
    fn a_child_that_ends_by_itself_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = GuardedChild::spawn(plan("exit 3", folder.path())).unwrap();
        // The pipe of standard output closes with the last process that holds it.
        std::io::copy(&mut child.take_stdout().unwrap(), &mut std::io::sink()).unwrap();
        drop(child);
    }
}
