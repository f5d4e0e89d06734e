use std::time::Instant;

use super::*;
use crate::{
    crypto::Hash,
    keys::{
        revoked::{FormerName, RevokedKeys},
        Algorithm,
    },
    time::UnixTime,
};
use serde_json::json;

const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

const OTHER_EC: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
const NOW: UnixTime = UnixTime::from_millis(0);

/// Made by OpenSSL. The certificates have expired.
const RSA: &str = include_str!("pem/rsa-certificate.pem");
const P256: &str = include_str!("pem/p256-certificate.pem");
const KEYS: [(&str, &str); 7] = [
    (RSA, "Yt2FXpFBorYp8CffbCVS5ymhJLGHgZwQ-YbqqzlSqUk"),
    (include_str!("pem/rsa-public-key.pem"), "Yt2FXpFBorYp8CffbCVS5ymhJLGHgZwQ-YbqqzlSqUk"),
    (include_str!("pem/rsa-pkcs1.pem"), "Yt2FXpFBorYp8CffbCVS5ymhJLGHgZwQ-YbqqzlSqUk"),
    (P256, "WEmjrw671zamkOr4IAWU5C19KWdFREJmKu1d0kSgNLI"),
    (include_str!("pem/p384-certificate.pem"), "YEPph5jFTC_ipAXPRnayChVDKkFwxcudYtooKbixaBI"),
    (include_str!("pem/p521-public-key.pem"), "9QQacQWGguiABk19zM6eWNHCR_BYysp_P9hnLi3q10M"),
    (include_str!("pem/ed25519-public-key.pem"), "7_48RV8j7lDy-7BZlm8TmtJ1f45nlzfRghjsJ5iStBw"),
];

fn set(keys: &[impl AsRef<str>]) -> Vec<u8> {
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    format!("{{\"keys\":[{}]}}", keys.join(",")).into_bytes()
}

fn thumbprints(body: &[u8]) -> Result<Vec<String>, DocumentError> {
    parse(body, Limits::default())
        .map(|document| document.keys.published().map(|key| key.thumbprint().into()).collect())
}

