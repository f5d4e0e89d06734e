//! The key sets of all providers: what fetches and records change.

use std::{cell::RefCell, collections::BTreeSet};

use log::{info, warn};

use super::{
    action::{Action, Response},
    fetch_error::FetchError,
    fetch_outcome::outcome,
    fetching::{Ended, FailedRequest, Step},
    provider_keys::ProviderKeys,
    telemetry::{self, Telemetry},
};
use crate::{
    ids::{ProviderId, ProviderMap},
    metrics::{Counter, FetchResult, Histogram, Metric, Refresh},
    policy::{
        plan::Plan,
        provider::{Provider, Remote},
        reply::Denial,
        requirement::{Evaluation, ResolvedRequirement, TokenCheck},
    },
    rotation::{
        http_cache,
        record::Record,
        seed::Seed,
        transition::{Cause, Effect, Event, Outcome},
        update::{Applied, Update},
    },
    time::UnixTime,
    token::TokenError,
};

/// The key sets of all providers of a configuration, as one worker knows them.
#[derive(Debug)]
pub(super) struct KeySets {
    sets: ProviderMap<ProviderKeys>,
    /// The key sets whose records changed since this was last taken.
    touched: BTreeSet<ProviderId>,
    /// The providers with tokens found in the cache and not yet counted.
    with_cache_hits: RefCell<BTreeSet<ProviderId>>,
    /// When the next seed ends by its time.
    next_seed_end: Option<UnixTime>,
}

impl KeySets {
    pub(super) fn new(plan: &Plan) -> Self {
        let caches = Default::default();
        let sets = plan.providers.map(|_, provider| ProviderKeys::new(provider, &caches));
        let (touched, with_cache_hits) = Default::default();
        let mut key_sets = Self { sets, touched, with_cache_hits, next_seed_end: None };
        key_sets.next_seed_end = key_sets.seeds().map(|(_, seed)| seed.not_after).min();
        key_sets
    }

    /// The seeds of key sets for which no JWKS was seen.
    pub(super) fn seeds(&self) -> impl Iterator<Item = (ProviderId, &Seed)> {
        self.sets.iter().filter_map(|(provider, keys)| Some((provider, keys.seed()?)))
    }

    /// The key sets whose seeds have ended by their time, if one ended since this was last called.
    pub(super) fn take_expired_seeds(&mut self, now: UnixTime) -> Vec<ProviderId> {
        if self.next_seed_end.is_none_or(|end| now < end) {
            return Vec::new();
        }
        self.next_seed_end = self.seeds().map(|(_, seed)| seed.not_after).filter(|end| now < *end).min();
        let expired = self.seeds().filter(|(_, seed)| seed.not_after <= now);
        expired.map(|(provider, _)| provider).collect()
    }

    pub(super) fn of(&self, provider: ProviderId) -> &ProviderKeys {
        &self.sets[provider]
    }

    /// A token of the provider may have been found in the cache.
    pub(super) fn count_cache_hits(&self, provider: ProviderId) {
        if self.of(provider).cache_hits.get() > 0 {
            self.with_cache_hits.borrow_mut().insert(provider);
        }
    }

