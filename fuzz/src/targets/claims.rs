//! The registered claims, single claims, and the checks of times.

use std::time::Duration;

use jwks_gate::{
    time::UnixTime,
    token::{
        claims::{select, Claims, NumericDate},
        validation::TokenPolicy,
        TokenError,
    },
};
use serde_json::Value;

use super::texts;
use crate::json;

const NOW: u64 = 1_700_000_000;

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"iss":"https://issuer.test","sub":"s","aud":["a","b"],"exp":1700000060,"nbf":1699999940,"iat":1.5e9,"jti":"j"}"#,
        r#"{"aud":"a","exp":18446744073709551615,"nbf":0,"iat":-0.0}"#,
        r#"{"exp":1e400}"#,
        r#"{"iss":null}"#,
        r#"{"a":{"b":[{"c":1,"d":[null,true,"\ud83d\ude00"]}]},"scope":"a b","nbf":1700000060.5}"#,
        r#"{"x":1,"x":2}"#,
        r#"{"exp":9007199254740993,"realm_access":{"roles":["r"]}}"#,
    ])
}

pub fn run(data: &[u8]) {
    let claims = Claims::parse(data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(claims.is_err(), "not UTF-8");
        return;
    };
    let Some(value) = json::value(text) else { return };
    let Some(members) = value.as_object() else {
        assert!(claims.is_err(), "not an object");
        return;
    };
    assert_eq!(claims.is_ok(), members.iter().all(|(name, value)| is_readable(name, value)), "{text}");
    for (name, value) in members {
        assert_eq!(select(data, &[name, "no such claim"]), Ok(vec![Some(value.clone()), None]), "{name}");
    }
    if let Ok(claims) = claims {
        assert_eq!(claims.issuer(), members.get("iss").and_then(Value::as_str));
        check_times(&claims, members.get("exp").and_then(Value::as_f64));
    }
}

/// Whether a claim has the type that the claim should have. Other claims may have any.
fn is_readable(name: &str, value: &Value) -> bool {
    match name {
        "iss" | "sub" | "jti" => value.is_string(),
        "aud" => value.is_string() || value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        "exp" | "nbf" | "iat" => value.as_f64().is_some_and(|number| (0.0..2_f64.powi(64)).contains(&number)),
        _ => true,
    }
}

/// A token has one time of validity: not yet, then valid, then expired.
fn check_times(claims: &Claims, exp: Option<f64>) {
    let times = claims.times();
    let policy = TokenPolicy { max_lifetime: None, ..TokenPolicy::permissive() };
    let mut points = vec![0, NOW * 1000, u64::MAX];
    for date in [times.exp, times.nbf, times.iat].into_iter().flatten() {
        let millis = date.as_time().as_millis();
        points.extend(
            [-60_001_i64, -60_000, -59_999, 0, 59_999, 60_000, 60_001].map(|by| millis.saturating_add_signed(by)),
        );
    }
    points.sort_unstable();
    let mut last = 0;
    for point in points {
        let now = UnixTime::from_millis(point);
        let stage = match policy.check_times(&times, now) {
            Err(TokenError::NotYetValid) => 0,
            Ok(()) => 1,
            Err(TokenError::Expired) => 2,
            Err(other) => panic!("{other:?}"),
        };
        // A token that is not valid before it expires is never valid.
        let is_backwards = stage < last && !(stage == 0 && last == 2);
        assert!(!is_backwards, "from {last} to {stage} at {point}: {times:?}");
        last = stage;
        if let Some(exp) = exp {
            let is_over = now.minus(Duration::from_secs(60)).as_millis() as f64 / 1000.0 >= exp;
            assert!(!is_over || stage != 1, "{exp} at {point}");
        }
    }
    if let Some(exp) = times.exp {
        // Beyond 2^53, a double holds no single milliseconds.
        assert!(exp.as_time().as_millis() > 1 << 53 || NumericDate::of(exp.as_time()) >= exp);
    }
}
