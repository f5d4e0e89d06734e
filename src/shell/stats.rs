//! Envoy's stats: the counters of the filter, and the statistics of each provider, defined when they first have a value.

use std::{cell::RefCell, collections::BTreeMap};

use super::abi::{self, StatKind};
use crate::{
    engine::Plan,
    metrics::{Counts, Metric, ProviderStat, Series},
};

/// The ids that the host gave to stats.
pub(super) struct Stats {
    counters: Vec<(Metric, u32)>,
    /// `None`: the host did not define the stat.
    series: RefCell<BTreeMap<Series, Option<u32>>>,
}

impl Stats {
    /// Defines the filter's counters.
    pub(super) fn define(plan: &Plan) -> Self {
        let define = |metric: Metric| abi::define_metric(StatKind::Counter, &metric.name(&plan.stat_prefix)).ok();
        let counters = Metric::all().filter_map(|metric| Some((metric, define(metric)?)));
        Self { counters: counters.collect(), series: RefCell::default() }
    }

    /// Adds counts to the stats.
    pub(super) fn add(&self, counts: &Counts, plan: &Plan) {
        for (metric, times) in counts.iter() {
            if let Some((_, id)) = self.counters.iter().find(|(known, _)| *known == metric) {
                let _ = abi::increment_metric(*id, times.into());
            }
        }
        for (series, times) in counts.counters() {
            if let Some(id) = self.id(series, plan) {
                let _ = abi::increment_metric(id, times.into());
            }
        }
        for (series, millis) in counts.observations() {
            if let Some(id) = self.id(series, plan) {
                let _ = abi::record_metric(id, millis);
            }
        }
    }

    /// Sets a gauge.
    pub(super) fn set(&self, series: Series, value: u64, plan: &Plan) {
        if let Some(id) = self.id(series, plan) {
            let _ = abi::record_metric(id, value);
        }
    }

    fn id(&self, series: Series, plan: &Plan) -> Option<u32> {
        if let Some(known) = self.series.borrow().get(&series) {
            return *known;
        }
        let name = series.name(&plan.stat_prefix, &plan.providers[series.provider].name);
        let kind = match series.stat {
            ProviderStat::Counter(_) => StatKind::Counter,
            ProviderStat::Gauge(_) => StatKind::Gauge,
            ProviderStat::Histogram(_) => StatKind::Histogram,
        };
        let id = abi::define_metric(kind, &name).ok();
        self.series.borrow_mut().insert(series, id);
        id
    }
}