    /// The hits of each provider's token cache since this was last called.
    pub(super) fn take_cache_hits(&self) -> impl Iterator<Item = (ProviderId, u32)> + use<'_> {
        let providers = self.with_cache_hits.take();
        providers.into_iter().map(|provider| (provider, self.of(provider).cache_hits.take()))
    }

    /// The key sets whose records changed since this was last called.
    pub(super) fn take_touched(&mut self) -> BTreeSet<ProviderId> {
        std::mem::take(&mut self.touched)
    }

    /// Every key set counts as changed.
    pub(super) fn touch_all(&mut self) {
        self.touched.extend(self.sets.ids());
    }

    /// Newer configurations revoke these keys of the provider. Returns whether that can change the verdict on a waiting request.
    pub(super) fn revoke(&mut self, plan: &Plan, provider: ProviderId, names: BTreeSet<String>) -> bool {
        plan.remote(provider).is_some_and(|remote| self.sets[provider].revoke(names, remote))
    }

    /// The clock went back behind `then`.
    pub(super) fn on_clock_step_back(&mut self, then: UnixTime, now: UnixTime) {
        self.sets.values_mut().for_each(|keys| keys.on_clock_step_back(then, now));
    }

    /// Takes over a provider's shared record. Bytes that are no record count as absent. Returns whether that can change the
    /// verdict on a waiting request.
    pub(super) fn on_record(&mut self, plan: &Plan, provider: ProviderId, bytes: &[u8], now: UnixTime) -> bool {
        let Some(remote) = plan.remote(provider) else { return false };
        self.touched.insert(provider);
        let (keys, record) = (&mut self.sets[provider], Record::read(bytes, now).unwrap_or_default());
        let has_changed = keys.update(record, None, remote, now);
        if keys.is_lost {
            log_loss(&plan.providers[provider], keys, now);
        }
        has_changed
    }

    /// Takes over the result of an update. Returns whether that can change the verdict on a waiting request, and what
    /// follows.
    pub(super) fn on_updated(
        &mut self,
        plan: &Plan,
        provider: ProviderId,
        update: Update,
        applied: Applied,
        telemetry: &mut Telemetry,
        now: UnixTime,
    ) -> (bool, Option<Action>) {
        let Some(remote) = plan.remote(provider) else { return (false, None) };
        self.touched.insert(provider);
        let keys = &mut self.sets[provider];
        let rotated_at = |keys: &ProviderKeys| Some(keys.record.document.as_ref()?.rotated_at);
        let rotated_before = rotated_at(keys);
        // The document that this worker parsed is the record's only if the fetch counted.
        let (cause, is_restored, failures) = (update.cause(), applied.is_restored, applied.record.failures);
        let ended = update.outcome().map(|outcome| (result_of(outcome), applied.effect));
        let fetched = update.into_document().filter(|_| applied.effect == Effect::Completed);
        let has_changed = keys.update(applied.record, fetched, remote, now);
        if is_restored || keys.is_lost {
            log_loss(&plan.providers[provider], keys, now);
        }
        if let Some((result, effect)) = ended {
            // A 304 counts only if the record still has the JWKS that the request was about.
            if effect == Effect::Completed && failures > 0 {
                let outdated = |endpoint| FailedRequest { endpoint, error: FetchError::Outdated };
                keys.ended.failures.extend(keys.ended.answered.take().map(outdated));
            }
            if effect == Effect::Superseded {
                let name = &plan.providers[provider].name;
                info!("provider {name:?}: JWKS fetch superseded: another fetch was started before its end");
            }
            count_fetch(provider, result, effect, keys, telemetry);
        }
        let action = match applied.effect {
            Effect::Fetch(fetch) => {
                if is_restored && cause == Some(Cause::Schedule) {
                    keys.on_refetch(now);
                }
                let request = keys.begin_fetch(fetch, remote, now);
                if keys.record.is_fetching_for_token() {
                    telemetry.add_of(provider, Counter::Refreshes(Refresh::Started));
                } else if keys.record.is_looking_again() && cause == Some(Cause::UnknownKid) {
                    telemetry.add_of(provider, Counter::Refreshes(Refresh::SecondLook));
                }
                request.map(|request| Action::Fetch(provider, fetch, request))
            }
            Effect::Completed => {
                if let Some(rotated) = rotated_at(keys) {
                    // The first JWKS is no rotation, but makes the counter appear.
                    let is_rotation = rotated_before.is_some_and(|before| before != rotated);
                    telemetry.add_many_of(provider, Counter::Rotations, u32::from(is_rotation));
                }
                log_fetch(&plan.providers[provider], remote, keys, now);
                Some(Action::WakeWorkers(provider))
            }
            Effect::Discarded => {
                if keys.warns_of_discard(now) {
                    let name = &plan.providers[provider].name;
                    warn!("provider {name:?}: discarding shared data: not a JWKS (written by another plugin?)");
                }
                Some(Action::WakeWorkers(provider))
            }
            Effect::Abandoned => {
                let name = &plan.providers[provider].name;
                info!("provider {name:?}: JWKS fetch abandoned: its configuration ended");
                Some(Action::WakeWorkers(provider))
            }
            // Another worker may know more than this one has restored.
            Effect::Superseded | Effect::NotBefore(_) | Effect::InFlight => {
                let is_news = is_restored && keys.restored_news.begin_if_over(now);
                is_news.then_some(Action::WakeWorkers(provider))
            }
        };
        (has_changed, action)
    }

    /// Turns the response to a request of a fetch into the next request, or into an update. `jitter` is a random number.
    pub(super) fn on_fetched(
        &mut self,
        plan: &Plan,
        (provider, fetch): (ProviderId, u64),
        response: Result<Response, FetchError>,
        jitter: u32,
        telemetry: &mut Telemetry,
        now: UnixTime,
    ) -> Option<Action> {
        let remote = plan.remote(provider)?;
        let keys = &mut self.sets[provider];
        let update = |keys: &ProviderKeys, outcome| {
            let update = keys.update_by(Event::FetchEnded { fetch, outcome, jitter }, remote, now);
            Some(Action::Update(provider, Box::new(update)))
        };
        let Some((step, endpoint)) = keys.fetching.step(fetch) else {
            // This worker has begun another fetch since.
            return update(keys, Outcome::Failed { retry_after: None });
        };
        let origin = keys.origin(step, endpoint, remote);
        let retry_after = response.as_ref().ok().and_then(|response| http_cache::retry_after(&response.headers, now));
        let brought = match (response, step) {
            (Err(error), _) => Err(error),
            (Ok(response), Step::Metadata) => keys.read_metadata(remote, &response, now).map(|()| None),
            (Ok(response), Step::Jwks | Step::Mirror(_)) => {
                outcome(keys, remote, origin, response, telemetry, now).map(Some)
            }
        };
        if let Err(error) = &brought {
            keys.request_failed(error.clone(), retry_after, remote);
        }
        let brought = brought.ok().flatten();
        if brought.is_none() {
            if let Some(request) = keys.next_request(fetch, remote, now) {
                return Some(Action::Fetch(provider, fetch, request));
            }
        }
        if let Some(lease) = keys.record.lease.filter(|_| keys.record.started == fetch) {
            telemetry.observe(provider, Histogram::FetchMs, now.since(lease.taken_at));
        }
        let (ended, retry_after) = keys.fetching.end(brought.is_some());
        keys.ended = ended;
        update(keys, brought.unwrap_or(Outcome::Failed { retry_after }))
    }

    /// Turns a fetch that nobody will hear the end of into an update.
    pub(super) fn on_abandoned(&self, plan: &Plan, provider: ProviderId, fetch: u64, now: UnixTime) -> Option<Update> {
        Some(self.sets[provider].update_by(Event::Abandon(fetch), plan.remote(provider)?, now))
    }

    /// Remembers which tokens were denied for want of a key, and which refreshes were put off. Returns the providers of these
    /// refreshes.
    pub(super) fn record_evaluation(
        &mut self,
        resolved: &ResolvedRequirement,
        evaluation: &Evaluation,
        telemetry: &mut Telemetry,
    ) -> Vec<ProviderId> {
        let mut wanted = Vec::new();
        for finding in &evaluation.findings {
            let keys = &mut self.sets[finding.provider];
            let (denial, wants_refresh) = match finding.check {
                TokenCheck::MissingKey { denial, wants_refresh } => (denial, wants_refresh),
                TokenCheck::Unknown { cause: cause @ (Cause::UnknownKid | Cause::BadSignature), .. } => {
                    keys.want_refresh(cause);
                    wanted.push(finding.provider);
                    continue;
                }
                _ => continue,
            };
            if wants_refresh {
                telemetry.add_of(finding.provider, Counter::Refreshes(Refresh::Suppressed));
                keys.want_refresh(Cause::UnknownKid);
                wanted.push(finding.provider);
            }
            let candidate = finding.token.and_then(|token| resolved.tokens.get(token));
            if let (Some(candidate), Denial::Token(TokenError::UnknownKey)) = (candidate, denial) {
                keys.remember_denied(candidate);
            }
        }
        wanted
    }
}

