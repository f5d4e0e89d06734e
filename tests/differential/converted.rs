//! What `jwks-gate convert` makes of a document answers as what runs today. Each folder of `converted` has the document,
//! the configuration of `jwt_authn` that Envoy, istiod or Envoy Gateway makes of the document, and the result of `convert`,
//! which a test of the command compares with the document.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use jwks_gate_issuer::{Alg, Issuer, Options};
use jwks_gate_testbed::{http::Request, workspace_root};
use serde_json::{json, Value};

use crate::pair::{Pair, Seen};

/// The keys that the documents contain, which nobody can sign with.
const EXAMPLE_KEYS: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
/// What stands for the keys in the other files.
const PLACEHOLDER: &str = "KEYS OF https://issuer.test";

/// A request that the two answer in different ways, with the reason.
struct Difference {
    document: &'static str,
    shows: fn(&str) -> bool,
    reason: &'static str,
}

/// docs/cli.md lists what is here.
const DIFFERENCES: &[Difference] = &[Difference {
    document: "request-authentication-with-policy",
    shows: |name| ["/api/x preflight good", "/admin preflight good"].contains(&name),
    reason: "a policy denies a preflight with a good token",
}];

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Puts the keys of the running issuer in place of those that stand for them.
fn with_keys(value: &mut Value, keys: &str) {
    match value {
        Value::String(text) if text == PLACEHOLDER || text.contains(EXAMPLE_KEYS) => *text = keys.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| with_keys(item, keys)),
        Value::Object(members) => members.values_mut().for_each(|member| with_keys(member, keys)),
        _ => {}
    }
}

fn issuer(name: &str) -> Issuer {
    let issuer = Issuer::start(Options { alg: Alg::Es256, issuer: name.to_owned(), ..Options::default() }).unwrap();
    let metadata = json!({"issuer": name, "jwks_uri": format!("{name}/.well-known/jwks.json")});
    issuer.set_metadata(Some((200, metadata.to_string())));
    issuer
}

/// Tokens of both issuers, good and bad, by name.
fn tokens(first: &Issuer, second: &Issuer) -> Vec<(&'static str, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims =
        |iss: &str| json!({"iss": iss, "sub": "alice", "aud": "api", "exp": now + 3600, "address": {"city": "Bonn"}});
    let with = |iss: &str, field: &str, value: Value| {
        let mut claims = claims(iss);
        claims[field] = value;
        claims
    };
    let without = |field: &str| {
        let mut claims = claims(first.issuer());
        claims.as_object_mut().unwrap().remove(field);
        claims
    };
    let (one, two) = (first.current(), second.current());
    let iss = first.issuer();
    vec![
        ("good", one.mint(&claims(iss))),
        ("good of the second", two.mint(&claims(second.issuer()))),
        ("expired", one.mint(&with(iss, "exp", json!(now - 3600)))),
        ("other audience", one.mint(&with(iss, "aud", json!(["other"])))),
        ("without audience", one.mint(&without("aud"))),
        ("without sub", one.mint(&without("sub"))),
        ("empty sub", one.mint(&with(iss, "sub", json!("")))),
        // A kid that the first does not have would make jwks-gate wait for a refresh.
        ("signed by the second", two.mint_with_header(&json!({"alg": "ES256", "kid": one.kid}), &claims(iss))),
        ("unknown issuer", one.mint(&claims("https://unknown.test"))),
        ("garbage", "garbage".to_owned()),
    ]
}

/// Each token at each place, on each path.
fn requests(tokens: &[(&'static str, String)]) -> Vec<(String, Request)> {
    let mut requests = Vec::new();
    for path in ["/", "/api", "/api/x", "/admin", "/healthz"] {
        requests.push((format!("{path} no token"), Request::get(path)));
        let preflight = |origin: &str| {
            let request = Request::new("OPTIONS", path).header("access-control-request-method", "GET");
            request.header("origin", origin)
        };
        requests.push((format!("{path} preflight"), preflight("https://app.test")));
        for (name, token) in tokens {
            let places = [
                ("bearer", Request::get(path).bearer(token)),
                ("x-token", Request::get(path).header("x-token", format!("T {token}"))),
                ("param", Request::get(&format!("{path}?token={token}&a=b"))),
                ("access_token", Request::get(&format!("{path}?access_token={token}"))),
                ("cookie", Request::get(path).header("cookie", format!("session={token}; a=b"))),
                ("preflight", preflight("https://app.test").bearer(token)),
            ];
            requests.extend(places.map(|(place, request)| (format!("{path} {place} {name}"), request)));
        }
        // Two tokens.
        for (one, first) in tokens.iter().take(3) {
            for (other, second) in tokens.iter().take(3) {
                let request = Request::get(path).bearer(first).header("x-token", format!("T {second}"));
                requests.push((format!("{path} two tokens: {one}, {other}"), request));
            }
        }
    }
    requests
}

/// Whether both say the same. Behind a policy, `jwt_authn` allows what the policy denies: the texts of the denials differ.
fn is_same(native: &Seen, ours: &Seen, has_policy: bool) -> bool {
    match has_policy && native.status == 403 {
        true => [401, 403].contains(&ours.status),
        false => native == ours,
    }
}

#[test]
fn converted_configurations_answer_as_the_originals() {
    let (first, second) = (issuer("https://issuer.test"), issuer("https://second.test"));
    let keys = String::from_utf8(first.jwks()).unwrap();
    let mut clusters = Vec::new();
    for (issuer, host, short) in [(&first, "issuer.test", "issuer"), (&second, "second.test", "second")] {
        let names = [short.to_owned(), host.to_owned(), format!("outbound|443||{host}")];
        clusters.extend(names.map(|name| (name, issuer.addr())));
    }
    let requests = requests(&tokens(&first, &second));
    let (mut documents, mut wrong, mut shown) = (0, Vec::new(), Vec::new());
    let mut folders: Vec<_> = fs::read_dir(workspace_root().join("tests/differential/converted"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    for folder in folders {
        let document = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let (mut native, mut ours) = (yaml(&folder.join("native.yaml")), yaml(&folder.join("converted.yaml")));
        with_keys(&mut native, &keys);
        with_keys(&mut ours, &keys);
        let pair = Pair::start_behind(&native["jwt_authn"], &ours, &native["rbac"], &clusters);
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        for (name, request) in &requests {
            let [native_answer, our_answer] = pair.ask(request);
            *statuses.entry(our_answer.status).or_default() += 1;
            let listed = DIFFERENCES.iter().find(|known| known.document == document && (known.shows)(name));
            match (is_same(&native_answer, &our_answer, native["rbac"].is_object()), listed) {
                (true, _) => {}
                (false, Some(known)) => {
                    // The token is good: nobody passes who could not pass with another method.
                    assert_eq!((native_answer.status, our_answer.status), (403, 200), "{document}: {name}");
                    shown.push(known.reason);
                }
                (false, None) => wrong.push(format!("{document}: {name}: {native_answer:?}\n    {our_answer:?}")),
            }
        }
        println!("{document}: {} requests, {statuses:?}", requests.len());
        assert!(statuses.len() >= 2, "{document}: {statuses:?}");
        documents += 1;
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(DIFFERENCES.iter().all(|known| shown.contains(&known.reason)), "{shown:?}");
    assert!(documents >= 10, "{documents}");
}
