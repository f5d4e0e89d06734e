//! The figures of a run: a line for the reader and a line of JSON, each minute and at the end.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    time::{Duration, Instant},
};

use jwks_gate_testbed::{workspace_root, Envoy};
use serde_json::{json, Map, Value};

use crate::{
    admin::{self, Admin},
    judge::Count,
    load::World,
};

/// A measurement of memory.
#[derive(Clone, Copy)]
struct Sample {
    rss: u64,
    shared_values: u64,
    shared_bytes: u64,
}

pub struct Figures {
    begin: Instant,
    file: File,
    samples: Vec<Sample>,
    last: (Instant, Duration, Duration, u64),
}

/// What may be used of one processor, by Envoy and by this process.
fn own_time() -> Duration {
    // /proc/self/stat: utime and stime in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

impl Figures {
    pub fn new() -> Self {
        let path = std::env::var("SOAK_FIGURES").unwrap_or_else(|_| "target/soak.jsonl".to_owned());
        let path = workspace_root().join(path);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let now = Instant::now();
        Self { begin: now, file, samples: Vec::new(), last: (now, Duration::ZERO, own_time(), 0) }
    }

    /// Call every few seconds.
    pub fn sample(&mut self, envoy: &Envoy, admin: &Admin) {
        let stats = admin.stats();
        let gauge = |name: &str| admin::value(&stats, &format!("wasmcustom.probe.{name}"));
        let (shared_values, shared_bytes) = (gauge("shared_values"), gauge("shared_bytes"));
        self.samples.push(Sample { rss: envoy.rss(), shared_values, shared_bytes });
    }

    pub fn report(&mut self, world: &World, envoy: &Envoy, admin: &Admin, is_last: bool) {
        let (now, stats, counts) = (Instant::now(), admin.stats(), world.judge.counts());
        let of = |count: Count| counts.get(&count).copied().unwrap_or(0);
        let wrong: Map<String, Value> =
            Count::WRONG.iter().map(|count| (format!("{count:?}"), json!(of(*count)))).collect();
        let (since, envoys, own, requests) = self.last;
        let seconds = now.duration_since(since).as_secs_f64();
        let share = |time: Duration| (time.as_secs_f64() / seconds * 100.0).round();
        let rate = ((of(Count::Requests) - requests) as f64 / seconds).round();
        self.last = (now, envoy.cpu_time(), own_time(), of(Count::Requests));
        let cpu = share(self.last.1.saturating_sub(envoys));
        let own_cpu = share(self.last.2.saturating_sub(own));
        let issuers = world.ledgers.each_ref().map(|ledger| ledger.issuer.stats());
        let custom = |name: &str| admin::value(&stats, &format!("wasmcustom.jwks_gate.{name}"));
        let sample = self.samples.last().copied().unwrap_or(Sample { rss: 0, shared_values: 0, shared_bytes: 0 });
        let minutes = self.begin.elapsed().as_secs_f64() / 60.0;
        let mut figures = json!({
            "minutes": (minutes * 100.0).round() / 100.0,
            "end": is_last,
            "requests": of(Count::Requests),
            "requests_per_second": rate,
            "allowed": of(Count::Allowed),
            "denied": of(Count::Denied),
            "excused": of(Count::Excused),
            "aborted": of(Count::Aborted),
            "reconnected": of(Count::Reconnected),
            "wrong": wrong,
            "excuses": world.judge.excuses(),
            "rotations": issuers.map(|stats| stats.rotations),
            "fetches": issuers.map(|stats| stats.jwks_requests),
            "faulty_answers": issuers.map(|stats| stats.faults),
            "parked": custom("parked"),
            "shared_data_rejected": custom("shared_data_rejected"),
            "configuration_changes": admin::changes(&stats),
            "vms": admin::value(&stats, "wasm.envoy.wasm.runtime.v8.created"),
            "vms_now": admin::value(&stats, "wasm.envoy.wasm.runtime.v8.active"),
            "rss_mib": sample.rss >> 20,
            "shared_names": admin::value(&stats, "wasmcustom.probe.shared_names"),
            "shared_values": sample.shared_values,
            "shared_bytes": sample.shared_bytes,
            "log_lines": envoy.log().lines().count(),
            "envoy_cpu_percent": cpu,
            "client_cpu_percent": own_cpu,
        });
        if is_last {
            let kinds = world.judge.kinds();
            let kinds = kinds.iter().map(|((what, status), count)| (format!("{what}: {status}"), json!(count)));
            figures["answers"] = Value::Object(kinds.collect());
            figures["findings"] = json!(world.judge.findings());
        }
        writeln!(self.file, "{figures}").unwrap();
        println!(
            "{minutes:6.1} min  {} requests ({rate}/s)  allowed {}  denied {}  excused {}  WRONG {}  rss {} MiB  shared {} values {} bytes  VMs {}  CPU {cpu}+{own_cpu} %",
            of(Count::Requests),
            of(Count::Allowed),
            of(Count::Denied),
            of(Count::Excused),
            Count::WRONG.iter().map(|count| of(*count)).sum::<u64>(),
            figures["rss_mib"],
            sample.shared_values,
            sample.shared_bytes,
            figures["vms"],
        );
        if is_last {
            println!("{figures:#}");
        }
    }

    /// Medians of the second and of the last quarter of the run: the first is the warm-up. Resident bytes, shared values,
    /// shared bytes.
    pub fn growth(&self) -> [(u64, u64); 3] {
        let quarter = self.samples.len() / 4;
        let median = |samples: &[Sample], of: fn(&Sample) -> u64| {
            let mut values: Vec<_> = samples.iter().map(of).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        let early = &self.samples[quarter..2 * quarter];
        let late = &self.samples[self.samples.len() - quarter..];
        let of: [fn(&Sample) -> u64; 3] = [|s| s.rss, |s| s.shared_values, |s| s.shared_bytes];
        of.map(|of| (median(early, of), median(late, of)))
    }
}
