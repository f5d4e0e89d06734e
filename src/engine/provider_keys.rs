//! The keys of one provider as one worker knows them, and what they mean for a token.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use super::{
    denied_kids::DeniedKids,
    fetching::{Ended, Fetching},
    pause::Pause,
};
use crate::{
    keys::{
        document::{self, Document},
        revoked::RevokedKeys,
        KeyError, KeySet,
    },
    policy::{
        provider::{KeySource, Provider, Remote},
        token_location::Candidate,
    },
    rotation::{
        clock::RecordClock,
        policy::RotationPolicy,
        record::{Fingerprint, Record},
        retired::RetiredKey,
        seed::Seed,
        transition::{self, Cause, Event},
        update::{Knowledge, Update},
    },
    time::UnixTime,
    token::{
        cache::{CacheId, TokenCaches},
        signature::SignatureCheck,
        verify::{verify, Unverified, Verified},
    },
};

/// The keys of one provider as one worker knows them.
#[derive(Debug, Default)]
pub(super) struct ProviderKeys {
    /// The newest shared record, without the bytes of keys, as of this worker's clock.
    pub(super) record: Record,
    /// The newest shared record, with the newest JWKS that can be read. Restores what another plugin overwrites.
    pub(super) known: Rc<Record>,
    pub(super) clock: RecordClock,
    /// How far `clock` was set forward because a record showed steps of the clock that this worker had not seen.
    learned: Duration,
    /// The parsed keys.
    pub(super) keys: Option<Rc<KeySet>>,
    /// The keys that verify until the first JWKS, without those that are revoked. `None`: there are none, or a JWKS was seen.
    seed: Option<Seed>,
    /// What the parsed keys follow from.
    fingerprint: Option<Fingerprint>,
    /// The newest fetch of this worker.
    pub(super) fetching: Fetching,
    /// The keys of the JWKS that cannot be used, by their index.
    pub(super) skipped: Vec<(usize, KeyError)>,
    /// The caches of all providers.
    caches: Rc<RefCell<TokenCaches>>,
    /// The tokens that were verified with these keys, by token policy.
    verified: Vec<CacheId>,
    /// Tokens found in the cache and not yet counted.
    pub(super) cache_hits: Cell<u32>,
    /// Set when a token was decided without the refresh that it wants: the cause, and the newest fetch at that time.
    refresh_wanted: Option<(Cause, u64)>,
    /// The requests of the last fetch of this worker that ended.
    pub(super) ended: Ended,
    denied_kids: DeniedKids,
    /// `revoked_keys` of newer configurations of the plugin.
    revoked_elsewhere: BTreeSet<String>,
    /// The generation of a JWKS that cannot be read: another plugin wrote it.
    pub(super) unreadable: Option<u64>,
    /// Another plugin overwrote the record, or wrote an earlier record back. The next update restores the record from what this
    /// worker knows, and the JWKS is fetched anew unless that was done a moment ago.
    pub(super) is_lost: bool,
    /// Between fetches that only a restored record caused.
    refetch: Pause,
    /// Between warnings of a lost record, and of a JWKS that cannot be read.
    loss_warning: Pause,
    discard_warning: Pause,
    /// Between wake-ups of the other workers because a record was restored.
    pub(super) restored_news: super::pause::NewsPause,
}

/// The newest fetch that can have begun at some time, as far as this worker knew then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watermark {
    fetch: u64,
    /// [`ProviderKeys::learned`] at that time.
    learned: Duration,
}

impl ProviderKeys {
    pub(super) fn new(provider: &Provider, caches: &Rc<RefCell<TokenCaches>>) -> Self {
        let (keys, seed) = match &provider.keys {
            KeySource::Local(keys) => (Some(keys.clone()), None),
            KeySource::Remote(remote) => (None, remote.seed.as_ref().map(|seed| seed.without_revoked(&remote.revoked))),
        };
        let verified = provider.policies.iter().map(|_| caches.borrow_mut().add(provider.cache)).collect();
        Self { keys, seed, caches: caches.clone(), verified, ..Self::default() }
    }

