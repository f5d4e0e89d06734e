//! The six invariants. The checks use what only the simulation knows: the true time, and the state of every key and
//! token.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    issuer::{CacheStyle, Issuer},
    keys,
    scenario::{Kind, Scenario, Settings},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Invariant 1: a token was accepted although its key was removed too long ago, is revoked, or did not sign it.
    NoHole,
    /// Invariants 2 and 5: a good token was denied although its issuer is healthy.
    NoOutage,
    /// Invariant 3: two fetches ran at a time, or more refreshes than the budget allows.
    NoStampede,
    /// Invariant 4: a request was answered late, twice or never.
    NothingLost,
    /// Invariant 6: a worker or a record keeps more than the configuration allows.
    BoundedMemory,
}

/// A request, and what is true of its tokens.
#[derive(Clone, Debug)]
pub struct Request {
    pub tokens: Vec<Token>,
    /// Whether all tokens are required, or any.
    pub all: bool,
    pub client: u64,
    pub arrived: u64,
}

/// A token, and what is true of it.
#[derive(Clone, Debug)]
pub struct Token {
    pub provider: usize,
    /// Whose keys the provider fetches.
    pub issuer: usize,
    pub kind: Kind,
    /// The key that the token names, as an index into the issuer's history.
    pub key: usize,
    pub settings: Settings,
}

impl Request {
    /// The provider of the first token.
    fn provider(&self) -> usize {
        self.tokens[0].provider
    }
}

/// A fetch that runs.
struct Flight {
    worker: usize,
    provider: usize,
    fetch: u64,
    since: u64,
}

struct Open {
    request: Request,
    parked: bool,
}

/// What the ledger records about one issuer.
#[derive(Default)]
struct Account {
    is_in_trouble: bool,
    trouble_ended_at: u64,
    /// The time from which earlier trouble has no effect, unless a fetch still runs that began before the end of the trouble.
    healthy_from: u64,
    /// The pause after the last fetch, if trouble spoiled that fetch.
    pause: u64,
    /// When the lease of a holder that died has ended at the latest.
    dead_lease_until: u64,
    renamed_at: Option<u64>,
    in_flight: Vec<Flight>,
    last_refresh: Option<u64>,
    /// The second look of that interval has started.
    has_looked_again: bool,
    /// When the last second look started.
    looked_at: Option<u64>,
    /// As `last_refresh`, but not cleared by events that clear the engines' state.
    last_refresh_ever: Option<u64>,
    disturbed_at: u64,
    /// Another plugin has written into the record.
    is_tampered_with: bool,
    /// When the record first had a JWKS.
    jwks_since: Option<u64>,
    /// The keys of tokens that were allowed.
    seen: BTreeSet<usize>,
}

impl Account {
    fn is_spoiled(&self, since: u64) -> bool {
        self.is_in_trouble || since <= self.trouble_ended_at
    }

    fn pause_begins(&mut self, now: u64) {
        if self.pause > 0 {
            self.healthy_from = self.healthy_from.max(now + self.pause);
        }
    }

    /// Whether earlier trouble must have no effect on a request that arrived at this time.
    fn was_healthy(&self, at: u64) -> bool {
        let is_spoiled = self.in_flight.iter().any(|flight| self.is_spoiled(flight.since));
        !self.is_in_trouble && !is_spoiled && self.healthy_from <= at
    }
}

pub struct Ledger {
    accounts: Vec<Account>,
    cache: Vec<CacheStyle>,
    /// By provider, the longest use of a key that any of its settings so far allowed, in milliseconds.
    longest_use: Vec<u64>,
    max_parked: usize,
    open: BTreeMap<(usize, u32), Open>,
    closed: BTreeSet<(usize, u32)>,
    steps: Vec<(u64, i64)>,
    /// When the newest VM or engine began.
    newest_vm: u64,
    violation: Option<(Invariant, String)>,
    /// Statuses by issuer, in the order of arrival.
    pub outcomes: Vec<BTreeMap<u32, u16>>,
}

/// The time that a wake-up and an answer may take, in milliseconds.
const SLACK: u64 = 200;
/// Two documents (current and retired keys), 256 former names and the other fields of a record, in bytes.
const MAX_RECORD: usize = 2 * 8_000 + 256 * 32 + 4_000;
/// A worker looks at the clock more often, in milliseconds.
const LONGEST_LOOK: u64 = 1_500;