fn result_of(outcome: &Outcome) -> FetchResult {
    match outcome {
        Outcome::Jwks(_) => FetchResult::Document,
        Outcome::NotModified { .. } => FetchResult::NotModified,
        Outcome::Failed { .. } => FetchResult::Failed,
    }
}

/// Counts a fetch by what it meant for the record, and its requests that failed.
fn count_fetch(
    provider: ProviderId,
    brought: FetchResult,
    effect: Effect,
    keys: &ProviderKeys,
    telemetry: &mut Telemetry,
) {
    let result = match effect {
        Effect::Completed if keys.record.failures > 0 => FetchResult::Failed,
        Effect::Completed => brought,
        _ => FetchResult::Superseded,
    };
    let failures = keys.ended.failures.iter().filter(|_| result != FetchResult::Superseded);
    failures.for_each(|failed| telemetry.add_of(provider, Counter::FetchErrors(failed.error.cause())));
    match result {
        FetchResult::Document | FetchResult::NotModified => telemetry.add(Metric::FetchSucceeded),
        FetchResult::Failed => telemetry.add(Metric::FetchFailed),
        FetchResult::Superseded => {}
    }
    telemetry.add_of(provider, Counter::Fetches(result));
}

/// Logs that shared data lost the record of this key set, or something of the record.
fn log_loss(provider: &Provider, keys: &mut ProviderKeys, now: UnixTime) {
    if keys.warns_of_loss(now) {
        let name = &provider.name;
        warn!("provider {name:?}: shared data lost the JWKS (overwritten by another plugin?); fetching anew, known keys stay");
    }
}

