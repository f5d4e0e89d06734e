//! The command as a user runs it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use jwks_gate_issuer::{Alg, Issuer, Options, Rotation};
use serde_json::{json, Value};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(args: &[&str]) -> Output {
    run_with(args, "")
}

/// The command with this standard input.
fn run_with(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jwks-gate"));
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    command.args(args).current_dir(workspace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
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

    // What users copy: a header, its value, and lines that a terminal broke.
    let broken = format!("{}\n{}\n", &good[..80], &good[80..]);
    for copied in [format!("Bearer {good}"), format!("Authorization: Bearer {good}"), broken] {
        let output = site.explain(&copied, &with_keys);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let args =
            ["explain", "--config", &site.config, "--jwks", &site.jwks, "--request", "GET /api/x", "--token", "-"];
        assert_eq!(run_with(&args, &copied).status.code(), Some(0), "{copied}");
    }
    let empty = site.explain("", &with_keys);
    assert_eq!(empty.status.code(), Some(1));
    assert!(text(&empty).contains("--token is empty") && text(&empty).contains("denied with 401: missing"));
    let header = format!("X-Token: {good}");
    let elsewhere = site.explain(&good, &["--jwks", &site.jwks, "--header", &header]);
    assert!(text(&elsewhere).contains("no provider of the rule looks where the token is"), "{}", text(&elsewhere));
    let header = format!("authorization: Bearer {good}");
    let request = ["--request", "GET https://api.test/api/x", "--header", &header];
    let found = run(&[&["explain", "--config", &site.config, "--jwks", &site.jwks], &request[..]].concat());
    for expected in ["a token in the header \"authorization\"", "the token is good", "GET api.test/api/x"] {
        assert!(text(&found).contains(expected), "{expected}: {}", text(&found));
    }
    let twice = run(&["explain", "--config", "-", "--token", "-"]);
    assert_eq!(twice.status.code(), Some(2), "{}", text_of(&twice));

    let waits = site.explain(&good, &[]);
    assert!(text(&waits).contains("decision   waits"), "{}", text(&waits));

    let expired = site.explain(&good, &["--jwks", &site.jwks, "--at", "2100-01-01T00:00:00Z", "--json"]);
    assert_eq!(expired.status.code(), Some(1));
    let verdict = &json_of(&expired)["verdict"];
    assert_eq!((&verdict["status"], &verdict["reason"]), (&json!(401), &json!("expired")), "{verdict}");

    site.issuer.rotate(Rotation::Hard);
    let of_new_key = site.issuer.token();
    let unknown = text(&site.explain(&of_new_key, &with_keys));
    for expected in ["no key verifies the token", "waits      at most ", "decision   denied with 401: unknown_key"] {
        assert!(unknown.contains(expected), "{expected}: {unknown}");
    }
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
fn one_of_several_configurations_is_chosen_by_its_number() {
    let two = ["first", "second"].map(|name| {
        let jwks = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}"#;
        json!({
            "providers": {name: {"issuer": name, "algorithms": ["HS256"], "local_jwks": {"inline_string": jwks}}},
            "rules": [{"match": {"prefix": format!("/{name}/")}, "requires": {"provider_name": name}}],
        })
    });
    let path = file("two.yaml", &format!("{}\n---\n{}\n", two[0], two[1]));
    let explain = |more: &[&str]| run(&[&["explain", "--config", &path, "--request", "GET /second/x"], more].concat());
    let unchosen = explain(&[]);
    let error = String::from_utf8(unchosen.stderr.clone()).unwrap();
    assert_eq!(unchosen.status.code(), Some(2));
    assert!(error.contains("2 configurations, in the lines 1, 3; choose one by --number"), "{error}");
    assert_eq!(explain(&["--number", "3"]).status.code(), Some(2));
    assert_eq!(explain(&["--number", "0"]).status.code(), Some(2));
    assert!(text(&explain(&["--number", "1"])).contains("no rule matches"));
    assert!(text(&explain(&["--number", "2"])).contains("denied with 401: missing"));
}

#[test]
fn an_explanation_says_what_is_accepted_and_what_envoy_may_change() {
    let explain = |request: &str, claims: Value| {
        let issuer = Issuer::start(Options { alg: Alg::Es256, ..Options::default() }).unwrap();
        let config = json!({
            "providers": {"p": {"issuer": "https://issuer.example/", "audiences": ["api", "web"], "local_jwks": {
                "inline_string": String::from_utf8(issuer.jwks()).unwrap(),
            }}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        });
        let token = issuer.current().mint(&claims);
        text(&run(&[
            "explain",
            "--config",
            &file("accepted.json", &config.to_string()),
            "--token",
            &token,
            "--request",
            request,
        ]))
    };
    let other_issuer = explain("GET /x", json!({"iss": "https://issuer.example", "aud": "api"}));
    assert!(
        other_issuer.contains(r#"1 provider does not accept this issuer; accepted issuers: "https://issuer.example/""#),
        "{other_issuer}"
    );
    let other_audience = explain("GET /x", json!({"iss": "https://issuer.example/", "aud": "apis"}));
    assert!(other_audience.contains(r#"accepted audiences: "api", "web""#), "{other_audience}");
    for path in ["//x", "/a/../x", "/a%2Fx", "/a\\x", "/%2e/x"] {
        let shown = explain(&format!("GET {path}"), json!({}));
        assert!(shown.contains("Envoy may change this path"), "{path}: {shown}");
    }
    assert!(!explain("GET /a.b/..c?d=//e", json!({})).contains("Envoy may change"));
}

#[test]
fn what_cannot_be_converted_is_named_with_its_line() {
    let filter = r#"
- name: jwt_authn
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      p: { issuer: i, local_jwks: { filename: /keys.json } }
"#;
    let output = run(&["convert", &file("rejected.yaml", filter)]);
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("providers.p.local_jwks.filename") && error.contains("rejected.yaml:6:"), "{error}");
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

/// An issuer that gives each of these responses at its number. Returns the address, and what was asked.
fn server(responses: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(Mutex::new(Vec::new())));
    let log = asked.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            lines.find(String::is_empty);
            let number = first.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse::<usize>().ok());
            log.lock().unwrap().push(first);
            let response = number.and_then(|number| responses.get(number)).cloned().unwrap_or_default();
            // A client that has read enough closes.
            let _ = stream.write_all(response.as_bytes());
            if response.ends_with("stalls") {
                thread::spawn(move || {
                    thread::sleep(Duration::from_secs(30));
                    drop(stream);
                });
            }
        }
    });
    (address, asked)
}

