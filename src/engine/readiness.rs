//! `ready_path`: whether each key set that the configuration needs has had keys. Once yes, the answer stays yes: keys that are
//! stale are no reason to take a proxy out of service, since all proxies have them.

use std::{borrow::Cow, collections::BTreeSet, fmt::Write};

use super::{key_sets::KeySets, provider_keys::ProviderKeys};
use crate::{
    ids::ProviderId,
    keys::KeySet,
    policy::{
        headers::Headers,
        plan::{Plan, ReadyPath},
        provider::Remote,
        query,
        reply::Reply,
    },
    rotation::schedule,
    time::UnixTime,
};

/// How many records are read for one request.
const RECORDS: usize = 8;
/// How many providers an answer lists, and how much of the name of each.
const MAX_LISTED: usize = 100;
const MAX_NAME_CHARS: usize = 64;

/// The key sets of this worker that have had no keys.
#[derive(Debug)]
pub(super) struct Readiness {
    pending: BTreeSet<ProviderId>,
}

impl Readiness {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut pending = BTreeSet::new();
        pending.extend(plan.ready.iter().flat_map(|ready| &ready.providers));
        Self { pending }
    }

    /// Key sets whose records may tell more.
    pub(super) fn records(&self) -> Vec<ProviderId> {
        self.pending.iter().take(RECORDS).copied().collect()
    }

    /// The provider's record is another.
    pub(super) fn on_change(&mut self, provider: ProviderId, keys: &ProviderKeys) {
        if keys.record.knows_of_jwks() {
            self.pending.remove(&provider);
        }
    }

    /// The answer. A request costs no more for more providers, unless it asks for a list.
    pub(super) fn reply(
        &mut self,
        plan: &Plan,
        ready: &ReadyPath,
        key_sets: &KeySets,
        headers: Headers<'_>,
        now: UnixTime,
    ) -> Reply {
        let has_keys = |id: ProviderId| {
            let keys = key_sets.of(id);
            let usable = || plan.remote(id).and_then(|remote| usable_keys(keys, remote, now));
            keys.record.knows_of_jwks() || (keys.seed().is_some() && can_verify(usable()))
        };
        while self.pending.first().is_some_and(|provider| has_keys(*provider)) {
            self.pending.pop_first();
        }
        let (status, text) = match self.pending.is_empty() {
            true => (200, "ready\n"),
            false => (503, "no keys yet\n"),
        };
        let mut body = Cow::Borrowed(text);
        if query::parameters(headers.query()).any(|parameter| parameter.raw().0 == b"verbose") {
            self.list(plan, ready, key_sets, body.to_mut(), now);
        }
        let mut headers = vec![("cache-control", "no-store".to_owned())];
        if status == 503 {
            headers.push(("retry-after", "1".to_owned()));
        }
        Reply { status, headers, body, state: Vec::new() }
    }

    /// Lists providers, first those without keys.
    fn list(&self, plan: &Plan, ready: &ReadyPath, key_sets: &KeySets, body: &mut String, now: UnixTime) {
        let others = ready.providers.iter().filter(|provider| !self.pending.contains(provider));
        for provider in self.pending.iter().chain(others).take(MAX_LISTED) {
            let Some(remote) = plan.remote(*provider) else { continue };
            let name: String = plan.providers[*provider].name.chars().take(MAX_NAME_CHARS).collect();
            describe(body, &name, key_sets.of(*provider), remote, now);
        }
        let more = ready.providers.len().saturating_sub(MAX_LISTED);
        if more > 0 {
            let _ = writeln!(body, "and {more} more");
        }
    }
}

fn usable_keys<'k>(keys: &'k ProviderKeys, remote: &Remote, now: UnixTime) -> Option<&'k KeySet> {
    keys.usable_keys(Some(&remote.rotation), now)
}

/// Whether the keys verify any token: not all of them are revoked.
fn can_verify(keys: Option<&KeySet>) -> bool {
    keys.is_some_and(|keys| !keys.is_empty())
}

/// Nothing that an issuer or a client wrote: no `kid`, no URI, no text of an error.
fn describe(body: &mut String, name: &str, keys: &ProviderKeys, remote: &Remote, now: UnixTime) {
    let usable = usable_keys(keys, remote, now);
    let (state, age) = match &keys.record.document {
        None if can_verify(usable) => ("seed", None),
        None => ("no keys", None),
        Some(cached) => {
            let expires = schedule::expires_at(cached.fetched_at, &cached.freshness, &remote.rotation);
            let state = match usable.is_some() {
                true if now < expires => "fresh",
                true => "stale",
                false => "expired",
            };
            (state, Some(now.since(cached.fetched_at).as_secs()))
        }
    };
    let _ = write!(body, "{name:?}: {state}");
    if let Some(age) = age {
        let _ = write!(body, ", age {age} s");
    }
    if keys.record.failures > 0 {
        let _ = write!(body, ", failed fetches in a row: {}", keys.record.failures);
    }
    if let Some(failed) = keys.ended.failures.last().filter(|_| keys.ended.answered.is_none()) {
        let _ = write!(body, ", last error: {}", failed.error.cause().name());
    }
    body.push('\n');
}
