//! What is true of an issuer's keys: which are published, since when, and until when tokens of a removed key may pass.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Issuer, Rotation, SigningKey};

use crate::{
    settings::{GRACE, LIFETIME, MAX_STALE, TIMEOUT},
    timeline::{Kind, Timeline},
};

/// A worker looks at a record, and at the clock, about once a second.
const SLACK: Duration = Duration::from_millis(2500);
const KEPT: usize = 40;

/// A key, as the issuer and the configuration treat it. The times that end a right come before the act, the times that
/// begin a duty come after.
#[derive(Clone)]
pub struct Key {
    pub signing: Arc<SigningKey>,
    /// A token that is sent more than once.
    pub token: Arc<str>,
    withdrawn: Option<Instant>,
    last_served: Option<Instant>,
    /// Since when all workers can know the key.
    confirmed: Option<Instant>,
    revoked: Option<Instant>,
    revoked_everywhere: Option<Instant>,
}

impl Key {
    /// Whether no good token of this key may be denied on its account.
    pub fn is_good_until(&self, to: Instant) -> bool {
        [self.withdrawn, self.revoked].iter().flatten().all(|end| *end > to)
    }

    pub fn confirmed(&self) -> Option<Instant> {
        self.confirmed
    }
}

/// An issuer with its truth.
pub struct Ledger {
    pub issuer: Issuer,
    pub number: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    /// The `kid`s that were published before the last rotation: what a lagging replica serves.
    previous: Vec<String>,
    lags: bool,
}

impl State {
    fn served_previous(&mut self) {
        let now = Instant::now();
        for key in &mut self.keys {
            if key.withdrawn.is_some() && self.previous.contains(&key.signing.kid) {
                key.last_served = Some(now);
            }
        }
    }
}

impl Ledger {
    pub fn new(number: usize, issuer: Issuer) -> Self {
        let ledger = Self { issuer, number, state: Mutex::default() };
        ledger.add_current();
        ledger
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn add_current(&self) {
        let signing = self.issuer.current();
        let token = signing.mint(&self.issuer.claims()).into();
        let (withdrawn, last_served, confirmed, revoked, revoked_everywhere) = Default::default();
        let mut state = self.lock();
        state.keys.push(Key { signing, token, withdrawn, last_served, confirmed, revoked, revoked_everywhere });
        if state.keys.len() > KEPT {
            state.keys.remove(0);
        }
    }

    /// The answers of the issuer that brought or confirmed its JWKS.
    pub fn served(&self) -> u64 {
        let stats = self.issuer.stats();
        stats.jwks_requests.saturating_sub(stats.faults)
    }

    pub fn rotate(&self, rotation: Rotation) {
        {
            let mut state = self.lock();
            if state.lags {
                state.served_previous();
            }
            let now = Instant::now();
            state.previous.clear();
            let mut published = Vec::new();
            for key in state.keys.iter_mut().filter(|key| key.withdrawn.is_none()) {
                published.push(key.signing.kid.clone());
                if rotation == Rotation::Hard {
                    key.withdrawn = Some(now);
                }
            }
            state.previous = published;
        }
        self.issuer.rotate(rotation);
        self.after_withdrawal();
        self.add_current();
    }

    /// Removes the oldest published keys, all but `keep`.
    pub fn retire(&self, keep: usize) {
        let mut kids = Vec::new();
        {
            let mut state = self.lock();
            let published = state.keys.iter().filter(|key| key.withdrawn.is_none()).count();
            let oldest = state.keys.iter_mut().filter(|key| key.withdrawn.is_none());
            for key in oldest.take(published.saturating_sub(keep)) {
                key.withdrawn = Some(Instant::now());
                kids.push(key.signing.kid.clone());
            }
        }
        kids.iter().for_each(|kid| assert!(self.issuer.retire(kid)));
        self.after_withdrawal();
    }

    fn after_withdrawal(&self) {
        let now = Instant::now();
        for key in self.lock().keys.iter_mut().filter(|key| key.withdrawn.is_some()) {
            key.last_served.get_or_insert(now);
        }
    }

    /// Call before the issuer begins to lag, and after it has ended.
    pub fn lags(&self, lags: bool) {
        let mut state = self.lock();
        state.served_previous();
        state.lags = lags;
        state.keys.iter_mut().for_each(|key| key.confirmed = None);
    }

    /// A token of this key was accepted, and had been sent at this time.
    pub fn accepted(&self, kid: &str, sent: Instant, timeline: &Timeline) {
        if timeline.overlaps(Kind::Lags(self.number), sent, Instant::now()) {
            return;
        }
        let mut state = self.lock();
        if let Some(key) = state.keys.iter_mut().find(|key| key.signing.kid == kid) {
            key.confirmed.get_or_insert_with(Instant::now);
        }
    }

    /// The newest published key that is not revoked, or with `older` another one.
    pub fn published(&self, older: bool) -> Option<Key> {
        let state = self.lock();
        let mut good = state.keys.iter().rev().filter(|key| key.withdrawn.is_none() && key.revoked.is_none());
        let newest = good.next();
        if older { good.next().or(newest) } else { newest }.cloned()
    }

    pub fn key(&self, kid: &str) -> Option<Key> {
        self.lock().keys.iter().find(|key| key.signing.kid == kid).cloned()
    }

    /// A key that the configuration has revoked for some time.
    pub fn revoked(&self) -> Option<Key> {
        let is_past = |key: &&Key| key.revoked_everywhere.is_some_and(|at| at <= Instant::now());
        self.lock().keys.iter().rev().find(is_past).cloned()
    }

    /// Chooses a published key to revoke, the oldest, if there is another.
    pub fn revoke(&self) -> Option<String> {
        let mut state = self.lock();
        let mut good: Vec<_> =
            state.keys.iter_mut().filter(|key| key.withdrawn.is_none() && key.revoked.is_none()).collect();
        if good.len() < 2 {
            return None;
        }
        let key = good.first_mut()?;
        key.revoked = Some(Instant::now());
        Some(key.signing.kid.clone())
    }

    pub fn is_revoked_everywhere(&self, kids: &[String], from: Instant) {
        for key in self.lock().keys.iter_mut().filter(|key| kids.contains(&key.signing.kid)) {
            key.revoked_everywhere.get_or_insert(from);
        }
    }

    /// A removed key whose tokens must not pass any more.
    ///
    /// The issuer published the key at `last_served` at the latest. The bound of invariant 1 is lifetime, `max_stale` and
    /// grace after that. If nothing has been wrong since, the next refresh has shown the key gone, and `max_stale` does
    /// not come into it.
    pub fn withdrawn(&self, timeline: &Timeline) -> Option<Key> {
        let now = Instant::now();
        let is_over = |key: &&Key| {
            let Some(last) = key.last_served else { return false };
            let troubles =
                [Kind::Unhealthy(self.number), Kind::Lags(self.number), Kind::Intruder, Kind::VmStart, Kind::Trap];
            let stale = timeline.earliest(&troubles, last, now).map_or(TIMEOUT, |_| MAX_STALE);
            now.duration_since(last) > LIFETIME + stale + GRACE + SLACK
        };
        self.lock().keys.iter().rev().find(is_over).cloned()
    }
}
