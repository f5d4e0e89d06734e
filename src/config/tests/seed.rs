use serde_json::{json, Value};

use super::{encode, minimal, parse, rejection_with};
use crate::rotation::policy::EmptySet;

const RSA: &str = concat!(
    r#""kty":"RSA","e":"AQAB","n":"#,
    r#""0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw""#,
);
const END: &str = "2026-12-31T00:00:00Z";

fn jwks(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn good() -> String {
    jwks(&[format!(r#"{{"kid":"a",{RSA}}}"#)])
}

fn with(seed: Value) -> Value {
    let mut config = minimal();
    config["providers"]["p"]["remote_jwks"]["seed_jwks"] = seed;
    config
}

#[test]
fn a_seed_has_keys_and_an_end() {
    for config in [
        with(json!({"inline_string": good(), "not_after": END})),
        with(json!({"inlineString": good(), "notAfter": END})),
    ] {
        let plan = parse(&encode(&config)).unwrap();
        let seed = plan.remotes().next().unwrap().1.seed.clone().unwrap();
        assert_eq!((seed.keys.len(), seed.not_after.as_millis(), &*seed.until), (1, 1_798_675_200_000, END));
    }
    assert!(parse(minimal().to_string().as_bytes()).unwrap().remotes().all(|(_, remote)| remote.seed.is_none()));
    // A key for encryption is skipped, as in a fetched JWKS, and a warning names the key.
    let two = jwks(&[format!(r#"{{"kid":"a",{RSA}}}"#), format!(r#"{{"kid":"b","use":"enc",{RSA}}}"#)]);
    let plan = parse(with(json!({"inline_string": two, "not_after": END})).to_string().as_bytes()).unwrap();
    let warning = "providers.p.remote_jwks.seed_jwks.inline_string: keys[1] is skipped: not for verifying";
    assert!(plan.warnings.iter().any(|told| told == warning), "{:?}", plan.warnings);
}

#[test]
fn a_seed_that_is_wrong_rejects_the_configuration_by_its_path() {
    const SEED: &str = "/providers/p/remote_jwks/seed_jwks";
    let private = format!(r#"{{"kid":"b","d":"AA",{RSA}}}"#);
    let secret = r#"{"kty":"oct","kid":"b","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}"#.to_owned();
    let key = format!(r#"{{"kid":"a",{RSA}}}"#);
    for (seed, expected) in [
        (json!({"inline_string": good()}), "seed_jwks.not_after: must be a time in UTC"),
        (json!({"not_after": END}), "seed_jwks.inline_string: must be set"),
        (json!({"inline_string": good(), "not_after": "2026-12-31"}), "seed_jwks.not_after: must be a time in UTC"),
        (json!({"inline_string": good(), "not_after": 1}), "seed_jwks.not_after: invalid type"),
        (json!({"inline_string": "{}", "not_after": END}), "seed_jwks.inline_string: not a JSON Web Key Set"),
        (json!({"inline_string": jwks(&[]), "not_after": END}), "seed_jwks.inline_string: "),
        (json!({"inline_string": jwks(&["{}".into()]), "not_after": END}), "seed_jwks.inline_string: no usable key"),
        (
            json!({"inline_string": jwks(std::slice::from_ref(&private)), "not_after": END}),
            "seed_jwks.inline_string: a PRIVATE key",
        ),
        (
            json!({"inline_string": jwks(&[key.clone(), private]), "not_after": END}),
            "seed_jwks.inline_string: a PRIVATE key is published",
        ),
        (
            json!({"inline_string": jwks(std::slice::from_ref(&secret)), "not_after": END}),
            "seed_jwks.inline_string: a PRIVATE key",
        ),
        (
            json!({"inline_string": jwks(&[key.clone(), secret]), "not_after": END}),
            "seed_jwks.inline_string: keys[1] is not usable: private key published",
        ),
        (json!({"inline_string": good(), "not_after": END, "x": 1}), "seed_jwks: unknown field"),
        (json!("x"), "seed_jwks: invalid type"),
    ] {
        let error = rejection_with(SEED, seed.clone());
        assert!(error.starts_with(&format!("providers.p.remote_jwks.{expected}")), "{seed}: {error}");
    }
    // The limits are those of fetched documents.
    for (field, limit, expected) in
        [("max_keys", 1, "more keys than max_keys"), ("max_document_bytes", 20, "larger than")]
    {
        let two = jwks(&[key.clone(), format!(r#"{{"kid":"b",{RSA}}}"#)]);
        let mut config = with(json!({"inline_string": two, "not_after": END}));
        config["providers"]["p"]["remote_jwks"]["rotation"] = json!({field: limit});
        let error = parse(config.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("providers.p.remote_jwks.seed_jwks.inline_string: {expected}")), "{error}");
    }
}

#[test]
fn a_ready_path_is_a_path() {
    for good in ["/", "/ready", "/a/b-c_d~e;f=%20"] {
        let mut config = minimal();
        config["ready_path"] = json!(good);
        let plan = parse(&encode(&config)).unwrap();
        assert_eq!(plan.ready.unwrap().path, good);
    }
    for bad in ["", "ready", "/a?b", "/a#b", "/a b", "/ä", "/\n", "?"] {
        let error = rejection_with("/ready_path", json!(bad));
        assert!(error.starts_with("ready_path: must begin with / and contain only"), "{bad:?}: {error}");
    }
    assert!(parse(minimal().to_string().as_bytes()).unwrap().ready.is_none());
}

#[test]
fn an_empty_set_keeps_the_keys_unless_configured() {
    let policy = |rotation: Value| {
        let mut config = minimal();
        config["providers"]["p"]["remote_jwks"]["rotation"] = rotation;
        parse(&encode(&config)).unwrap().remotes().next().unwrap().1.rotation.empty_set
    };
    assert_eq!((policy(json!({})), policy(json!({"empty_set": "keep"}))), (EmptySet::Keep, EmptySet::Keep));
    assert_eq!(policy(json!({"empty_set": "revoke"})), EmptySet::Revoke);
    let error = rejection_with("/providers/p/remote_jwks/rotation", json!({"empty_set": "drop"}));
    assert!(error.starts_with("providers.p.remote_jwks.rotation.empty_set: invalid type"), "{error}");
}
