use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::Request;
use serde_json::{json, Value};

use crate::pair::{compare_all, Difference, Pair};

struct Fixture {
    a: SigningKey,
    b: SigningKey,
    now: u64,
}

impl Fixture {
    fn new() -> Self {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        Self { a: SigningKey::generate(Alg::Rs256, "a1"), b: SigningKey::generate(Alg::Es256, "b1"), now }
    }

    fn claims(&self, issuer: &str) -> Value {
        json!({
            "iss": issuer, "aud": ["api"], "sub": "alice", "iat": self.now - 10, "exp": self.now + 600,
            "n": 7, "neg": -7, "frac": 1.5, "big": 9_007_199_254_740_993_u64, "huge": 1e300, "flag": true, "list": ["x", 1], "obj": {"in": {"ner": "deep"}},
            "empty": "", "nil": null, "dotted.name": "dots", "scope": "read write",
        })
    }

    fn with(&self, key: &SigningKey, issuer: &str, changes: Value) -> String {
        let mut claims = self.claims(issuer);
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        key.mint(&claims)
    }

    fn good_a(&self) -> String {
        self.with(&self.a, "https://a.test", json!({}))
    }

    fn good_b(&self) -> String {
        self.with(&self.b, "https://b.test", json!({}))
    }

    fn jwks(&self, key: &SigningKey) -> Value {
        json!({"inline_string": json!({"keys": [key.public_jwk()]}).to_string()})
    }

