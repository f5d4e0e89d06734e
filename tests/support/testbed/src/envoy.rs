//! A real Envoy process.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{self, Request};
use crate::{envoy_path, leaks, workspace_root, Directory, Process};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How to run Envoy.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    /// Worker threads, each with its own VM.
    pub concurrency: u32,
    /// Whether Envoy is expected to start. If so, a failure prints the log.
    pub expect_start: bool,
    /// How long Envoy may take until it is live.
    pub start_timeout: Duration,
    /// Envoy's `--log-level`.
    pub log_level: String,
    /// The processor that all threads run on (on Linux only); any if `None`.
    pub processor: Option<usize>,
    /// Variables added to the environment of the process.
    pub environment: Vec<(String, String)>,
    /// More arguments of the command line.
    pub arguments: Vec<String>,
    /// Envoy's `--component-log-level`: `$JWKS_GATE_LOG_LEVEL`, else `wasm:debug`.
    pub component_log_level: String,
}

impl EnvoyOptions {
    /// Without what the host says of the filter below `info`.
    pub fn quiet() -> Self {
        Self { component_log_level: "wasm:info".to_owned(), ..Self::default() }
    }
}

impl Default for EnvoyOptions {
    fn default() -> Self {
        Self {
            concurrency: 2,
            expect_start: true,
            start_timeout: Duration::from_secs(20),
            log_level: "info".to_owned(),
            processor: None,
            environment: Vec::new(),
            arguments: Vec::new(),
            component_log_level: env::var("JWKS_GATE_LOG_LEVEL").unwrap_or_else(|_| "wasm:debug".to_owned()),
        }
    }
}

/// A command whose threads all run on one processor (on Linux only).
pub fn pinned(program: impl AsRef<OsStr>, processor: Option<usize>) -> Command {
    match processor {
        Some(processor) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &processor.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A running Envoy. Dropping it kills it and removes its directory.
pub struct Envoy {
    addr: SocketAddr,
    admin: SocketAddr,
    // The order matters: the process ends before the directory is removed.
    process: Process,
    directory: Directory,
    /// Whether Envoy itself logs the headers of requests.
    logs_headers: bool,
    expects_leaks: bool,
}

impl Envoy {
    /// Starts Envoy with a bootstrap, and waits until Envoy is live or has exited.
    ///
    /// Envoy runs in the workspace's directory, where `dist/jwks-gate.wasm` is.
    pub fn start(config_yaml: &str, options: EnvoyOptions) -> Result<Self, StartError> {
        let result = Self::try_start(config_yaml, &options);
        if let (Err(error), true) = (&result, options.expect_start) {
            eprintln!("{error}");
        }
        result
    }

    fn try_start(config_yaml: &str, options: &EnvoyOptions) -> Result<Self, StartError> {
        leaks::register_configuration(config_yaml);
        let logs_headers = matches!(options.log_level.as_str(), "debug" | "trace");
        let directory = Directory::create()?;
        fs::write(directory.file("envoy.yaml"), config_yaml)?;
        let output = File::create(directory.file("log"))?;
        let mut process = Process::spawn_in(
            pinned(envoy_path(), options.processor)
                .current_dir(workspace_root())
                .envs(options.environment.iter().map(|(name, value)| (name, value)))
                .arg("-c")
                .arg(directory.file("envoy.yaml"))
                .arg("--admin-address-path")
                .arg(directory.file("admin"))
                .args(["--log-level", &options.log_level])
                .args(["--concurrency", &options.concurrency.to_string()])
                .arg("--disable-hot-restart")
                .args(["--file-flush-interval-msec", "100"])
                .args(["--component-log-level", &options.component_log_level])
                .args(&options.arguments)
                .stdout(output.try_clone()?)
                .stderr(output),
            &directory,
        )?;

        let end = Instant::now() + options.start_timeout;
        loop {
            if process.exited().is_some() {
                assert_no_leaks(&leaks_in_log(&log(&directory), logs_headers));
                return Err(StartError::Exited { log: log(&directory) });
            }
            if let Some((admin, addr)) = admin_address(&directory).and_then(live) {
                return Ok(Self { addr, admin, process, directory, logs_headers, expects_leaks: false });
            }
            if Instant::now() >= end {
                return Err(StartError::TimedOut { after: options.start_timeout, log: log(&directory) });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// The address of the first listener.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of the admin interface.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The value of a counter or gauge by its full name; 0 if the stat does not exist.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = admin_get(self.admin, "/stats?format=text")
            .unwrap_or_else(|| panic!("Envoy's admin does not answer; its log:\n{}", self.log()));
        stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0)
    }

    /// The processor time of all threads so far (on Linux only).
    pub fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).into_iter().flatten().flatten();
        let nanos = |task: fs::DirEntry| -> Option<u64> {
            fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(tasks.filter_map(nanos).sum())
    }

    /// The resident memory of the process, in bytes (on Linux only).
    pub fn rss(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let kib = |line: &str| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
        status.lines().find_map(kib).unwrap_or(0).saturating_mul(1024)
    }

    /// The file of Envoy's log, stdout and stderr, removed when Envoy ends.
    pub fn log_file(&self) -> PathBuf {
        self.directory.file("log")
    }

    /// Everything that Envoy has written to its log, stdout and stderr.
    pub fn log(&self) -> String {
        log(&self.directory)
    }

    /// Lines of the log, and names of stats, that hold a secret: a part of a token, a claim, or a secret of the configuration.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = leaks_in_log(&self.log(), self.logs_headers);
        let stats = admin_get(self.admin, "/stats?format=text").unwrap_or_default();
        let names: Vec<_> = stats.lines().filter_map(|line| line.split(": ").next()).collect();
        leaks.extend(leaks::find(&names.join("\n"), |name| name.starts_with("wasmcustom.")));
        leaks
    }

    /// Expects secrets in the log, in a test that has them logged on purpose.
    pub fn expect_leaks(&mut self) {
        self.expects_leaks = true;
    }

    /// Whether the process is alive.
    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The end of Envoy's log:\n{}", tail(&self.log()));
        } else if !self.expects_leaks {
            assert_no_leaks(&self.leaks());
        }
    }
}