    /// Takes over a record, unless this worker knows a newer one. The keys are parsed once; not even once where this worker
    /// fetched the JWKS and has parsed it as `fetched`. Returns whether that can change the verdict on a waiting request.
    pub(super) fn update(&mut self, record: Record, fetched: Option<Document>, remote: &Remote, now: UnixTime) -> bool {
        let clock = self.clock.reached(record.written_at, record.ahead, now);
        let learned = clock.ahead().saturating_sub(self.clock.ahead());
        self.learned = self.learned.saturating_add(learned);
        self.set_back(learned);
        self.clock = clock;
        let record = record.caught_up(&self.known, clock, now);
        let has_ended_seed = record.knows_of_jwks() && self.end_seed();
        self.unreadable = None;
        let is_older = record.is_older_than(&self.known) && self.known.is_plausible(now);
        self.is_lost = is_older || (record.document.is_none() && self.known.document.is_some());
        if is_older {
            return has_ended_seed;
        }
        let before = self.record.decision_fingerprint();
        let has_other_keys = self.parse(&record, fetched, remote);
        let has_readable_keys = record.document.is_some() && self.unreadable.is_none();
        let known = if has_readable_keys { record } else { record.with_keys_of(&self.known) };
        self.record = known.outline(self.clock.ahead());
        self.known = Rc::new(known);
        if self.refresh_wanted.is_some_and(|(_, started)| self.record.started > started) {
            self.refresh_wanted = None;
        }
        // A lease that somebody took changes no verdict: deciding all parked requests again would only cost signatures.
        has_other_keys || has_ended_seed || self.record.decision_fingerprint() != before
    }

    /// Parses the keys of a record, if they are others than the parsed keys. Returns whether this worker has other keys now.
    fn parse(&mut self, record: &Record, fetched: Option<Document>, remote: &Remote) -> bool {
        let Some(cached) = &record.document else { return false };
        let fingerprint = record.keys_fingerprint(&self.revoked_elsewhere);
        if self.fingerprint == Some(fingerprint) {
            return false;
        }
        match fetched.map_or_else(|| document::parse_cached(&cached.body, remote.rotation.limits), Ok) {
            Ok(Document { keys, skipped, .. }) => {
                let keys = keys.with_retired(in_grace(&record.retired, &remote.rotation, self.clock));
                let revoked = self.revoked(remote).resolved(&record.former);
                self.keys = Some(Rc::new(keys.without_revoked(&revoked)));
                self.skipped = skipped;
                self.fingerprint = Some(fingerprint);
                self.forget_verified();
                true
            }
            Err(_) => {
                (self.unreadable, self.is_lost) = (Some(cached.generation), self.known.document.is_some());
                false
            }
        }
    }

    /// The update of the shared record by this worker.
    pub(super) fn update_by(&self, event: Event, remote: &Remote, now: UnixTime) -> Update {
        let (record, clock, revoked) = (self.known.clone(), self.clock, self.revoked(remote));
        let may_refetch = self.may_refetch(now);
        Update::new(event, remote.rotation).knowing(Knowledge { record, clock, revoked, may_refetch })
    }

    /// Whether a restored record is cause enough for a fetch.
    pub(super) fn may_refetch(&self, now: UnixTime) -> bool {
        self.refetch.is_over(self.clock.at(now))
    }

    /// A fetch begins for which a restored record was cause enough.
    pub(super) fn on_refetch(&mut self, now: UnixTime) {
        self.refetch.begin(self.clock.at(now));
    }

    /// Whether to warn of a lost record now.
    pub(super) fn warns_of_loss(&mut self, now: UnixTime) -> bool {
        self.record.document.is_some() && self.loss_warning.begin_if_over(self.clock.at(now))
    }

    /// Whether to warn of a JWKS that cannot be read now.
    pub(super) fn warns_of_discard(&mut self, now: UnixTime) -> bool {
        self.discard_warning.begin_if_over(self.clock.at(now))
    }

