//! The set-up of `envoy/compose.yaml`, and the `curl` commands of the documents.

use std::{collections::BTreeSet, fs, net::SocketAddr, process::Command};

use jwks_gate_issuer::{Echo, Issuer, Options};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    wasm_path, workspace_root, Directory, Envoy, EnvoyOptions,
};

use crate::docs::{read, yaml};

/// The test runs, without Docker, the command that adapts Prometheus's configuration.
#[test]
fn compose_adapts_prometheus_to_its_host_names() {
    let compose = &yaml(&read("envoy/compose.yaml"))[0];
    let script = compose["services"]["prometheus"]["command"][0].as_str().unwrap();
    let (sed, _) = script.split_once(">/tmp/prometheus.yaml").unwrap();
    assert!(!sed.contains('$'), "compose would need `$$`");
    let directory = workspace_root().join("envoy/prometheus");
    let adapted = Command::new("sh").arg("-ec").arg(sed).current_dir(directory).output().unwrap();
    let adapted = &yaml(&String::from_utf8(adapted.stdout).unwrap())[0];
    assert_eq!(adapted["scrape_configs"][0]["static_configs"][0]["targets"][0], "envoy:9901");
}

/// What `docker compose up` runs, without containers. The issuer can revoke keys, and Envoy watches the filter's
/// configuration.
struct Compose {
    issuer: Issuer,
    envoy: Envoy,
    _echo: Echo,
    _directory: Directory,
}

impl Compose {
    fn start() -> Self {
        let directory = Directory::create().unwrap();
        let filter = directory.file("watched.yaml");
        let mut script = Command::new("sh");
        script.arg("compose.sh").args([directory.path(), &filter]).current_dir(workspace_root().join("envoy"));
        assert!(script.status().unwrap().success());
        let options = Options { filter: Some(filter.clone()), ..Options::default() };
        let issuer = Issuer::start(options).unwrap();
        let echo = Echo::start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let here = |file: &std::path::Path| {
            let adapted = fs::read_to_string(file).unwrap();
            assert!(!adapted.contains("127.0.0.1"), "{adapted}");
            adapted
                .replace("issuer:9000", &issuer.addr().to_string())
                .replace("issuer, port_value: 9000", &format!("127.0.0.1, port_value: {}", issuer.addr().port()))
                .replace("upstream, port_value: 9001", &format!("127.0.0.1, port_value: {}", echo.addr().port()))
                .replace("0.0.0.0, port_value: 10000", "127.0.0.1, port_value: 0")
                .replace("0.0.0.0, port_value: 9901", "127.0.0.1, port_value: 0")
                .replace("dist/jwks-gate.wasm", wasm_path().to_str().unwrap())
        };
        let (bootstrap, watched) = (here(&directory.file("envoy.yaml")), here(&filter));
        fs::write(&filter, watched).unwrap();
        let envoy = Envoy::start(&bootstrap, EnvoyOptions::default()).unwrap();
        Self { issuer, envoy, _echo: echo, _directory: directory }
    }

    /// Sends the request of a document's `curl` line, and returns its path.
    fn curl(&self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().map(|word| word.trim_matches('\'')).collect();
        let url = words.iter().find_map(|word| word.strip_prefix("localhost:9000")).expect(line);
        let path = url.replace('…', &self.issuer.current().kid);
        let request = if words.contains(&"POST") { Request::post(&path) } else { Request::get(&path) };
        let answer = http::send(self.issuer.addr(), &request).unwrap();
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        path
    }

    fn status(&self, token: &str) -> u16 {
        http::send(self.envoy.addr(), &Request::get("/api/orders").bearer(token)).unwrap().status
    }
}

/// The `curl` commands of a text.
fn curls(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
    lines.filter(|line| line.starts_with("curl ")).collect()
}

#[test]
fn each_curl_command_of_the_documents_has_the_documented_effect() {
    let compose = Compose::start();
    let within = std::time::Duration::from_secs(10);
    assert!(eventually(within, || compose.status(&compose.issuer.token()) == 200));
    let (runbook, story) = (read("docs/rotation.md"), read("envoy/compose.yaml"));
    let commands = [curls(&runbook), curls(&story)].concat();
    let mut done = BTreeSet::new();
    for command in commands {
        let (before, gets) = (compose.issuer.token(), compose.issuer.stats().jwks_requests);
        let path = compose.curl(command);
        let (now, kind) = (compose.issuer.token(), path.split('?').next().unwrap().to_owned());
        match kind.as_str() {
            // The new key's tokens are allowed at once. After a hard rotation, the old key's tokens are denied.
            "/admin/rotate" => {
                assert_eq!(compose.status(&now), 200, "{path}");
                assert_eq!(compose.status(&before), if path.contains("hard") { 401 } else { 200 }, "{path}");
            }
            "/admin/fault" | "/admin/heal" | "/admin/keys" => assert_eq!(compose.status(&now), 200, "{path}"),
            "/admin/revoke" => {
                assert!(eventually(within, || compose.status(&now) == 401), "{path}");
                let is_logged = || compose.envoy.log().contains("is revoked; it verifies nothing");
                assert!(eventually(within, is_logged), "{}", compose.envoy.log());
                assert_eq!(compose.issuer.stats().jwks_requests, gets, "a revocation needs no fetch");
            }
            _ => panic!("{path}: no expected effect"),
        }
        done.insert(kind);
    }
    assert_eq!(done.len(), 5, "{done:?}");
    // Only the revoked key is denied.
    compose.issuer.rotate(jwks_gate_issuer::Rotation::Hard);
    assert_eq!(compose.status(&compose.issuer.token()), 200);
}

#[test]
fn each_rehearsed_rotation_costs_one_fetch() {
    let compose = Compose::start();
    let program = workspace_root().join("target/debug/jwks-gate-rehearse");
    let output = Command::new(program)
        .args(["--issuer", &compose.issuer.addr().to_string(), "--api", &compose.envoy.addr().to_string()])
        .args(["--every", "1", "--times", "3"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(printed.matches("20 of 20 first requests let in; 1 JWKS fetched").count(), 3, "{printed}");
}