/// Logs the end of a fetch.
fn log_fetch(provider: &Provider, remote: &Remote, keys: &ProviderKeys, now: UnixTime) {
    let (name, Ended { failures, answered }) = (&provider.name, &keys.ended);
    if keys.record.failures == 0 {
        if let (Some(failed), Some(answered)) = (told(failures, " failed"), answered) {
            warn!("provider {name:?}: JWKS fetch of {failed}; {answered} answered");
        }
        info!("provider {name:?}: JWKS accepted, usable keys: {}", keys.keys.as_ref().map_or(0, |keys| keys.len()));
        if let Some(told) = keys.keys.as_ref().and_then(|keys| keys.too_many_to_try()) {
            warn!("provider {name:?}: {told}");
        }
        return;
    }
    let (row, wait) = (keys.record.failures, keys.record.retry_at().since(now).as_millis());
    let failed = told(failures, &format!(" failed ({row} in a row)")).unwrap_or_default();
    warn!(
        "provider {name:?}: JWKS fetch of {failed}; next attempt in {wait} ms; {}",
        telemetry::keys_in_hand(keys, remote, now)
    );
}

/// Where each request went and why it failed. `verb` follows the first endpoint.
fn told(failures: &[FailedRequest], verb: &str) -> Option<String> {
    let (first, others) = failures.split_first()?;
    let mut text = format!("{}{verb}: {}", first.endpoint, first.error);
    for FailedRequest { endpoint, error } in others {
        text.push_str(&format!("; then of {endpoint}: {error}"));
    }
    Some(text)
}