#[test]
fn a_jwks_is_fetched_from_a_url() {
    let site = Explained::new("url");
    let uri = site.issuer.jwks_uri();
    assert_eq!(text(&run(&["jwks", &uri])), text(&run(&["jwks", &site.jwks])));
    let output = site.explain(&site.issuer.token(), &["--jwks", &uri]);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    // The command of the README.
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let command = "explain --config FILE --jwks JWKS-URL --token TOKEN --request 'GET URL'";
    assert!(readme.contains(&format!("cargo run -p jwks-gate-cli -- {command}\n")));
    let mut claims = site.issuer.claims();
    claims["aud"] = json!("other");
    let token = site.issuer.current().mint(&claims);
    let request = "GET https://api.test/api/x";
    let args = ["explain", "--config", &site.config, "--jwks", &uri, "--token", &token, "--request", request];
    let shown = text(&run(&args));
    assert!(shown.contains("decision   denied with 403: audience_not_allowed (docs/denials.md)"), "{shown}");
    let large = json!({"keys": [], "x": "a".repeat(1 << 20)}).to_string();
    let (address, asked) = server(vec![
        "HTTP/1.1 302 Found\r\nlocation: /1\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}".to_owned(),
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{large}", large.len()),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nstalls".to_owned(),
    ]);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for (url, reason) in [
        (format!("{address}/0"), "a redirect to \"/1\": Envoy follows no redirect"),
        (format!("{address}/2"), "status 404 Not Found, expected 200"),
        (format!("{address}/3"), "the document is longer than 1048576 bytes (max_document_bytes)"),
        (format!("{address}/4"), ""),
        (format!("{address}/5"), "no whole response within 10 s"),
        (format!("{address}/6"), ""),
        (address.replace("http:", "https:"), ""),
        (format!("http://{closed}/"), ""),
        ("http://".to_owned(), ""),
    ] {
        for command in [&["jwks", &url][..], &["explain", "--config", &site.config, "--jwks", &url]] {
            let output = run(command);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.status.code(), text(&output).as_str()), (Some(2), ""), "{url}: {stderr}");
            assert!(stderr.starts_with(&format!("jwks-gate: {url}: ")) && stderr.contains(reason), "{url}: {stderr}");
        }
    }
    assert!(!asked.lock().unwrap().iter().any(|line| line.starts_with("GET /1 ")), "no redirect is followed");
    let output = run(&["jwks", &format!("{address}/1")]);
    assert_eq!(
        (output.status.code(), text(&output).contains("an empty JWKS")),
        (Some(1), true),
        "{}",
        text_of(&output)
    );
}
