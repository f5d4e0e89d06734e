//! Tokens and claims, kind by kind: what `jwt_authn` accepts in a token (`jwt.cc`, `authenticator.cc`, `extractor.cc`).

use base64::{
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
    Engine as _,
};
use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::{self, Request};
use serde_json::{json, Value};

use crate::pair::{compare_all, Difference, Pair};

const ISSUER: &str = "https://tokens.test";

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// The keys of the provider `p`, without `alg`.
struct Keys {
    rsa: SigningKey,
    ec: SigningKey,
    ed: SigningKey,
    /// Keys that fit RS256 too. A token without `kid` is tried under all of them.
    others: Vec<SigningKey>,
}

impl Keys {
    fn new() -> Self {
        let generate = |alg, kid: &str| SigningKey::generate(alg, kid);
        let others = (0..12).map(|number| generate(Alg::Es256, &format!("other{number}"))).collect();
        Self { rsa: generate(Alg::Rs256, "r"), ec: generate(Alg::Es256, "e"), ed: generate(Alg::EdDsa, "d"), others }
    }

    fn jwks(&self, with_alg: bool) -> Value {
        let keys = [&self.rsa, &self.ec, &self.ed].into_iter().chain(&self.others).map(|key| {
            let mut jwk = key.public_jwk();
            if !with_alg {
                jwk.as_object_mut().unwrap().remove("alg");
            }
            jwk
        });
        json!({"inline_string": json!({"keys": keys.collect::<Vec<_>>()}).to_string()})
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "exp": now() + 600, "n": 7, "neg": -7, "frac": 0.1, "flag": false, "empty": "", "nil": null,
        "https://x.com/roles": "admin", "https://x.com/list": ["a", 1, {"b": null}],
        "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "sa"}, "a.b": "dotted"},
        "list": ["x", "y"], "nested": {"list": [[]], "n": 1.5, "text": "<é\u{1f600}\"\\/>", "tab": "a\tb"}, "line": "a\nb",
        "many": {"z": 1, "a": 2, "m": {"y": true, "b": "s"}},
    })
}

/// A token with exactly this header and payload.
fn sign(key: &SigningKey, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    sign_sections(key, &BASE64.encode(header), &BASE64.encode(payload))
}

fn sign_sections(key: &SigningKey, header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    format!("{signed}.{}", BASE64.encode(key.sign_raw(signed.as_bytes())))
}

/// Headers for claims, by name and by path.
fn claim_headers() -> Vec<Value> {
    let names = ["sub", "n", "nested.n", "nested.list", "nested.text", "list", "nil", "flag", "list.0"];
    let by_name = names
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"header_name": format!("x-name-{index}"), "claim_name": name}));
    let paths: [&[&str]; 20] = [
        &["sub"],
        &["https://x.com/roles"],
        &["https://x.com/list"],
        &["kubernetes.io", "namespace"],
        &["kubernetes.io", "serviceaccount", "name"],
        &["kubernetes.io", "a.b"],
        &["kubernetes", "io", "namespace"],
        &["nested", "n"],
        &["nested", "text"],
        &["nested", "tab"],
        &["nested.n"],
        &["list"],
        &["list", "0"],
        &["n"],
        &["neg"],
        &["frac"],
        &["flag"],
        &["empty"],
        &["nil"],
        &["sub", "x"],
    ];
    let by_path = paths.iter().enumerate().map(|(index, path)| {
        let segments: Vec<_> = path.iter().map(|key| json!({"key": key})).collect();
        json!({"header_name": format!("x-path-{index}"), "claim_path": segments})
    });
    by_name.chain(by_path).collect()
}

