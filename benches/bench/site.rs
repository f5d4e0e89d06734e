//! An Envoy on a processor of its own, under the load of `wrk` on another.

use std::{env, fs, net::Ipv4Addr, path::Path, process::Command};

use base64::{engine::general_purpose::STANDARD, Engine as _};
use jwks_gate_testbed::{
    floor_path, pinned, probe_path, wasm_filter, wrk_path, Bootstrap, Directory, Envoy, EnvoyOptions,
};
use serde_json::{json, Value};

const WORKER: usize = 1;
const LOAD: usize = 0;
const CONNECTIONS: usize = 8;
const SECONDS: usize = 1;

/// What `wrk` sends: a GET with each token in turn. What `wrk` prints at the end: requests, errors, and the 99th percentile of the
/// latency in microseconds.
const SCRIPT: &str = r#"
local requests, at = {}, 0
function init(args)
    for token in io.lines(args[2]) do
        local headers = {["authorization"] = "Bearer " .. token, ["x-rule"] = args[3]}
        requests[#requests + 1] = wrk.format("GET", args[1], headers)
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
function done(summary, latency)
    local errors = summary.errors
    local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format("result %d %d %d\n", summary.requests, failed, latency:percentile(99)))
end
"#;

pub struct Site {
    pub envoy: Envoy,
    directory: Directory,
    path: String,
    rule: String,
}

/// What one second of load showed.
pub struct Sample {
    /// Processor time of Envoy per request.
    pub micros: f64,
    /// The 99th percentile of the latency.
    pub p99_micros: f64,
}

impl Site {
    /// Starts an Envoy with this filter, which answers each request itself. `wrk` will send these tokens in turn.
    pub fn start(filter: Option<Value>, path: &str, tokens: &[String]) -> Self {
        let filters = filter.into_iter().collect();
        Self::of(&direct(Bootstrap::with_filters((Ipv4Addr::LOCALHOST, 9).into(), filters)), path, tokens)
    }

    /// Starts an Envoy with this bootstrap.
    pub fn of(bootstrap: &Bootstrap, path: &str, tokens: &[String]) -> Self {
        let options = EnvoyOptions { concurrency: 1, processor: Some(WORKER), ..EnvoyOptions::quiet() };
        let envoy = Envoy::start(&bootstrap.yaml(), options).unwrap();
        let directory = Directory::create().unwrap();
        fs::write(directory.file("load.lua"), SCRIPT).unwrap();
        let site = Self { envoy, directory, path: path.to_owned(), rule: String::new() };
        site.send(tokens);
        site
    }

    /// The value of the header `x-rule`.
    pub fn rule(mut self, value: &str) -> Self {
        value.clone_into(&mut self.rule);
        self
    }

    /// From now on, `wrk` sends these tokens.
    pub fn send(&self, tokens: &[String]) {
        fs::write(self.directory.file("tokens"), tokens.join("\n")).unwrap();
    }

    /// Puts load on Envoy for a second. All answers must be good.
    pub fn measure(&self) -> Sample {
        let before = self.envoy.cpu_time();
        let output = self.wrk().output().unwrap();
        let cpu = self.envoy.cpu_time() - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().find_map(|line| line.strip_prefix("result ")).unwrap_or_else(|| panic!("{output:?}"));
        let numbers: Vec<f64> = result.split(' ').map(|number| number.parse().unwrap()).collect();
        assert!(numbers[0] > 0.0 && numbers[1] == 0.0, "{text}");
        Sample { micros: cpu.as_secs_f64() * 1e6 / numbers[0], p99_micros: numbers[2] }
    }

    fn wrk(&self) -> Command {
        let wrk = wrk_path();
        let root = wrk.ancestors().nth(3).unwrap_or(Path::new("/"));
        let mut command = pinned(&wrk, Some(LOAD));
        command
            .env("LD_LIBRARY_PATH", root.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH)))
            .args(["--threads", "1", "--connections", &CONNECTIONS.to_string()])
            .args(["--duration", &format!("{SECONDS}s"), "--script"])
            .arg(self.directory.file("load.lua"))
            .arg(format!("http://{}", self.envoy.addr()))
            .args(["--", &self.path])
            .arg(self.directory.file("tokens"))
            .arg(&self.rule);
        command
    }
}

/// The router answers directly. An upstream would add the same cost, with noise, to each variant.
pub fn direct(bootstrap: Bootstrap) -> Bootstrap {
    let routes = json!({"virtual_hosts": [{
        "name": "all", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }]});
    bootstrap.connection_manager_option("route_config", routes)
}

/// jwks-gate from another file.
pub fn wasm_filter_from(wasm: impl AsRef<Path>, config: &Value) -> Value {
    let mut filter = wasm_filter(config);
    filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] = json!(wasm.as_ref());
    filter
}

/// A filter that makes host calls and does nothing else; see `tests/support/floor`.
pub fn floor_filter(calls: &[u8]) -> Value {
    let mut filter = wasm_filter_from(floor_path(), &json!({}));
    filter["typed_config"]["config"]["configuration"] = json!({
        "@type": "type.googleapis.com/google.protobuf.BytesValue", "value": STANDARD.encode(calls),
    });
    filter
}

/// The probe at rest.
pub fn idle_filter() -> Value {
    // With this configuration, the probe overwrites nothing, sends nothing, and wakes once in an hour.
    let config = json!({"period_millis": 3_600_000, "overwrite": false, "values": [], "secret": "", "queues": 0});
    wasm_filter_from(probe_path(), &config)
}
