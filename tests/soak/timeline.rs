//! What is wrong at which time. A judgement of a request looks at everything that overlaps the request.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// A disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The issuer with this number fails, or has failed and not yet served a JWKS since.
    Unhealthy(usize),
    /// The issuer serves the JWKS from before its last rotation, or did so a moment ago.
    Lags(usize),
    /// Another plugin overwrites shared data, or did so a moment ago.
    Intruder,
    /// VMs start, with a configuration or in place of a VM that trapped.
    VmStart,
    /// A VM has trapped, and its worker or its lease may not have recovered.
    Trap,
}

#[derive(Debug)]
struct Interval {
    kind: Kind,
    from: Instant,
    to: Option<Instant>,
}

/// All disturbances of the last minutes.
#[derive(Default)]
pub struct Timeline(Mutex<VecDeque<Interval>>);

const KEPT: Duration = Duration::from_secs(180);

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Interval>> {
        self.0.lock().unwrap()
    }

    /// Call before the disturbance.
    pub fn begin(&self, kind: Kind) {
        let mut intervals = self.lock();
        intervals.retain(|interval| interval.to.is_none_or(|to| to.elapsed() < KEPT));
        intervals.push_back(Interval { kind, from: Instant::now(), to: None });
    }

    /// Call after the disturbance. `settle` is how long its effects may last.
    pub fn end(&self, kind: Kind, settle: Duration) {
        let to = Instant::now() + settle;
        for interval in self.lock().iter_mut().filter(|interval| interval.kind == kind && interval.to.is_none()) {
            interval.to = Some(to);
        }
    }

    /// When the earliest of the disturbances of these kinds began that overlap this time.
    pub fn earliest(&self, kinds: &[Kind], from: Instant, to: Instant) -> Option<Instant> {
        let intervals = self.lock();
        let overlaps = |interval: &&Interval| interval.from <= to && interval.to.is_none_or(|ended| ended >= from);
        let all = intervals.iter().filter(|interval| kinds.contains(&interval.kind)).filter(overlaps);
        all.map(|interval| interval.from).min()
    }

    pub fn overlaps(&self, kind: Kind, from: Instant, to: Instant) -> bool {
        self.earliest(&[kind], from, to).is_some()
    }
}