fn block(keys: &Keys) -> Value {
    let provider = |more: Value| {
        let mut provider = json!({"issuer": ISSUER, "local_jwks": keys.jwks(false)});
        for (name, value) in more.as_object().unwrap() {
            provider[name] = value.clone();
        }
        provider
    };
    let rule = |prefix: &str, name: &str| json!({"match": {"prefix": prefix}, "requires": {"provider_name": name}});
    json!({
        "providers": {
            "claims": provider(json!({"claim_to_headers": claim_headers(), "forward_payload_header": "x-payload"})),
            "dots": provider(json!({"claim_to_headers": [
                {"header_name": "x-roles", "claim_name": "https://x.com/roles"},
                {"header_name": "x-namespace", "claim_name": "kubernetes.io.namespace"},
            ]})),
            "line": provider(json!({"claim_to_headers": [{"header_name": "x-line", "claim_name": "line"}]})),
            "many": provider(json!({"claim_to_headers": [{"header_name": "x-many", "claim_path": [{"key": "many"}]}]})),
            "with-alg": provider(json!({"local_jwks": keys.jwks(true)})),
            "plain": provider(json!({})),
            "bearer": provider(json!({"from_headers": [{"name": "AUTHORIZATION", "value_prefix": "Bearer"}]})),
            "whole": provider(json!({"from_headers": [{"name": "Authorization"}]})),
            "scheme": provider(json!({"from_headers": [{"name": "authorization", "value_prefix": "JWT "}], "forward": true})),
            "cookie": provider(json!({"from_cookies": ["session-token"]})),
            "custom": provider(json!({"from_headers": [{"name": "x-jwt"}, {"name": "x-pre", "value_prefix": "v="}], "from_params": ["t"]})),
        },
        "rules": [rule("/claims", "claims"), rule("/dots", "dots"), rule("/many", "many"), rule("/line", "line"), rule("/with-alg", "with-alg"),
            rule("/bearer", "bearer"), rule("/whole", "whole"), rule("/scheme", "scheme"), rule("/cookie", "cookie"), rule("/custom", "custom"), rule("/", "plain")],
    })
}

