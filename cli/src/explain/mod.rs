//! `jwks-gate explain`: what the filter does with a request, step by step, and why.

mod request;
mod session;
mod token;
mod verdict;

use std::{io::Write, path::PathBuf, time::SystemTime};

use clap::Args;
use jwks_gate::{
    config,
    engine::{Headers, Plan},
    keys::document::Limits,
    policy::token_location::{Candidate, TokenLocation},
    time::UnixTime,
};
use serde_json::json;

pub use self::{
    request::Request,
    verdict::{Decided, Verdict},
};
use self::{session::Session, token::Providers};
use crate::{
    configuration::{self, Configuration},
    finding::line_and_column,
    print_json, read, read_bytes, read_document, write, Failure,
};

#[derive(Args)]
pub(crate) struct Options {
    /// File with the configuration, in any form that `check` reads.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which configuration of the file, counted from 1, if the file has several.
    #[arg(long, value_name = "NUMBER")]
    number: Option<usize>,
    /// The token, or the whole value of a header `Authorization`; `-` is the standard input. The token's signature is never
    /// printed.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File or URL of the JWKS that every provider's issuer publishes; `-` is the standard input.
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<PathBuf>,
    /// Explain the token for this provider only.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Method and path, or method and URL, of the request.
    #[arg(long, value_name = "REQUEST", default_value = "GET /")]
    request: String,
    /// A header of the request, as `name: value`. The token goes into `authorization` unless a header contains the token.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The time of the request, as RFC 3339 or in seconds since the epoch. Default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print the values of claims.
    #[arg(long)]
    show_claims: bool,
}

