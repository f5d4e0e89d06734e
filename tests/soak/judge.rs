//! Whether an answer is right, and what was counted.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use jwks_gate_testbed::http::Response;

use crate::{
    ledger::{Key, Ledger},
    settings::{IDLE_TIMEOUT, MAX_STALE, MAX_WAIT, TIMEOUT},
    timeline::{Kind, Timeline},
};

/// What a request must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expected {
    /// 200, as long as the key is good and nothing is wrong.
    Allowed,
    /// Anything but 200.
    Denied,
    /// Exactly this denial, whatever the issuer does.
    Exactly(u16),
}

/// How an answer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    Requests,
    Allowed,
    Denied,
    /// A good token was denied for a reason that the documents name.
    Excused,
    Aborted,
    /// A connection that had been idle was closed by Envoy, as when a listener drains.
    Reconnected,
    WrongAccept,
    WrongDenial,
    /// Another denial than the only right one.
    WrongReason,
    Hung,
    /// Answered, but later than documented.
    Late,
    Broken,
}

impl Count {
    pub const WRONG: [Self; 6] =
        [Self::WrongAccept, Self::WrongDenial, Self::WrongReason, Self::Hung, Self::Late, Self::Broken];
}

/// Twice what the documents say for scheduling on a busy machine.
const LATE: Duration = Duration::from_secs(3);
const MAX_TOLD: usize = 40;

/// A request with its answer.
pub struct Answered<'a> {
    pub what: &'static str,
    pub ledger: &'a Ledger,
    /// The key as it was when the request was sent.
    pub key: Option<&'a Key>,
    pub expected: Expected,
    pub sent: Instant,
    pub response: Response,
}

#[derive(Default)]
pub struct Judge {
    counts: Mutex<BTreeMap<Count, u64>>,
    excuses: Mutex<BTreeMap<&'static str, u64>>,
    kinds: Mutex<BTreeMap<(&'static str, u16), u64>>,
    findings: Mutex<Vec<String>>,
}

impl Judge {
    pub fn count(&self, what: Count) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn counts(&self) -> BTreeMap<Count, u64> {
        self.counts.lock().unwrap().clone()
    }

    pub fn excuses(&self) -> BTreeMap<&'static str, u64> {
        self.excuses.lock().unwrap().clone()
    }

    /// The answers by kind of request and status.
    pub fn kinds(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.kinds.lock().unwrap().clone()
    }

    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    pub fn finding(&self, count: Count, text: String) {
        self.count(count);
        eprintln!("FINDING {count:?}: {text}");
        let mut findings = self.findings.lock().unwrap();
        if findings.len() < MAX_TOLD {
            findings.push(format!("{count:?}: {text}"));
        }
    }

    pub fn answered(&self, answered: &Answered, timeline: &Timeline) {
        let Answered { what, ledger, expected, sent, ref response, key } = *answered;
        let now = Instant::now();
        let status = response.status;
        self.count(Count::Requests);
        *self.kinds.lock().unwrap().entry((what, status)).or_default() += 1;
        let trapped = timeline.overlaps(Kind::Trap, sent, now);
        let bound = if trapped { IDLE_TIMEOUT + MAX_WAIT } else { MAX_WAIT } + TIMEOUT + LATE;
        let told = || {
            let kid = key.map_or("-", |key| &key.signing.kid);
            format!("{what}, {kid}: {status} {} after {:?}", response.text(), now.duration_since(sent))
        };
        if now.duration_since(sent) > bound {
            self.finding(Count::Late, told());
        }
        match (expected, status) {
            (Expected::Allowed, 200) => {
                self.count(Count::Allowed);
                if let Some(key) = key {
                    ledger.accepted(&key.signing.kid, sent, timeline);
                }
            }
            (Expected::Denied | Expected::Exactly(_), 200) => self.finding(Count::WrongAccept, told()),
            (Expected::Allowed, _) => match excuse(answered, timeline, now) {
                Some(excuse) => {
                    self.count(Count::Excused);
                    *self.excuses.lock().unwrap().entry(excuse).or_default() += 1;
                }
                None => self.finding(Count::WrongDenial, told()),
            },
            (Expected::Denied, 401 | 503) => self.count(Count::Denied),
            (Expected::Exactly(right), _) if right == status || trapped => self.count(Count::Denied),
            _ => self.finding(Count::WrongReason, told()),
        }
    }
}

/// Why a good token may be denied. docs/key-sets.md: the table of answers, and invariant 2.
fn excuse(answered: &Answered, timeline: &Timeline, now: Instant) -> Option<&'static str> {
    let Answered { ledger, sent, ref response, key, .. } = *answered;
    let known_at_sending = key?;
    // The key as it is now: it may have been removed or revoked while the request waited.
    match ledger.key(&known_at_sending.signing.kid) {
        Some(key) if !key.is_good_until(now) => return Some("the key went while the request waited"),
        _ => {}
    }
    if timeline.overlaps(Kind::Trap, sent, now) {
        return Some("a VM trapped");
    }
    // Without a reason, the answer is not the filter's.
    let reason = serde_json::from_slice::<serde_json::Value>(&response.body).ok()?["reason"].as_str()?.to_owned();
    if !matches!(reason.as_str(), "unknown_key" | "keys_unavailable") {
        return None;
    }
    let unhealthy = timeline.earliest(&[Kind::Unhealthy(ledger.number)], sent, now);
    let intruder = timeline.earliest(&[Kind::Intruder], sent, now);
    let trouble = unhealthy.into_iter().chain(intruder).min()?;
    // All workers know the key if another request had it accepted before the trouble began.
    let look = Duration::from_secs(2);
    let is_known = known_at_sending.confirmed().is_some_and(|at| {
        at < sent && timeline.earliest(&[Kind::Intruder], at, now).is_none_or(|from| at + look < from)
    });
    if !is_known {
        return Some(if unhealthy.is_some() { "issuer fails, key unknown" } else { "intruder, key unknown" });
    }
    if now.duration_since(trouble) > MAX_STALE {
        return Some("issuer fails, keys expired");
    }
    let is_lost = intruder.is_some_and(|from| timeline.overlaps(Kind::VmStart, from, now));
    is_lost.then_some("a VM started beside the intruder")
}
