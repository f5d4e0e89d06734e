//! Records and fetches: what the engine learns, and when it asks the issuer again.

use std::rc::Rc;

use log::{info, log, warn, Level};

use super::{provider_keys::View, Action, Engine, FetchError, Response};
use crate::{
    keys::{
        changes::{self, Snapshot},
        document, KeyError, KeySet,
    },
    metrics::Metric,
    policy::provider::Remote,
    rotation::{
        http_cache,
        record::Record,
        schedule::{self, MaxStale},
        transition::{self, Cause, Effect, Event, Outcome},
    },
    time::UnixTime,
    token::{signature::SignatureCheck, ProviderId},
};

impl<C: SignatureCheck> Engine<C> {
    /// The shared record of a provider, as found in shared data; hostile bytes count as none. What it means for parked
    /// requests follows from the next [`Self::on_wake`].
    pub fn on_record(&mut self, provider: ProviderId, bytes: &[u8]) {
        self.see(provider, Record::decode(bytes).unwrap_or_default());
    }

    /// For the log of a configuration that takes over keys which were fetched before it came: who revoked one of them wants
    /// to see that it took.
    pub fn tell_revoked(&self, provider: ProviderId) {
        let place = provider.index();
        let Some((own, view)) = self.plan.providers.get(place).zip(self.views.get(place)) else { return };
        for happening in view.keys.iter().flat_map(|keys| changes::revoked(keys)) {
            warn!("provider {:?}: {happening}", own.name);
        }
    }

    /// The outcome of an [`Action::Change`]: the record as it is now, and what follows.
    pub fn on_changed(&mut self, provider: ProviderId, record: Record, effect: Effect, now: UnixTime) -> Vec<Action> {
        let before = self.views.get(provider.index()).map(|view| (view.keys.clone(), view.skipped.clone()));
        let rotated_before = self.rotated_at(provider);
        self.see(provider, record);
        let mut actions = Vec::new();
        match effect {
            Effect::Fetch(fetch) => {
                let record = self.views.get(provider.index()).map(|view| &view.record);
                let is_for_tokens =
                    |record: &Record| record.lease.is_some_and(|lease| record.unknown_kid_at == Some(lease.taken_at));
                if record.is_some_and(is_for_tokens) {
                    self.counts.add_of(provider, "refreshes", "started");
                }
                let validators = self.views.get(provider.index()).map(|view| view.record.validators());
                actions.push(Action::Fetch(provider, fetch, validators.unwrap_or_default()));
            }
            Effect::Settled => {
                if let Some(rotated) = self.rotated_at(provider) {
                    // The first document is none; but then the counter is there to grow.
                    let is_rotation = rotated_before.is_some_and(|before| before != rotated);
                    self.counts.add_many_of(provider, "rotations", "", u32::from(is_rotation));
                }
                self.report(provider, before.unwrap_or_default(), now);
                actions.push(Action::WakeWorkers);
            }
            Effect::Discarded => {
                let name = self.plan.provider(provider).map_or("", |own| &own.name);
                warn!("provider {name:?}: what is in shared data is no JWKS; somebody else wrote it");
                actions.push(Action::WakeWorkers);
            }
            Effect::Late | Effect::NotBefore(_) | Effect::Running => {}
        }
        actions.append(&mut self.decide_parked(now));
        actions
    }

