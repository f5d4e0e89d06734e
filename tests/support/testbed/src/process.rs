//! Child processes that never outlive us.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::Directory;

/// A child process. Dropping it kills it; and if we die first, by whatever signal, its guard does.
pub struct Process {
    child: Child,
    guard: Child,
}

/// Waits until our end of its stdin closes, which only our death does: `Drop` ends the guard first.
const GUARD: &str = r#"
    trap '' INT TERM HUP
    read -r _
    kill -9 "$1"
    [ -z "$2" ] || rm -rf "$2"
"#;

impl Process {
    /// Starts the command.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        Self::spawn_with(command, None)
    }

    /// Starts the command. If we die before it, its directory goes with it.
    pub fn spawn_in(command: &mut Command, directory: &Directory) -> io::Result<Self> {
        Self::spawn_with(command, Some(directory.path()))
    }

    fn spawn_with(command: &mut Command, directory: Option<&Path>) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard", &child.id().to_string()])
            .arg(directory.map_or(OsStr::new(""), Path::as_os_str))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match guard {
            Ok(guard) => Ok(Self { child, guard }),
            Err(error) => {
                kill(&mut child);
                Err(error)
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(&mut self.guard);
        kill(&mut self.child);
    }
}

fn kill(child: &mut Child) {
    // Fails only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}
