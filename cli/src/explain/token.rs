//! What each provider says of a token.

use std::rc::Rc;

use jwks_gate::{
    engine::{Plan, ProviderId},
    keys::{document, KeySet},
    policy::provider::{KeySource, Provider},
    time::UnixTime,
    token::{
        jws::Jws,
        signature::WasmVerifier,
        verify::{verify, Unverified},
        TokenError,
    },
};
use serde_json::Value;

use super::Steps;
use crate::{jwks::describe, Failure};

/// Claims that decide, and say nothing about a person.
const SHOWN: [&str; 6] = ["iss", "aud", "azp", "exp", "nbf", "iat"];

/// How many accepted values a step lists.
const LISTED: usize = 5;

/// The providers that a token is explained for.
#[derive(Clone, Copy)]
pub(super) enum Providers<'a> {
    /// The provider of this name.
    Named(&'a str),
    /// Those that may accept the token under the rule; all, if there is none.
    Asked(&'a [ProviderId]),
}

/// Adds the steps for a token. Returns whether a provider accepts the token.
pub(super) fn explain(
    steps: &mut Steps,
    plan: &Plan,
    providers: Providers<'_>,
    token: &str,
    jwks: Option<&[u8]>,
    now: UnixTime,
    shows_claims: bool,
) -> Result<bool, Failure> {
    steps.add("token", format!("{} bytes", token.len()));
    let jws = match Jws::parse(Rc::from(token.as_bytes())) {
        Ok(jws) => jws,
        Err(error) => {
            steps.add("", format!("is not readable: {}: {}", error.reason(), error.text()));
            return Ok(false);
        }
    };
    let quoted = |text: &Option<String>| text.as_ref().map_or_else(|| "none".to_owned(), |text| format!("{text:?}"));
    steps.add("", format!("alg {}, kid {}, typ {}", jws.algorithm.name(), quoted(&jws.kid), quoted(&jws.typ)));
    claims(steps, &jws, now, shows_claims);
    let (mut others, mut found, mut is_good) = (0, false, false);
    let (name, asked) = match providers {
        Providers::Named(name) => (Some(name), &[][..]),
        Providers::Asked(asked) => (None, asked),
    };
    for (id, provider) in plan.providers.iter() {
        if name.is_some_and(|name| name != provider.name) || !(asked.is_empty() || asked.contains(&id)) {
            continue;
        }
        found = true;
        let (keys, told) = keys(provider, jwks);
        let verdict = provider.policies.first().map(|policy| verify(&jws, policy, keys.as_deref(), &WasmVerifier, now));
        match verdict {
            Some(Err(Unverified::Denied(TokenError::IssuerNotConfigured))) if name.is_none() => others += 1,
            Some(verdict) => {
                steps.add("provider", format!("{:?}: {told}", provider.name));
                key(steps, &jws, keys.as_deref(), now);
                is_good |= verdict.is_ok();
                if let (Err(Unverified::Denied(TokenError::AudienceNotAllowed)), Some(policy)) =
                    (&verdict, provider.policies.first())
                {
                    steps.add("", format!("accepted audiences: {}", listed(&policy.audiences)));
                }
                steps.add("", outcome(verdict.map(|_| ())));
            }
            None => {}
        }
    }
    match (name, found, others) {
        (Some(name), false, _) => Err(format!("no provider {name:?} in the configuration")),
        (_, _, 0) => Ok(is_good),
        _ => {
            steps.add("", accepted(plan, others, asked));
            Ok(is_good)
        }
    }
}

/// Which issuers the providers accept that do not accept the token's.
fn accepted(plan: &Plan, others: usize, asked: &[ProviderId]) -> String {
    let providers = plan.providers.iter().filter(|(id, _)| asked.is_empty() || asked.contains(id));
    let issuers = providers.flat_map(|(_, provider)| {
        let issuers = provider.issuers();
        let templates = issuers.templates().iter().map(|template| {
            let (start, end) = template.parts();
            format!("{start}{{…}}{end}")
        });
        issuers.exact().iter().cloned().chain(templates).collect::<Vec<_>>()
    });
    let all: Vec<_> = issuers.collect();
    let providers = if others == 1 { "provider does" } else { "providers do" };
    format!("{others} {providers} not accept this issuer; accepted issuers: {}", listed(&all))
}

/// The first of these values.
fn listed(all: &[String]) -> String {
    let listed = all.iter().take(LISTED).map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(LISTED) {
        None | Some(0) => listed,
        Some(more) => format!("{listed} and {more} more"),
    }
}

fn claims(steps: &mut Steps, jws: &Jws, now: UnixTime, shows_all: bool) {
    if let Err(error) = jws.claims() {
        steps.add("claims", format!("not readable: {}: {}", error.reason(), error.text()));
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(&jws.payload) else { return };
    let mut hidden = Vec::new();
    for (name, value) in &members {
        if !shows_all && !SHOWN.contains(&name.as_str()) {
            hidden.push(name.as_str());
            continue;
        }
        let seconds = value.as_f64().filter(|_| matches!(name.as_str(), "exp" | "nbf" | "iat"));
        let relative = seconds.map_or_else(String::new, |seconds| {
            let left = seconds - now.as_numeric_date();
            format!(" ({} {:.0} s)", if left < 0.0 { "past by" } else { "in" }, left.abs())
        });
        steps.add("claims", format!("{name} {value}{relative}"));
    }
    if !hidden.is_empty() {
        steps.add("claims", format!("{} (values hidden; --show-claims prints them)", hidden.join(", ")));
    }
}

/// The keys of a provider, and where they are from.
fn keys(provider: &Provider, jwks: Option<&[u8]>) -> (Option<Rc<KeySet>>, String) {
    match (&provider.keys, jwks) {
        (KeySource::Local(keys), _) => (Some(keys.clone()), format!("{} usable keys in the configuration", keys.len())),
        (KeySource::Remote(_), None) => (None, "keys unknown; give the issuer's JWKS with --jwks".to_owned()),
        (KeySource::Remote(remote), Some(body)) => match document::parse(body, remote.rotation.limits) {
            Ok(document) => {
                let keys = document.keys.without_revoked(&remote.revoked);
                let told = format!("{} usable keys in the JWKS, {} skipped", keys.len(), document.skipped.len());
                (Some(Rc::new(keys)), told)
            }
            Err(error) => (None, format!("the JWKS is rejected: {error}")),
        },
    }
}

/// Says whether the key that the token names is at hand.
fn key(steps: &mut Steps, jws: &Jws, keys: Option<&KeySet>, now: UnixTime) {
    let (Some(kid), Some(keys)) = (&jws.kid, keys) else { return };
    if keys.is_revoked(kid, now) {
        steps.add("", format!("key {kid:?} is revoked"));
        return;
    }
    match keys.published().find(|key| key.kid() == Some(kid)) {
        Some(key) => steps.add("", format!("key {kid:?}: {}", describe(key))),
        None => steps.add("", format!("no key {kid:?}")),
    }
}

fn outcome(verdict: Result<(), Unverified>) -> String {
    let of = |error: TokenError| format!("{}: {}", error.reason(), error.text());
    match verdict {
        Ok(()) => "the token is good".to_owned(),
        Err(Unverified::NoKeys) => "no keys: the filter fetches the JWKS, and the request waits".to_owned(),
        Err(Unverified::Denied(error)) => format!("denied: {}", of(error)),
        Err(Unverified::UnknownKey(error)) => {
            format!("no key verifies the token: the filter asks the issuer once more; without a new key: {}", of(error))
        }
        Err(Unverified::BadSignature) => {
            let error = TokenError::BadSignature;
            format!(
                "the key does not verify the signature: the filter asks for a replaced key; without one: {}",
                of(error)
            )
        }
    }
}
