//! A hostile plugin beside jwks-gate: overwrites shared data and floods queues, with every tick.

use std::{collections::BTreeMap, time::Duration};

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::shared::seal::Seal;
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::MetricType,
};
use serde::Deserialize;

/// Where `src/shell/test_hooks.rs` tells the names of shared values, one per line.
const NAMES: &str = "test-hooks.names";
/// Earlier values that are kept per name.
const MAX_EARLIER: usize = 16;

/// The plugin configuration.
#[derive(Default, Deserialize)]
pub(crate) struct Attack {
    period_millis: u64,
    /// Whether shared values are overwritten.
    overwrite: bool,
    /// Whether values that are empty stay so: jwks-gate empties what it needs no more, and shared data forgets no name.
    #[serde(default)]
    spare_empty: bool,
    /// Values to write, in base64url: plain, and sealed under `secret`.
    values: Vec<String>,
    /// Not the secret of jwks-gate.
    secret: String,
    /// Whether more messages are taken from the queues than written, so that queues of VMs that are gone do not fill memory.
    #[serde(default)]
    drains: bool,
    /// Messages go to the queues whose tokens are from 1 to this number.
    queues: u32,
}

/// The root context of the hostile plugin.
pub(crate) struct Intruder {
    values: Vec<Vec<u8>>,
    seal: Option<Seal>,
    attack: Attack,
    earlier: BTreeMap<String, Vec<Vec<u8>>>,
    ticks: u64,
    gauges: Vec<u32>,
}

/// How many names of shared values have been told, how many of the values are not empty, and the bytes of these, names included.
const GAUGES: [&str; 3] = ["probe.shared_names", "probe.shared_values", "probe.shared_bytes"];

impl Intruder {
    /// Reads the configuration and starts the ticks.
    pub(crate) fn new(attack: Attack) -> Self {
        let _ = hostcalls::set_tick_period(Duration::from_millis(attack.period_millis.max(1)));
        let mut values: Vec<_> = attack.values.iter().filter_map(|text| BASE64.decode(text).ok()).collect();
        values.push(u64::MAX.to_le_bytes().to_vec());
        values.push(vec![0xa5; 40]);
        let gauges = GAUGES.iter().filter_map(|name| hostcalls::define_metric(MetricType::Gauge, name).ok()).collect();
        let seal = Seal::new(attack.secret.as_bytes());
        Self { values, seal, attack, earlier: BTreeMap::new(), ticks: 0, gauges }
    }

    pub(crate) fn on_tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        let names = value_of(NAMES);
        let names = String::from_utf8(names).unwrap_or_default();
        if self.ticks % (1000 / self.attack.period_millis.clamp(1, 1000)) == 0 {
            self.measure(&names);
        }
        if self.attack.overwrite {
            for (index, name) in names.lines().enumerate() {
                self.overwrite(name, index as u64);
            }
        }
        for queue in 1..=self.attack.queues {
            let taken = if self.attack.drains { 3 } else { u64::from(self.ticks % 7 == 0) };
            for _ in 0..taken {
                // Takes messages away from their reader.
                let _ = hostcalls::dequeue_shared_queue(queue);
            }
            let message: &[u8] = if self.ticks % 2 == 0 { b"look" } else { &[0xff; 300] };
            let _ = hostcalls::enqueue_shared_queue(queue, Some(message));
        }
    }

    /// Sets the gauges, about once a second.
    fn measure(&self, names: &str) {
        let sizes = names.lines().map(|name| (name.len(), value_of(name).len())).filter(|(_, value)| *value > 0);
        let (count, bytes) = sizes.fold((0_u64, 0_usize), |(count, bytes), (name, value)| {
            (count.saturating_add(1), bytes.saturating_add(name).saturating_add(value))
        });
        for (gauge, value) in self.gauges.iter().zip([names.lines().count() as u64, count, bytes as u64]) {
            let _ = hostcalls::record_metric(*gauge, value);
        }
    }

    fn overwrite(&mut self, name: &str, index: u64) {
        let found = value_of(name);
        if self.attack.spare_empty && found.is_empty() {
            return;
        }
        let earlier = self.earlier.entry(name.to_owned()).or_default();
        if !found.is_empty() && !earlier.contains(&found) && earlier.len() < MAX_EARLIER {
            earlier.push(found.clone());
        }
        let turn = self.ticks.wrapping_add(index.wrapping_mul(5));
        let pick = |values: &[Vec<u8>]| {
            let index = usize::try_from(turn / 6).unwrap_or_default().checked_rem(values.len());
            index.and_then(|index| values.get(index).cloned()).unwrap_or_default()
        };
        let value = match turn % 6 {
            0 => pick(&self.values),
            1 => self.seal.as_ref().map(|seal| seal.seal(name, &pick(&self.values))).unwrap_or_default(),
            2 => pick(earlier),
            3 => {
                // What is there, with one bit changed.
                let mut changed = found;
                if let Some(byte) = changed.last_mut() {
                    *byte ^= 1;
                }
                changed
            }
            4 => Vec::new(),
            // The value of another name.
            _ => self.earlier.values().flatten().last().cloned().unwrap_or_default(),
        };
        let _ = hostcalls::set_shared_data(name, Some(&value), None);
    }
}

fn value_of(name: &str) -> Vec<u8> {
    hostcalls::get_shared_data(name).ok().and_then(|(value, _)| value).unwrap_or_default()
}

/// Lets every request pass.
pub(crate) struct Idle;

impl Context for Idle {}
impl HttpContext for Idle {}
