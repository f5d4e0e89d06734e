//! What changes in a request that goes upstream: what upstreams and other filters learn of its tokens, after Envoy's
//! `jwt_authn` (`source/extensions/filters/http/jwt_authn/authenticator.cc`).

use std::collections::BTreeSet;

use base64::{
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    Engine as _,
};
use serde_json::Value;

use super::{
    headers::Headers,
    permit::Permit,
    query,
    token_location::{Candidate, TokenLocation},
};
use crate::{
    bytes, json,
    token::{
        claims::{ClaimName, SelectedClaims},
        payload_value,
    },
};

/// Changes to a request. The shell applies the fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Headers to remove, with all their values.
    pub remove: Vec<String>,
    /// The new `:path`, if it changes.
    pub target: Option<Vec<u8>>,
    /// Headers to add.
    pub add: Vec<(String, Vec<u8>)>,
    /// Filter state to set under `wasm.` and this name, for access logs, RBAC and other filters.
    pub state: Vec<(String, Vec<u8>)>,
    /// Whether Envoy chooses the route anew.
    pub clear_route_cache: bool,
}

/// What a provider forwards of its verified tokens.
#[derive(Clone, Debug, Default)]
pub struct Forward {
    /// Whether the token itself goes upstream.
    pub token: bool,
    /// The header that carries the payload in base64url.
    pub payload_header: Option<String>,
    /// Whether that payload is padded.
    pub pad_payload: bool,
    /// Headers that carry single claims.
    pub claims: Vec<ClaimHeader>,
    /// The header that carries the payload as a [`payload_value`].
    pub value_header: Option<String>,
    /// The name of the payload in filter state.
    pub payload_state: Option<String>,
    /// The name of the token's header in filter state.
    pub header_state: Option<String>,
    /// The name of a failure's code and message in filter state.
    pub failure_state: Option<String>,
    /// Claims that are space-delimited strings in the token and lists in filter state and in the value.
    pub space_delimited: Vec<String>,
    /// Whether Envoy chooses the route anew.
    pub clear_route_cache: bool,
}

/// A header that carries a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The header's name, in lower case.
    pub header: String,
    /// The claim.
    pub claim: ClaimName,
}

impl Forward {
    /// The headers that only the filter may set.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.text_headers().chain(self.value_header.as_deref())
    }

    /// The headers that carry text for upstreams.
    pub fn text_headers(&self) -> impl Iterator<Item = &str> {
        self.payload_header.as_deref().into_iter().chain(self.claims.iter().map(|claim| claim.header.as_str()))
    }

    /// The names in filter state, each behind the field that configures it.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("payload_in_metadata", &self.payload_state),
            ("header_in_metadata", &self.header_state),
            ("failed_status_in_metadata", &self.failure_state),
        ]
        .into_iter()
        .filter_map(|(field, name)| Some((field, name.as_deref()?)))
    }

    /// The top-level claims that the headers need.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().flat_map(|header| header.claim.candidates())
    }
}

impl Edits {
    /// Removes the filter's own headers from a request: a client sent them, and upstreams would believe them.
    pub fn sanitizing(own_headers: &BTreeSet<String>, headers: Headers<'_>) -> Self {
        if own_headers.is_empty() {
            return Self::default();
        }
        let mut edits = Self::default();
        for name in headers.names().map(str::to_ascii_lowercase).filter(|name| own_headers.contains(name)) {
            edits.remove(&name);
        }
        edits
    }

    fn remove(&mut self, header: &str) {
        if !self.remove.iter().any(|other| other == header) {
            self.remove.push(header.to_owned());
        }
    }

    /// Forwards the permit's token as its provider is configured. `tokens` are those of the request, `target` is the
    /// request's `:path`.
    pub fn forward_verified(&mut self, forward: &Forward, permit: &Permit, tokens: &[Candidate], target: &[u8]) {
        let Some(candidate) = tokens.get(permit.token()) else { return };
        self.write_claims(forward, candidate);
        if !forward.token {
            match candidate.location() {
                TokenLocation::Header { name, .. } => {
                    self.remove(name);
                }
                TokenLocation::Param(name) => {
                    let target = self.target.as_deref().unwrap_or(target);
                    self.target = Some(query::without(target, &[name]));
                }
                // As in Envoy: a cookie stays.
                TokenLocation::Cookie(_) => {}
            }
        }
    }

    fn write_claims(&mut self, forward: &Forward, candidate: &Candidate) {
        let section = |index| bytes::split(candidate.token(), b'.').nth(index).unwrap_or_default();
        if let Some(name) = &forward.payload_header {
            let mut value = section(1).to_vec();
            while forward.pad_payload && value.len() % 4 != 0 {
                value.push(b'=');
            }
            self.add.push((name.clone(), value));
        }
        if let Some(name) = &forward.header_state {
            self.state.extend(URL_SAFE_NO_PAD.decode(section(0)).ok().map(|header| (name.clone(), header)));
        }
        if !forward.claims.is_empty() || forward.payload_state.is_some() || forward.value_header.is_some() {
            if let Some(payload) = candidate.payload() {
                self.write_claim_headers(forward, &payload);
                self.write_metadata(forward, &payload);
                self.write_value(forward, &payload);
            }
        }
        // Envoy clears the route cache only where something changed that a route may match.
        let changes_route_input =
            !forward.claims.is_empty() || forward.payload_header.is_some() || forward.payload_state.is_some();
        self.clear_route_cache |= forward.clear_route_cache && changes_route_input;
    }

    fn write_claim_headers(&mut self, forward: &Forward, payload: &[u8]) {
        if forward.claims.is_empty() {
            return;
        }
        let names = forward.claims.iter().flat_map(|header| header.claim.candidates());
        let Ok(claims) = SelectedClaims::read(payload, names) else { return };
        for header in &forward.claims {
            let value = claims.find(&header.claim).and_then(text).filter(|text| !text.is_empty());
            // A line break would begin another header.
            if let Some(value) = value.filter(|text| !text.chars().any(|c| c.is_ascii_control() && c != '\t')) {
                self.add.push((header.header.clone(), value.into_bytes()));
            }
        }
    }

    fn write_metadata(&mut self, forward: &Forward, payload: &[u8]) {
        let Some(name) = &forward.payload_state else { return };
        let Some(members) = payload_value::claims(payload, &forward.space_delimited) else { return };
        // The claims of one token, never those of several.
        self.state
            .retain(|(state, _)| state != name && !state.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
        for (claim, value) in &members {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.state.push((format!("{name}.{claim}"), value.into_bytes()));
        }
        self.state.push((name.clone(), json::text(&Value::Object(members)).into_bytes()));
    }

    fn write_value(&mut self, forward: &Forward, payload: &[u8]) {
        let Some(name) = &forward.value_header else { return };
        // One value, of the last token, as in the dynamic metadata of `jwt_authn`. Envoy joins several values with commas.
        self.add.retain(|(header, _)| header != name);
        // The token's policy has denied a payload without a value.
        if let Some(value) = payload_value::encode(payload, &forward.space_delimited) {
            self.add.push((name.clone(), value.into_bytes()));
        }
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
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(json::text(value))),
    }
}
