//! Malformed headers, tokens and key sets.

use jwks_gate_issuer::{Alg, Fault, Rotation, SigningKey, Times};
use jwks_gate_testbed::{eventually, http::Request};
use serde_json::{json, Value};
use std::time::Duration;

use crate::setup::{Plan, NO_KEYS};

#[test]
fn no_header_traps_the_filter() {
    let site = Plan::new().start_warm();
    let good = site.issuer.token();
    let with = |name: &str, value: &[u8]| site.send(&Request::get("/api/x").bearer(&good).header(name, value));
    assert_eq!(with("x-raw", b"\xff\xfe\x80").status, 200);
    assert_eq!(with("cookie", b"a=\xff; b=\xc3\x28").status, 200);
    assert_eq!(with("x-empty", b"").status, 200);

    let status = |value: Vec<u8>| site.send(&Request::get("/api/x").header("authorization", value)).status;
    assert_eq!(status(b"Bearer \xff\xfe.\xff.\xff".to_vec()), 401);
    assert_eq!(status(b"\xff\xff".to_vec()), 401);
    assert_eq!(status(Vec::new()), 401);
    assert_eq!(status(b"Bearer".to_vec()), 401);
    assert_eq!(status([b"Bearer ".to_vec(), vec![b'.'; 10_000]].concat()), 401);
    assert_eq!(status([b"Bearer ".to_vec(), vec![b'a'; 20_000]].concat()), 401);
    assert_eq!(status([b"Bearer ".to_vec(), vec![b'a'; 200_000]].concat()), 431, "Envoy's own limit");
    site.assert_healthy();
}

#[test]
fn two_tokens_in_one_header_are_denied() {
    let site = Plan::new().start_warm();
    let good = site.issuer.token();
    let bearer = format!("Bearer {good}");
    let twice = Request::get("/api/x").header("authorization", bearer.clone()).header("authorization", bearer.clone());
    assert_eq!(site.send(&twice).status, 401);
    let joined = Request::get("/api/x").header("authorization", format!("{bearer},{bearer}"));
    assert_eq!(site.send(&joined).status, 401);
    assert_eq!(site.echo.requests(), 16, "only the warm-up requests");
    site.assert_healthy();
}