    /// The clock went back from `then` to `now`. The record's time did not: nothing becomes younger.
    pub(super) fn on_clock_step_back(&mut self, then: UnixTime, now: UnixTime) {
        self.clock = self.clock.stepped_back(then, now);
        if self.clock.is_lost() {
            self.begin_anew();
            return;
        }
        // The known record is in this worker's time.
        let known = Rc::make_mut(&mut self.known);
        known.ahead = known.ahead.saturating_add(then.since(now));
        self.set_back(then.since(now));
    }

    /// Nobody can tell how old anything is that this worker knows: forgets the keys.
    fn begin_anew(&mut self) {
        self.forget_verified();
        let (caches, verified) = (self.caches.clone(), std::mem::take(&mut self.verified));
        let (revoked_elsewhere, cache_hits) = (std::mem::take(&mut self.revoked_elsewhere), self.cache_hits.clone());
        let mut fetching = std::mem::take(&mut self.fetching);
        fetching.begin_anew();
        *self = Self { caches, verified, revoked_elsewhere, cache_hits, fetching, ..Self::default() };
    }

    /// The record's time is further ahead of this worker's clock than before, by `ahead`.
    fn set_back(&mut self, ahead: Duration) {
        if ahead == Duration::ZERO {
            return;
        }
        self.record = self.record.outline(ahead);
        if let Some(keys) = self.keys.as_ref().and_then(|keys| keys.set_back(ahead)) {
            self.keys = Some(Rc::new(keys));
            self.forget_verified();
        }
    }

    /// Newer configurations revoke these keys. A key that has left the list verifies again. Returns whether the keys changed.
    pub(super) fn revoke(&mut self, names: BTreeSet<String>, remote: &Remote) -> bool {
        if std::mem::replace(&mut self.revoked_elsewhere, names) == self.revoked_elsewhere {
            return false;
        }
        let revoked = self.revoked(remote);
        if let (Some(_), Some(seed)) = (&self.seed, &remote.seed) {
            self.seed = Some(seed.without_revoked(&revoked));
            self.fingerprint = Some(self.known.keys_fingerprint(&self.revoked_elsewhere));
            self.forget_verified();
            return true;
        }
        let Some(keys) = self.keys.take() else { return false };
        self.forget_verified();
        (self.fingerprint, self.keys) = (None, None);
        if !self.parse(&self.known.clone(), None, remote) {
            let revoked = revoked.resolved(&self.known.former);
            self.keys = Some(Rc::new(KeySet::clone(&keys).without_revoked(&revoked)));
        }
        true
    }

    /// The seed, unless a JWKS was seen. It may have ended by its time.
    pub(super) fn seed(&self) -> Option<&Seed> {
        self.seed.as_ref()
    }

    /// There is a JWKS, or nobody can tell the time: the seed never verifies again. Returns whether there was a seed.
    fn end_seed(&mut self) -> bool {
        let had_seed = self.seed.take().is_some();
        if had_seed {
            self.forget_verified();
        }
        had_seed
    }

    /// The newest fetch that can have begun by now. This worker may not know of the newest fetch, if another plugin has hidden
    /// the record that tells; but the number of a fetch is the record's time at its start, or higher by a few.
    pub(super) fn watermark(&self, now: UnixTime) -> Watermark {
        let fetch = self.record.started.max(self.clock.at(now).as_millis().saturating_sub(1));
        Watermark { fetch, learned: self.learned }
    }

    /// The number of a watermark by the record's time as this worker knows that time by now. A worker that knew less of the
    /// clock's steps took the record's time for earlier, and with it the numbers of the fetches that had begun.
    pub(super) fn number_of(&self, watermark: Watermark) -> u64 {
        UnixTime::from_millis(watermark.fetch).plus(self.learned.saturating_sub(watermark.learned)).as_millis()
    }

    /// All keys that never verify.
    fn revoked(&self, remote: &Remote) -> RevokedKeys {
        remote.revoked.with(&self.revoked_elsewhere)
    }

    fn forget_verified(&mut self) {
        let mut caches = self.caches.borrow_mut();
        self.verified.iter().for_each(|cache| caches.clear(*cache));
    }

