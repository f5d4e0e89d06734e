//! The six invariants, checked with what only the simulation knows: true time, and the truth about every key and token.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    issuer::{CacheStyle, Issuer},
    keys,
    scenario::{Kind, Scenario, Terms},
};

/// Which one does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// 1: a token was accepted whose key is too long gone, revoked, or not its signer.
    NoHole,
    /// 2 and 5: a good token was refused although its issuer is well, whatever happens to others.
    NoOutage,
    /// 3: more than one fetch at a time, or more refreshes than the budget allows.
    NoStampede,
    /// 4: a request was not answered in time, or twice.
    NothingLost,
    /// 6: more is kept than the configuration allows.
    BoundedMemory,
}

/// A request, and the truth about its token.
#[derive(Clone, Debug)]
pub struct Request {
    pub issuer: usize,
    pub kind: Kind,
    /// The key that it names, by its place in the issuer's history.
    pub key: usize,
    pub arrived: u64,
    pub terms: Terms,
}

struct Open {
    request: Request,
    parked: bool,
}

/// What is known of an issuer.
#[derive(Default)]
struct Account {
    trouble_since: u64,
    /// From when on it must be as if there had been no trouble; `u64::MAX` while there is.
    well_from: u64,
    renamed_at: Option<u64>,
    /// Worker, number, and since when.
    in_flight: Vec<(usize, u64, u64)>,
    last_asked: Option<u64>,
    /// As `last_asked`, but it survives what makes the engines forget.
    last_asked_ever: Option<u64>,
    disturbed_at: u64,
    /// The longest that the terms in force ever allowed.
    longest_use: u64,
}

pub struct Ledger {
    accounts: Vec<Account>,
    cache: Vec<CacheStyle>,
    max_parked: usize,
    open: BTreeMap<(usize, u32), Open>,
    closed: BTreeSet<(usize, u32)>,
    steps: Vec<(u64, i64)>,
    violation: Option<(Invariant, String)>,
    /// Statuses by issuer, in the order of arrival.
    pub outcomes: Vec<BTreeMap<u32, u16>>,
}

/// How long a wake-up and an answer may take.
const SLACK: u64 = 200;
/// Documents and retired keys, with what is written around them.
const MAX_RECORD: usize = 2 * 8_000 + 4_000;

impl Ledger {
    pub fn new(scenario: &Scenario) -> Self {
        let mut ledger = Self {
            accounts: scenario.terms.iter().map(|_| Account::default()).collect(),
            cache: scenario.cache.clone(),
            max_parked: scenario.max_parked,
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            steps: Vec::new(),
            violation: None,
            outcomes: scenario.terms.iter().map(|_| BTreeMap::new()).collect(),
        };
        ledger.reconfigured(&scenario.terms);
        ledger
    }

    /// Which invariant does not hold, if any.
    pub fn violated(&self) -> Option<Invariant> {
        self.violation.as_ref().map(|(invariant, _)| *invariant)
    }

    pub fn verdict(&self) -> Result<(), String> {
        match &self.violation {
            None => Ok(()),
            Some((invariant, what)) => Err(format!("{invariant:?}: {what}")),
        }
    }

    fn violate(&mut self, invariant: Invariant, what: String) {
        self.violation.get_or_insert((invariant, what));
    }

    pub fn reconfigured(&mut self, terms: &[Terms]) {
        for ((account, terms), cache) in self.accounts.iter_mut().zip(terms).zip(&self.cache) {
            let lifetime = match cache.max_age {
                _ if cache.no_store => terms.min_ttl,
                Some(seconds) => (seconds * 1000).clamp(terms.min_ttl, terms.max_ttl),
                None => terms.cache_duration,
            };
            let longest = lifetime + terms.max_stale + terms.grace + terms.timeout + 1_000;
            account.longest_use = account.longest_use.max(longest);
        }
    }

    pub fn trouble_begins(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        if account.well_from <= now {
            account.trouble_since = now;
        }
        account.well_from = u64::MAX;
    }

