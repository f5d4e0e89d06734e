//! What Envoy says of itself.

use std::net::SocketAddr;

use jwks_gate_testbed::http::{self, Request};

use crate::chaos;

pub struct Admin(pub SocketAddr);

impl Admin {
    pub fn stats(&self) -> String {
        http::send(self.0, &Request::get("/stats?format=text")).map(|response| response.text()).unwrap_or_default()
    }

    /// How often the configuration of a filter in ECDS had this outcome.
    pub fn updates(&self, filter: &str, outcome: &str) -> u64 {
        value(&self.stats(), &format!("extension_config_discovery.http_filter.{filter}.{outcome}"))
    }
}

/// The value of a stat by its whole name.
pub fn value(stats: &str, name: &str) -> u64 {
    stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0)
}

/// The sum of the stats whose names start and end so.
pub fn sum(stats: &str, start: &str, end: &str) -> u64 {
    let matching = stats
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.starts_with(start) && name.ends_with(end));
    matching.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// The updates of both filters and of the listener.
pub fn changes(stats: &str) -> u64 {
    let of = |filter: &str| value(stats, &format!("extension_config_discovery.http_filter.{filter}.config_reload"));
    of(chaos::FILTER) + of(chaos::INTRUDER) + value(stats, "listener_manager.lds.update_success")
}