/// The steps of an explanation, each with a name and a text.
#[derive(Debug, Default)]
pub struct Steps(Vec<(&'static str, String)>);

impl Steps {
    pub(crate) fn add(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push((name, text.into()));
    }
}

/// Returns whether the request is allowed.
pub(crate) fn run(options: &Options, as_json: bool, out: &mut impl Write) -> Result<bool, Failure> {
    let is_input = |path: &PathBuf| path.as_os_str() == "-";
    let inputs = [is_input(&options.config), options.token.as_deref() == Some("-"), options.jwks.iter().any(is_input)];
    if inputs.into_iter().filter(|is_input| *is_input).count() > 1 {
        return Err("only one of --config, --token and --jwks can be the standard input".to_owned());
    }
    let plan = plan(&options.config, options.number)?;
    let given = match options.token.as_deref() {
        Some("-") => Some(String::from_utf8(read_bytes("-".as_ref())?).map_err(|_| "the token is not ASCII")?),
        other => other.map(str::to_owned),
    };
    let token = given.as_deref().and_then(request::token_of);
    let limits = plan.remotes().map(|(_, remote)| remote.rotation.limits.max_document_bytes);
    let max_bytes = limits.max().unwrap_or(Limits::default().max_document_bytes);
    let jwks = options.jwks.as_deref().map(|source| read_document(source, max_bytes)).transpose()?;
    let now = time(options.at.as_deref())?;
    let mut steps = Steps::default();
    if given.is_some() && token.is_none() {
        steps.add("token", "--token is empty: is the variable set?");
    }
    let (is_fine, verdict) = match &options.provider {
        Some(name) => {
            let token = token.ok_or("--provider explains a token: give --token")?;
            (
                token::explain(
                    &mut steps,
                    &plan,
                    Providers::Named(name),
                    &token,
                    jwks.as_deref(),
                    now,
                    options.show_claims,
                )?,
                None,
            )
        }
        None => {
            let request = Request { line: &options.request, headers: &options.headers, token: token.as_deref() };
            let verdict = explain(&plan, request, jwks.as_deref(), now, options.show_claims, &mut steps)?;
            (verdict.decided == Decided::Allowed, Some(verdict))
        }
    };
    print(&steps, verdict.as_ref(), as_json, out)?;
    Ok(is_fine)
}

/// The only configuration in a file, or the one of this number.
fn plan(path: &std::path::Path, number: Option<usize>) -> Result<Plan, Failure> {
    let source = read(path)?;
    let documents =
        configuration::documents(&source).map_err(|finding| format!("{}: {}", source.name, finding.message))?;
    let found: Vec<_> = documents.iter().flat_map(|document| configuration::find(&source, document).0).collect();
    let configuration = match (&found[..], number) {
        ([], _) => return Err(format!("{}: no configuration of jwks-gate found", source.name)),
        ([only], None) => only,
        (_, None) => {
            let line = |found: &Configuration<'_>| line_and_column(&source.text, found.node.span.start).0.to_string();
            let lines: Vec<_> = found.iter().map(line).collect();
            return Err(format!(
                "{}: {} configurations, in the lines {}; choose one by --number, counted from 1",
                source.name,
                found.len(),
                lines.join(", ")
            ));
        }
        (_, Some(number)) => number
            .checked_sub(1)
            .and_then(|index| found.get(index))
            .ok_or_else(|| format!("--number {number}: {} has {} configurations", source.name, found.len()))?,
    };
    config::parse(configuration.json().as_bytes()).map_err(|error| format!("{}: {error}", source.name))
}

fn time(text: Option<&str>) -> Result<UnixTime, Failure> {
    let at = match text {
        None => SystemTime::now(),
        Some(text) => match text.parse::<u64>() {
            Ok(seconds) => return Ok(UnixTime::from_millis(seconds.saturating_mul(1000))),
            Err(_) => humantime::parse_rfc3339_weak(text).map_err(|error| format!("--at {text}: {error}"))?,
        },
    };
    let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "the time is before 1970")?;
    Ok(UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// Explains a request to a worker that has just fetched this JWKS for every provider. Adds what leads to the verdict to `steps`.
///
/// # Errors
/// The request cannot be read.
pub fn explain(
    plan: &Plan,
    request: Request<'_>,
    jwks: Option<&[u8]>,
    now: UnixTime,
    shows_claims: bool,
    steps: &mut Steps,
) -> Result<Verdict, Failure> {
    let list = request.headers()?;
    let list: Vec<_> = list.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let headers = Headers::new(&list);
    let text = |name: &str| String::from_utf8_lossy(headers.first(name).unwrap_or_default()).into_owned();
    // The query may hold the token.
    let (path, query) = (String::from_utf8_lossy(headers.path()), if headers.query().is_empty() { "" } else { "?…" });
    steps.add("request", format!("{} {}{path}{query}", text(":method"), text(":authority")));
    if is_changed_by_envoy(&path) {
        steps.add(
            "",
            "Envoy may change this path before the filter sees the request: normalize_path, merge_slashes and \
             path_with_escaped_slashes_action of the connection manager",
        );
    }
    steps.add("rule", rule(plan, headers));
    // The engine explains an allowed request only if the configuration wants that.
    let mut session = Session::new(Plan { explain_allowed: true, ..plan.clone() }, jwks, now);
    let resolved = session.resolve(headers);
    let asked = resolved.providers();
    let found: Vec<_> = resolved.tokens.iter().map(|token| token.token().to_vec()).collect();
    let is_given = |token: &str| found.iter().any(|found| found == token.as_bytes());
    match request.token {
        Some(token) => {
            token::explain(steps, plan, Providers::Asked(&asked), token, jwks, now, shows_claims)?;
            if !resolved.is_satisfied() && !is_given(token) {
                steps.add(
                    "",
                    "no provider of the rule looks where the token is (from_headers, from_params, from_cookies)",
                );
            }
        }
        None => {
            for (index, token) in found.iter().enumerate().filter(|(index, token)| !found[..*index].contains(token)) {
                let token = String::from_utf8_lossy(token);
                steps.add("found", place(&resolved.tokens[index]));
                token::explain(steps, plan, Providers::Asked(&asked), &token, jwks, now, shows_claims)?;
            }
        }
    }
    let outcome = session.decide(resolved, headers);
    Ok(verdict::verdict(outcome, plan, headers, steps, shows_claims))
}

/// Whether a connection manager that normalizes paths changes this one.
fn is_changed_by_envoy(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let has_dots = path.split('/').any(|segment| segment == "." || segment == "..");
    has_dots || ["//", "\\", "%2e", "%2f", "%5c"].iter().any(|part| lower.contains(part))
}

/// Where a token was found.
fn place(token: &Candidate) -> String {
    match token.location() {
        TokenLocation::Header { name, .. } => format!("a token in the header {name:?}"),
        TokenLocation::Param(name) => format!("a token in the parameter {name:?}"),
        TokenLocation::Cookie(name) => format!("a token in the cookie {name:?}"),
    }
}

/// Says which rule applies.
fn rule(plan: &Plan, headers: Headers<'_>) -> String {
    if plan.ready.as_ref().is_some_and(|ready| ready.is_asked_by(headers)) {
        return "none is looked at: the filter itself answers at ready_path".to_owned();
    }
    if plan.bypass_cors_preflight && headers.is_cors_preflight() {
        return "none is looked at: a CORS preflight needs no token (bypass_cors_preflight)".to_owned();
    }
    match plan.routes.iter().enumerate().find(|(_, rule)| rule.route.matches(headers).unwrap_or(true)) {
        None => "no rule matches: the request needs no token".to_owned(),
        Some((index, rule)) if rule.requires.is_none() => format!("rules[{index}] matches, and requires nothing"),
        Some((index, _)) => format!("rules[{index}] is the first that matches"),
    }
}

fn print(steps: &Steps, verdict: Option<&Verdict>, as_json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if as_json {
        let steps: Vec<_> = steps.0.iter().map(|(name, text)| json!({"step": name, "text": text})).collect();
        let verdict = verdict.map(|Verdict { decided, status, reason, details, .. }| {
            let decision = decided.text();
            let details: Vec<_> = details.iter().map(|(name, text)| json!({"name": name, "text": text})).collect();
            json!({"decision": decision, "status": status, "reason": reason, "details": details})
        });
        return print_json(out, &json!({"steps": steps, "verdict": verdict}));
    }
    let line = |name: &str, text: &str| format!("{name:<10} {text}\n");
    for (name, text) in &steps.0 {
        write(out, &line(name, text))?;
    }
    let Some(verdict) = verdict else { return Ok(()) };
    let status = verdict.status.map_or_else(String::new, |status| format!(" with {status}"));
    let reason =
        if verdict.reason.is_empty() { String::new() } else { format!(": {} (docs/denials.md)", verdict.reason) };
    write(out, &line("decision", &format!("{}{status}{reason}", verdict.decided.text())))?;
    verdict.details.iter().try_for_each(|(name, text)| write(out, &line("", &format!("{name} {text}"))))
}
