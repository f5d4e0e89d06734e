//! The command as a user runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use jwks_gate_issuer::{Alg, Issuer, Options, Rotation};
use serde_json::{json, Value};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jwks-gate"))
        .args(args)
        .stdin(Stdio::null())
        .current_dir(workspace())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file in a directory of this test run.
fn file(name: &str, content: &str) -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn findings(output: &Output) -> Vec<(String, u64)> {
    let list = json_of(output);
    let of = |finding: &Value| (finding["code"].as_str().unwrap().to_owned(), finding["line"].as_u64().unwrap());
    list.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_mistake_has_its_line_and_a_caret() {
    let path = file("mistake.yaml", "providers:\n  p:\n    issuer: https://i.test\n    audience: [api]\nrules: []\n");
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output);
    assert!(shown.contains("providers.p.audience: unknown field `audience`"), "{shown}");
    assert!(shown.contains("mistake.yaml:4:"), "{shown}");
    assert!(shown.contains('^'), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colour only on a terminal");
}

/// Files for Prometheus, for Compose and for the gateway's Deployment configure no proxy.
#[test]
fn the_shipped_configurations_have_no_findings() {
    let others = ["compose.yaml", "gateway-secret.yaml"];
    let mut checked = 0;
    let mut open = vec![workspace().join("envoy")];
    while let Some(path) = open.pop() {
        if path.is_dir() && !path.ends_with("prometheus") {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "yaml")
            && !others.iter().any(|other| path.ends_with(other))
        {
            let output = run(&["--json", "check", path.to_str().unwrap()]);
            let list = json_of(&output);
            let found: Vec<_> =
                list.as_array().unwrap().iter().filter(|finding| finding["severity"] != "note").collect();
            assert!(found.is_empty(), "{}: {found:#?}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}

/// One configuration with a mistake of every kind, and what is found on which line.
#[test]
fn each_lint_finds_its_mistake() {
    let text = r#"static_resources:
  listeners:
  - filter_chains:
    - filters:
      - typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: api
          http_filters:
          - typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                fail_open: true
                configuration:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: |
                    {
                      "shared_data_secret": "0123456789abcdef",
                      "providers": {
                        "a": {"issuer": "https://token.actions.githubusercontent.com",
                          "max_lifetime": "60s",
                          "remote_jwks": {"http_uri": {"uri": "https://a.test/k", "cluster": "plain", "timeout": "1s"},
                            "rotation": {"retired_key_grace": "600s", "max_stale": "30s",
                              "unknown_kid_min_interval": "60s"}}},
                        "b": {"issuer": "https://token.actions.githubusercontent.com", "audiences": ["x"],
                          "remote_jwks": {"http_uri": {"uri": "https://b.test/k", "cluster": "missing", "timeout": "1s"}}}
                      },
                      "rules": [
                        {"match": {"prefix": "/api"}, "requires": {"provider_name": "a"}},
                        {"match": {"path": "/api/x"}}
                      ]
                    }
  clusters:
  - name: plain
"#;
    let path = file("lints.yaml", text);
    let output = run(&["--json", "check", &path]);
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    for expected in [
        ("paths_not_normalized", 7),
        ("no_stream_idle_timeout", 7),
        ("fails_open", 12),
        ("secret_in_clear", 17),
        ("no_audiences", 19),
        ("public_issuer", 19),
        ("unverified_issuer", 21),
        ("longer_than_tokens", 22),
        ("short_wait", 22),
        ("same_issuer", 24),
        ("public_issuer", 24),
        ("unknown_cluster", 25),
        ("unreachable_rule", 29),
    ] {
        let line = |(code, _): &&(String, u64)| code == expected.0;
        assert!(
            found.contains(&(expected.0.to_owned(), expected.1)),
            "{expected:?}: {:?}",
            found.iter().filter(line).collect::<Vec<_>>()
        );
    }
    assert!(!found.iter().any(|(code, _)| code == "rejected"), "{found:?}");
}

/// Findings show lines, and no secret in them.
#[test]
fn no_secret_is_printed() {
    let text = r#"shared_data_secret: "geheim-geheim-geheim"
providers:
  p:
    issuer: 7
    remote_jwks:
      http_uri: { uri: "https://i.test/k", cluster: c, timeout: 1s }
      request_headers: [{ key: x-key, value: "geheim-1" }]
  q:
    local_jwks: { inline_string: '{"keys":[{"kty":"oct","k":"geheim-2"}]}' }
    algorithms: [HS256]
  r:
    local_jwks:
      inline_string: |
        {"keys":[{"kty":"oct",
          "k":"geheim-3"}]}
"#;
    let shown = text_of(&run(&["check", &file("secrets.yaml", text)]));
    assert!(shown.contains("secret_in_clear") && !shown.contains("geheim"), "{shown}");
    let one_line = r#"{"shared_data_secret":"geheim-geheim-geheim","providers":{"p":{"issuer":7}}}"#;
    let shown = text_of(&run(&["check", &file("one-line.json", one_line)]));
    assert!(shown.contains("issuer") && !shown.contains("geheim"), "{shown}");
}

#[test]
fn wrong_usage_is_code_2() {
    assert_eq!(run(&["check"]).status.code(), Some(2));
    assert_eq!(run(&["check", "/nonexistent.yaml"]).status.code(), Some(2));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(2));
    assert!(text(&run(&["completions", "bash"])).contains("jwks-gate"));
}

struct Explained {
    issuer: Issuer,
    config: String,
    jwks: String,
}

impl Explained {
    fn new(name: &str) -> Self {
        let issuer = Issuer::start(Options { alg: Alg::Es256, ..Options::default() }).unwrap();
        let config = json!({
            "providers": {"p": {
                "issuer": issuer.issuer(), "audiences": ["api"],
                "remote_jwks": {"http_uri": {"uri": issuer.jwks_uri(), "cluster": "issuer", "timeout": "2s"}},
            }},
            "rules": [{"match": {"prefix": "/api/"}, "requires": {"provider_name": "p"}}],
        });
        let config = file(&format!("{name}.json"), &config.to_string());
        let jwks = file(&format!("{name}.jwks"), &String::from_utf8(issuer.jwks()).unwrap());
        Self { issuer, config, jwks }
    }

    fn explain(&self, token: &str, more: &[&str]) -> Output {
        let args = ["explain", "--config", &self.config, "--token", token, "--request", "GET /api/x"];
        run(&[&args[..], more].concat())
    }
}

#[test]
fn a_decision_is_explained() {
    let site = Explained::new("explained");
    let good = site.issuer.token();
    let with_keys = ["--jwks", &site.jwks];
    let output = site.explain(&good, &with_keys);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for expected in ["rules[0] is the first that matches", "the token is good", "decision   allowed"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let subject = site.issuer.claims()["sub"].as_str().unwrap().to_owned();
    let signature = good.rsplit('.').next().unwrap();
    assert!(!shown.contains(signature) && !shown.contains(&subject), "{shown}");
    assert!(text(&site.explain(&good, &["--jwks", &site.jwks, "--show-claims"])).contains(&subject));

    let waits = site.explain(&good, &[]);
    assert!(text(&waits).contains("decision   waits"), "{}", text(&waits));

    let expired = site.explain(&good, &["--jwks", &site.jwks, "--at", "2100-01-01T00:00:00Z", "--json"]);
    assert_eq!(expired.status.code(), Some(1));
    let verdict = &json_of(&expired)["verdict"];
    assert_eq!((&verdict["status"], &verdict["reason"]), (&json!(401), &json!("expired")), "{verdict}");

    site.issuer.rotate(Rotation::Hard);
    let of_new_key = site.issuer.token();
    let unknown = text(&site.explain(&of_new_key, &with_keys));
    assert!(unknown.contains("no key verifies the token"), "{unknown}");
    // A token cannot say that it is good.
    let forged = site.issuer.current().mint(&json!({"iss": "o", "the token is good": 1}));
    let forged = site.explain(&forged, &["--jwks", &site.jwks, "--provider", "p"]);
    assert_eq!(forged.status.code(), Some(1), "{}", text(&forged));
    let in_query = run(&["explain", "--config", &site.config, "--request", &format!("GET /api/x?access_token={good}")]);
    assert!(!text(&in_query).contains(signature), "{}", text(&in_query));
    let missing = run(&["explain", "--config", &site.config, "--request", "GET /other", "--json"]);
    assert_eq!(json_of(&missing)["verdict"]["decision"], "allowed");
}

#[test]
fn keys_are_listed_with_what_is_skipped() {
    let jwks = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},{"kty":"oct","kid":"s","k":"AAAA"}]}"#;
    let path = file("keys.jwks", jwks);
    let output = run(&["jwks", &path]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("a  P-256  ES256  thumbprint ") && shown.contains("skipped: keys[1] \"s\""), "{shown}");
    assert!(!shown.contains("AAAA"), "no secret");
}

const REQUEST_AUTHENTICATION: &str = r#"
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: jwt, namespace: istio-system }
spec:
  selector: { matchLabels: { istio: ingressgateway } }
  jwtRules:
  - issuer: https://issuer.test
    audiences: [api]
    jwksUri: https://issuer.test/jwks.json
    forwardOriginalToken: true
    fromHeaders: [{ name: x-token, prefix: "T " }]
    outputClaimToHeaders: [{ header: x-sub, claim: sub }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: need }
spec:
  action: DENY
  rules:
  - from: [{ source: { notRequestPrincipals: ["*"] } }]
    to: [{ operation: { paths: ["/api/*"] } }]
"#;

const SECURITY_POLICY: &str = r#"
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: jwt }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: r }]
  jwt:
    optional: true
    providers:
    - name: example
      issuer: https://issuer.test
      remoteJWKS: { uri: "https://issuer.test/jwks.json", cacheDuration: 5m }
      claimToHeaders: [{ header: x-sub, claim: sub }]