impl Ledger {
    pub fn new(scenario: &Scenario) -> Self {
        let mut ledger = Self {
            accounts: scenario.cache.iter().map(|_| Account::default()).collect(),
            cache: scenario.cache.clone(),
            longest_use: vec![0; scenario.settings.len()],
            max_parked: scenario.max_parked,
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            steps: Vec::new(),
            newest_vm: 0,
            violation: None,
            outcomes: scenario.cache.iter().map(|_| BTreeMap::new()).collect(),
        };
        ledger.reconfigured(&scenario.settings, 0);
        ledger
    }

    /// The first violated invariant.
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

    fn vm_began(&mut self, now: u64) {
        self.newest_vm = now;
        // After a step back, a new VM takes the time of a record for the time at which the record was written.
        if self.steps.iter().any(|(_, step)| *step < 0) {
            self.accounts.iter_mut().for_each(|account| account.pause_begins(now));
        }
    }

    pub fn reconfigured(&mut self, all: &[Settings], now: u64) {
        self.vm_began(now);
        for (longest_use, settings) in self.longest_use.iter_mut().zip(all) {
            let cache = &self.cache[settings.source];
            let lifetime = match cache.max_age {
                _ if cache.no_store || cache.max_age == Some(0) => {
                    settings.no_cache_ttl.clamp(settings.min_ttl, settings.max_ttl)
                }
                Some(seconds) => (seconds * 1000).clamp(settings.min_ttl, settings.max_ttl),
                None => settings.cache_duration,
            };
            // Any provider of the record may have fetched.
            let fetch_time = sharing(all, settings.source).map(Settings::fetch_time).max().unwrap_or(0);
            let longest = lifetime + settings.max_stale + settings.grace + fetch_time + 1_000;
            *longest_use = longest.max(*longest_use);
        }
    }

    pub fn trouble_begins(&mut self, issuer: usize) {
        self.accounts[issuer].is_in_trouble = true;
    }

    pub fn trouble_ends(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        account.is_in_trouble = false;
        account.trouble_ended_at = now;
        account.healthy_from = account.healthy_from.max(now);
    }

    /// A fetch that trouble can have spoiled has failed. No other fetch starts for so long.
    pub fn backed_off(&mut self, issuer: usize, now: u64, pause: u64) {
        self.accounts[issuer].pause = pause;
        self.accounts[issuer].pause_begins(now);
    }

    /// The last fetch succeeded.
    pub fn succeeded(&mut self, issuer: usize) {
        self.accounts[issuer].pause = 0;
    }

    /// A holder of the lease is gone. The next fetch may have to wait for the end of the lease.
    pub fn holder_died(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        account.healthy_from = account.healthy_from.max(now + 3_500);
        account.dead_lease_until = now + 3_500;
    }

    /// A configuration ends, and its fetches with it: they count as if they had never begun. Returns their providers and numbers.
    pub fn abandoned(&mut self, worker: usize) -> Vec<(usize, u64)> {
        let mut fetches = Vec::new();
        for account in &mut self.accounts {
            let ended: Vec<_> = account.in_flight.extract_if(.., |flight| flight.worker == worker).collect();
            for Flight { provider, fetch, since, .. } in ended {
                account.last_refresh = account.last_refresh.filter(|last| *last != since);
                account.has_looked_again &= account.looked_at != Some(since);
                fetches.push((provider, fetch));
            }
        }
        fetches
    }

    pub fn vm_died(&mut self, worker: usize, now: u64) {
        self.vm_began(now);
        for issuer in 0..self.accounts.len() {
            let flights = self.accounts[issuer].in_flight.len();
            self.accounts[issuer].in_flight.retain(|flight| flight.worker != worker);
            if self.accounts[issuer].in_flight.len() != flights {
                self.holder_died(issuer, now);
            }
        }
        self.open.retain(|(holder, _), _| *holder != worker);
    }

    pub fn record_overwritten(&mut self, issuer: usize, now: u64) {
        self.holder_died(issuer, now);
        self.record_written_back(issuer, now);
    }

    /// An earlier record costs a fetch, and nothing else unless it holds a lease.
    pub fn record_written_back(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        account.is_tampered_with = true;
        account.disturbed_at = now;
        account.last_refresh = None;
        account.has_looked_again = false;
    }

    /// A worker restores what it knows. What another worker did since the loss, which may be a VM that began since, was not in
    /// the record.
    pub fn record_restored(&mut self, issuer: usize, now: u64) {
        let account = &mut self.accounts[issuer];
        if account.is_tampered_with {
            account.disturbed_at = now;
            account.last_refresh = None;
            account.has_looked_again = false;
        }
    }

