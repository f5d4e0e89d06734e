//! The processes of the demo.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use jwks_gate_testbed::{eventually, workspace_root, Envoy, EnvoyOptions, Process};

use crate::{Result, ADMIN, API, ISSUER, ISSUER_NAME, UPSTREAM};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The child processes, killed on drop or when this process dies.
pub(crate) struct Processes {
    envoy: Envoy,
    upstream: Process,
    issuer: Option<Process>,
}

impl Processes {
    pub(crate) fn start() -> Result<Self> {
        for addr in [API, ADMIN, ISSUER, UPSTREAM] {
            TcpListener::bind(addr)
                .map_err(|error| format!("{addr} must be free for the demo: {error}. Is another demo running?"))?;
        }
        let issuer = start_issuer()?;
        let upstream = program("jwks-gate-echo", UPSTREAM, &[])?;
        let config = fs::read_to_string(workspace_root().join("envoy/envoy.yaml"))?;
        let options = EnvoyOptions { expect_start: false, ..EnvoyOptions::quiet() };
        Ok(Self { envoy: Envoy::start(&config, options)?, upstream, issuer: Some(issuer) })
    }

    /// The file with Envoy's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.envoy.log_file()
    }

    pub(crate) fn stop_issuer(&mut self) {
        self.issuer = None;
    }

    pub(crate) fn start_issuer(&mut self) -> Result<()> {
        self.issuer = Some(start_issuer()?);
        Ok(())
    }

    /// The name of a child process that has exited, if any.
    pub(crate) fn exited(&mut self) -> Option<&'static str> {
        if !self.envoy.is_running() {
            return Some("Envoy");
        }
        if self.upstream.exited().is_some() {
            return Some("the upstream");
        }
        let issuer = self.issuer.as_mut()?;
        issuer.exited().map(|_| "the issuer")
    }
}

fn start_issuer() -> Result<Process> {
    program("jwks-gate-issuer", ISSUER, &["--issuer", ISSUER_NAME])
}

/// Starts a program from this program's directory, and waits until the program listens.
fn program(name: &str, listen: SocketAddr, args: &[&str]) -> Result<Process> {
    let path = env::current_exe()?.with_file_name(name);
    let mut process =
        Process::spawn(Command::new(&path).args(["--listen", &listen.to_string()]).args(args).stdout(Stdio::null()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    let mut exited = None;
    let listens = eventually(START_TIMEOUT, || {
        exited = process.exited();
        exited.is_some() || TcpStream::connect(listen).is_ok()
    });
    match exited {
        Some(status) => Err(format!("{name} exited at once: {status}").into()),
        None if !listens => Err(format!("{name} does not listen on {listen}").into()),
        None => Ok(process),
    }
}