    /// What came of fetch number `fetch`; `jitter` is a random number.
    pub fn on_fetched(
        &mut self,
        provider: ProviderId,
        fetch: u64,
        response: Result<Response, FetchError>,
        jitter: u32,
        now: UnixTime,
    ) -> Vec<Action> {
        let headers = response.as_ref().map(|response| response.headers.clone()).unwrap_or_default();
        let (outcome, error) = match response.and_then(|response| self.outcome(provider, response, now)) {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::Failed { retry_after: http_cache::retry_after(&headers, now) }, Some(error)),
        };
        self.counts.add(if error.is_none() { Metric::FetchSucceeded } else { Metric::FetchFailed });
        let kind = match &outcome {
            Outcome::Document { .. } => "document",
            Outcome::NotModified(_) => "not_modified",
            Outcome::Failed { .. } => "failed",
        };
        self.counts.add_of(provider, "fetches", kind);
        let lease = self.views.get(provider.index()).and_then(|view| view.record.lease);
        if let Some(lease) = lease {
            let millis = u64::try_from(now.since(lease.taken_at).as_millis()).unwrap_or(u64::MAX);
            self.counts.took(provider, "fetch_ms", millis);
        }
        if let Some(view) = self.views.get_mut(provider.index()) {
            view.last_error = error;
        }
        vec![Action::Change(provider, Event::Fetched { fetch, outcome, jitter })]
    }

    fn outcome(&mut self, provider: ProviderId, response: Response, now: UnixTime) -> Result<Outcome, FetchError> {
        let Response { status, headers, body } = response;
        let Some(remote) = self.plan.remote(provider) else {
            return Err(FetchError::NotStarted);
        };
        let freshness = http_cache::freshness(&headers, now);
        let view = self.views.get(provider.index());
        match (status, view.and_then(|view| view.record.document.as_ref())) {
            (200, _) => {
                let document = document::parse(&body, remote.terms.limits).map_err(FetchError::Document)?;
                let skipped = u32::try_from(document.skipped.len()).unwrap_or(u32::MAX);
                self.counts.add_many(Metric::KeySkipped, skipped);
                Ok(Outcome::Document { body, freshness, validators: http_cache::validators(&headers) })
            }
            (304, Some(document)) if document.validators != Default::default() => Ok(Outcome::NotModified(freshness)),
            _ => Err(FetchError::Status(status)),
        }
    }

    /// Time has passed, or there may be news: ends the parked requests that are due and starts the refreshes that are.
    pub fn on_wake(&mut self, now: UnixTime) -> Vec<Action> {
        let mut actions = self.decide_parked(now);
        let asked_for = self.asked_for();
        for provider in self.plan.remote_ids() {
            let Some(view) = self.views.get(provider.index()) else { continue };
            if let Some(generation) = view.unreadable {
                actions.push(Action::Change(provider, Event::Discard(generation)));
            }
            match self.refresh_wanted(provider, &asked_for, now) {
                // Whatever is due: the first to see that the clock stepped back puts the record right.
                Some((cause, due)) if due <= now || view.record.has_future_timestamps(now) => {
                    actions.push(Action::Change(provider, Event::Refresh(cause)))
                }
                _ => {}
            }
        }
        actions
    }

    /// When [`Self::on_wake`] has something to do, if nothing else happens first.
    pub fn next_timeout(&self, now: UnixTime) -> Option<UnixTime> {
        if !self.evicted.is_empty() || !self.due.is_empty() || self.views.iter().any(|view| view.unreadable.is_some()) {
            return Some(now);
        }
        let asked_for = self.asked_for();
        let ends = self.parked.iter();
        let ends = ends.map(|(_, deadline, waiting)| self.ends_at(deadline, waiting, now));
        let refreshes =
            self.plan.remote_ids().filter_map(|provider| Some(self.refresh_wanted(provider, &asked_for, now)?.1));
        ends.chain(refreshes).min()
    }

    /// For which providers requests wait, and why.
    fn asked_for(&self) -> Vec<(ProviderId, Cause)> {
        let mut asked_for = Vec::new();
        for wait in self.parked.iter().flat_map(|(_, _, waiting)| &waiting.waits) {
            if !asked_for.contains(wait) {
                asked_for.push(*wait);
            }
        }
        asked_for
    }

    /// Which refresh this provider needs next, and when it may start. While one is under way: a look when its lease ends.
    fn refresh_wanted(
        &self,
        provider: ProviderId,
        asked_for: &[(ProviderId, Cause)],
        now: UnixTime,
    ) -> Option<(Cause, UnixTime)> {
        let remote = self.plan.remote(provider)?;
        let view = self.views.get(provider.index())?;
        let is_asked_for = |cause| match cause {
            Cause::Schedule => true,
            Cause::UnknownKid => view.wanted_after.is_some() || asked_for.contains(&(provider, cause)),
            Cause::BadSignature => asked_for.contains(&(provider, cause)),
        };
        let (cause, due) = [Cause::Schedule, Cause::UnknownKid, Cause::BadSignature]
            .into_iter()
            .filter(|cause| is_asked_for(*cause))
            .map(|cause| (cause, transition::refresh_due(&view.record, cause, &remote.terms, now)))
            .min_by_key(|(_, due)| *due)?;
        match view.record.lease {
            Some(lease) if lease.is_held(now) => Some((cause, due.max(lease.until))),
            _ => Some((cause, due)),
        }
    }

    fn rotated_at(&self, provider: ProviderId) -> Option<UnixTime> {
        Some(self.views.get(provider.index())?.record.document.as_ref()?.rotated_at)
    }

    fn see(&mut self, provider: ProviderId, record: Record) {
        if let Some((view, remote)) = self.views.get_mut(provider.index()).zip(self.plan.remote(provider)) {
            view.see(record, remote);
        }
    }

    /// One line for each fetch that ended, what came back and what happens next; and one for each key that came or went.
    fn report(&self, provider: ProviderId, before: (Option<Rc<KeySet>>, Vec<(usize, KeyError)>), now: UnixTime) {
        let (Some(own), Some(remote), Some(view)) =
            (self.plan.provider(provider), self.plan.remote(provider), self.views.get(provider.index()))
        else {
            return;
        };
        let keys = view.keys.as_ref().map_or(0, |keys| keys.len());
        match view.last_error {
            None => {
                info!("provider {:?}: the JWKS is taken, usable keys: {keys}", own.name);
                let (none, (keys, skipped)) = (KeySet::default(), before);
                let before = Snapshot { keys: keys.as_deref().unwrap_or(&none), skipped: &skipped };
                let after = Snapshot { keys: view.keys.as_deref().unwrap_or(&none), skipped: &view.skipped };
                for happening in changes::diff(before, after, now) {
                    let level = if happening.is_warning() { Level::Warn } else { Level::Info };
                    log!(level, "provider {:?}: {happening}", own.name);
                }
            }
            Some(error) => {
                let (failures, wait) = (view.record.failures, view.record.retry_at().since(now).as_millis());
                warn!(
                    "provider {:?}: JWKS fetch of {}://{}{} by cluster {:?} failed ({failures} in a row): {error}; next attempt in {wait} ms; {}",
                    own.name, remote.scheme, remote.authority, remote.path, remote.cluster, in_hand(view, remote, now)
                );
            }
        }
    }
}

/// What a provider has while its issuer fails.
fn in_hand(view: &View, remote: &Remote, now: UnixTime) -> String {
    let Some(document) = &view.record.document else { return "there are no keys yet".to_owned() };
    let age = now.since(document.fetched_at).as_secs();
    let end = schedule::unusable_at(document.fetched_at, &document.freshness, &remote.terms);
    match view.usable_keys(Some(&remote.terms), now) {
        None => format!("the keys are {age} s old and no longer usable"),
        Some(keys) => {
            let left = match remote.terms.max_stale {
                MaxStale::Unbounded => "usable without end".to_owned(),
                MaxStale::For(_) => format!("usable for another {} s", end.since(now).as_secs()),
            };
            format!("usable keys: {}, {age} s old, {left}", keys.len())
        }
    }
}
