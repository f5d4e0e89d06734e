use base64::{engine::general_purpose::STANDARD, Engine as _};
use serde_json::{json, Value};

use super::{encode, minimal, parse};

/// Whatever is given for a field that holds a secret, and in whatever form, no error repeats it: errors are logged.
#[test]
fn no_error_repeats_a_secret() {
    let (secret, number) = ("T0pSecretKeyMaterial", 7_261_538_490_u64);
    let jwk = |k: Value| json!({"kty": "oct", "alg": "HS256", "k": k});
    let values = [
        json!(secret),
        json!(number),
        json!(number as f64 + 0.5),
        json!([secret]),
        json!([number]),
        json!({secret: null}),
        json!({secret: secret}),
        json!({"k": secret}),
        json!({"inlineString": secret, "inline_string": secret}),
        json!({"inline_string": number}),
        json!({"inline_bytes": {"k": secret}}),
        json!({"keys": [jwk(json!(secret))]}),
        jwk(json!(secret)),
    ];
    let texts = [json!(secret), jwk(json!(secret)), json!({"keys": secret}), json!({"keys": [jwk(json!([secret]))]})];
    let texts = texts.iter().flat_map(|text| [text.to_string(), text.to_string() + "}", format!("{{{text}")]);
    let bytes = texts.clone().map(|text| json!(STANDARD.encode(text)));
    let values = values.into_iter().chain(texts.map(Value::from)).chain(bytes);
    let mut seen = 0;
    for value in values {
        for pointer in ["/shared_data_secret", "/local_jwks", "/local_jwks/inline_string", "/local_jwks/inline_bytes"] {
            let mut config = minimal();
            match pointer.rsplit_once('/').unwrap() {
                ("", field) if field == "shared_data_secret" => config[field] = value.clone(),
                (parent, field) => {
                    let provider = &mut config["providers"]["p"];
                    provider.as_object_mut().unwrap().remove("remote_jwks");
                    let parent = if parent.is_empty() { provider } else { &mut provider["local_jwks"] };
                    parent[field] = value.clone();
                }
            }
            for form in [config.to_string().into_bytes(), encode(&config)] {
                let Err(error) = parse(&form) else { continue };
                let text = error.to_string();
                let encoded = STANDARD.encode(secret);
                for leak in [secret, &number.to_string(), encoded.trim_end_matches('=')] {
                    assert!(!text.contains(leak), "{pointer} {value}: {text}");
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 150, "{seen}");
    // Text that is no JSON at all.
    for text in [format!("{{\"shared_data_secret\": {secret}}}"), format!("{{\"shared_data_secret\": \"{secret}")] {
        assert!(!parse(text.as_bytes()).unwrap_err().to_string().contains(secret));
    }
}