/// Why Envoy did not start.
pub enum StartError {
    /// The process exited, usually because Envoy rejected the configuration.
    Exited {
        /// Envoy's log.
        log: String,
    },
    /// Envoy was not live in time.
    TimedOut {
        /// How long Envoy had time.
        after: Duration,
        /// Envoy's log.
        log: String,
    },
    /// The process could not be started.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { log } => write!(f, "Envoy exited; the end of its log:\n{}", tail(log)),
            Self::TimedOut { after, log } => {
                write!(f, "Envoy was not live within {after:?}; the end of its log:\n{}", tail(log))
            }
            Self::Io(error) => write!(f, "Envoy could not be run: {error}"),
        }
    }
}

/// As `Display`, so that `unwrap` and `expect` print a readable log.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Envoy itself logs the headers of each request at the levels debug and trace: then the lines of the host and of the filter count
/// alone.
fn leaks_in_log(log: &str, logs_headers: bool) -> Vec<String> {
    let is_of_wasm = |line: &str| line.contains("][wasm]");
    if !logs_headers {
        return leaks::find(log, is_of_wasm);
    }
    let lines: Vec<_> = log.lines().filter(|line| is_of_wasm(line)).collect();
    leaks::find(&lines.join("\n"), is_of_wasm)
}

fn assert_no_leaks(leaks: &[String]) {
    assert!(leaks.is_empty(), "secrets in Envoy's log or in names of stats: {leaks:#?}");
}

fn admin_address(directory: &Directory) -> Option<SocketAddr> {
    fs::read_to_string(directory.file("admin")).ok()?.parse().ok()
}

fn log(directory: &Directory) -> String {
    fs::read(directory.file("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The addresses of the admin interface and of the first listener, once Envoy is live.
fn live(admin: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    if admin_get(admin, "/ready")?.trim() != "LIVE" {
        return None;
    }
    let listeners: serde_json::Value = serde_json::from_str(&admin_get(admin, "/listeners?format=json")?).ok()?;
    let port = listeners.pointer("/listener_statuses/0/local_address/socket_address/port_value")?.as_u64()?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?));
    Some((admin, addr))
}

fn admin_get(admin: SocketAddr, path: &str) -> Option<String> {
    Some(http::send(admin, &Request::get(path)).ok()?.text())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
