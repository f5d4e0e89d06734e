//! Child processes that end with this process.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::Directory;

/// A child process, killed on drop. If this process dies first, by any signal, the guard kills the child.
pub struct Process {
    child: Child,
    guard: Child,
}

/// Waits until its stdin closes, which happens only if this process dies: `Drop` kills the guard first.
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

    /// Starts the command. If this process dies first, the guard also removes the directory.
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

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if the process has exited.
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
    // Fails only if the process has already exited.
    let _ = child.kill();
    let _ = child.wait();
}
