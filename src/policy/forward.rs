//! What changes in a request that is let through: what upstreams and other filters learn of its tokens, after Envoy's
//! `jwt_authn` (`source/extensions/filters/http/jwt_authn/authenticator.cc`).

use std::collections::BTreeSet;

use base64::{
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    Engine as _,
};
use serde_json::Value;

use super::{
    headers::Headers,
    provider::Provider,
    query,
    token_location::{Candidate, Source},
};
use crate::{json, token::claims};

/// Changes to a request. They apply in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Headers to remove, every value of them.
    pub remove: Vec<String>,
    /// The target, if it is another one.
    pub target: Option<Vec<u8>>,
    /// Headers to add.
    pub add: Vec<(String, Vec<u8>)>,
    /// Filter state to set: `wasm.` and this name, for access logs, RBAC and other filters.
    pub state: Vec<(String, Vec<u8>)>,
    /// Whether the route is to be chosen anew.
    pub clear_route_cache: bool,
}

/// What is passed on of a provider's good tokens.
#[derive(Clone, Debug, Default)]
pub struct Forward {
    /// Whether the token goes on to the upstream.
    pub token: bool,
    /// The header for the payload, in base64url.
    pub payload_header: Option<String>,
    /// Whether that is padded.
    pub pad_payload: bool,
    /// Headers for single claims.
    pub claims: Vec<ClaimHeader>,
    /// The name of the payload in the filter state.
    pub payload_state: Option<String>,
    /// The name of the token's header in the filter state.
    pub header_state: Option<String>,
    /// The name of what went wrong in the filter state.
    pub failure_state: Option<String>,
    /// Claims that are lists of words, and in the filter state lists.
    pub space_delimited: Vec<String>,
    /// Whether the route is to be chosen anew.
    pub clear_route_cache: bool,
}

/// A header for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// Its name, lower-case.
    pub header: String,
    /// The names of members, from the outside in.
    pub path: Vec<String>,
}

impl Forward {
    /// The headers that only we may set.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.payload_header.as_deref().into_iter().chain(self.claims.iter().map(|claim| claim.header.as_str()))
    }

    /// The names in the filter state, and the fields that give them.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("payload_in_metadata", &self.payload_state),
            ("header_in_metadata", &self.header_state),
            ("failed_status_in_metadata", &self.failure_state),
        ]
        .into_iter()
        .filter_map(|(field, name)| Some((field, name.as_deref()?)))
    }

    /// The claims that are read.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().filter_map(|claim| claim.path.first()).map(String::as_str)
    }
}

impl Edits {
    /// Removes those of these headers that the request has: it was sent with them, and they would be believed.
    pub fn sanitizing(ours: &BTreeSet<String>, headers: Headers<'_>) -> Self {
        if ours.is_empty() {
            return Self::default();
        }
        let mut edits = Self::default();
        for name in headers.names().map(str::to_ascii_lowercase).filter(|name| ours.contains(name)) {
            edits.remove(&name);
        }
        edits
    }

    fn remove(&mut self, header: &str) {
        if !self.remove.iter().any(|other| other == header) {
            self.remove.push(header.to_owned());
        }
    }

    /// Passes on what a good token says. `target` is the request's.
    pub fn forward_verified(&mut self, provider: &Provider, candidate: &Candidate, target: &[u8]) {
        let forward = &provider.forward;
        self.tell(forward, candidate);
        if !forward.token {
            match &candidate.source {
                Source::Header { name, .. } => {
                    self.remove(name);
                }
                Source::Param(name) => {
                    let target = self.target.as_deref().unwrap_or(target);
                    self.target = Some(query::without(target, &[name]));
                }
                // As in Envoy: a cookie stays.
                Source::Cookie(_) => {}
            }
        }
    }

    /// Passes on what a token says, and the token.
    pub fn tell(&mut self, forward: &Forward, candidate: &Candidate) {
        let mut sections = candidate.token.split(|byte| *byte == b'.');
        let (header, payload) = (sections.next().unwrap_or_default(), sections.next().unwrap_or_default());
        if let Some(name) = &forward.payload_header {
            let mut value = payload.to_vec();
            while forward.pad_payload && value.len() % 4 != 0 {
                value.push(b'=');
            }
            self.add.push((name.clone(), value));
        }
        if !forward.claims.is_empty() {
            self.write_claim_headers(forward, payload);
        }
        if let (Some(name), Ok(header)) = (&forward.header_state, URL_SAFE_NO_PAD.decode(header)) {
            self.state.push((name.clone(), header));
        }
        if let (Some(name), Ok(payload)) = (&forward.payload_state, URL_SAFE_NO_PAD.decode(payload)) {
            self.write_payload(forward, name, &payload);
        }
        // Envoy does so only where something changed that a route may look at.
        let tells = !forward.claims.is_empty() || forward.payload_header.is_some() || forward.payload_state.is_some();
        self.clear_route_cache |= forward.clear_route_cache && tells;
    }

    fn write_claim_headers(&mut self, forward: &Forward, payload: &[u8]) {
        let mut names: Vec<_> = forward.claims().collect();
        // A name with dots may be one name.
        let whole: Vec<_> = forward.claims.iter().map(|claim| claim.path.join(".")).collect();
        for name in whole.iter().map(String::as_str) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let Some(values) = URL_SAFE_NO_PAD.decode(payload).ok().and_then(|payload| claims::pick(&payload, &names).ok())
        else {
            return;
        };
        let claim = |wanted: &str| values.get(names.iter().position(|name| *name == wanted)?)?.as_ref();
        for (own, whole) in forward.claims.iter().zip(&whole) {
            let nested = own
                .path
                .split_first()
                .and_then(|(first, rest)| rest.iter().try_fold(claim(first)?, |value, name| value.get(name)));
            let value = nested.or_else(|| claim(whole)).and_then(text).filter(|text| !text.is_empty());
            // A line break would begin another header.
            if let Some(value) = value.filter(|text| !text.chars().any(|c| c.is_ascii_control() && c != '\t')) {
                self.add.push((own.header.clone(), value.into_bytes()));
            }
        }
    }

    fn write_payload(&mut self, forward: &Forward, name: &str, payload: &[u8]) {
        let Ok(Value::Object(mut members)) = json::parse(payload) else { return };
        // One token's claims, never those of several.
        self.state
            .retain(|(state, _)| state != name && !state.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
        for claim in &forward.space_delimited {
            if let Some(value @ Value::String(_)) = members.get_mut(claim) {
                *value = value.as_str().unwrap_or_default().split_whitespace().collect();
            }
        }
        for (claim, value) in &members {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.state.push((format!("{name}.{claim}"), value.into_bytes()));
        }
        self.state.push((name.to_owned(), Value::Object(members).to_string().into_bytes()));
    }
}

/// A claim as the value of a header, as Envoy writes it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(truth) => Some(truth.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            // Whole, positive and within 64 bits.
            (None, Some(real)) if real >= 0.0 && real.fract() == 0.0 && real < 18_446_744_073_709_551_615.0 => {
                format!("{real:.0}")
            }
            (None, Some(real)) => format!("{real:.6}"),
            (None, None) => return None,
        }),
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(value.to_string())),
    }
}
