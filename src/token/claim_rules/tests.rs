use serde_json::json;

use super::*;
use crate::{
    string_matcher::Pattern,
    token::{claims::normalize_audience, jws::Jws, validation::TokenPolicy, MalformedField},
};
use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

fn dotted(name: &str) -> ClaimName {
    ClaimName::Dotted(name.to_owned())
}

fn path(names: &[&str]) -> ClaimName {
    ClaimName::Path(names.iter().map(|name| (*name).to_owned()).collect())
}

fn check_rule(name: ClaimName, value: ClaimValue, payload: &str) -> Result<(), TokenError> {
    let demands = Demands { claims: vec![ClaimRule { name, value }], ..Demands::default() };
    demands.check(payload.as_bytes(), |_| None)
}

fn matches(pattern: Pattern) -> ClaimValue {
    ClaimValue::Matches(StringMatcher::new(pattern, false))
}

fn one_of(values: &[Value]) -> ClaimValue {
    ClaimValue::OneOf(values.to_vec())
}

const DENIED: Result<(), TokenError> = Err(TokenError::ClaimNotAllowed);

#[test]
fn a_rule_is_met_by_its_claims_only() {
    use ClaimValue::{Any, Contains, Equals};
    let x = || json!("x");
    let regex = || Pattern::regex("team-[0-9]+").unwrap();
    let long = format!(r#"{{"a":"{}"}}"#, "a".repeat(MAX_REGEX_INPUT + 1));
    let cases: &[(ClaimName, ClaimValue, &[&str], &[&str])] = &[
        (dotted("a"), Any, &[r#"{"a":0}"#, r#"{"a":[]}"#, r#"{"a":""}"#], &[r#"{"a":null}"#]),
        (dotted("a.b"), Equals(x()), &[r#"{"a":{"b":"x"}}"#], &[r#"{"a":{"b":["x"]}}"#, r#"{"b":"x"}"#]),
        (dotted("a"), Equals(json!(true)), &[r#"{"a":true}"#], &[r#"{"a":"true"}"#, r#"{"a":1}"#]),
        (
            dotted("a"),
            Contains(x()),
            &[r#"{"a":["y","x"]}"#, r#"{"a":"y x"}"#],
            &[r#"{"a":["xx"]}"#, r#"{"a":"yx"}"#, r#"{"a":[["x"]]}"#],
        ),
        (
            dotted("a"),
            Contains(json!(7)),
            &[r#"{"a":[7]}"#, r#"{"a":[7.0]}"#],
            &[r#"{"a":7}"#, r#"{"a":"7"}"#, r#"{"a":["7"]}"#],
        ),
        (dotted("https://e.io/r"), Contains(x()), &[r#"{"https://e.io/r":["x"]}"#], &[r#"{"r":1}"#]),
        // The claim of the whole name counts first.
        (dotted("a.b"), Equals(json!(1)), &[r#"{"a.b":1,"a":{"b":2}}"#], &[r#"{"a.b":2,"a":{"b":1}}"#]),
        // Nothing of a path is a separator.
        (path(&["a.b"]), Equals(json!(1)), &[r#"{"a.b":1,"a":{"b":2}}"#], &[r#"{"a":{"b":1}}"#]),
        (path(&["a", "b"]), Equals(json!(1)), &[r#"{"a.b":2,"a":{"b":1}}"#], &[r#"{"a.b":1}"#]),
        // No path leads into a list, and none through a string.
        (path(&["a", "b"]), Equals(json!(1)), &[r#"{"a":{"b":1}}"#], &[r#"{"a":[{"b":1}]}"#, r#"{"a":"b"}"#]),
        (path(&["a", "0"]), Equals(json!(1)), &[r#"{"a":{"0":1}}"#], &[r#"{"a":[1]}"#]),
        (
            dotted("a"),
            one_of(&[x(), json!(7), json!(false)]),
            &[r#"{"a":"x"}"#, r#"{"a":7}"#, r#"{"a":7.0}"#, r#"{"a":false}"#, r#"{"a":["z","x"]}"#],
            &[
                r#"{"a":"7"}"#,
                r#"{"a":"x y"}"#,
                r#"{"a":0}"#,
                r#"{"a":[["x"]]}"#,
                r#"{"a":{"x":"x"}}"#,
                r#"{"a":null}"#,
            ],
        ),
        (
            dotted("a"),
            matches(regex()),
            &[r#"{"a":"team-7"}"#, r#"{"a":[7,"x","team-1"]}"#],
            &[r#"{"a":"team-7 "}"#, r#"{"a":"team-1 team-2"}"#, r#"{"a":7}"#, r#"{"a":[["team-1"]]}"#, r#"{"a":null}"#],
        ),
        (dotted("a"), matches(Pattern::regex("a*").unwrap()), &[r#"{"a":"aa"}"#], &[&long]),
        (dotted("a"), matches(Pattern::Prefix("a".into())), &[&long], &[r#"{"a":"ba"}"#]),
        // Integers beyond 2^53 are exact; of larger numbers, several have one double.
        (
            dotted("a"),
            Equals(json!(9_007_199_254_740_993_u64)),
            &[r#"{"a":9007199254740993}"#],
            &[r#"{"a":9007199254740992}"#, r#"{"a":9007199254740993.0}"#],
        ),
        (
            dotted("a"),
            Equals(json!(u64::MAX)),
            &[r#"{"a":18446744073709551615}"#],
            &[r#"{"a":18446744073709551616}"#, r#"{"a":1.8446744073709552e19}"#],
        ),
        (
            dotted("a"),
            Equals(json!(1)),
            &[r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":1e0}"#],
            &[r#"{"a":1.5}"#, r#"{"a":true}"#],
        ),
        (dotted("a"), Equals(json!(0.5)), &[r#"{"a":0.5}"#], &[r#"{"a":0}"#, r#"{"a":1}"#]),
    ];
    for (name, value, good, bad) in cases {
        for payload in *good {
            assert_eq!(check_rule(name.clone(), value.clone(), payload), Ok(()), "{name:?} {value:?} {payload}");
        }
        for payload in bad.iter().chain(&["{}", r#"{"a":{}}"#]) {
            let is_any = matches!(value, Any) && *payload == r#"{"a":{}}"#;
            let expected = if is_any { Ok(()) } else { DENIED };
            assert_eq!(check_rule(name.clone(), value.clone(), payload), expected, "{name:?} {value:?} {payload}");
        }
    }
}

#[test]
fn members_that_repeat_are_no_claims() {
    let malformed = Err(TokenError::MalformedPayload(MalformedField::Whole));
    for payload in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":1}}"#, r#"{"a":[{"b":1,"b":1}]}"#] {
        assert_eq!(check_rule(dotted("a"), ClaimValue::Any, payload), malformed, "{payload}");
    }
}

/// An issuer may put many long strings into a list.
#[test]
fn a_regular_expression_is_tried_on_so_much_of_a_list() {
    let list = |count| {
        let items = [vec!["b".repeat(MAX_REGEX_INPUT); count], vec!["a".to_owned()]].concat();
        json!({ "a": items })
    };
    let check = |count| check_rule(dotted("a"), matches(Pattern::regex("a").unwrap()), &list(count).to_string());
    assert_eq!((check(3), check(4)), (Ok(()), DENIED));
    let prefix = matches(Pattern::Prefix("a".into()));
    assert_eq!(check_rule(dotted("a"), prefix, &list(4).to_string()), Ok(()));
}

#[test]
fn a_claim_equals_the_only_value_of_a_header() {
    let demands = |claim| Demands { headers: vec![HeaderRule { claim, header: "x-t".into() }], ..Demands::default() };
    for (payload, value, is_met) in [
        (r#"{"t":"acme"}"#, Some("acme"), true),
        (r#"{"t":["other","acme"]}"#, Some("acme"), true),
        (r#"{"t":42}"#, Some("42"), true),
        (r#"{"t":-42}"#, Some("-42"), true),
        (r#"{"t":18446744073709551615}"#, Some("18446744073709551615"), true),
        (r#"{"t":["a,b"]}"#, Some("a,b"), true),
        (r#"{"t":"acme"}"#, None, false),
        (r#"{"t":""}"#, None, false),
        (r#"{"t":"acme"}"#, Some("ACME"), false),
        (r#"{"t":"acme"}"#, Some("acme "), false),
        (r#"{"t":"acme other"}"#, Some("acme"), false),
        (r#"{"t":["a","b"]}"#, Some("a,b"), false),
        (r#"{"t":[["acme"]]}"#, Some("acme"), false),
        (r#"{"t":{"acme":1}}"#, Some("acme"), false),
        (r#"{"t":[]}"#, Some("acme"), false),
        (r#"{"t":null}"#, Some("null"), false),
        (r#"{"t":true}"#, Some("true"), false),
        // Only what one text means is compared as text.
        (r#"{"t":1.0}"#, Some("1"), false),
        (r#"{"t":1.0}"#, Some("1.0"), false),
        (r#"{"t":18446744073709551616}"#, Some("18446744073709551616"), false),
        (r#"{"u":"acme"}"#, Some("acme"), false),
    ] {
        let header = |name: &str| value.filter(|_| name == "x-t").map(str::as_bytes);
        let expected = if is_met { Ok(()) } else { DENIED };
        assert_eq!(demands(dotted("t")).check(payload.as_bytes(), header), expected, "{payload} {value:?}");
    }
    let nested = br#"{"org":{"x.id":"acme"}}"#;
    assert_eq!(demands(path(&["org", "x.id"])).check(nested, |_| Some(b"acme")), Ok(()));
    assert_eq!(demands(dotted("t")).check(br#"{"t":"\u00e9"}"#, |_| Some(b"\xe9")), DENIED);
}

#[test]
fn scopes_must_all_be_granted() {
    let demands = Demands { scopes: vec!["read".into(), "write".into()], ..Demands::default() };
    let check = |payload: &str| demands.check(payload.as_bytes(), |_| None);
    for good in [r#"{"scope":"x write read"}"#, r#"{"scp":["read","write"]}"#, r#"{"scope":"read","scp":"write"}"#] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [r#"{"scope":"read"}"#, r#"{"scope":"read,write"}"#, r#"{"scp":["read write"]}"#, "{}", r#"{"scope":7}"#]
    {
        assert_eq!(check(bad), Err(TokenError::InsufficientScope), "{bad}");
    }
}

/// The first of the claims that the token has decides, in a list with `aud` at the front before the signature is checked.
#[test]
fn the_first_claim_that_the_token_has_names_the_audience() {
    let audiences: Vec<_> = ["https://api/", "b"].map(|name| normalize_audience(name).to_owned()).into();
    let denied = Err(TokenError::AudienceNotAllowed);
    for (claims, payload, unsigned, signed) in [
        (&[][..], r#"{"client_id":"api"}"#, denied, Ok(())),
        (&["aud", "client_id"], r#"{"client_id":"api"}"#, Ok(()), Ok(())),
        (&["aud", "client_id"], r#"{"client_id":"https://api/"}"#, Ok(()), Ok(())),
        (&["aud", "client_id"], r#"{"client_id":["x","b"]}"#, Ok(()), Ok(())),
        (&["aud", "client_id"], r#"{"client_id":"x"}"#, Ok(()), denied),
        (&["aud", "client_id"], "{}", Ok(()), denied),
        (&["aud", "client_id"], r#"{"client_id":7}"#, Ok(()), denied),
        (&["aud", "client_id"], r#"{"client_id":null}"#, Ok(()), denied),
        (&["aud", "client_id"], r#"{"client_id":["b",7]}"#, Ok(()), denied),
        (&["aud", "client_id"], r#"{"client_id":{"b":"b"}}"#, Ok(()), denied),
        (&["aud", "client_id"], r#"{"aud":"api","client_id":"x"}"#, Ok(()), Ok(())),
        (&["aud", "client_id"], r#"{"aud":"x","client_id":"api"}"#, denied, Ok(())),
        (&["aud", "client_id"], r#"{"aud":[],"client_id":"api"}"#, denied, Ok(())),
        (&["azp", "aud"], r#"{"aud":"x","azp":"b"}"#, Ok(()), Ok(())),
        (&["azp", "aud"], r#"{"aud":"b","azp":"x"}"#, Ok(()), denied),
        (&["azp", "aud"], r#"{"aud":"b"}"#, Ok(()), Ok(())),
        (&["azp", "aud"], r#"{"aud":["x"]}"#, Ok(()), denied),
        (&["azp"], r#"{"aud":"b"}"#, Ok(()), denied),
        (&["https://x/y.z"], r#"{"https://x/y.z":"b"}"#, Ok(()), Ok(())),
    ] {
        let audience_claims = claims.iter().map(|name| (*name).to_owned()).collect();
        let policy = TokenPolicy { audiences: audiences.clone(), audience_claims, ..TokenPolicy::permissive() };
        let token = format!("{}.{}.AA", BASE64.encode(r#"{"alg":"ES256"}"#), BASE64.encode(payload));
        let jws = Jws::parse(token.as_bytes().into()).unwrap();
        let claims_of_token = jws.claims().unwrap();
        let found = policy.check_unsigned(&jws, claims_of_token, crate::time::UnixTime::default());
        assert_eq!((found, policy.check_signed(&jws, claims_of_token)), (unsigned, signed), "{claims:?} {payload}");
        let without = TokenPolicy { audiences: Vec::new(), ..policy };
        assert_eq!(without.check_signed(&jws, claims_of_token), Ok(()));
    }
}
