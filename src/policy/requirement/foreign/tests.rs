use base64::{
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
    Engine as _,
};

use super::*;
use crate::token::issuers::{Template, Tenants};

const OURS: &str = "https://Issuer.test/a?b";
const TENANT: &str = "https://login.test/t1/v2.0";

fn own() -> OwnIssuers {
    let template = |text: &str| Template::parse(text, Tenants::listed(vec!["t1".into()])).unwrap();
    let templates = vec![template("https://login.test/{tid}/v2.0"), template("https://sts.test/{tid}/")];
    let providers = [Issuers::new(vec![OURS.into(), "urn:x".into()], Vec::new()), Issuers::new(Vec::new(), templates)];
    OwnIssuers::new(providers.iter())
}

fn token(payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#), URL_SAFE_NO_PAD.encode(payload))
}

fn is_foreign(token: impl AsRef<[u8]>) -> bool {
    own().is_foreign(token.as_ref())
}

#[test]
fn tokens_of_other_issuers_and_opaque_strings_are_foreign() {
    let long = format!(r#"{{"iss":"https://other.test/{}"}}"#, "a".repeat(5000));
    for payload in [
        r#"{"iss":"https://other.test"}"#,
        r#"{"iss":"https://issuer.test/a"}"#,
        r#"{"iss":"https://issuer.test/a?bc"}"#,
        r#"{"iss":"https://login.test/t1/v1.0"}"#,
        r#"{"iss":"https://sts.test"}"#,
        r#"{"sub":"alice"}"#,
        // The issuer is the audience, or stands elsewhere.
        r#"{"iss":"o","aud":"https://issuer.test/a?b","x":["https://issuer.test/a?b"]}"#,
        r#"{"iss":"o","issuer":"https://issuer.test/a?b"}"#,
        r#"{"iss":"o","missing":0,"permission":""}"#,
        // Another token's claims are no claims of this token.
        r#"{"x":"iss","iss":"o","y":{"iss":"https://issuer.test/a?b"}}"#,
        "{\"iss\":\"\u{fffd}\"}",
        &long,
    ] {
        assert!(is_foreign(token(payload)), "{payload}");
    }
    for opaque in [
        "x",
        "ya29.a0AfH6SMBx-1_2",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "a.b",
        "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WiA8rd3wgFSNb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t4x-RMNXtQNbz7FvFZ",
        "v1.local.q~8",
        "Zm9v==",
    ] {
        assert!(is_foreign(opaque), "{opaque}");
    }
}

#[test]
fn an_odd_way_to_name_our_issuer_is_ours() {
    let text = |payload: &str| payload.as_bytes().to_vec();
    let utf16 = |payload: &str| payload.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let ours = format!(r#"{{"iss":"{OURS}"}}"#);
    let bad_utf8 = |at: usize, bytes: &[u8]| [&ours.as_bytes()[..at], bytes, &ours.as_bytes()[at..]].concat();
    let mut payloads = vec![
        text(&ours),
        text(&format!(r#"{{"iss":"{TENANT}"}}"#)),
        text(r#"{"iss":"urn:x"}"#),
        // Tenants that are not listed, or are none.
        text(r#"{"iss":"https://login.test/other/v2.0","tid":"x"}"#),
        text(r#"{"iss":"https://login.test//v2.0"}"#),
        text(r#"{"iss":"https://login.test/a/b%2f/v2.0"}"#),
        text(&format!(r#"{{"iss":"https://login.test/{}/v2.0"}}"#, "a".repeat(1000))),
        text(r#"{"iss":"https://sts.test/t1"}"#),
        // Twice.
        text(&format!(r#"{{"iss":"o","iss":"{OURS}"}}"#)),
        text(&format!(r#"{{"iss":"{OURS}","iss":"o"}}"#)),
        text(&format!(r#"{{"iss":"o","ISS":"{OURS}"}}"#)),
        text(&format!(r#"{{"Iss":"{OURS}"}}"#)),
        text(&format!("{{\"iss\":\"o\",\"i\u{17f}s\":\"{OURS}\"}}")),
        text(&format!(r#"{{"i\u017fs":"{OURS}"}}"#)),
        // Escapes, letters and slashes.
        text(r#"{"iss":"\u0068ttps:\/\/issuer.test\u002Fa?b"}"#),
        text(&format!(r#"{{"\u0069s\u0073":"{OURS}"}}"#)),
        text(&ours.to_uppercase().replace("ISS", "iss")),
        text(&format!(r#"{{"iss":"{OURS}/"}}"#)),
        text(&format!(r#"{{"iss":" \t{OURS} \n"}}"#)),
        // No JSON to us.
        text(ours.trim_end_matches('}')),
        text(ours.trim_end_matches("\"}")),
        text(&format!("{ours}{{")),
        text(&format!("\u{feff}{ours}")),
        text(&format!("[{ours}]")),
        text(&format!("{{iss:{OURS},x:1}}")),
        text(&format!("{{'iss' : '{OURS}'}}")),
        text(&format!("// c\n{{\"iss\"/**/ :\n\"{OURS}\",}}")).into_iter().filter(|byte| *byte != b'*').collect(),
        text(&format!(r#"{{"iss":["{OURS}"]}}"#)),
        text(&format!("iss={OURS}&sub=a")),
        // Bytes that a reader may leave out.
        bad_utf8(ours.len() - 1, b"\xff"),
        bad_utf8(4, b"\xff"),
        bad_utf8(14, b"\xc3\x28").into_iter().filter(|byte| *byte != b'(').collect(),
        bad_utf8(9, b"\0"),
        utf16(&ours),
        [&b"\xff\xfe"[..], &utf16(&ours)].concat(),
        ours.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        // A token within.
        text(&token(&ours)),
        text(&token(token(&ours))),
    ];
    // Deeper than is looked.
    let deep = (0..5).fold(text("{}"), |inner, _| token(inner).into_bytes());
    payloads.push(deep);
    payloads.extend([
        // Comments, another type, nothing, and text that is no object.
        text(&format!(r#"{{"iss":/*x*/"{OURS}"}}"#)),
        text(&format!(r#"{{"iss":["x","{OURS}"]}}"#)),
        text(r#"{"iss":null}"#),
        text(""),
        text("any text"),
        // Without NUL, the letter's bytes begin an escape.
        utf16(&format!(r#"{{"a":"畜","iss":"{OURS}"}}"#)),
    ]);
    for payload in payloads {
        assert!(!is_foreign(token(&payload)), "{}", payload.escape_ascii());
    }
}

#[test]
fn a_token_that_is_encoded_in_an_odd_way_is_ours() {
    // Both alphabets differ in this payload, and the payload needs padding.
    let payload = format!(r#"{{"iss":"{OURS}","x":"???>>>~"}}"#);
    assert!(STANDARD.encode(&payload).contains(['+', '/']) && STANDARD.encode(&payload).ends_with('='));
    let unpadded = STANDARD.encode(&payload).trim_end_matches('=').to_owned();
    let url = URL_SAFE_NO_PAD.encode(&payload);
    let (first, second) = payload.split_at(4);
    let (start, end) = url.split_at(9);
    let sections = [
        STANDARD.encode(&payload),
        URL_SAFE.encode(&payload),
        unpadded,
        format!("{url}A"),
        format!("{url}===="),
        format!("={url}"),
        format!("{start}={end}"),
        format!("~{start}~{end}"),
        // Two padded parts.
        format!("{}{}", URL_SAFE.encode(first), URL_SAFE.encode(second)),
        // Some readers pass over the letters of the other alphabet.
        format!("{start}-{end}"),
        format!("-{url}_"),
        // Some readers join the sections between the first dot and the last.
        format!("{start}.{end}"),
    ];
    for section in &sections {
        for token in [
            format!("eyJhbGciOiJFUzI1NiJ9.{section}.c2ln"),
            format!("eyJhbGciOiJFUzI1NiJ9.{section}"),
            format!("eyJhbGciOiJFUzI1NiJ9.{section}."),
            format!("!.{section}.c2ln"),
            format!("x.{section}.c2ln"),
            format!("{section}..."),
            // An encrypted token may repeat its issuer in the header.
            format!("{section}.a.b.c.d"),
        ] {
            assert!(!is_foreign(&token), "{token}");
        }
    }
}

#[test]
fn what_is_no_bearer_token_is_not_foreign() {
    let foreign = token(r#"{"iss":"o"}"#);
    assert!(is_foreign(&foreign));
    for odd in ["", " ", "%65yJ", "a b", "a,Bearer b", "\"x\"", "a\\145", "{}", "é", "a:b", "a\0", "a;b", "\t"] {
        assert!(!is_foreign(odd), "{odd:?}");
        assert!(!is_foreign(format!("{foreign}{odd}x")) || odd.is_empty(), "{odd:?}");
    }
    assert!(!is_foreign(b"\xff"));
}

#[test]
fn nothing_is_foreign_to_a_provider_of_any_issuer() {
    let own = OwnIssuers::new([Issuers::default(), Issuers::new(vec!["i".into()], Vec::new())].iter());
    assert!(!own.is_foreign(b"x") && !own.is_foreign(token(r#"{"iss":"o"}"#).as_bytes()));
}

/// Takes time in proportion to the length of the token, whatever the token repeats.
#[test]
#[allow(clippy::disallowed_methods)] // Measures.
fn hostile_tokens_take_no_longer() {
    let repeat = |text: &str| text.repeat(60_000 / text.len());
    let started = std::time::Instant::now();
    for payload in [
        repeat("iss"),
        repeat("iss:"),
        repeat("iss\""),
        repeat("iss  "),
        repeat("iss:https://login.test/"),
        repeat("\\u0069ss"),
        repeat("."),
    ] {
        let _ = is_foreign(token(payload));
    }
    payloads_of_tails(&repeat);
    for text in [repeat("."), repeat("="), repeat("A="), repeat("A."), repeat("eyJ.="), repeat("-"), repeat("aXNz")] {
        let _ = is_foreign(text);
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
}

/// Many words before a long tail that is trimmed.
fn payloads_of_tails(repeat: &impl Fn(&str) -> String) {
    for tail in ["/", " ", "\n"] {
        let text = format!("{}{}", repeat("iss"), repeat(tail));
        let _ = is_foreign(token(&text));
        let _ = is_foreign(token(format!(r#"{{"iss":"{}"}}"#, text.replace('\n', " "))));
    }
}