#[test]
fn no_token_traps_the_filter() {
    let site = Plan::new().start_warm();
    let key = site.issuer.current();
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    let status = |payload: &str| site.get(&raw_token(&key, r#"{"alg":"ES256"}"#, payload)).status;
    assert_eq!(status(&site.issuer.claims().to_string()), 200);
    for payload in ["", "null", "[]", "{", "{}", "{\"iss\":7}", &deep] {
        assert_eq!(status(payload), 401, "{payload:.40}");
    }
    let with = |member: &str| status(&format!(r#"{{"iss":"{}","aud":"api",{member}}}"#, site.issuer.issuer()));
    for member in [r#""exp":18446744073709549568"#, r#""nbf":0"#, r#""nbf":1.5e0"#] {
        assert_eq!(with(member), 200, "{member}");
    }
    let out_of_range = [r#""exp":1e999"#, r#""exp":1e300"#, r#""exp":-1"#, r#""nbf":-1e300"#, r#""nbf":1e300"#];
    for member in out_of_range.iter().chain(&[r#""exp":"x""#, r#""nbf":[]"#, r#""exp":null"#]) {
        assert_eq!(with(member), 401, "{member}");
    }
    assert_eq!(with(&format!(r#""x":{deep}"#)), 401);
    let headers = ["", "null", "[]", "{}", r#"{"alg":7}"#, r#"{"alg":"ES256","kid":null}"#, &deep];
    for header in headers {
        let token = raw_token(&key, header, &site.issuer.claims().to_string());
        assert_eq!(site.get(&token).status, 401, "{header:.40}");
    }
    site.assert_healthy();
}

fn raw_token(key: &SigningKey, header: &str, payload: &str) -> String {
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
    format!("{signed}.{}", BASE64.encode(key.sign_raw(signed.as_bytes())))
}

#[test]
fn a_truncated_jwks_is_not_used() {
    let site = Plan::new()
        .rotation("unknown_kid_max_wait", "0.5s")
        .timeout("0.5s")
        .fault(Fault::Truncated, Times::Always)
        .start();
    let token = site.issuer.token();
    let response = site.get(&token);
    assert_eq!((response.status, response.text().as_str()), (503, NO_KEYS));
    assert!(site.envoy.log().contains("the connection broke within the response"));
    site.issuer.heal();
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200));
    site.assert_healthy();
}

#[test]
fn an_unusable_key_does_not_affect_the_others() {
    let plan = Plan::new();
    let good = plan.issuer.current().public_jwk();
    let private = json!({"kty": "EC", "crv": "P-256", "kid": "oops", "x": "AA", "y": "AA", "d": "AA"});
    let weak = json!({"kty": "RSA", "kid": "weak", "e": "Aw", "n": "3q2-7w"});
    let off_curve = json!({"kty": "EC", "crv": "P-256", "kid": "off", "x": good["x"], "y": good["x"]});
    let keys = json!([7, null, "x", {}, {"kty": "oct", "k": "AA"}, private, weak, off_curve, good]);
    plan.issuer.publish(json!({ "keys": keys }).to_string().into_bytes());
    let site = plan.start_warm();
    assert_eq!(site.stat("jwks_keys_skipped"), 8);
    let is_logged = || site.envoy.log().contains("key 5 of the JWKS is a PRIVATE key, published: skipped");
    assert!(eventually(Duration::from_secs(10), is_logged), "{}", site.envoy.log());
    site.assert_healthy();
}

#[test]
fn a_document_out_of_bounds_is_discarded_and_the_old_keys_stay() {
    let plan = Plan::new().rotation("unknown_kid_min_interval", "0.1s");
    let good = plan.issuer.current().public_jwk();
    let site = plan.start_warm();
    let old = site.issuer.token();
    let many: Vec<Value> = (0..1001).map(|_| good.clone()).collect();
    let large = format!("{}{}", json!({"keys": [good]}), " ".repeat(1 << 20));
    for (document, reason) in [
        (json!({ "keys": many }).to_string(), "more keys than max_keys"),
        (large, "larger than max_document_bytes"),
        (json!({"keys": []}).to_string(), "an empty JWKS: no key in it"),
        (json!({"keys": {}}).to_string(), "not a JSON Web Key Set"),
    ] {
        site.issuer.publish(document.into_bytes());
        assert_eq!(site.get(&site.token_of_unknown_key()).status, 503, "{reason}");
        assert!(site.envoy.log().contains(reason), "{reason}");
        assert_eq!(site.get_at_once(10, |_| old.clone()), [(200, 10)], "{reason}");
    }
    site.issuer.rotate(Rotation::Hard);
    let new = site.issuer.token();
    assert!(eventually(Duration::from_secs(10), || site.get(&new).status == 200));
    site.assert_healthy();
}

#[test]
fn a_key_for_another_use_verifies_nothing() {
    let plan = Plan::new().rotation("unknown_kid_max_wait", "0.5s").rotation("unknown_kid_min_interval", "0.1s");
    let (key, current) = (SigningKey::generate(Alg::Es256, "enc"), plan.issuer.current().public_jwk());
    let jwks = |jwk: &Value| json!({"keys": [current, jwk]}).to_string().into_bytes();
    let mut jwk = key.public_jwk();
    jwk["use"] = json!("enc");
    plan.issuer.publish(jwks(&jwk));
    let site = plan.start_warm();
    let token = key.mint(&site.issuer.claims());
    assert_eq!(site.get(&token).status, 401);
    // The same key with another `use` verifies the same token.
    jwk["use"] = json!("sig");
    site.issuer.publish(jwks(&jwk));
    assert!(eventually(Duration::from_secs(10), || site.get(&token).status == 200));
    site.assert_healthy();
}