    /// Back-off is at most about as long as the trouble was; then it must be over.
    pub fn trouble_ends(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        account.well_from = now + (4 * (now - account.trouble_since) + 1_000).min(30_000) + 4_000;
    }

    /// Somebody who held the lease is gone: that may cost the lease's time.
    pub fn holder_died(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        account.well_from = account.well_from.max(now + 3_500);
    }

    pub fn vm_died(&mut self, worker: usize, now: u64) {
        for issuer in 0..self.accounts.len() {
            let flights = self.accounts[issuer].in_flight.len();
            self.accounts[issuer].in_flight.retain(|(own, _, _)| *own != worker);
            if self.accounts[issuer].in_flight.len() != flights {
                self.holder_died(issuer, now);
            }
        }
        self.open.retain(|(own, _), _| *own != worker);
    }

    pub fn scribbled(&mut self, issuer: usize, now: u64) {
        self.holder_died(issuer, now);
        let account = &mut self.accounts[issuer];
        account.disturbed_at = now;
        account.last_asked = None;
    }

    pub fn clock_stepped(&mut self, now: u64, step: i64) {
        self.steps.push((now, step));
        for account in &mut self.accounts {
            account.disturbed_at = now;
            account.last_asked = None;
        }
    }

    pub fn renamed(&mut self, issuer: usize, now: u64) {
        self.accounts[issuer].renamed_at = Some(now);
    }

    pub fn fetch_began(&mut self, issuer: usize, worker: usize, fetch: u64, now: u64) {
        let account = &mut self.accounts[issuer];
        let others = account.in_flight.iter().filter(|(_, _, since)| *since > account.disturbed_at).count();
        account.in_flight.push((worker, fetch, now));
        if others > 0 {
            self.violate(Invariant::NoStampede, format!("issuer {issuer}: a second fetch at {now}"));
        }
    }

    pub fn fetch_ended(&mut self, issuer: usize, fetch: u64) {
        self.accounts[issuer].in_flight.retain(|(_, own, _)| *own != fetch);
    }

    /// A refresh starts because a token asks for it.
    pub fn asked_for_a_key(&mut self, issuer: usize, now: u64, terms: &Terms) {
        let account = &mut self.accounts[issuer];
        account.last_asked_ever = Some(now);
        let last = account.last_asked.replace(now);
        if last.is_some_and(|last| now - last < terms.interval) {
            self.violate(Invariant::NoStampede, format!("issuer {issuer}: asked at {last:?} and {now}"));
        }
    }

    pub fn arrived(&mut self, worker: usize, stream: u32, request: Request) {
        self.open.insert((worker, stream), Open { request, parked: false });
    }

    pub fn parked(&mut self, worker: usize, stream: u32) {
        if let Some(open) = self.open.get_mut(&(worker, stream)) {
            open.parked = true;
        }
    }

    pub fn left(&mut self, worker: usize, stream: u32) {
        self.open.remove(&(worker, stream));
        self.closed.remove(&(worker, stream));
    }

    pub fn answered(&mut self, worker: usize, stream: u32, status: u16, body: &str, now: u64, issuers: &[Issuer]) {
        let crowd = |issuer| {
            let waiting = self
                .open
                .iter()
                .filter(|((own, _), open)| *own == worker && open.parked && open.request.issuer == issuer);
            waiting.count()
        };
        let Some(issuer) = self.open.get(&(worker, stream)).map(|open| open.request.issuer) else {
            if self.closed.contains(&(worker, stream)) {
                self.violate(Invariant::NothingLost, format!("stream {stream}: answered twice"));
            }
            return;
        };
        // Room is shared out evenly: who has less than that is never turned away.
        let has_its_share = crowd(issuer) + 1 >= self.max_parked / self.accounts.len();
        let Some(Open { request, .. }) = self.open.remove(&(worker, stream)) else { return };
        self.closed.insert((worker, stream));
        self.outcomes[issuer].insert(stream, status);
        if status == 200 {
            self.accepted(stream, &request, now, &issuers[issuer]);
        } else if request.kind == Kind::Good {
            let excused = body.starts_with("Too many") && has_its_share;
            if !excused {
                self.refused_good(stream, &request, status, body, now, &issuers[issuer]);
            }
        }
    }

