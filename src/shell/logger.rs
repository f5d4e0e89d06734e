//! Envoy's log.

use log::{LevelFilter, Log, Metadata, Record};

use super::abi;

const CRITICAL: u32 = 5;

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // The levels of `log` fall from 5, trace.
        abi::log(CRITICAL.saturating_sub(record.level() as u32), &record.args().to_string());
    }

    fn flush(&self) {}
}

/// From now on, the filter's log lines and panics go to Envoy's log.
pub(super) fn install() {
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
    std::panic::set_hook(Box::new(|panic| abi::log(CRITICAL, &panic.to_string())));
}
