//! The compact form of a token. The input is a token, and also its three sections before encoding, one line each.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use jwks_gate::{keys::Algorithm, token::jws::Jws};
use serde_json::Value;

use super::texts;
use crate::json;

pub fn seeds() -> Vec<Vec<u8>> {
    let many: String = (0..80).map(|number| format!(r#","m{number}":{number}"#)).collect();
    let mut seeds = texts(&[
        // RFC 7515 §A.1, §A.3 and RFC 8037 §A.4.
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvb\
         S9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf\
         Q.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4i\
         ylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        "{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"at+jwt\"}\n{\"iss\":\"i\",\"aud\":[\"a\"],\"exp\":1700000000}\nsignature",
        "{\"alg\":\"ES256\",\"kid\":\"\",\"typ\":7,\"jwk\":{\"a\":{\"b\":[1]}}}\n{\"x\":{\"a\":1,\"b\":2}}\ns",
        "{\"alg\":\"PS256\",\"crit\":[\"b64\"],\"b64\":false}\n{}\ns",
        "{\"alg\":\"none\"}\n{}\n\n",
    ]);
    seeds.push(format!("{{\"alg\":\"ES256\",\"x\":{{\"a\":1{many}}}}}\n{{\"iss\":\"i\"{many}}}\ns").into_bytes());
    seeds
}

pub fn run(data: &[u8]) {
    check(data);
    let sections: Vec<_> = data.splitn(3, |byte| *byte == b'\n').map(|section| BASE64.encode(section)).collect();
    check(sections.join(".").as_bytes());
}

fn check(token: &[u8]) {
    let Ok(jws) = Jws::parse(token.into()) else { return };
    let text = std::str::from_utf8(token).expect("a token is ASCII");
    let [header, payload, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("three sections") };
    // One token has one form.
    let header_bytes = BASE64.decode(header).expect("base64url");
    assert_eq!(
        [header, payload, signature],
        [&header_bytes, &jws.payload, &jws.signature].map(|bytes| BASE64.encode(bytes))
    );
    assert_eq!((jws.signed(), jws.token()), (&text.as_bytes()[..header.len() + 1 + payload.len()], token));

    let header = String::from_utf8(header_bytes).expect("a header is UTF-8");
    let members = json::members(&header).expect("a header is an object");
    let text = |name: &str| {
        let value = members.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
        value.and_then(|value| serde_json::from_str::<String>(value).ok())
    };
    assert_eq!(text("alg").and_then(|name| Algorithm::from_name(&name)), Some(jws.algorithm));
    assert_eq!(text("kid").filter(|kid| !kid.is_empty()), jws.kid);
    assert_eq!(text("typ"), jws.typ);
    assert!(!members.iter().any(|(name, _)| name == "crit" || name == "b64"), "an extension");

    let Ok(claims) = jws.claims() else { return };
    let payload = std::str::from_utf8(&jws.payload).expect("claims are UTF-8");
    assert_eq!(jws.check_json().is_ok(), json::is_strict(&header) && json::is_strict(payload), "{header} {payload}");
    if let Some(Value::Object(members)) = json::value(payload) {
        assert_eq!(members.get("iss").and_then(Value::as_str), claims.issuer());
    }
}
