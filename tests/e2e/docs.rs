//! Checks the statements of the documents, and runs the configurations in the documents and in `envoy/`.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path};

use jwks_gate::{
    policy::{
        provider::Source,
        reply::{self, Denial},
    },
    token::TokenError,
};
use jwks_gate_issuer::{Alg, Echo, Issuer, Options, SigningKey};
use jwks_gate_testbed::{
    eventually,
    http::{self, Request},
    wasm_filter, workspace_root, Bootstrap, Directory, Envoy, EnvoyOptions,
};
use serde::Deserialize;
use serde_json::{json, Value};

pub fn read(path: &str) -> String {
    let path = workspace_root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn yaml(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// The fenced blocks of a language.
pub fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    markdown.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Whether the text contains the lines of a block in sequence, ignoring indentation.
fn is_within(block: &str, text: &str) -> bool {
    let [block, text] = [block, text].map(|text| text.lines().map(str::trim_start).collect::<Vec<_>>());
    text.windows(block.len()).any(|lines| lines == block)
}

#[test]
fn the_readme_shows_a_part_of_the_demos_configuration() {
    let blocks = blocks(&read("README.md"), "yaml");
    assert_eq!(blocks.len(), 1);
    assert!(is_within(&blocks[0], &read("envoy/envoy.yaml")), "{}", blocks[0]);
}

/// Every YAML block is part of a configuration that a test below runs, or is checked in this test.
#[test]
fn the_blocks_of_the_documents_are_tested() {
    let (mut seen, rbac, report) = (0, read("envoy/rbac.yaml"), read("envoy/report.yaml"));
    for entry in fs::read_dir(workspace_root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for block in blocks(&read(&format!("docs/{name}")), "yaml") {
            seen += 1;
            match name.as_str() {
                "jwt_authn.md" if block.starts_with("rules:") => {
                    let mut config = yaml(&block)[0].clone();
                    config["providers"] = json!({"issuer": {"local_jwks": {"inline_string": local_jwks()}}});
                    jwks_gate::config::parse(config.to_string().as_bytes()).unwrap();
                }
                // The others run in `claim_rules.rs`.
                "claims.md" if block.starts_with("providers:") => {}
                "claims.md" => assert!(is_within(&block, &rbac), "{block}"),
                "jwt_authn.md" => assert!(is_within(&block, &rbac), "{block}"),
                // A test in istio_principals.rs runs the block.
                "istio.md" if block.starts_with("pluginConfig:") => {}
                "istio.md" => assert!(is_within(&block, &read("envoy/istio/authorizationpolicy.yaml")), "{block}"),
                "denials.md" => assert!(is_within(&block, &report), "{block}"),
                "fetching.md" => {
                    let plan = jwks_gate::config::parse(yaml(&block)[0].to_string().as_bytes()).unwrap();
                    let remote = plan.remotes().next().unwrap().1;
                    let is_meant = if block.contains("discovery:") {
                        matches!(remote.source, Source::Discovery(_))
                    } else if block.contains("mirrors:") {
                        remote.mirrors.len() == 1
                    } else {
                        format!("{:?}", remote.headers) == "[\"x-tenant\"]"
                    };
                    assert!(is_meant, "{block}");
                }
                "rotation.md" => {
                    let plan = jwks_gate::config::parse(yaml(&block)[0].to_string().as_bytes()).unwrap();
                    let remote = plan.remotes().next().unwrap().1;
                    // The thumbprint is that of RFC 7638 §3.1.
                    let names = ["compromised-2026-11", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"];
                    assert!(names.iter().all(|name| remote.revoked.contains_name(name)));
                }
                // The module `providers` sends tokens to each.
                "providers.md" => drop(jwks_gate::config::parse(yaml(&block)[0].to_string().as_bytes()).unwrap()),
                "tenants.md" => {
                    let plan = jwks_gate::config::parse(yaml(&block)[0].to_string().as_bytes()).unwrap();
                    let warnings = &plan.warnings;
                    assert!(matches!(&warnings[..], [one] if one.starts_with("shared_data_secret")), "{warnings:?}");
                }
                "cold-start.md" => {
                    let plan = jwks_gate::config::parse(yaml(&block)[0].to_string().as_bytes()).unwrap();
                    let seed = plan.remotes().next().unwrap().1.seed.clone().unwrap();
                    assert_eq!((seed.keys.len(), plan.ready.unwrap().providers.len()), (1, 1));
                }
                _ => panic!("{name}: no test runs this block\n{block}"),
            }
        }
    }
    assert_eq!(seen, 28);
    let problem: Value = serde_json::from_str(&blocks(&read("docs/denials.md"), "json")[0]).unwrap();
    let format = reply::ResponseFormat { json: true, ..reply::ResponseFormat::default() };
    let answer = reply::reply(Denial::Token(TokenError::Expired), &format, reply::ChallengeContext::default());
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), problem);
}

fn local_jwks() -> String {
    json!({"keys": [SigningKey::generate(Alg::Es256, "k").public_jwk()]}).to_string()
}

/// Envoy does not object to a `PerRouteConfig` in a route beside a Wasm filter, and does not enforce it either.
#[test]
fn a_requirement_of_a_route_is_ignored() {
    for filter in ["jwks-gate", "envoy.filters.http.jwt_authn"] {
        let config = json!({
            "providers": {"p": {"local_jwks": {"inline_string": local_jwks()}}},
            "rules": [{"match": {"prefix": "/api"}, "requires": {"provider_name": "p"}}],
        });
        let per_route = json!({filter: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
            "requirement_name": "strict",
        }});
        let route = json!({
            "match": {"prefix": "/"}, "direct_response": {"status": 200}, "typed_per_filter_config": per_route,
        });
        let routes = json!({"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]});
        let nowhere = (std::net::Ipv4Addr::LOCALHOST, 9).into();
        let bootstrap = Bootstrap::with_filter(nowhere, wasm_filter(&config));
        let bootstrap = bootstrap.connection_manager_option("route_config", routes);
        let envoy = Envoy::start(&bootstrap.yaml(), EnvoyOptions::default()).unwrap();
        let status = |path: &str| http::send(envoy.addr(), &Request::get(path)).unwrap().status;
        assert_eq!((status("/api"), status("/admin")), (401, 200), "{filter}");
    }
}

/// The migration guide maps Istio's fields to fields that exist.
#[test]
fn the_fields_of_the_migration_guide_exist() {
    let (guide, reference) = (read("docs/jwt_authn.md"), read("docs/configuration.md"));
    let (_, table) = guide.split_once("## From Istio's RequestAuthentication").unwrap();
    let mut seen = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let target = row.split('|').nth(2).unwrap();
        for path in target.split('`').skip(1).step_by(2) {
            let is_field = |field: &&str| field.starts_with(|c: char| c.is_ascii_lowercase()) && !field.contains('\\');
            for field in path.split('.').map(|field| field.trim_end_matches("[]")).filter(is_field) {
                assert!(reference.contains(&format!("| `{field}` |")), "{field}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

/// A configuration of `envoy/`, with free ports.
fn on_free_ports(path: &str, issuer: &Issuer, echo: &Echo) -> String {
    let port = |address: SocketAddr| format!("port_value: {} }}", address.port());
    read(path)
        .replace("port_value: 9901 }", "port_value: 0 }")
        .replace("port_value: 10000 }", "port_value: 0 }")
        .replace("port_value: 9000 }", &port(issuer.addr()))
        .replace("port_value: 9001 }", &port(echo.addr()))
}

#[test]
fn the_demos_configuration_allows_good_tokens_only() {
    let options = Options { issuer: "https://issuer.test".into(), alg: Alg::Es256, ..Options::default() };
    let issuer = Issuer::start(options).unwrap();
    let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let config = on_free_ports("envoy/envoy.yaml", &issuer, &echo);
    let envoy = Envoy::start(&config, EnvoyOptions::default()).unwrap();
    let get = |path: &str, token: &str| http::send(envoy.addr(), &Request::get(path).bearer(token)).unwrap().status;
    assert_eq!((get("/api/x", &issuer.token()), get("/api/x", "x"), get("/", "x")), (200, 401, 200));
    // Envoy normalises paths before rules match.
    for path in ["/other/../api/x", "//api/x", "/%61pi/x", "/./api/x"] {
        assert_eq!(get(path, "x"), 401, "{path}");
    }
    assert_eq!(get("/other%2f..%2fapi/x", "x"), 400);
}

#[test]
fn rbac_decides_by_claims() {
    let options = Options { issuer: "https://issuer.test".into(), alg: Alg::Es256, ..Options::default() };
    let issuer = Issuer::start(options).unwrap();
    let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let envoy = Envoy::start(&on_free_ports("envoy/rbac.yaml", &issuer, &echo), EnvoyOptions::default()).unwrap();
    let status = |request: Request, groups: &[&str], scope: &str| {
        let mut claims = issuer.claims();
        claims["groups"] = groups.into();
        claims["scope"] = scope.into();
        http::send(envoy.addr(), &request.bearer(&issuer.current().mint(&claims))).unwrap().status
    };
    assert_eq!(status(Request::get("/"), &[], ""), 200);
    assert_eq!(status(Request::post("/"), &["staff", "admins"], "read write"), 200);
    assert_eq!(status(Request::post("/"), &["staff"], "read write"), 403);
    assert_eq!(status(Request::post("/"), &["admins-of-nothing"], "write"), 403);
    assert_eq!(status(Request::post("/"), &["admins"], "readwrite"), 403);
    assert_eq!(http::send(envoy.addr(), &Request::get("/")).unwrap().status, 401);
    // The claims of two good tokens are not combined.
    let mint = |claims: serde_json::Value| {
        let mut all = issuer.claims();
        claims.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        issuer.current().mint(&all)
    };
    let (admin, writer) = (mint(json!({"groups": ["admins"], "scope": "read"})), mint(json!({"scope": "write"})));
    for (param, header) in [(&admin, &writer), (&writer, &admin)] {
        let both = Request::post(&format!("/?access_token={param}")).bearer(header);
        assert_eq!(http::send(envoy.addr(), &both).unwrap().status, 403);
    }
    let sub = issuer.claims()["sub"].as_str().unwrap().to_owned();
    let line = format!("403 POST user={sub}");
    assert!(eventually(std::time::Duration::from_secs(5), || envoy.log().contains(&line)), "{}", envoy.log());
}

#[test]
fn istios_plugin_configuration_is_valid() {
    let documents = yaml(&read("envoy/istio/wasmplugin.yaml"));
    let config = &documents[0]["spec"]["pluginConfig"];
    let plan = jwks_gate::config::parse(config.to_string().as_bytes()).unwrap();
    let remote = plan.remotes().next().unwrap().1;
    let entries = yaml(&read("envoy/istio/serviceentry.yaml"));
    let host = entries[0]["spec"]["hosts"][0].as_str().unwrap();
    let Source::Uri(uri) = &remote.source else { panic!("{remote:?}") };
    assert_eq!(uri.cluster, format!("outbound|443||{host}"));
    assert_eq!(documents[0]["spec"]["failStrategy"], "FAIL_RELOAD");
    // The TrafficExtension has this configuration too. The DestinationRule enables TLS for the cluster.
    let extension = yaml(&read("envoy/istio/trafficextension.yaml"));
    assert_eq!(extension[0]["spec"]["wasm"]["pluginConfig"], *config);
    assert_eq!(extension[0]["spec"]["wasm"]["failStrategy"], "FAIL_RELOAD");
    // The proxy has the variable that both read from it.
    let variable = json!([{"name": "JWKS_GATE_SHARED_DATA_SECRET", "valueFrom": "HOST"}]);
    assert_eq!(documents[0]["spec"]["vmConfig"]["env"], variable);
    assert_eq!(extension[0]["spec"]["wasm"]["vmConfig"]["env"], variable);
    let patch = yaml(&read("envoy/istio/gateway-secret.yaml"));
    let container = &patch[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["name"], &container["env"][0]["name"]), (&json!("istio-proxy"), &variable[0]["name"]));
    let rule = entries.iter().find(|document| document["kind"] == "DestinationRule").unwrap();
    assert_eq!(
        (&rule["spec"]["host"], &rule["spec"]["trafficPolicy"]["tls"]["mode"]),
        (&json!(host), &json!("SIMPLE"))
    );
}

#[test]
fn every_make_command_of_the_documents_is_a_target() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    for document in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "tests/README.md",
        "docs/architecture.md",
        "docs/claims.md",
        "docs/jwt_authn.md",
        "docs/configuration.md",
        "docs/key-sets.md",
        "docs/metrics.md",
        "docs/rotation.md",
        "envoy/compose.yaml",
        "docs/performance.md",
        "docs/denials.md",
        "docs/providers.md",
    ] {
        let text = read(document);
        for command in text.split("make ").skip(1) {
            let target: String = command.chars().take_while(char::is_ascii_lowercase).collect();
            let is_command =
                text.contains(&format!("`make {target}`")) || text.contains(&format!("    make {target} "));
            assert!(!is_command || targets.contains(target.as_str()), "{document}: make {target}");
        }
    }
    assert!(targets.contains("demo") && targets.contains("test"));
}

#[test]
fn the_documents_list_every_denial_reason() {
    let listed: Vec<_> =
        read("docs/denials.md").lines().filter(|line| line.contains("` | 4")).map(str::to_owned).collect();
    let mut errors = TokenError::ALL;
    errors.sort_unstable_by_key(|error| error.reason());
    let expected = errors.map(|error| {
        let reply =
            reply::reply(Denial::Token(error), &reply::ResponseFormat::default(), reply::ChallengeContext::default());
        format!("| `{}` | {} | {} |", error.reason(), reply.status, error.text())
    });
    assert_eq!(listed.len(), expected.len());
    for (listed, expected) in listed.iter().zip(expected) {
        assert!(listed.starts_with(&expected), "{listed}\n{expected}");
    }
}

/// A configuration of `envoy/`, running between a test issuer and an upstream.
pub struct Example {
    pub issuer: Issuer,
    _echo: Echo,
    pub envoy: Envoy,
}

impl Example {
    fn start(name: &str) -> Self {
        Self::start_with(name, |config, _| config)
    }

    pub fn start_with(name: &str, adjust: impl FnOnce(String, &Issuer) -> String) -> Self {
        let options = Options { issuer: "https://issuer.test".into(), alg: Alg::Es256, ..Options::default() };
        Self::start_between(Issuer::start(options).unwrap(), name, adjust)
    }

    pub fn start_between(issuer: Issuer, name: &str, adjust: impl FnOnce(String, &Issuer) -> String) -> Self {
        let echo = Echo::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = on_free_ports(&format!("envoy/{name}.yaml"), &issuer, &echo);
        let envoy = Envoy::start(&adjust(config, &issuer), EnvoyOptions::default()).unwrap();
        Self { issuer, _echo: echo, envoy }
    }

    pub fn status(&self, path: &str, token: &str) -> u16 {
        http::send(self.envoy.addr(), &Request::get(path).bearer(token)).unwrap().status
    }

    pub fn mint(&self, header: Value, changes: Value) -> String {
        let (mut head, mut claims) = (header, self.issuer.claims());
        let key = self.issuer.current();
        head["alg"] = json!(key.alg.name());
        head["kid"] = json!(key.kid);
        changes.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        key.mint_with_header(&head, &claims)
    }
}

#[test]
fn the_minimal_example_requires_a_token_of_every_request() {
    let example = Example::start("minimal");
    assert_eq!((example.status("/", &example.issuer.token()), example.status("/", "x")), (200, 401));
}

#[test]
fn the_example_with_several_issuers_separates_their_tokens() {
    // One server acts as both issuers: another path serves the same keys.
    let example =
        Example::start_with("issuers", |config, _| config.replace("/machines/jwks.json", "/.well-known/jwks.json"));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let machine = json!({"iss": "https://machines.test", "exp": now + 600});
    let machine = example.mint(json!({"typ": "at+jwt"}), machine);
    let customer = example.issuer.token();
    assert_eq!((example.status("/x", &customer), example.status("/x", &machine)), (200, 200));
    assert_eq!((example.status("/internal/x", &customer), example.status("/internal/x", &machine)), (401, 200));
    assert_eq!((example.status("/health", "x"), example.status("/x", "x")), (200, 401));
    let long = example.mint(json!({"typ": "at+jwt"}), json!({"iss": "https://machines.test", "exp": now + 3600}));
    assert_eq!(example.status("/x", &long), 401);
}

#[test]
fn the_tls_example_checks_the_issuers_certificate() {
    for (name, expected) in [("issuer.test", 200), ("other.test", 503)] {
        // The test issuer speaks plain HTTP; an Envoy in front of it speaks TLS.
        let mut terminator = None;
        let example = Example::start_with("tls", |config, issuer| {
            let envoy = crate::setup::tls_terminator(issuer);
            let from = format!("port_value: {} }}", issuer.addr().port());
            let to = format!("port_value: {} }}", envoy.addr().port());
            terminator = Some(envoy);
            config.replace(&from, &to).replace("exact: issuer.test", &format!("exact: {name}"))
        });
        assert_eq!(example.status("/", &example.issuer.token()), expected, "{name}");
    }
}

#[test]
fn the_report_example_denies_nothing_and_logs_the_denials() {
    let example = Example::start("report");
    let within = std::time::Duration::from_secs(5);
    // Claims are checked without keys too, but then the log line names no key set.
    assert!(eventually(within, || example.envoy.log().contains("JWKS accepted")));
    let good_but_for_its_scopes = example.issuer.token();
    for (token, line) in [
        (good_but_for_its_scopes.as_str(), "200 would_deny insufficient_scope issuer "),
        ("x", "200 would_deny malformed issuer "),
    ] {
        assert_eq!(example.status("/", token), 200);
        // The line ends with the key set's generation, in milliseconds, and its age, in seconds.
        let is_logged = |log: &str| {
            let mut rest = log.split_once(line)?.1.split_whitespace().map(|word| word.parse::<u64>().ok());
            Some(rest.next()?? > 1_700_000_000_000 && rest.next()?? < 60)
        };
        assert!(eventually(within, || is_logged(&example.envoy.log()) == Some(true)), "{}", example.envoy.log());
    }
    let counted = || example.envoy.stat("wasmcustom.jwks_gate.would_deny.insufficient_scope") == 1;
    assert!(eventually(std::time::Duration::from_secs(3), counted));
}

#[test]
fn the_air_gapped_example_needs_no_issuer() {
    let key = jwks_gate_issuer::SigningKey::generate(Alg::Es256, "2026");
    let example = Example::start_with("air-gapped", |config, _| {
        let (before, rest) = config.split_once("inline_string: '").unwrap();
        let (_, after) = rest.split_once('\'').unwrap();
        format!("{before}inline_string: '{}'{after}", json!({"keys": [key.public_jwk()]}))
    });
    let mut claims = example.issuer.claims();
    claims["iss"] = json!("https://built-in.test");
    example.issuer.stop();
    assert_eq!(example.status("/", &key.mint(&claims)), 200);
    drop(Example::start("air-gapped"));
}

#[test]
fn the_hardened_example_is_bounded() {
    let example = Example::start("hardened");
    let get = |request: &Request| http::send(example.envoy.addr(), request).unwrap();
    assert_eq!(example.status("/", &example.issuer.token()), 200);
    assert_eq!(get(&Request::get(&format!("/?access_token={}", example.issuer.token()))).status, 401);
    assert_eq!(get(&Request::get("/").header("x-large", vec![b'a'; 40_000])).status, 431);
    assert_eq!(get(&Request::get("/").header("x_under", "a")).status, 400);
    let challenge = get(&Request::get("/"));
    assert!(challenge.header("www-authenticate").unwrap().contains("resource_metadata=\"https://"));
}

#[test]
fn the_rehearsal_example_denies_by_the_old_rule_and_reports_the_stricter_rule() {
    let example = Example::start("rehearsal");
    let within = std::time::Duration::from_secs(10);
    // A filter that only reports lets requests through before it has keys.
    let keys = "jwks_gate_provider_keys{provider=\"issuer\",stat_prefix=\"rehearsal\"}";
    assert!(eventually(within, || crate::metrics::scrape(&example.envoy).get(keys) == Some(&1.0)));
    let reader = example.mint(json!({}), json!({"scope": "read"}));
    for token in [&reader, &example.issuer.token()] {
        let echoed = http::send(example.envoy.addr(), &Request::get("/").bearer(token)).unwrap();
        assert_eq!((echoed.status, echoed.json()["headers"]["authorization"].is_null()), (200, true));
    }
    assert_eq!(example.status("/", "x"), 401);
    for line in ["200 would_deny insufficient_scope issuer ", "401 denied malformed issuer "] {
        assert!(eventually(within, || example.envoy.log().contains(line)), "{}", example.envoy.log());
    }
    // Labels separate the two filters. Allowed requests are counted once a second.
    let series = || crate::metrics::scrape(&example.envoy);
    let counted = |labels: &str, times: f64| {
        let has_value = || series().get(&format!("jwks_gate_provider_{labels}")) == Some(&times);
        assert!(eventually(within, has_value), "{labels}: {:#?}", series());
    };
    counted("requests{outcome=\"malformed\",provider=\"issuer\"}", 1.0);
    counted("requests{outcome=\"allowed\",provider=\"issuer\"}", 2.0);
    counted("would_deny{outcome=\"insufficient_scope\",provider=\"issuer\",stat_prefix=\"rehearsal\"}", 1.0);
    counted("keys{provider=\"issuer\"}", 1.0);
    counted("keys{provider=\"issuer\",stat_prefix=\"rehearsal\"}", 1.0);
}

#[test]
fn the_live_example_revokes_a_key_by_moving_a_file_into_place() {
    let directory = Directory::create().unwrap();
    let watched = directory.file("jwks-gate.yaml");
    let publish = |config: &str| {
        let new = directory.file("new.yaml");
        fs::write(&new, config).unwrap();
        fs::rename(new, &watched).unwrap();
    };
    let mut live = String::new();
    let example = Example::start_with("live", |config, issuer| {
        live = read("envoy/live/jwks-gate.yaml").replace(":9000/", &format!(":{}/", issuer.addr().port()));
        publish(&live);
        let example_path = "path: envoy/live/jwks-gate.yaml";
        assert!(config.contains(example_path));
        config.replace(example_path, &format!("path: {}", watched.display()))
    });
    let within = std::time::Duration::from_secs(10);
    let (old, old_kid) = (example.issuer.token(), example.issuer.current().kid.clone());
    assert!(eventually(within, || example.status("/", &old) == 200));
    example.issuer.rotate(jwks_gate_issuer::Rotation::Overlap);
    let new = example.issuer.token();
    assert!(eventually(within, || example.status("/", &new) == 200));
    assert_eq!((example.status("/", &old), example.issuer.stats().jwks_requests), (200, 2));

    let uri = "http_uri: {";
    assert!(live.contains(uri));
    let misspelt = live.replace(uri, &format!("rotation: {{ revoked_key: [{old_kid}] }}\n                {uri}"));
    publish(&misspelt);
    assert!(
        eventually(within, || example.envoy.log().contains("revoked_key: unknown field")),
        "{}",
        example.envoy.log()
    );
    assert_eq!((example.status("/", &old), example.status("/", &new)), (200, 200));

    publish(&misspelt.replace("revoked_key:", "revoked_keys:"));
    assert!(eventually(within, || example.status("/", &old) == 401));
    assert_eq!(example.status("/", &new), 200);
    assert_eq!(example.issuer.stats().jwks_requests, 2, "the new configuration keeps the keys");
}

/// Validates a configuration with the command of the README.
fn validate(path: &Path) -> (bool, String) {
    let mut command = std::process::Command::new(jwks_gate_testbed::envoy_path());
    let output = command.current_dir(workspace_root()).args(["--mode", "validate", "-c"]).arg(path).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn envoys_validate_mode_names_the_invalid_field() {
    let mut seen = 0;
    for entry in fs::read_dir(workspace_root().join("envoy")).unwrap() {
        let path = entry.unwrap().path();
        let is_bootstrap = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("static_resources:"));
        if path.extension().is_some_and(|extension| extension == "yaml") && is_bootstrap(&path) {
            let (is_valid, log) = validate(&path);
            assert!(is_valid, "{}: {log}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
    let directory = Directory::create().unwrap();
    let bad = directory.file("bad.yaml");
    fs::write(&bad, read("envoy/minimal.yaml").replace("cluster: issuer, timeout: 2s", "cluster: issuer, timeout: 2x"))
        .unwrap();
    let (is_valid, log) = validate(&bad);
    let message = "providers.issuer.remote_jwks.http_uri.timeout: must be a duration in seconds";
    assert!(!is_valid && log.contains(message), "{log}");
    assert!(read("README.md").contains("target/envoy/envoy --mode validate -c FILE"));
}

/// Each configuration in `envoy/` and `envoy/recipes/` has a test.
#[test]
fn every_example_has_a_test() {
    let tests = read("tests/e2e/docs.rs") + &read("tests/e2e/compose.rs") + &read("tests/e2e/recipes.rs");
    for folder in ["", "recipes/"] {
        for entry in fs::read_dir(workspace_root().join("envoy").join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(".yaml") {
                let name = format!("{folder}{name}");
                let runs = [
                    format!("Example::start(\"{name}\")"),
                    format!("Example::start_with(\"{name}\""),
                    format!("Example::start_between(issuer, \"{name}\""),
                    format!("envoy/{name}.yaml"),
                ];
                assert!(runs.iter().any(|run| tests.contains(run)), "{name}");
            }
        }
    }
}