    pub fn clock_stepped(&mut self, now: u64, step: i64) {
        self.steps.push((now, step));
        // The lease of a holder that died keeps its length, and begins anew.
        for issuer in 0..self.accounts.len() {
            if step < 0 && now < self.accounts[issuer].dead_lease_until {
                self.holder_died(issuer, now);
            }
        }
        for account in &mut self.accounts {
            account.disturbed_at = now;
            account.last_refresh = None;
            account.has_looked_again = false;
            // So does a pause, at worst.
            if step < 0 {
                account.pause_begins(now);
            }
        }
    }

    pub fn has_jwks(&mut self, issuer: usize, now: u64) {
        self.accounts[issuer].jwks_since.get_or_insert(now);
    }

    pub fn renamed(&mut self, issuer: usize, now: u64) {
        self.accounts[issuer].renamed_at = Some(now);
    }

    /// A request of a fetch. What another plugin did after the fetch's first request, the fetch does not have to know.
    pub fn request_sent(&mut self, issuer: usize, (worker, provider): (usize, usize), fetch: u64, now: u64) {
        let account = &mut self.accounts[issuer];
        let known = account.in_flight.iter().find(|flight| flight.fetch == fetch).map(|flight| flight.since);
        if known.is_none() {
            account.in_flight.push(Flight { worker, provider, fetch, since: now });
        }
        let is_other = |flight: &&Flight| flight.fetch != fetch && flight.since > account.disturbed_at;
        let others = account.in_flight.iter().filter(is_other).count();
        if others > 0 && known.is_none_or(|since| since > account.disturbed_at) {
            self.violate(Invariant::NoStampede, format!("issuer {issuer}: a second fetch at {now}"));
        }
    }

    /// A fetch ended. Returns whether trouble can have spoiled the fetch.
    pub fn fetch_ended(&mut self, issuer: usize, fetch: u64) -> bool {
        let account = &mut self.accounts[issuer];
        let ended = account.in_flight.extract_if(.., |flight| flight.fetch == fetch).map(|flight| flight.since);
        let since = ended.min();
        since.is_some_and(|since| account.is_spoiled(since))
    }

    /// A refresh starts because of a token, not because of the schedule. The provider of these settings wants the refresh. Its
    /// interval counts from the last such refresh of any provider of the record.
    pub fn refresh_started(&mut self, issuer: usize, now: u64, settings: &Settings) {
        let account = &mut self.accounts[issuer];
        account.last_refresh_ever = Some(now);
        account.has_looked_again = false;
        let last = account.last_refresh.replace(now);
        if last.is_some_and(|last| now - last < settings.interval) {
            self.violate(Invariant::NoStampede, format!("issuer {issuer}: refreshes at {last:?} and {now}"));
        }
    }

