//! `jwks-gate explain`: what the filter does with a request, step by step, and why.

mod session;
mod token;

use std::{io::Write, path::PathBuf, time::SystemTime};

use clap::Args;
use jwks_gate::{
    config,
    engine::{Decision, Edits, Headers, Plan},
    time::UnixTime,
};
use serde_json::json;

use crate::{configuration, print_json, read, read_bytes, write, Failure};

#[derive(Args)]
pub(crate) struct Options {
    /// File with the configuration, in any form that `check` reads.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The token; `-` is the standard input. The token's signature is never printed.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File with the JWKS that every provider's issuer publishes.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Explain the token for this provider only.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Method and path of the request.
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

/// The steps of an explanation.
#[derive(Default)]
pub(crate) struct Steps(Vec<(&'static str, String)>);

impl Steps {
    pub(crate) fn add(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push((name, text.into()));
    }
}

/// What becomes of the request.
struct Verdict {
    decision: &'static str,
    status: Option<u16>,
    reason: String,
    details: Vec<(&'static str, String)>,
}

/// Returns whether the request is allowed.
pub(crate) fn run(options: &Options, as_json: bool, out: &mut impl Write) -> Result<bool, Failure> {
    let plan = plan(&options.config)?;
    let token = match options.token.as_deref() {
        Some("-") => Some(String::from_utf8(read_bytes("-".as_ref())?).map_err(|_| "the token is not ASCII")?),
        other => other.map(str::to_owned),
    };
    let token = token.map(|token| token.trim().to_owned());
    let jwks = options.jwks.as_deref().map(read_bytes).transpose()?;
    let now = time(options.at.as_deref())?;
    let mut steps = Steps::default();
    let (is_fine, verdict) = match &options.provider {
        Some(name) => {
            let token = token.ok_or("--provider explains a token: give --token")?;
            (token::explain(&mut steps, &plan, Some(name), &token, jwks.as_deref(), now, options.show_claims)?, None)
        }
        None => {
            let verdict = request(options, plan, token.as_deref(), jwks.as_deref(), now, &mut steps)?;
            (verdict.decision == "allowed", Some(verdict))
        }
    };
    print(&steps, verdict.as_ref(), as_json, out)?;
    Ok(is_fine)
}

/// The only configuration in a file.
fn plan(path: &std::path::Path) -> Result<Plan, Failure> {
    let source = read(path)?;
    let documents =
        configuration::documents(&source).map_err(|finding| format!("{}: {}", source.name, finding.message))?;
    let mut found = documents.iter().flat_map(|document| configuration::find(&source, document).0);
    let configuration = found.next().ok_or_else(|| format!("{}: no configuration of jwks-gate found", source.name))?;
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

fn request(
    options: &Options,
    plan: Plan,
    token: Option<&str>,
    jwks: Option<&[u8]>,
    now: UnixTime,
    steps: &mut Steps,
) -> Result<Verdict, Failure> {
    let (method, path) =
        options.request.split_once(' ').ok_or("--request: expected a method and a path, as `GET /api`")?;
    let mut list = vec![(":method".to_owned(), method.to_owned()), (":path".to_owned(), path.to_owned())];
    list.extend(
        [(":scheme", "https"), (":authority", "example.com")].map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for header in &options.headers {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("--header {header:?}: expected `name: value`"))?;
        list.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    if let Some(token) = token.filter(|token| !list.iter().any(|(_, value)| value.contains(token))) {
        list.push(("authorization".to_owned(), format!("Bearer {token}")));
    }
    let list: Vec<_> = list.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let headers = Headers::new(&list);
    // The query may hold the token.
    let shown = path.split_once('?').map_or_else(|| path.to_owned(), |(path, _)| format!("{path}?…"));
    steps.add("request", format!("{method} {shown}"));
    let rule = plan.routes.iter().position(|rule| rule.route.matches(headers).unwrap_or(true));
    steps.add(
        "rule",
        match rule {
            None => "no rule matches: the request needs no token".to_owned(),
            Some(index) if plan.routes.iter().nth(index).is_some_and(|rule| rule.requires.is_none()) => {
                format!("rules[{index}] matches, and requires nothing")
            }
            Some(index) => format!("rules[{index}] is the first that matches"),
        },
    );
    if let Some(token) = token {
        token::explain(steps, &plan, None, token, jwks, now, options.show_claims)?;
    }
    // The engine explains an allowed request only if the configuration wants that.
    let plan = Plan { explain_allowed: true, ..plan };
    Ok(verdict(session::decide(plan, jwks, headers, now), options.show_claims))
}

fn verdict(decision: Decision, shows_values: bool) -> Verdict {
    match decision {
        Decision::Continue(edits, _) | Decision::ContinueAndWake(edits, _) => {
            let reason = state(&edits.state, "reason");
            let is_reported = state(&edits.state, "decision") == "would_deny";
            let decision = if is_reported { "would be denied; `mode: report` lets it through" } else { "allowed" };
            Verdict { decision, status: None, reason, details: changes(&edits, shows_values) }
        }
        Decision::Park => Verdict {
            decision: "waits",
            status: None,
            reason: String::new(),
            details: vec![(
                "because",
                "the keys at hand cannot tell: the filter fetches the JWKS, and the request waits".to_owned(),
            )],
        },
        Decision::Reply(reply) => {
            let headers = reply.headers.iter().map(|(name, value)| ("header", format!("{name}: {value}")));
            let body = (!reply.body.is_empty()).then(|| ("body", reply.body.to_string()));
            Verdict {
                decision: "denied",
                status: Some(reply.status),
                reason: state(&reply.state, "reason"),
                details: headers.chain(body).collect(),
            }
        }
    }
}

fn state(state: &[(String, Vec<u8>)], name: &str) -> String {
    let value = state.iter().find(|(known, _)| known.strip_prefix("jwks_gate.") == Some(name));
    value.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
}

fn changes(edits: &Edits, shows_values: bool) -> Vec<(&'static str, String)> {
    let removed = edits.remove.iter().map(|name| ("removes", name.clone()));
    let added = edits.add.iter().map(|(name, value)| {
        ("adds", if shows_values { format!("{name}: {}", String::from_utf8_lossy(value)) } else { name.clone() })
    });
    let target = edits.target.iter().map(|_| ("removes", "the token from the query".to_owned()));
    removed.chain(added).chain(target).collect()
}

fn print(steps: &Steps, verdict: Option<&Verdict>, as_json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if as_json {
        let steps: Vec<_> = steps.0.iter().map(|(name, text)| json!({"step": name, "text": text})).collect();
        let verdict = verdict.map(|Verdict { decision, status, reason, details }| {
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
    write(out, &line("decision", &format!("{}{status}{reason}", verdict.decision)))?;
    verdict.details.iter().try_for_each(|(name, text)| write(out, &line("", &format!("{name} {text}"))))
}