"#;

#[test]
fn what_runs_today_is_converted() {
    let of = |name: &str, text: &str, to: &str| {
        let output = run(&["convert", &file(name, text), "--to", to]);
        (output.status.code(), text_of(&output))
    };
    let (code, config) = of("ra.yaml", REQUEST_AUTHENTICATION, "config");
    assert_eq!(code, Some(1), "the cluster is a note: {config}");
    assert!(config.contains("outbound|443||issuer.test") && config.contains("prefix: /api/"), "{config}");
    let (_, plugin) = of("ra.yaml", REQUEST_AUTHENTICATION, "wasmplugin");
    assert!(plugin.contains("kind: WasmPlugin") && plugin.contains("istio: ingressgateway"), "{plugin}");
    let (_, policy) = of("sp.yaml", SECURITY_POLICY, "envoyextensionpolicy");
    assert!(policy.contains("kind: EnvoyExtensionPolicy") && policy.contains("kind: HTTPRoute"), "{policy}");
    let (_, config) = of("sp.yaml", SECURITY_POLICY, "config");
    assert!(config.contains("allow_missing") && config.contains("cache_duration: 300s"), "{config}");
    for (name, text) in [("ra.yaml", REQUEST_AUTHENTICATION), ("sp.yaml", SECURITY_POLICY)] {
        for to in ["config", "envoy", "ecds", "wasmplugin", "envoyextensionpolicy"] {
            let (_, converted) = of(name, text, to);
            let checked = run(&["--json", "check", &file("converted.yaml", &converted)]);
            let list = json_of(&checked);
            let errors = list.as_array().unwrap().iter().filter(|finding| finding["severity"] == "error").count();
            assert_eq!(errors, 0, "{name} {to}: {list} {converted}");
        }
    }
    // One path without a form here: nothing of the policy is carried over, and a note says so.
    let odd = REQUEST_AUTHENTICATION.replace(r#""/api/*""#, r#""/api/*", "*/admin""#);
    let (_, config) = of("odd.yaml", &odd, "config");
    assert!(
        config.contains("AuthorizationPolicy \"need\" is not carried over") && !config.contains("prefix: /api/"),
        "{config}"
    );
    let (_, two) = of("two.yaml", &format!("{REQUEST_AUTHENTICATION}---{SECURITY_POLICY}"), "wasmplugin");
    assert!(two.contains("\n---\n") && two.contains("name: jwks-gate-jwt"), "{two}");
    assert_eq!(run(&["convert", &file("nothing.yaml", "a: 1\n")]).status.code(), Some(2));
}

fn text_of(output: &Output) -> String {
    text(output) + &String::from_utf8_lossy(&output.stderr)
}