/// Written requests, each with a name.
fn named_requests(keys: &Keys) -> Vec<(String, Request)> {
    let mut requests: Vec<(String, Request)> = Vec::new();
    let mut add = |name: String, path: &str, token: &str| requests.push((name, Request::get(path).bearer(token)));
    let Keys { rsa, ec, ed, others } = keys;
    let text = claims().to_string();
    for path in ["/claims", "/dots", "/line"] {
        add(format!("{path}: claims"), path, &rsa.mint(&claims()));
    }
    let shadow = json!({"iss": ISSUER, "https://x": {"com/roles": "nested"}, "kubernetes": {"io": {"namespace": "deep"}},
        "nested.n": "whole", "nested": {"n": "inner"}});
    for path in ["/claims", "/dots"] {
        add(format!("{path}: nested and whole"), path, &rsa.mint(&shadow));
    }
    for (name, header) in [
        ("typ absent", json!({})),
        ("typ JWT", json!({"typ": "JWT"})),
        ("typ jwt", json!({"typ": "jwt"})),
        ("typ at+jwt", json!({"typ": "at+jwt"})),
        ("typ application/at+jwt", json!({"typ": "application/at+jwt"})),
        ("typ JOSE", json!({"typ": "JOSE"})),
        ("typ empty", json!({"typ": ""})),
        ("typ number", json!({"typ": 7})),
        ("typ null", json!({"typ": null})),
        ("typ list", json!({"typ": ["JWT"]})),
        ("typ object", json!({"typ": {"a": {"b": [1]}}})),
        ("typ boolean", json!({"typ": true})),
        ("cty", json!({"cty": "JWT"})),
        (
            "jku and others",
            json!({"jku": "https://evil.test", "x5u": "x", "jwk": {"kty": "oct"}, "x5c": [], "x5t": 7, "zip": "DEF"}),
        ),
        ("kid empty", json!({"kid": ""})),
        ("kid null", json!({"kid": null})),
        ("kid number", json!({"kid": 7})),
        ("kid list", json!({"kid": ["r"]})),
        ("kid of no key", json!({"kid": "zz"})),
        ("kid in another case", json!({"kid": "R"})),
        ("kid with a space", json!({"kid": "r "})),
        ("alg Ed25519", json!({"alg": "Ed25519"})),
        ("alg ES256K", json!({"alg": "ES256K"})),
        ("alg lower case", json!({"alg": "rs256"})),
        ("alg null", json!({"alg": null})),
        ("alg list", json!({"alg": ["RS256"]})),
        ("alg HS256", json!({"alg": "HS256"})),
        ("alg of another type", json!({"alg": "ES256"})),
        ("alg RS512", json!({"alg": "RS512"})),
        ("alg PS256", json!({"alg": "PS256"})),
    ] {
        for path in ["/plain", "/with-alg"] {
            for (key_name, key) in [("rsa", rsa), ("ec", ec), ("ed", ed)] {
                let mut full = json!({"alg": key.alg.name()});
                for (member, value) in header.as_object().unwrap() {
                    full[member] = value.clone();
                }
                add(format!("{path}: {key_name} {name}"), path, &key.mint_with_header(&full, &claims()));
                if full.get("kid").is_none() {
                    full["kid"] = json!(key.kid);
                    add(format!("{path}: {key_name} with kid, {name}"), path, &key.mint_with_header(&full, &claims()));
                }
            }
        }
    }
    for path in ["/plain", "/with-alg"] {
        // An EC or Ed25519 key signs, and the header names an algorithm of another type.
        for (key, alg) in
            [(ec, "RS256"), (ed, "RS256"), (ed, "ES256"), (ec, "EdDSA"), (ec, "HS256"), (ed, "HS256"), (ec, "PS256")]
        {
            let header = json!({"alg": alg, "kid": key.kid});
            add(format!("{path}: {} signs as {alg}", key.kid), path, &key.mint_with_header(&header, &claims()));
        }
        let ninth = others[8].mint_with_header(&json!({"alg": "ES256"}), &claims());
        add(format!("{path}: no kid, signed by the ninth of many keys"), path, &ninth);
    }
    let header = json!({"alg": "RS256", "kid": "r"}).to_string();
    for (name, header) in [
        ("spaces", format!(" {header}\n\t ")),
        ("byte order mark", format!("\u{feff}{header}")),
        ("trailing comma", header.replace('}', ",}")),
        ("single quotes", header.replace('"', "'")),
        ("unquoted names", header.replace("\"alg\"", "alg")),
        ("comment", header.replace('{', "{/**/")),
        ("trailing text", format!("{header} x")),
        ("escaped name", header.replace("alg", "\\u0061lg")),
        ("same member twice", header.replace('{', r#"{"alg":"RS256","#)),
        ("another member twice", header.replace('{', r#"{"a":1,"a":2,"#)),
        (
            "64 members",
            header.replace('{', &format!("{{{}", (0..62).map(|n| format!("\"m{n}\":1,")).collect::<String>())),
        ),
        (
            "65 members",
            header.replace('{', &format!("{{{}", (0..63).map(|n| format!("\"m{n}\":1,")).collect::<String>())),
        ),
        ("deep", header.replace('{', &format!(r#"{{"a":{}{},"#, "[".repeat(60), "]".repeat(60)))),
        ("b64", header.replace('{', r#"{"b64":true,"#)),
        ("crit", header.replace('{', r#"{"crit":["b64"],"#)),
        ("crit null", header.replace('{', r#"{"crit":null,"#)),
        ("list", "[]".to_owned()),
        ("text", "\"RS256\"".to_owned()),
        ("empty", String::new()),
        ("empty object", "{}".to_owned()),
    ] {
        add(format!("header: {name}"), "/plain", &sign(rsa, header, &text));
    }
    let invalid = |text: &str| [text.trim_end_matches('}').as_bytes(), b",\"x\":\"\xff\"}"].concat();
    add("header: not UTF-8".to_owned(), "/plain", &sign(rsa, invalid(&header), &text));
    add("payload: not UTF-8".to_owned(), "/plain", &sign(rsa, &header, invalid(&text)));
    let with = |more: &str| text.replacen('{', &format!("{{{more},"), 1);
    let without = |claim: &str, more: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(claim);
        claims.to_string().replacen('{', &format!("{{{more},"), 1)
    };
    for (name, payload) in [
        ("spaces", format!("\n {text} ")),
        ("trailing comma", format!("{},}}", text.trim_end_matches('}'))),
        ("single quotes", format!("{{'iss':'{ISSUER}'}}")),
        ("unquoted names", format!("{{iss:\"{ISSUER}\"}}")),
        ("iss twice", with(r#""iss":"other""#)),
        ("unread claim twice", with(r#""a":1,"a":2"#)),
        ("nested claim twice", with(r#""a":{"b":1,"b":2}"#)),
        ("lone surrogate", with(r#""a":"\ud800""#)),
        ("surrogate pair", with(r#""a":"\ud83d\ude00""#)),
        ("control character", with("\"a\":\"\u{1}\"")),
        ("deep", with(&format!("\"a\":{}{}", "[".repeat(60), "]".repeat(60)))),
        ("very deep", with(&format!("\"a\":{}{}", "[".repeat(200), "]".repeat(200)))),
        ("number too large", with(r#""a":1e400"#)),
        ("NaN", with(r#""a":NaN"#)),
        ("leading zero", with(r#""a":01"#)),
        ("hexadecimal", with(r#""a":0x1"#)),
        ("exp large", without("exp", r#""exp":9007199254740994"#)),
        ("exp largest i64", without("exp", r#""exp":9223372036854775807"#)),
        ("exp largest u64", without("exp", r#""exp":18446744073709551615"#)),
        ("exp beyond", without("exp", r#""exp":1e20"#)),
        ("exp in milliseconds", without("exp", &format!("\"exp\":{}000", now() + 600))),
        ("exp in exponent form", without("exp", r#""exp":4e9"#)),
        ("exp fraction", without("exp", r#""exp":4000000000.75"#)),
        ("exp minus zero", without("exp", r#""exp":-0.0"#)),
        ("exp zero", without("exp", r#""exp":0"#)),
        ("exp null", without("exp", r#""exp":null"#)),
        ("exp list", without("exp", r#""exp":[1]"#)),
        ("nbf large", with(r#""nbf":9223372036854775807"#)),
        ("nbf beyond", with(r#""nbf":1e20"#)),
        ("nbf zero", with(r#""nbf":0"#)),
        ("iat zero", with(r#""iat":0"#)),
        ("iat fraction", with(r#""iat":1.5"#)),
        ("iat large", with(r#""iat":9223372036854775807"#)),
        ("iat null", with(r#""iat":null"#)),
        ("jti number", with(r#""jti":7"#)),
        ("jti null", with(r#""jti":null"#)),
        ("sub null", without("sub", r#""sub":null"#)),
        ("aud empty string", with(r#""aud":"""#)),
        ("aud null", with(r#""aud":null"#)),
        ("aud object", with(r#""aud":{}"#)),
        ("iss empty", without("iss", r#""iss":"""#)),
        ("iss with a slash", without("iss", r#""iss":"https://tokens.test/""#)),
        ("iss in another case", without("iss", r#""iss":"https://TOKENS.test""#)),
        ("empty", String::new()),
        ("empty object", "{}".to_owned()),
        ("list", "[]".to_owned()),
        ("null", "null".to_owned()),
    ] {
        add(format!("payload: {name}"), "/plain", &sign(rsa, &header, payload));
    }
    let good = sign(rsa, &header, &text);
    let (head, body) = (BASE64.encode(&header), BASE64.encode(&text));
    let pad = |section: &str| format!("{section}{}", "=".repeat((4 - section.len() % 4) % 4));
    let padded = |text: &str| {
        let text = format!("{text}{}", " ".repeat((4 - text.len() % 3) % 3));
        pad(&BASE64.encode(text))
    };
    let signature = good.rsplit('.').next().unwrap();
    // The last character of 256 bytes holds two bits.
    let stray = char::from(good.as_bytes()[good.len() - 1] + 1);
    for (name, token) in [
        ("good", good.clone()),
        ("leading dot", format!(".{good}")),
        ("trailing dot", format!("{good}.")),
        ("double dot", good.replacen('.', "..", 1)),
        ("four sections", format!("{good}.{signature}")),
        ("five sections", format!("{head}.{body}.{signature}.{signature}.{signature}")),
        ("no payload", sign_sections(rsa, &head, "")),
        ("padded header", sign_sections(rsa, &padded(&header), &body)),
        ("padded payload", sign_sections(rsa, &head, &padded(&text))),
        ("padded signature", format!("{head}.{body}.{}", pad(signature))),
        ("signature padded too much", format!("{good}====")),
        ("standard alphabet", good.replace('-', "+").replace('_', "/")),
        ("stray bits", format!("{}{}", &good[..good.len() - 1], stray)),
        ("signature cut", good[..good.len() - 4].to_owned()),
        ("signature longer", format!("{good}AAAA")),
        ("signature of zeros", format!("{head}.{body}.{}", "A".repeat(342))),
        ("signature empty", format!("{head}.{body}.")),
        ("one letter", "a".to_owned()),
    ] {
        add(format!("form: {name}"), "/plain", &token);
    }
    for key in [ec, ed] {
        let signed = format!("{}.{body}", BASE64.encode(json!({"alg": key.alg.name(), "kid": key.kid}).to_string()));
        let signature = key.sign_raw(signed.as_bytes());
        let (r, s) = signature.split_at(32);
        for (name, signature) in [
            ("good", signature.clone()),
            ("short", signature[..62].to_vec()),
            ("long", [&signature[..], b"\0\0"].concat()),
            ("halves with leading zeros", [b"\0", r, b"\0", s].concat()),
            ("empty halves", vec![0, 0]),
            ("zeros", vec![0; 64]),
        ] {
            add(format!("{} signature: {name}", key.kid), "/plain", &format!("{signed}.{}", BASE64.encode(signature)));
        }
    }
    // `max_token_bytes` is as large as Envoy's `max_request_headers_kb`.
    let mut sized = Vec::new();
    for kib in [4, 20, 40, 55, 70] {
        let groups: Vec<_> = (0..kib * 1024 * 3 / 4 / 32).map(|number| format!("group-{number:0>23}")).collect();
        let mut claims = claims();
        claims["groups"] = json!(groups);
        let token = rsa.mint(&claims);
        add(format!("{kib} KiB"), "/plain", &token);
        sized.push((format!("{kib} KiB in x-jwt"), Request::get("/custom").header("x-jwt", token)));
    }
    requests.extend(sized);
    let mut custom = |name: &str, header: &str, value: String| {
        requests.push((format!("custom: {name}"), Request::get("/custom").header(header, value)));
    };
    custom("bare", "x-jwt", good.clone());
    custom("with a scheme", "x-jwt", format!("Bearer {good}"));
    custom("spaces around", "x-jwt", format!("  {good}  "));
    custom("empty", "x-jwt", String::new());
    custom("prefix", "x-pre", format!("v={good}"));
    custom("prefix and quotes", "x-pre", format!("v=\"{good}\""));
    custom("prefix in another case", "x-pre", format!("V={good}"));
    custom("prefix twice", "x-pre", format!("v=v={good}"));
    custom("prefix alone", "x-pre", "v=".to_owned());
    custom("text after", "x-pre", format!("v={good};x=1"));
    custom("list", "x-jwt", format!("{good},{good}"));
    for query in [
        format!("t={good}"),
        format!("t={good}#x"),
        format!("t=%20{good}"),
        format!("t={good}+"),
        format!("a;t={good}"),
    ] {
        requests.push((format!("param: {}", query.replace(&good, "TOKEN")), Request::get(&format!("/custom?{query}"))));
    }
    for path in ["/bearer", "/whole", "/scheme"] {
        for (name, value) in [
            ("bare", "TOKEN"),
            ("Bearer", "Bearer TOKEN"),
            ("Bearer alone", "Bearer"),
            ("several blanks", "Bearer    TOKEN"),
            ("without a blank", "BearerTOKEN"),
            ("JWT", "JWT TOKEN"),
            ("JWT without a blank", "JWTTOKEN"),
            ("JWT in lower case", "jwt TOKEN"),
            ("JWT and several blanks", "JWT    TOKEN"),
            ("another scheme", "Basic YTpi"),
            ("colon", "JWT : TOKEN"),
            ("quoted", "JWT \"TOKEN\""),
            ("empty", ""),
        ] {
            let value = value.replace("TOKEN", &good);
            requests.push((format!("{path} header: {name}"), Request::get(path).header("authorization", value)));
        }
    }
    for (name, value) in [
        ("alone", "session-token=TOKEN"),
        ("among others", "a=b; session-token=TOKEN; c=d"),
        ("quoted", "session-token=\"TOKEN\""),
        ("with an unclosed quote", "session-token=\"TOKEN"),
        ("in another case", "Session-Token=TOKEN"),
        ("without a blank", "a=b;session-token=TOKEN"),
        ("many blanks", "a=b;   session-token=TOKEN  ; c=d"),
        ("prefix of the name", "session=TOKEN"),
        ("longer name", "xsession-token=TOKEN"),
        ("no value", "session-token="),
        ("comma", "a=b, session-token=TOKEN"),
        ("encoded", "session-token=%65yJ"),
    ] {
        let value = value.replace("TOKEN", &good);
        requests.push((format!("cookie: {name}"), Request::get("/cookie").header("cookie", value)));
    }
    requests
}

/// The differences that docs/jwt_authn.md lists, each with the requests that show the difference.
const DIFFERENCES: [Difference; 16] = [
    Difference::lenient("`alg` `Ed25519`", |name| name.ends_with("alg Ed25519")),
    Difference::stricter("alg of another type of key", |name| {
        let algs = ["signs as", "alg of another type", "alg HS256", "alg RS512", "alg PS256"];
        algs.iter().any(|alg| name.contains(alg)) && !(name.contains(" ec ") && name.ends_with("alg of another type"))
    }),
    Difference::stricter("JSON", |name| {
        let not_json = ["trailing comma", "single quotes", "unquoted names", "control character", "null"];
        let what = name.strip_prefix("header: ").or_else(|| name.strip_prefix("payload: "));
        what.is_some_and(|what| not_json.contains(&what))
    }),
    Difference::stricter("headers with more than 64 members", |name| name == "header: 65 members"),
    Difference::stricter("crit", |name| ["header: crit", "header: crit null", "header: b64"].contains(&name)),
    Difference::stricter("exp zero", |name| ["payload: exp zero", "payload: exp minus zero"].contains(&name)),
    Difference::stricter("iat in the future", |name| name == "payload: iat large"),
    Difference::stricter("empty sections", |name| {
        ["form: leading dot", "form: trailing dot", "form: double dot"].contains(&name)
    }),
    Difference::stricter("padding", |name| name.starts_with("form: padded")),
    Difference::stricter("stray bits", |name| ["form: stray bits", "form: signature cut"].contains(&name)),
    Difference::stricter("length of a signature", |name| name == "e signature: halves with leading zeros"),
    Difference::stricter("text of a denial", |name| {
        let has_no_payload = ["payload: empty", "form: no payload"].contains(&name);
        has_no_payload || (name.starts_with("d signature: ") && name != "d signature: good")
    }),
    Difference::stricter("case of the scheme", |name| {
        ["/bearer header: Bearer alone", "/bearer header: without a blank"].contains(&name)
    }),
    Difference::stricter("stray characters", |name| {
        let blanks =
            ["custom: with a scheme", "param: t=%20TOKEN", "/whole header: Bearer", "/whole header: several blanks"];
        blanks.contains(&name)
    }),
    Difference::stricter("large numbers and names with dots", |name| {
        ["/dots: claims", "/claims: nested and whole"].contains(&name)
    }),
    Difference::lenient("claims with line breaks", |name| name == "/line: claims"),
];

#[test]
fn each_token_gets_the_same_answer_except_for_the_listed_differences() {
    let keys = Keys::new();
    let requests = named_requests(&keys);
    assert!(requests.len() > 400, "{}", requests.len());
    let pair = Pair::start(&block(&keys));
    let statuses = compare_all(&pair, &requests, &DIFFERENCES);
    assert!([200, 401].iter().all(|status| statuses[status] > 100), "{statuses:?}");
    let status = |name: &str| {
        let (_, request) = requests.iter().find(|(other, _)| other == name).unwrap();
        pair.compare(request).unwrap().status
    };
    for name in ["20 KiB", "55 KiB", "55 KiB in x-jwt", "/with-alg: no kid, signed by the ninth of many keys"] {
        assert_eq!(status(name), 200, "{name}");
    }
    assert_eq!(status("70 KiB"), 431, "Envoy's own limit");
    // The order of members differs: `jwt_authn` writes them by hash.
    let many = [&pair.native, &pair.ours].map(|envoy| {
        let response = http::send(envoy.addr(), &Request::get("/many").bearer(&keys.rsa.mint(&claims()))).unwrap();
        let value = response.json()["headers"]["x-many"][0].as_str().unwrap().to_owned();
        serde_json::from_slice::<Value>(&STANDARD.decode(value).unwrap()).unwrap()
    });
    assert_eq!(many, [claims()["many"].clone(), claims()["many"].clone()]);
}