    fn accepted(&mut self, stream: u32, request: &Request, now: u64, issuer: &Issuer) {
        let key = &issuer.history[request.key];
        let revoked = &request.terms.revoked;
        let problem = if matches!(request.kind, Kind::Unknown | Kind::Forged) {
            Some("its signature is nobody's".to_owned())
        } else if revoked.contains(&key.kid) || revoked.iter().any(|name| name == keys::thumbprint(key.material)) {
            Some("its key is revoked".to_owned())
        } else {
            key.until.and_then(|gone| {
                let steps_back = self.steps.iter().filter(|(at, step)| *at >= gone && *step < 0).count() as u64;
                let longest = self.accounts[request.issuer].longest_use * (1 + steps_back);
                (now - gone > longest).then(|| format!("its key is gone for {} ms, {longest} at most", now - gone))
            })
        };
        if let Some(problem) = problem {
            self.violate(Invariant::NoHole, format!("stream {stream} was let through at {now}: {problem}"));
        }
    }

    fn refused_good(&mut self, stream: u32, request: &Request, status: u16, body: &str, now: u64, issuer: &Issuer) {
        let Request { terms, arrived, .. } = request;
        let key = &issuer.history[request.key];
        let account = &self.accounts[request.issuer];
        let is_revoked =
            terms.revoked.contains(&key.kid) || terms.revoked.iter().any(|name| name == keys::thumbprint(key.material));
        let is_published = key.from <= *arrived && key.until.is_none();
        let is_well = account.well_from <= *arrived;
        // Who does not let requests wait for as long as the budget lasts has chosen this. By a clock that goes back it lasts
        // longer.
        let is_chosen = status == 401
            && account.last_asked_ever.is_some_and(|last| {
                let budget = terms.interval + self.lost_since(last);
                terms.wait < budget && now <= last + budget + SLACK
            });
        // The same name for another key is found out by its failing signature, but not within `min_ttl`.
        let is_renamed = status == 401
            && account
                .renamed_at
                .is_some_and(|at| *arrived <= at + terms.min_ttl + terms.interval + account.longest_use);
        if is_published && is_well && !is_revoked && !is_chosen && !is_renamed {
            let what = format!(
                "stream {stream} came to issuer {} at {arrived} with a good token and got {status} at {now}: {body}",
                request.issuer
            );
            self.violate(Invariant::NoOutage, what);
        }
    }

    /// By how much the clock went back since then: that much longer everything takes by it.
    fn lost_since(&self, then: u64) -> u64 {
        self.steps.iter().filter(|(at, step)| *at >= then && *step < 0).map(|(_, step)| step.unsigned_abs()).sum()
    }

    pub fn stored(&mut self, issuer: usize, bytes: usize) {
        if bytes > MAX_RECORD {
            self.violate(Invariant::BoundedMemory, format!("issuer {issuer}: a record of {bytes} bytes"));
        }
    }

    pub fn inspect_worker(&mut self, waiting: usize) {
        if waiting > self.max_parked {
            self.violate(Invariant::BoundedMemory, format!("{waiting} requests wait, {} may", self.max_parked));
        }
    }

    pub fn inspect(&mut self, now: u64) {
        let late = self.open.iter().find(|(_, open)| {
            let Request { terms, arrived, .. } = &open.request;
            let stepped = self.steps.iter().any(|(at, _)| at >= arrived);
            let longest = terms.wait + terms.timeout + SLACK + if stepped { 1_000 } else { 0 };
            open.parked && now > arrived + longest
        });
        if let Some(((_, stream), open)) = late {
            let arrived = open.request.arrived;
            self.violate(Invariant::NothingLost, format!("stream {stream} waits since {arrived}, now it is {now}"));
        }
    }

    pub fn finish(&mut self, now: u64) {
        self.inspect(now);
    }
}