    /// The issuer is asked once more, at most once after each refresh and not at once.
    pub fn second_look_started(&mut self, issuer: usize, now: u64, settings: &Settings) {
        let account = &mut self.accounts[issuer];
        let is_early = account.last_refresh.is_some_and(|last| now - last < settings.second_look);
        let is_second = !std::mem::replace(&mut account.has_looked_again, true);
        account.looked_at = Some(now);
        if settings.second_look == 0 || is_early || !is_second {
            let last = account.last_refresh;
            self.violate(Invariant::NoStampede, format!("issuer {issuer}: after {last:?}, another look at {now}"));
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
        self.closed.insert((worker, stream));
    }

    pub fn answered(&mut self, worker: usize, stream: u32, status: u16, body: &str, now: u64, issuers: &[Issuer]) {
        let Some(issuer) = self.open.get(&(worker, stream)).map(|open| open.request.tokens[0].issuer) else {
            if self.closed.contains(&(worker, stream)) {
                self.violate(
                    Invariant::NothingLost,
                    format!("stream {stream}: answered twice, or after its client left"),
                );
            }
            return;
        };
        let has_no_room = body.starts_with("Too many");
        if let Some(problem) = has_no_room.then(|| self.claim_to_room(worker, stream)).flatten() {
            self.violate(Invariant::NoOutage, format!("stream {stream} got no room at {now}: {problem}"));
        }
        let Some(open) = self.open.remove(&(worker, stream)) else { return };
        self.check_patience(stream, &open, now);
        let request = open.request;
        self.closed.insert((worker, stream));
        self.outcomes[issuer].insert(stream, status);
        if status == 200 {
            let faults: Vec<_> =
                request.tokens.iter().map(|token| self.fault(token, now, &issuers[token.issuer])).collect();
            let is_good = |fault: &Option<String>| fault.is_none();
            let is_right = if request.all { faults.iter().all(is_good) } else { faults.iter().any(is_good) };
            if is_right {
                // Of two tokens, one may have sufficed.
                for token in request.tokens.iter().filter(|_| request.all) {
                    self.accounts[token.issuer].seen.insert(token.key);
                }
            } else {
                self.violate(Invariant::NoHole, format!("stream {stream} was accepted at {now}: {faults:?}"));
            }
        } else if !has_no_room {
            let must_pass = |token: &Token| self.must_pass(token, &request, status, now, &issuers[token.issuer]);
            let mut tokens = request.tokens.iter();
            let is_outage = if request.all { tokens.all(must_pass) } else { tokens.any(must_pass) };
            if is_outage {
                let what = format!("stream {stream} got {status} at {now}: {body}; {request:?}");
                self.violate(Invariant::NoOutage, what);
            }
        }
    }

    /// Why this request must have a place among the waiting requests, if it must: there is room; or another provider, or another
    /// client of its provider, takes more; or a client takes more in all than its client, and more than its provider or an
    /// eighth of the room. Only the client that takes most in all can give way in spite of the second reason: if it takes more
    /// than each provider, or more than an eighth of the room. Each count includes the request itself.
    fn claim_to_room(&self, worker: usize, stream: u32) -> Option<String> {
        let request = &self.open.get(&(worker, stream))?.request;
        let (issuer, client) = (request.provider(), request.client);
        let holds_place = |((holder, id), open): (&(usize, u32), &Open)| {
            (*holder == worker && (open.parked || *id == stream))
                .then_some((open.request.provider(), open.request.client))
        };
        let (mut providers, mut clients, mut groups) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (its_issuer, its_client) in self.open.iter().filter_map(holds_place) {
            *providers.entry(its_issuer).or_insert(0) += 1;
            *clients.entry(its_client).or_insert(0) += 1;
            *groups.entry((its_issuer, its_client)).or_insert(0) += 1;
        }
        let total = providers.values().sum::<usize>();
        let (of_provider, of_client) = (providers[&issuer], clients[&client]);
        let of_group = groups[&(issuer, client)];
        let most = *clients.values().max()?;
        // The request that came last is counted, and may be another client's.
        let exceeds = |count: usize, bound: usize| count > bound || 8 * (count - 1) > self.max_parked;
        let is_greedy = |bound| of_client + 1 >= most && exceeds(of_client, bound);
        let has_fewer = providers.values().any(|count| *count > of_provider && !is_greedy(*count));
        let has_less =
            !is_greedy(of_provider) && groups.iter().any(|(group, count)| group.0 == issuer && *count > of_group);
        // Two more: the new request and the request that gave way count on either side.
        let is_flooded = most > of_client + 2 && exceeds(most - 2, of_provider);
        // A request with two tokens takes the room of one issuer or the other.
        let has_pair = self.open.iter().any(|((holder, _), open)| *holder == worker && open.request.tokens.len() > 1);
        (total <= self.max_parked || !has_pair && (has_fewer || has_less || is_flooded))
            .then(|| format!("provider {issuer} of {providers:?}, client {client} of {clients:?}, {groups:?}"))
    }

    /// Why a token may not be accepted, if so.
    fn fault(&self, token: &Token, now: u64, issuer: &Issuer) -> Option<String> {
        let key = &issuer.history[token.key];
        if matches!(token.kind, Kind::Unknown | Kind::Forged | Kind::Injected) {
            Some("no key made its signature".to_owned())
        } else if token.kind == Kind::Seeded {
            self.fault_of_seed(token, now)
        } else if is_revoked(token, issuer) {
            Some("its key is revoked".to_owned())
        } else {
            key.until.and_then(|gone| {
                let steps_back = self.steps.iter().filter(|(at, step)| *at >= gone && *step < 0).count() as u64;
                let longest_use = self.longest_use[token.provider];
                // A step back loses the time since a worker last looked at the clock. A VM that began since knows only when the
                // record was last written.
                let lost = if self.newest_vm >= gone { longest_use } else { LONGEST_LOOK };
                let longest = longest_use + lost * steps_back;
                (now - gone > longest)
                    .then(|| format!("its key left the JWKS {} ms ago, the limit is {longest} ms", now - gone))
            })
        }
    }

    /// Why a token of the seed's key may not be accepted, if so: its time is over, or there has been a JWKS.
    fn fault_of_seed(&self, token: &Token, now: u64) -> Option<String> {
        let (Some(end), account) = (token.settings.seed, &self.accounts[token.issuer]) else {
            return Some("there is no seed".to_owned());
        };
        let forward: u64 = self.steps.iter().filter_map(|(_, step)| u64::try_from(*step).ok()).sum();
        let steps_back: Vec<_> = self.steps.iter().filter(|(_, step)| *step < 0).collect();
        // A VM that began after a step back knows only when the record was last written.
        let knows_time = steps_back.iter().all(|(at, _)| self.newest_vm < *at);
        let latest = end * 1000 + LONGEST_LOOK * steps_back.len() as u64;
        if knows_time && now + forward > latest {
            return Some(format!("the seed ended at {latest}"));
        }
        let since = account.jwks_since?;
        // What no living worker has seen is lost with the record.
        let may_be_lost = account.is_tampered_with && self.newest_vm >= since;
        let seen_by = if account.is_tampered_with { since.max(account.disturbed_at) + 2_000 } else { since + 10 };
        (!may_be_lost && now > seen_by).then(|| format!("there has been a JWKS since {since}"))
    }

    /// Whether a token must be accepted that was denied.
    fn must_pass(&self, token: &Token, request: &Request, status: u16, now: u64, issuer: &Issuer) -> bool {
        let (Token { settings, .. }, Request { arrived, .. }) = (token, request);
        let (key, account) = (&issuer.history[token.key], &self.accounts[token.issuer]);
        // Of two tokens, the other may be the reason for the status.
        let is_denial = status == 401 || request.tokens.len() > 1;
        let is_published = key.from <= *arrived && key.until.is_none();
        let is_healthy = account.was_healthy(*arrived);
        // A key that left verifies for its grace if the workers had the key. A step of the clock may shorten the grace.
        let is_in_grace = key.until.is_some_and(|gone| {
            let was_undisturbed = account.was_healthy(gone) && account.disturbed_at < gone && self.steps.is_empty();
            account.seen.contains(&token.key) && was_undisturbed && now < gone + settings.grace
        });
        // A configuration whose wait is shorter than the refresh budget chooses this denial. An interval can last longer by what
        // the workers' times differ after a backward clock step.
        let is_configured = is_denial
            && account.last_refresh_ever.is_some_and(|last| {
                let has_stepped = self.steps.iter().any(|(at, step)| *at >= last && *step < 0);
                let budget = settings.interval + if has_stepped { LONGEST_LOOK } else { 0 };
                settings.wait < budget && now <= last + budget + SLACK
            });
        // A bad signature reveals another key under a known `kid`, but not within `min_ttl` of the last fetch.
        let is_renamed = is_denial
            && account.renamed_at.is_some_and(|at| {
                *arrived <= at + settings.min_ttl + settings.interval + self.longest_use[token.provider]
            });
        let is_good = matches!(token.kind, Kind::Good | Kind::Old) && !is_revoked(token, issuer);
        is_good && (is_published || is_in_grace) && is_healthy && !is_configured && !is_renamed
    }

    pub fn stored(&mut self, issuer: usize, bytes: usize) {
        if bytes > MAX_RECORD {
            self.violate(Invariant::BoundedMemory, format!("issuer {issuer}: a record of {bytes} bytes"));
        }
    }

    pub fn inspect_worker(&mut self, waiting: usize) {
        if waiting > self.max_parked {
            self.violate(
                Invariant::BoundedMemory,
                format!("{waiting} requests wait, the limit is {}", self.max_parked),
            );
        }
    }

    pub fn inspect(&mut self, now: u64) {
        let open = std::mem::take(&mut self.open);
        for ((_, stream), open) in &open {
            self.check_patience(*stream, open, now);
        }
        self.open = open;
    }

    /// A request that was parked is answered in time.
    fn check_patience(&mut self, stream: u32, open: &Open, now: u64) {
        let Request { tokens, arrived, .. } = &open.request;
        let longest_of = |of: fn(&Settings) -> u64| tokens.iter().map(|token| of(&token.settings)).max().unwrap_or(0);
        let stepped = self.steps.iter().any(|(at, _)| at >= arrived);
        let longest = longest_of(|settings| settings.wait)
            + longest_of(Settings::fetch_time)
            + SLACK
            + if stepped { 1_000 } else { 0 };
        if open.parked && now > arrived + longest {
            self.violate(Invariant::NothingLost, format!("stream {stream} arrived at {arrived} and waits until {now}"));
        }
    }

    pub fn finish(&mut self, now: u64) {
        self.inspect(now);
    }
}

/// The settings of the providers that share the record of an issuer.
pub fn sharing(all: &[Settings], source: usize) -> impl Iterator<Item = &Settings> {
    all.iter().filter(move |settings| settings.source == source)
}

fn is_revoked(token: &Token, issuer: &Issuer) -> bool {
    let (key, revoked) = (&issuer.history[token.key], &token.settings.revoked);
    revoked.contains(&key.kid) || revoked.iter().any(|name| name == keys::thumbprint(key.material))
}