    /// The keys that may be used now. `policy` is that of a remote provider.
    pub(super) fn usable_keys(&self, policy: Option<&RotationPolicy>, now: UnixTime) -> Option<&KeySet> {
        let Some(policy) = policy else { return self.keys.as_deref() };
        // By the record's time, in which a step of the clock to the epoch takes no age from a document.
        let time = self.clock.at(now);
        match (&self.known.document, &self.seed) {
            (Some(cached), _) => transition::is_usable(cached, policy, time).then_some(self.keys.as_deref()).flatten(),
            (None, Some(seed)) => seed.keys_at(time),
            (None, None) => None,
        }
    }

    /// What the keys follow from that may be used now.
    pub(super) fn keys_in_use(&self, remote: Option<&Remote>, now: UnixTime) -> Option<Fingerprint> {
        self.usable_keys(remote.map(|remote| &remote.rotation), now)?;
        // Keys that are part of the configuration never change.
        Some(self.fingerprint.unwrap_or_default())
    }

    /// Whether tokens that do not wait want a refresh of this cause.
    pub(super) fn wants_refresh(&self, cause: Cause) -> bool {
        self.refresh_wanted.is_some_and(|(wanted, _)| wanted == cause)
    }

    /// A token wants a refresh of this cause, and does not wait for the refresh. An unknown key goes before a bad signature,
    /// which the same refresh answers.
    pub(super) fn want_refresh(&mut self, cause: Cause) {
        let is_wanted = self.wants_refresh(Cause::UnknownKid) && cause == Cause::BadSignature;
        if !is_wanted {
            self.refresh_wanted = Some((cause, self.record.started));
        }
    }

    /// Verifies a token under one of the provider's policies; for one request possibly several times. The signature of a token
    /// that was verified before under the same keys is not checked again.
    pub(super) fn check_token(
        &self,
        provider: &Provider,
        policy: usize,
        candidate: &Candidate,
        check: &impl SignatureCheck,
        now: UnixTime,
    ) -> Result<Verified, Unverified> {
        let keys = self.usable_keys(provider.remote().map(|remote| &remote.rotation), now);
        let (Some(&cache), Some(policy)) = (self.verified.get(policy), provider.policies.get(policy)) else {
            return Err(Unverified::NoKeys);
        };
        let (mut caches, token) = (self.caches.borrow_mut(), candidate.token());
        let known = keys.and_then(|_| caches.get(cache, token));
        match known.map(|verified| verified.still(policy, now)) {
            Some(Ok(verified)) => {
                self.cache_hits.set(self.cache_hits.get().saturating_add(1));
                return Ok(verified);
            }
            Some(Err(_)) => caches.remove(cache, token),
            None => {}
        }
        let verified = verify(candidate.jws()?, policy, keys, check, now)?;
        caches.insert(cache, token, verified, verified.end(policy), now);
        Ok(verified)
    }

    /// Remembers that a token was denied because the issuer does not have its key.
    pub(super) fn remember_denied(&mut self, candidate: &Candidate) {
        if let Some(kid) = candidate.kid() {
            self.denied_kids.insert(kid, self.record.finished);
        }
    }

    /// Whether a token with this `kid` was denied since the last fetch.
    pub(super) fn has_denied(&self, candidate: &Candidate) -> bool {
        candidate.kid().is_some_and(|kid| self.denied_kids.contains(kid, self.record.finished))
    }
}

/// The retired keys that this policy grants a grace, each with its end by the worker's clock.
fn in_grace<'a>(
    retired: &'a [RetiredKey],
    policy: &'a RotationPolicy,
    clock: RecordClock,
) -> impl Iterator<Item = (crate::keys::Key, UnixTime)> + use<'a> {
    let granted = retired.iter().map(|retired| (retired, retired.until(policy)));
    let granted = granted.filter(|(retired, until)| *until > retired.gone_at);
    granted.filter_map(move |(retired, until)| Some((document::parse_key(&retired.jwk)?, until.minus(clock.ahead()))))
}