#[test]
fn one_bad_key_does_not_sink_the_set() {
    let document = parse(&set(&["1", EC, r#"{"kty":"oct","k":"AA"}"#]), Limits::default()).unwrap();
    assert_eq!(document.keys.len(), 1);
    assert_eq!(document.skipped, [(0, KeyError::Malformed), (2, KeyError::Private)]);
}

/// Whoever reads the document can sign with a published private key, whatever entry its public key stands in.
#[test]
fn a_published_private_key_takes_its_public_key_along() {
    let private = EC.replacen("\"a\"", "\"b\",\"d\":\"AA\"", 1);
    let (twin, other) = (EC.replacen("\"a\"", "\"c\"", 1), EC.replacen("\"kid\":\"a\",", "", 1));
    for order in [[EC, &private, &twin, &other], [&private, EC, &other, &twin]] {
        assert_eq!(parse(&set(&order), Limits::default()).unwrap_err(), DocumentError::PrivateKey);
        let body = set(&[&order[..], &[OTHER_EC]].concat());
        let document = parse(&body, Limits::default()).unwrap();
        let skipped = order.iter().enumerate();
        let error = |jwk: &str| if jwk == private { KeyError::Private } else { KeyError::Exposed };
        let skipped: Vec<_> = skipped.map(|(at, jwk)| (at, error(jwk))).collect();
        assert_eq!((document.keys.len(), document.skipped), (1, skipped));
        assert_eq!(entries(&body).len(), 1);
        // Nor does the key verify within a grace.
        let (key, other) = (Key::from_json(EC).unwrap(), Key::from_json(OTHER_EC).unwrap());
        assert!(document.keys.exposes(&key) && !document.keys.exposes(&other));
        let until = UnixTime::from_millis(1000);
        let keys = document.keys.with_retired([(key.clone(), until), (other.clone(), until)]);
        assert_eq!(
            (keys.retired_until(&key), keys.candidates(None, Algorithm::Es(Hash::Sha256), NOW).count()),
            (None, 2)
        );
    }
    let chain = format!("{P256}-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n{P256}");
    let document = parse(json!({"a": P256, "b": chain, "c": RSA}).to_string().as_bytes(), Limits::default()).unwrap();
    assert_eq!((document.keys.len(), document.skipped), (1, vec![(0, KeyError::Exposed), (1, KeyError::Private)]));
}

#[test]
fn documents_are_rejected_whole() {
    let rejection = |body: &[u8]| parse(body, Limits { max_document_bytes: 1000, max_keys: 2 }).unwrap_err();
    assert_eq!(rejection(b""), DocumentError::Malformed);
    assert_eq!(rejection(b"<html>"), DocumentError::Malformed);
    assert_eq!(rejection(b"{}"), DocumentError::Malformed);
    assert_eq!(rejection(br#"{"keys":{}}"#), DocumentError::Malformed);
    assert_eq!(rejection(br#"{"keys":[],"keys":[]}"#), DocumentError::Malformed);
    // A single JWK is no document, here as in `jwt_authn`.
    assert_eq!(rejection(EC.as_bytes()), DocumentError::Malformed);
    assert_eq!(rejection(&set(&[EC])[8..]), DocumentError::Malformed);
    assert_eq!(rejection(&[b"[".repeat(900), b"]".repeat(90)].concat()), DocumentError::Malformed);
    assert_eq!(rejection(&set(&[""; 0])), DocumentError::Empty);
    assert_eq!(rejection(&set(&["{}"])), DocumentError::NoUsableKey);
    assert_eq!(rejection(&set(&["1", "2", "3"])), DocumentError::TooManyKeys);
    assert_eq!(rejection(&[b' '; 1001]), DocumentError::TooLarge);
    let cut = set(&[EC]);
    assert_eq!(rejection(&cut[..cut.len() - 3]), DocumentError::Malformed);
}

#[test]
fn other_members_of_a_set_mean_nothing() {
    let spiffe = format!(r#"{{"spiffe_sequence":1e3,"a":null,"keys":[{EC}],"a":"{{","spiffe_refresh_hint":300}}"#);
    assert_eq!(thumbprints(spiffe.as_bytes()).unwrap().len(), 1);
    let beside_pem = json!({"keys": [], "k": RSA}).to_string();
    assert_eq!(thumbprints(beside_pem.as_bytes()), Err(DocumentError::Empty));
}

#[test]
fn only_a_list_without_keys_is_empty() {
    for empty in
        ["{\"keys\":[]}", " {\"keys\" : [ ] } ", r#"{"spiffe_sequence":7,"keys":[],"spiffe_refresh_hint":300}"#]
    {
        assert_eq!(parse(empty.as_bytes(), Limits::default()).unwrap_err(), DocumentError::Empty, "{empty}");
        let document = parse_cached(empty.as_bytes(), Limits::default()).unwrap();
        assert!(document.keys.is_empty() && document.skipped.is_empty(), "{empty}");
    }
    for other in [
        "",
        "{}",
        "[]",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":""}"#,
        r#"{"keys":[]"#,
        r#"{"keys":[]}}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"Keys":[]}"#,
        r#"{"keys":[{}]}"#,
        r#"{"keys":[null]}"#,
        r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
        r#"{"keys":[{"kty":"RSA","use":"x509-svid","e":"AQAB","n":"AQAB"}]}"#,
    ] {
        for parse in [parse, parse_cached] {
            let error = parse(other.as_bytes(), Limits::default()).unwrap_err();
            assert_ne!(error, DocumentError::Empty, "{other}");
        }
    }
}

#[test]
fn a_refresh_hint_is_whole_seconds() {
    let hint = |value: &str| {
        let document = format!(r#"{{"keys":[{EC}],"spiffe_refresh_hint":{value}}}"#);
        parse(document.as_bytes(), Limits::default()).unwrap().refresh_hint.map(|hint| hint.as_secs())
    };
    assert_eq!((hint("300"), hint("1"), hint("99999999999999999999999")), (Some(300), Some(1), Some(1 << 31)));
    for none in ["0", "-1", "1.5", "1e3", "\"300\"", "null", "true", "[300]", "{}"] {
        assert_eq!(hint(none), None, "{none}");
    }
    assert_eq!(parse(&set(&[EC]), Limits::default()).unwrap().refresh_hint, None);
}

#[test]
fn certificates_and_public_keys_are_keys() {
    for (pem, thumbprint) in KEYS {
        let crlf = pem.replace('\n', "\r\n");
        // Of a chain, the first certificate.
        let chain = format!("{pem}{pem}");
        for text in [pem, pem.trim_end(), &crlf, &format!("\n {pem}\n\n"), &chain] {
            let document = parse(json!({ "the kid": text }).to_string().as_bytes(), Limits::default());
            let document = document.unwrap_or_else(|error| panic!("{text}: {error}"));
            let key = document.keys.published().next().unwrap();
            assert_eq!((key.thumbprint(), key.kid()), (thumbprint, Some("the kid")), "{text}");
        }
    }
    let all = json!({"a": RSA, "b\"\n": P256});
    assert_eq!(thumbprints(all.to_string().as_bytes()), Ok(vec![KEYS[0].1.into(), KEYS[3].1.into()]));
    let public = spki_of(KEYS[1].0);
    let document = parse(json!({"a": RSA}).to_string().as_bytes(), Limits::default()).unwrap();
    assert_eq!(document.keys.published().next().unwrap().public_der().unwrap(), public);
}

fn spki_of(pem: &str) -> Vec<u8> {
    use ::base64::{engine::general_purpose::STANDARD, Engine as _};
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

#[test]
fn a_map_holds_certificates_and_public_keys_only() {
    let secret = RSA.replace("CERTIFICATE", "PRIVATE KEY");
    let without_end = RSA.replace("-----END CERTIFICATE-----\n", "");
    let other_end = RSA.replace("END CERTIFICATE", "END PUBLIC KEY");
    for other in [
        json!("x"),
        json!(""),
        json!(7),
        json!(null),
        json!([RSA]),
        json!({ "k": RSA }),
        json!(secret),
        json!(without_end),
        json!(other_end),
        json!(format!("x{RSA}")),
        json!(format!("{RSA}x")),
    ] {
        let body = json!({"a": RSA, "other": other}).to_string();
        assert_eq!(thumbprints(body.as_bytes()), Err(DocumentError::Malformed), "{other}");
    }
    assert_eq!(thumbprints(json!({"": RSA}).to_string().as_bytes()), Err(DocumentError::Malformed));
    let twice = format!(r#"{{"a":{0},"a":{0}}}"#, json!(RSA));
    assert_eq!(thumbprints(twice.as_bytes()), Err(DocumentError::Malformed));
    let many = json!({"a": RSA, "b": RSA, "c": RSA}).to_string();
    let limits = Limits { max_keys: 2, ..Limits::default() };
    assert_eq!(parse(many.as_bytes(), limits).unwrap_err(), DocumentError::TooManyKeys);
}

#[test]
fn an_unusable_certificate_is_skipped() {
    let broken = RSA.replacen("\nM", "\n!", 1);
    let other_structure = RSA.replacen("\nMIID", "\nAIID", 1);
    for (pem, error) in [
        (include_str!("pem/rsa-1024-certificate.pem"), KeyError::Weak),
        (include_str!("pem/secp256k1-public-key.pem"), KeyError::Unsupported),
        (include_str!("pem/x25519-public-key.pem"), KeyError::Unsupported),
        (include_str!("pem/p256-compressed-public-key.pem"), KeyError::Unsupported),
        ("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", KeyError::Malformed),
        (&broken, KeyError::Malformed),
        (&other_structure, KeyError::Malformed),
    ] {
        let document = parse(json!({"a": pem, "b": P256}).to_string().as_bytes(), Limits::default()).unwrap();
        assert_eq!((document.keys.len(), document.skipped), (1, vec![(0, error)]), "{pem}");
        let alone = json!({ "a": pem }).to_string();
        assert_eq!(thumbprints(alone.as_bytes()), Err(DocumentError::NoUsableKey), "{pem}");
    }
}

#[test]
fn a_key_in_pem_can_be_kept_named_and_revoked() {
    let body = json!({"a \"quoted\" kid": RSA, "b": P256}).to_string();
    let published = parse(body.as_bytes(), Limits::default()).unwrap().keys;
    let entries = entries(body.as_bytes());
    assert_eq!(entries.len(), 2);
    for ((key, jwk), published) in entries.iter().zip(published.published()) {
        assert!(key.is_same(published) && parse_key(jwk).unwrap().is_same(published), "{}", jwk.escape_ascii());
        assert_eq!(parse_key(jwk).unwrap().public_der(), published.public_der());
        assert!(FormerName::of(key).is_some());
        for name in [key.kid().unwrap(), key.thumbprint()] {
            let rest = published_without(&body, name);
            assert!(rest.len() == 1 && !rest.publishes(key), "{name}");
        }
    }
}

fn published_without(body: &str, name: &str) -> KeySet {
    let keys = parse(body.as_bytes(), Limits::default()).unwrap().keys;
    keys.without_revoked(&RevokedKeys::new([name.to_owned()]))
}

#[test]
fn local_documents_have_no_bounds_and_name_what_is_skipped() {
    let many = vec![EC; 2000];
    assert_eq!(parse_local(&set(&many)).unwrap().keys.len(), 1);
    let none = parse_local(&set(&["{}"])).unwrap();
    assert_eq!((none.keys.len(), none.skipped), (0, vec![(0, KeyError::Malformed)]));
    assert_eq!(parse_local(json!({"a": RSA}).to_string().as_bytes()).unwrap().keys.len(), 1);
}

/// Nothing that is cut, changed or repeated makes the reader panic.
#[test]
fn mutated_documents_are_read_without_panic() {
    let seeds = [
        json!({"a": RSA, "b": P256, "c": KEYS[2].0}).to_string().into_bytes(),
        json!({"k": KEYS[5].0, "e": KEYS[6].0}).to_string().into_bytes(),
        set(&[EC, r#"{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":["verify",[[]]],"use":null}"#]),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for seed in &seeds {
        for end in 0..seed.len() {
            let _ = (parse(&seed[..end], Limits::default()), entries(&seed[..end]));
        }
        for _ in 0..3000 {
            let mut body = seed.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..body.len());
                match random.u8(..4) {
                    0 => body[at] = random.u8(..),
                    1 => body[at] = *random.choice(br#"AQZ{}[]",:\n-_=9"#).unwrap(),
                    2 => drop(body.remove(at)),
                    _ => body.insert(at, random.u8(32..127)),
                }
            }
            let _ = (parse(&body, Limits::default()), parse_local(&body), entries(&body));
        }
    }
}

/// DER within a certificate, changed where base64 and JSON stay whole.
#[test]
fn mutated_certificates_are_read_without_panic() {
    use ::base64::{engine::general_purpose::STANDARD, Engine as _};
    let mut random = fastrand::Rng::with_seed(11);
    for (pem, _) in KEYS {
        let label = pem.lines().next().unwrap().replace("-----BEGIN ", "").replace("-----", "");
        let der = spki_of(pem);
        let read = |der: &[u8]| {
            let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", STANDARD.encode(der));
            pem::read("k", &text).is_ok()
        };
        assert!(read(&der));
        for end in 0..der.len() {
            let _ = read(&der[..end]);
        }
        for _ in 0..2000 {
            let mut der = der.clone();
            let at = random.usize(..der.len());
            let any = random.u8(..);
            der[at] = random.choice([0, 1, 0x7f, 0x80, 0x81, 0x84, 0xff, 0x30, any]).unwrap();
            let _ = read(&der);
        }
    }
}

/// A document within the default bounds takes a worker no noticeable time, whatever is in it. The bound is generous: an
/// unoptimized build on a busy machine must meet it.
#[test]
// The test's own time, not the engine's.
#[allow(clippy::disallowed_methods)]
fn the_largest_documents_are_read_quickly() {
    let size = Limits::default().max_document_bytes;
    let fill = |begin: &str, item: &str, end: &str| {
        let count = (size - begin.len() - end.len()) / item.len();
        format!("{begin}{}{end}", item.repeat(count)).into_bytes()
    };
    let documents = [
        fill("{\"keys\":[", "1,", "1]}"),
        fill("{\"keys\":[{\"kty\":\"RSA\",\"key_ops\":[", "[],", "1]}]}"),
        fill("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"", "A", "\"}]}"),
        fill("{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"", "_", "\"}]}"),
        fill("{\"keys\":", "[", ""),
        fill("{\"keys\":[{\"kty\":", "[", ""),
        fill("{\"keys\":[{\"kty\":", "{\"kty\":", ""),
        fill("{", "\"a\":\"-----BEGIN CERTIFICATE-----\",", "\"a\":1}"),
        fill("{\"a\":\"-----BEGIN CERTIFICATE-----", "A", "-----END CERTIFICATE-----\"}"),
        fill("{\"a\":\"-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE----", "-----END CERTIFICATE-----\"}"),
        distinct_keys(1000),
        set(&(0..1000).map(|number| EC.replace(r#""a""#, &json!(number.to_string()).to_string())).collect::<Vec<_>>()),
    ];
    for document in documents {
        let start = Instant::now();
        let _ = parse(&document, Limits::default());
        let took = start.elapsed();
        println!("{:?} {} bytes: {took:?}", document[..40].escape_ascii().to_string(), document.len());
        assert!(took.as_secs() < 2, "{took:?}: {}", document[..40].escape_ascii());
    }
}

fn distinct_keys(number: u16) -> Vec<u8> {
    use ::base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
    let jwk = |number: u16| {
        let modulus = BASE64.encode([&[0xff; 253][..], &number.to_be_bytes(), &[1]].concat());
        format!(r#"{{"kty":"RSA","kid":"k{number}","e":"AQAB","n":"{modulus}"}}"#)
    };
    set(&(0..number).map(jwk).collect::<Vec<_>>())
}

#[test]
fn a_key_that_is_published_for_two_issuers_is_two_entries() {
    let of = |issuer: &str| EC.replacen('{', &format!(r#"{{"issuer":"{issuer}","#), 1);
    let body = format!(r#"{{"keys":[{},{},{},{EC}]}}"#, of("a"), of("b"), of("a"));
    let keys = parse(body.as_bytes(), Limits::default()).unwrap().keys;
    assert!(keys.published().map(Key::issuer).eq([Some("a"), Some("b"), None]));
    assert!(entries(body.as_bytes()).iter().map(|(key, _)| key.issuer()).eq([Some("a"), Some("b"), None]));
}