    fn block(&self) -> Value {
        let claims: Vec<_> = [
            "sub",
            "n",
            "neg",
            "frac",
            "huge",
            "flag",
            "list",
            "obj",
            "obj.in.ner",
            "empty",
            "nil",
            "none.such",
            "aud",
            "iat",
        ]
        .iter()
        .map(|name| json!({"header_name": format!("X-Claim-{}", name.replace('.', "-")), "claim_name": name}))
        .collect();
        let local = |key, more: Value| {
            let mut provider = json!({"local_jwks": self.jwks(key)});
            for (name, value) in more.as_object().unwrap() {
                provider[name] = value.clone();
            }
            provider
        };
        let provider = |name: &str| json!({"provider_name": name});
        let any = |list: Value| json!({"requires_any": {"requirements": list}});
        let all = |list: Value| json!({"requires_all": {"requirements": list}});
        let rule = |prefix: &str, requires: Value| json!({"match": {"prefix": prefix}, "requires": requires});
        let a = provider("a");
        let b = provider("b");
        json!({
            "providers": {
                "a": local(&self.a, json!({
                    "issuer": "https://a.test", "audiences": ["api", "https://api.test/"],
                    "forward_payload_header": "X-Payload", "claim_to_headers": claims,
                })),
                "b": local(&self.b, json!({
                    "issuer": "https://b.test", "forward": true,
                    "forward_payload_header": "x-payload-b", "pad_forward_payload_header": true,
                    "from_headers": [{"name": "X-B"}, {"name": "x-b-prefixed", "value_prefix": "jwt="}],
                    "from_params": ["tb"], "from_cookies": ["cb"],
                })),
                "strict": local(&self.a, json!({
                    "issuer": "https://strict.test", "require_expiration": true, "max_lifetime": "3600s",
                    "subjects": {"prefix": "ali"}, "clock_skew_seconds": 5,
                })),
                "expiring": local(&self.a, json!({"issuer": "https://expiring.test", "require_expiration": true})),
                "numbers": local(&self.a, json!({"issuer": "https://numbers.test", "claim_to_headers": [
                    {"header_name": "x-big", "claim_name": "big"}, {"header_name": "x-dotted", "claim_name": "dotted.name"},
                ]})),
                "nobody": local(&self.a, json!({"from_headers": [{"name": "x-nobody"}], "forward": true})),
                "params": local(&self.a, json!({"issuer": "https://params.test", "from_params": ["t", "u"]})),
                "cookies": local(&self.a, json!({"issuer": "https://cookies.test", "from_cookies": ["c", "d"]})),
            },
            "requirement_map": {"named": a},
            "bypass_cors_preflight": true,
            "rules": [
                rule("/a", a.clone()),
                rule("/b", b.clone()),
                rule("/strict", provider("strict")),
                rule("/expiring", provider("expiring")),
                rule("/nobody", provider("nobody")),
                rule("/params", provider("params")),
                rule("/cookies", provider("cookies")),
                rule("/one-audience", json!({"provider_and_audiences": {"provider_name": "a", "audiences": ["other"]}})),
                rule("/same-audience", json!({"provider_and_audiences": {"provider_name": "a"}})),
                rule("/any", any(json!([a, b]))),
                rule("/every", all(json!([a, b]))),
                rule("/maybe", any(json!([a, b, {"allow_missing": {}}]))),
                rule("/whatever", any(json!([a, b, {"allow_missing_or_failed": {}}]))),
                rule("/only-missing", any(json!([{"allow_missing": {}}, {"allow_missing": {}}]))),
                rule("/missing", json!({"allow_missing": {}})),
                rule("/failed", json!({"allow_missing_or_failed": {}})),
                rule("/nested", any(json!([all(json!([a, b])), provider("cookies")]))),
                rule("/istio", any(json!([a, b, all(json!([any(json!([a, b, {"allow_missing": {}}])), any(json!([a, {"allow_missing": {}}]))]))]))),
                rule("/numbers", provider("numbers")),
                rule("/twice", all(json!([
                    {"provider_and_audiences": {"provider_name": "b", "audiences": ["api", "x"]}},
                    {"provider_and_audiences": {"provider_name": "b", "audiences": ["api", "y"]}},
                    b,
                ]))),
                rule("/status-header", json!({"extract_only_without_validation": {"verification_status_header": "x-status"}})),
                rule("/nothing", json!({})),
                rule("/extract", json!({"extract_only_without_validation": {}})),
                {"match": {"prefix": "/named"}, "requirement_name": "named"},
                {"match": {"path": "/exact"}, "requires": a},
                {"match": {"path": "/Exact-Any-Case", "case_sensitive": false}, "requires": a},
                {"match": {"prefix": "/PRE-any-case", "case_sensitive": false}, "requires": a},
                {"match": {"safe_regex": {"regex": "/re/[a-z]+/x"}}, "requires": a},
                {"match": {"path_separated_prefix": "/sep"}, "requires": a},
                {"match": {"path_separated_prefix": "/Sep-any", "case_sensitive": false}, "requires": a},
                {"match": {"prefix": "/header", "headers": [{"name": "x-need", "string_match": {"exact": "yes"}}]}, "requires": a},
                {"match": {"prefix": "/inverted", "headers": [{"name": "x-skip", "present_match": true, "invert_match": true}]}, "requires": a},
                {"match": {"prefix": "/not-value", "headers": [{"name": "x-v", "string_match": {"prefix": "no"}, "invert_match": true}]}, "requires": a},
                {"match": {"prefix": "/empty-value", "headers": [{"name": "x-v", "string_match": {"prefix": "no"}, "invert_match": true, "treat_missing_header_as_empty": true}]}, "requires": a},
                {"match": {"prefix": "/host", "headers": [{"name": "host", "string_match": {"exact": "differential.test"}}]}, "requires": a},
                {"match": {"prefix": "/no-host", "headers": [{"name": "Host", "string_match": {"exact": "x"}, "invert_match": true}]}, "requires": a},
                {"match": {"prefix": "/range", "headers": [{"name": "x-n", "range_match": {"start": "-2", "end": "3"}}]}, "requires": a},
                {"match": {"prefix": "/method", "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "P.*"}}}]}, "requires": a},
                {"match": {"prefix": "/query", "query_parameters": [{"name": "q", "string_match": {"suffix": "z", "ignore_case": true}}]}, "requires": a},
                {"match": {"prefix": "/has-query", "query_parameters": [{"name": "q", "present_match": true}]}, "requires": a},
                {"match": {"prefix": "/q?x="}, "requires": a},
            ],
        })
    }
}

fn get(path: &str) -> Request {
    Request::get(path)
}

/// Written requests, each with a name.
fn named_requests(fixture: &Fixture) -> Vec<(String, Request)> {
    let (a, b) = (fixture.good_a(), fixture.good_b());
    let t = |changes: Value| fixture.with(&fixture.a, "https://a.test", changes);
    let mut requests: Vec<(String, Request)> = Vec::new();
    let mut add = |name: &str, request: Request| requests.push((name.to_owned(), request));
    add("good", get("/a").bearer(&a));
    add("good with query", get("/a?x=1&y=%2F").bearer(&a));
    add("none", get("/a"));
    add("basic", get("/a").header("authorization", "Basic YTpi"));
    add("lower bearer", get("/a").header("authorization", format!("bearer {a}")));
    add("no space", get("/a").header("authorization", format!("Bearer{a}")));
    add("two spaces", get("/a").header("authorization", format!("Bearer   {a}")));
    add("later prefix", get("/a").header("authorization", format!("Digest x, Bearer {a}")));
    add("trailing", get("/a").header("authorization", format!("Bearer {a} trailing")));
    add("bearer alone", get("/a").header("authorization", "Bearer "));
    add("bearer junk", get("/a").header("authorization", "Bearer !!!"));
    add("two authorizations", get("/a").bearer(&a).bearer(&a));
    add("param", get(&format!("/a?access_token={a}")));
    add("param among", get(&format!("/a?x=1&access_token={a}&y=2")));
    add("param among, unsorted", get(&format!("/a?z=1&access_token={a}&b=2")));
    add("param encoded", get(&format!("/a?access_token={}", a.replace('.', "%2E"))));
    add("param name encoded", get(&format!("/a?access%5Ftoken={a}")));
    add("others encoded", get(&format!("/a?a=%26b%3D&access_token={a}&c=d+e")));
    add("param twice", get(&format!("/a?access_token={a}&access_token={a}")));
    add("param twice, second bad", get(&format!("/a?access_token={a}&access_token=x")));
    add("param empty", get("/a?access_token="));
    add("param without value", get("/a?access_token"));
    add("both good", get(&format!("/a?access_token={a}")).bearer(&a));
    add("header good, param bad", get("/a?access_token=x.y.z").bearer(&a));
    add("header bad, param good", get(&format!("/a?access_token={a}")).bearer("x"));
    for (name, changes) in [
        ("expired", json!({"exp": fixture.now - 100})),
        ("expired within skew", json!({"exp": fixture.now - 50})),
        ("not yet", json!({"nbf": fixture.now + 100})),
        ("not yet within skew", json!({"nbf": fixture.now + 50})),
        ("iat in the future", json!({"iat": fixture.now + 100})),
        ("iat far in the past", json!({"iat": 1})),
        ("no exp", json!({"exp": null})),
        ("exp zero", json!({"exp": 0})),
        ("exp string", json!({"exp": "1"})),
        ("exp fraction", json!({"exp": fixture.now as f64 + 300.5})),
        ("exp negative", json!({"exp": -1})),
        ("exp huge", json!({"exp": 1e300})),
        ("nbf string", json!({"nbf": "1"})),
        ("iat string", json!({"iat": "1"})),
        ("iss number", json!({"iss": 7})),
        ("sub number", json!({"sub": 7})),
        ("aud number", json!({"aud": 7})),
        ("aud string", json!({"aud": "api"})),
        ("aud other", json!({"aud": ["x"]})),
        ("aud none", json!({"aud": null})),
        ("aud empty", json!({"aud": []})),
        ("aud with slash", json!({"aud": "https://api.test"})),
        ("aud http", json!({"aud": "http://api.test"})),
        ("aud mixed", json!({"aud": [7, "api"]})),
        ("sub other", json!({"sub": "bob"})),
        ("sub none", json!({"sub": null})),
        ("long", json!({"exp": fixture.now + 7200})),
        ("iss other", json!({"iss": "https://other.test"})),
        ("iss none", json!({"iss": null})),
        ("expired and aud other", json!({"exp": 1, "aud": ["x"]})),
        ("expired and sub other", json!({"exp": 1, "sub": "bob"})),
        ("aud and sub other", json!({"aud": "x", "sub": "bob"})),
        ("long and expired nbf", json!({"exp": fixture.now + 7200, "nbf": fixture.now + 7000})),
        ("aud other and long", json!({"aud": "x", "exp": fixture.now + 7200})),
    ] {
        for path in ["/a", "/strict", "/expiring", "/nobody", "/one-audience", "/same-audience"] {
            let issuer = match path {
                "/strict" | "/expiring" => format!("https:/{path}.test"),
                _ => "https://a.test".to_owned(),
            };
            let token = fixture.with(&fixture.a, &issuer, changes.clone());
            add(&format!("{path}: {name}"), get(path).bearer(&token).header("x-nobody", token.clone()));
        }
    }
    let sections: Vec<_> = a.split('.').collect();
    for (name, token) in [
        ("tampered", format!("{}.{}.{}", sections[0], sections[1], "AAAA".repeat(85) + "AA")),
        ("short signature", format!("{}.{}.AAAA", sections[0], sections[1])),
        ("no signature", format!("{}.{}.", sections[0], sections[1])),
        ("two sections", format!("{}.{}", sections[0], sections[1])),
        ("four sections", format!("{a}.x")),
        ("padded", format!("{a}=")),
        ("x.y.z", "x.y.z".to_owned()),
        ("dots", "..".to_owned()),
        ("unknown kid", SigningKey::generate(Alg::Rs256, "zz").mint(&fixture.claims("https://a.test"))),
        ("other key, same kid", SigningKey::generate(Alg::Rs256, "a1").mint(&fixture.claims("https://a.test"))),
        ("no kid", fixture.a.mint_with_header(&json!({"alg": "RS256"}), &fixture.claims("https://a.test"))),
        (
            "typ",
            fixture
                .a
                .mint_with_header(&json!({"alg": "RS256", "kid": "a1", "typ": "x"}), &fixture.claims("https://a.test")),
        ),
        (
            "alg none",
            fixture.a.mint_with_header(&json!({"alg": "none", "kid": "a1"}), &fixture.claims("https://a.test")),
        ),
        (
            "alg unknown",
            fixture.a.mint_with_header(&json!({"alg": "XX", "kid": "a1"}), &fixture.claims("https://a.test")),
        ),
        ("alg missing", fixture.a.mint_with_header(&json!({"kid": "a1"}), &fixture.claims("https://a.test"))),
        ("alg number", fixture.a.mint_with_header(&json!({"kid": "a1", "alg": 1}), &fixture.claims("https://a.test"))),
        (
            "kid number",
            fixture.a.mint_with_header(&json!({"kid": 1, "alg": "RS256"}), &fixture.claims("https://a.test")),
        ),
        (
            "alg of another family",
            fixture.a.mint_with_header(&json!({"kid": "a1", "alg": "ES256"}), &fixture.claims("https://a.test")),
        ),
        (
            "alg of the same family",
            fixture.a.mint_with_header(&json!({"kid": "a1", "alg": "RS512"}), &fixture.claims("https://a.test")),
        ),
        (
            "crit",
            fixture.a.mint_with_header(
                &json!({"kid": "a1", "alg": "RS256", "crit": ["x"]}),
                &fixture.claims("https://a.test"),
            ),
        ),
        ("payload no object", fixture.a.mint(&json!([]))),
        ("b's", b.clone()),
    ] {
        for path in ["/a", "/any", "/maybe", "/whatever", "/missing", "/failed", "/nested", "/istio", "/extract"] {
            add(&format!("{path}: {name}"), get(path).bearer(&token));
        }
    }
    for path in [
        "/any",
        "/every",
        "/maybe",
        "/whatever",
        "/only-missing",
        "/missing",
        "/failed",
        "/nested",
        "/istio",
        "/nothing",
        "/named",
        "/one-audience",
        "/same-audience",
        "/extract",
        "/status-header",
        "/twice",
        "/b",
        "/other",
        "/",
    ] {
        let old = t(json!({"exp": 1}));
        add(&format!("{path}: none"), get(path));
        add(&format!("{path}: a"), get(path).bearer(&a));
        add(&format!("{path}: b"), get(path).header("x-b", b.clone()));
        add(&format!("{path}: both"), get(path).bearer(&a).header("x-b", b.clone()));
        add(&format!("{path}: a in b's location"), get(path).header("x-b", a.clone()));
        add(&format!("{path}: old a"), get(path).bearer(&old));
        add(&format!("{path}: old a, good b"), get(path).bearer(&old).header("x-b", b.clone()));
        add(&format!("{path}: bad a, good b"), get(path).bearer("x").header("x-b", b.clone()));
        add(&format!("{path}: good a, bad b"), get(path).bearer(&a).header("x-b", "y"));
        add(&format!("{path}: good a, a in b's location"), get(path).bearer(&a).header("x-b", a.clone()));
        add(&format!("{path}: b prefixed"), get(path).header("x-b-prefixed", format!("v=1; jwt={b}")));
        add(&format!("{path}: b in a param"), get(&format!("{path}?x=1&tb={b}")));
        add(&format!("{path}: b in a cookie"), get(path).header("cookie", format!("x=1; cb={b}; y=2")));
        add(
            &format!("{path}: c cookie"),
            get(path).header("cookie", format!("c={}", fixture.with(&fixture.a, "https://cookies.test", json!({})))),
        );
        add(&format!("{path}: forged claims"), get(path).header("x-claim-sub", "mallory").header("X-Payload", "x"));
    }
    let c = fixture.with(&fixture.a, "https://cookies.test", json!({}));
    let p = fixture.with(&fixture.a, "https://params.test", json!({}));
    for (name, cookie) in [
        ("quoted", format!("c=\"{c}\"")),
        ("spaces", format!("  c = {c} ")),
        ("twice, second bad", format!("c={c}; c=x")),
        ("twice, first bad", format!("c=x; c={c}")),
        ("both", format!("c={c}; d={c}")),
        ("other bad", format!("c={c}; d=x")),
        ("empty", "c=".to_owned()),
        ("no equals", "c".to_owned()),
    ] {
        add(&format!("cookie {name}"), get("/cookies").header("cookie", cookie));
    }
    for query in [
        format!("t={p}"),
        format!("u={p}"),
        format!("t={p}&u={p}"),
        format!("t={p}&u=x"),
        format!("t=x&u={p}"),
        "x=1".to_owned(),
        format!("T={p}"),
    ] {
        add(&format!("params {}", &query[..3]), get(&format!("/params?{query}")));
    }
    for path in [
        "/exact",
        "/exact?x",
        "/exact/",
        "/exact-any-case",
        "/EXACT-ANY-CASE?y",
        "/pre-ANY-casexyz",
        "/re/ab/x",
        "/re/ab/x?y",
        "/re/ab/xx",
        "/re/AB/x",
        "/sep",
        "/sep/",
        "/sep/x",
        "/sepx",
        "/sep?x",
        "/SEP-ANY/x",
        "/sep-anyx",
        "/header",
        "/inverted",
        "/not-value",
        "/empty-value",
        "/host",
        "/no-host",
        "/range",
        "/method",
        "/query?q=aZ",
        "/query?q=a",
        "/query?q=a&q=z",
        "/query?q=%7A",
        "/has-query",
        "/has-query?q",
        "/has-query?q=",
        "/q?x=1",
        "/q?y=1",
        "/q",
        "/nested",
        "/a%2f",
        "/A",
        "//a",
        "/./a",
        "/x/../a",
        "/%61",
    ] {
        add(&format!("rule {path}"), get(path));
        add(&format!("rule {path} POST"), Request::post(path));
        for (header, value) in [
            ("x-need", "yes"),
            ("x-need", "no"),
            ("x-skip", "1"),
            ("x-v", "no"),
            ("x-v", "yes"),
            ("x-n", "-2"),
            ("x-n", "3"),
            ("x-n", "x"),
        ] {
            add(&format!("rule {path} {header}: {value}"), get(path).header(header, value));
        }
    }
    add(
        "preflight",
        Request::new("OPTIONS", "/a").header("origin", "x").header("access-control-request-method", "GET"),
    );
    add("preflight, no origin", Request::new("OPTIONS", "/a").header("access-control-request-method", "GET"));
    add(
        "preflight, empty origin",
        Request::new("OPTIONS", "/a").header("origin", "").header("access-control-request-method", "GET"),
    );
    add("preflight GET", Request::get("/a").header("origin", "x").header("access-control-request-method", "GET"));
    add("grpc", Request::post("/a").header("content-type", "application/grpc"));
    add("grpc expired", Request::post("/a").header("content-type", "application/grpc").bearer(&t(json!({"exp": 1}))));
    add("head", Request::new("HEAD", "/a"));
    let long = "a".repeat(5_000);
    add("long path, none", get(&format!("/re/{long}/x")));
    add("long path, good", get(&format!("/re/{long}/x")).bearer(&a));
    add("long path before regular expressions", get(&format!("/a/{long}")).bearer(&a));
    add("long query", get(&format!("/re/ab/x?{long}")).bearer(&a));
    add("numbers", get("/numbers").bearer(&fixture.with(&fixture.a, "https://numbers.test", json!({}))));
    requests
}

/// The differences that docs/jwt_authn.md lists, each with the requests that show the difference.
const DIFFERENCES: [Difference; 11] = [
    // Schemes are case-insensitive (RFC 9110 §11.1).
    Difference::lenient("case of the scheme", |name| name == "lower bearer"),
    Difference::stricter("text before the scheme", |name| name == "later prefix"),
    Difference::stricter("stray characters", |name| name == "trailing"),
    Difference::stricter("long values under a regular expression", |name| {
        ["long path, none", "long path, good"].contains(&name)
    }),
    Difference::stricter("other parameters", |name| ["param among, unsorted", "others encoded"].contains(&name)),
    Difference::stricter("a parameter or cookie that occurs several times", |name| {
        ["param twice, second bad", "cookie twice, second bad"].contains(&name)
    }),
    Difference::stricter("iat in the future", |name| name.ends_with(": iat in the future")),
    Difference::stricter("exp zero", |name| name.ends_with(": exp zero")),
    Difference::stricter("crit", |name| name.ends_with(": crit")),
    Difference::stricter("every token under allow_missing", |name| {
        let (path, tokens) = name.split_once(": ").unwrap_or_default();
        ["/only-missing", "/missing", "/extract", "/status-header"].contains(&path)
            && ["good a, bad b", "good a, a in b's location"].contains(&tokens)
    }),
    Difference::stricter("large numbers and names with dots", |name| name.starts_with("numbers")),
];

#[test]
fn each_request_gets_the_same_answer_except_for_the_listed_differences() {
    let fixture = Fixture::new();
    let requests = named_requests(&fixture);
    assert!(requests.len() > 1_000);
    compare_all(&Pair::start(&fixture.block()), &requests, &DIFFERENCES);
}

fn describe(request: &Request) -> String {
    let headers = request.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
    format!("{} {}\n{}\n", request.method, request.path, headers.collect::<Vec<_>>().join("\n"))
}

#[test]
fn random_tokens_in_random_locations_get_the_same_answers() {
    let fixture = Fixture::new();
    let pair = Pair::start(&fixture.block());
    let token = |issuer: &str, changes: Value| fixture.with(&fixture.a, issuer, changes);
    let (a, b) = (fixture.good_a(), fixture.good_b());
    let tampered = format!("{}AAAA", &a[..a.len() - 4]);
    let pool = [
        a,
        b,
        token("https://cookies.test", json!({})),
        token("https://a.test", json!({"exp": 1})),
        token("https://a.test", json!({"aud": "x"})),
        token("https://a.test", json!({"nbf": fixture.now + 1000, "aud": "other"})),
        token("https://other.test", json!({})),
        tampered,
        "x.y.z".to_owned(),
    ];
    // Paths where both filters check every token.
    let with_many = [
        "/a",
        "/b",
        "/any",
        "/every",
        "/maybe",
        "/whatever",
        "/nested",
        "/one-audience",
        "/cookies",
        "/failed",
        "/nothing",
        "/none",
    ];
    // Paths where `jwt_authn` checks the last token only.
    let with_one = ["/missing", "/only-missing", "/extract", "/istio"];
    let mut random = fastrand::Rng::with_seed(5);
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for _ in 0..800 {
        let with_many = random.bool().then(|| with_many[random.usize(..with_many.len())]);
        let path = with_many.unwrap_or_else(|| with_one[random.usize(..with_one.len())]);
        let mut tokens = [(); 6].map(|()| (random.u8(..3) == 0).then(|| pool[random.usize(..pool.len())].clone()));
        if with_many.is_none() {
            let kept = random.usize(..tokens.len());
            tokens.iter_mut().enumerate().filter(|(index, _)| *index != kept).for_each(|(_, token)| *token = None);
        }
        let [bearer, param, header, prefixed, param_b, cookie] = tokens;
        let mut query = Vec::new();
        query.extend(param.map(|token| format!("access_token={token}")));
        query.extend(param_b.map(|token| format!("tb={token}")));
        let mut request = Request::get(format!("{path}?{}", query.join("&")).trim_end_matches('?'));
        if let Some(token) = bearer {
            request = request.bearer(&token);
        }
        if let Some(token) = header {
            request = request.header("x-b", token);
        }
        if let Some(token) = prefixed {
            request = request.header("x-b-prefixed", format!("jwt={token}"));
        }
        if let Some(token) = cookie {
            let both = if with_many.is_some() { format!("c={token}; cb={token}") } else { format!("c={token}") };
            request = request.header("cookie", both);
        }
        match pair.compare(&request) {
            Ok(seen) => *answers.entry(seen.status).or_default() += 1,
            Err(both) => panic!("{} {both:#?}", describe(&request)),
        }
    }
    assert!(answers.len() >= 3 && answers.values().all(|times| *times > 20), "{answers:?}");
}
