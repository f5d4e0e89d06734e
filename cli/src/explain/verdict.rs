//! What becomes of a request.

use std::time::Duration;

use jwks_gate::{
    engine::{Action, Decision, Edits, Headers, Plan, Reply},
    policy::plan::Mode,
};

use super::{session::Outcome, Steps};

/// What becomes of a request, and what comes of that.
#[derive(Debug)]
pub struct Verdict {
    /// What the filter does.
    pub decided: Decided,
    /// The status of the filter's answer. `None`: the filter does not answer.
    pub status: Option<u16>,
    /// The reason of a denial; empty if there is none.
    pub reason: String,
    /// The headers of the answer.
    pub headers: Vec<(&'static str, String)>,
    /// The body of the answer.
    pub body: String,
    pub(super) details: Vec<(&'static str, String)>,
}

/// What the filter does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The request goes upstream.
    Allowed,
    /// The request goes upstream, and would not without `mode: report`.
    WouldBeDenied,
    /// The filter answers the request at `ready_path`.
    Answered,
    /// The filter denies the request.
    Denied,
    /// The request waits for keys that are not known.
    Waits,
}

impl Verdict {
    fn new(decided: Decided) -> Self {
        let (status, reason, headers, body, details) = Default::default();
        Self { decided, status, reason, headers, body, details }
    }
}

impl Decided {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::WouldBeDenied => "would be denied; `mode: report` lets it through",
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Waits => "waits",
        }
    }
}

/// The verdict on a request with these headers. A wait becomes a step.
pub(super) fn verdict(
    outcome: Outcome,
    plan: &Plan,
    headers: Headers<'_>,
    steps: &mut Steps,
    shows_values: bool,
) -> Verdict {
    let is_ready_path = plan.ready.as_ref().is_some_and(|ready| ready.is_asked_by(headers));
    match outcome {
        Outcome::AtOnce(Decision::Continue(edits, _)) => passes(&edits, shows_values),
        Outcome::AtOnce(Decision::ContinueAndWake(edits, _)) => {
            let mut verdict = passes(&edits, shows_values);
            if plan.mode == Mode::Report && state(&edits.state, "decision").is_empty() {
                let because = "without `mode: report`, the request would wait for keys: only counters tell the result";
                verdict.details.push(("because", because.to_owned()));
            }
            verdict
        }
        Outcome::AtOnce(Decision::Reply(reply)) => answer(&reply, headers, is_ready_path),
        Outcome::Later(waited, Action::Reply(_, reply)) => {
            steps.add("waits", wait(waited));
            answer(&reply, headers, is_ready_path)
        }
        Outcome::Later(waited, Action::Resume(_, edits, _)) => {
            steps.add("waits", wait(waited));
            passes(&edits, shows_values)
        }
        Outcome::AtOnce(Decision::Park) | Outcome::Waits | Outcome::Later(..) => {
            let because = "the keys at hand cannot tell: the filter fetches the JWKS, and the request waits";
            let mut verdict = Verdict::new(Decided::Waits);
            verdict.details.push(("because", because.to_owned()));
            verdict
        }
    }
}

fn wait(waited: Duration) -> String {
    let seconds = waited.as_secs_f64().ceil();
    format!("at most {seconds} s, for one more fetch of the JWKS; as --jwks is what the issuer still publishes, then:")
}

fn passes(edits: &Edits, shows_values: bool) -> Verdict {
    let is_reported = state(&edits.state, "decision") == "would_deny";
    let decided = if is_reported { Decided::WouldBeDenied } else { Decided::Allowed };
    let (reason, details) = (state(&edits.state, "reason"), changes(edits, shows_values));
    Verdict { reason, details, ..Verdict::new(decided) }
}

fn answer(reply: &Reply, request: Headers<'_>, is_ready_path: bool) -> Verdict {
    let headers = reply.headers.iter().map(|(name, value)| ("header", format!("{name}: {value}")));
    let body = (!reply.body.is_empty()).then(|| ("body", reply.body.trim_end().to_owned()));
    let is_grpc = request.first("content-type").is_some_and(is_grpc);
    let grpc = is_grpc.then(|| ("grpc", format!("Envoy sends HTTP status 200 and grpc-status {}", grpc(reply.status))));
    Verdict {
        status: Some(reply.status),
        reason: state(&reply.state, "reason"),
        details: headers.chain(body).chain(grpc).collect(),
        headers: reply.headers.clone(),
        body: reply.body.to_string(),
        ..Verdict::new(if is_ready_path { Decided::Answered } else { Decided::Denied })
    }
}

/// The `grpc-status` into which Envoy turns the status of a filter's answer.
fn grpc(status: u16) -> u8 {
    match status {
        401 => 16,
        403 => 7,
        503 => 14,
        _ => 2,
    }
}

/// Whether Envoy takes a request with this content type for gRPC.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
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
