//! `jwks-gate`: checks configurations, explains decisions, converts what runs today, and lists key sets. The decisions come from
//! the same code as in the filter. A library, so that tests compare thousands of explanations with the filter's answers.
//!
//! Exit code: 0 if nothing was found, 1 if something was, 2 for a wrong command line or a file that cannot be read.

mod check;
mod configuration;
mod convert;
pub mod explain;
mod fetch;
mod finding;
mod jwks;
mod tree;

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use jwks_gate::keys::document::Limits;

use crate::finding::Source;

/// Checks configurations of jwks-gate, explains its decisions, converts what runs today, and lists key sets.
#[derive(Parser)]
#[command(name = "jwks-gate", version, max_term_width = 100)]
struct Cli {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check configurations: what the filter would reject, and what is likely a mistake.
    ///
    /// Reads Envoy bootstraps, listeners and ECDS resources, Istio's WasmPlugin, TrafficExtension and RequestAuthentication,
    /// Envoy Gateway's EnvoyExtensionPolicy and SecurityPolicy, and bare configurations, in YAML or JSON.
    Check {
        /// Files to check; `-` is the standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Explain what the filter does with a request, step by step, and why.
    Explain(explain::Options),
    /// Convert a jwt_authn filter, an Istio RequestAuthentication or an Envoy Gateway SecurityPolicy.
    Convert(convert::Options),
    /// List the keys of a JWKS, and why keys are skipped.
    Jwks {
        /// File or URL of the JWKS; `-` is the standard input.
        #[arg(value_name = "FILE|URL")]
        source: PathBuf,
    },
    /// Print a script that completes command lines.
    Completions {
        /// The shell that runs the script.
        shell: Shell,
    },
}

/// Why a command could not run.
pub type Failure = String;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = anstream::stdout().lock();
    match run(&cli, &mut out).and_then(|is_fine| out.flush().map(|()| is_fine).map_err(|error| error.to_string())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("jwks-gate: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether nothing was found.
fn run(cli: &Cli, out: &mut impl Write) -> Result<bool, Failure> {
    match &cli.command {
        Command::Check { files } => check_files(files, cli.json, out),
        Command::Explain(options) => explain::run(options, cli.json, out),
        Command::Convert(options) => convert::run(options, out),
        Command::Jwks { source } => {
            jwks::run(&read_document(source, Limits::default().max_document_bytes)?, cli.json, out)
        }
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "jwks-gate", out);
            Ok(true)
        }
    }
}

fn check_files(files: &[PathBuf], json: bool, out: &mut impl Write) -> Result<bool, Failure> {
    let (mut is_fine, mut all) = (true, Vec::new());
    for file in files {
        let source = read(file)?;
        let findings = check::check(&source);
        is_fine &= !check::has_findings(&findings);
        if json {
            all.extend(finding::json(&source, &findings));
        } else {
            finding::print(&source, &findings, out).map_err(|error| error.to_string())?;
            if findings.is_empty() {
                write(out, &format!("{}: no findings\n", source.name))?;
            }
        }
    }
    if json {
        print_json(out, &serde_json::Value::Array(all))?;
    }
    Ok(is_fine)
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<Source, Failure> {
    let text = String::from_utf8(read_bytes(path)?).map_err(|_| format!("{}: not UTF-8", path.display()))?;
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    Ok(Source { name, text })
}

/// Reads a file, or the standard input.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = match path == Path::new("-") {
        true => io::stdin().read_to_end(&mut bytes).map(|_| bytes),
        false => std::fs::read(path),
    };
    result.map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a key document of at most this length from a URL; or a file, or the standard input, of any length.
pub(crate) fn read_document(source: &Path, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let is_url = |text: &&str| ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    match source.to_str().filter(is_url) {
        Some(url) => fetch::get(url, max_bytes),
        None => read_bytes(source),
    }
}

/// Prints text that may contain what others wrote: no control character reaches the terminal.
pub(crate) fn write(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    match out.write_all(text.as_bytes()) {
        // The reader has seen enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| error.to_string()),
    }
}

pub(crate) fn print_json(out: &mut impl Write, value: &serde_json::Value) -> Result<(), Failure> {
    write(out, &format!("{value:#}\n"))
}
