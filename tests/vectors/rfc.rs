//! The examples of RFC 7515 Appendix A, RFC 7520 §4 and RFC 8037 Appendix A.

use serde_json::{json, Value};
use wycheproof_ng_kdf_jose::json_web::TestName;

use crate::jose::is_good;

const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn with_claims(header: &str, signature: &str) -> String {
    format!("{header}.{CLAIMS}.{signature}")
}

/// The name, key and token of each example.
pub fn examples() -> Vec<(&'static str, Value, String)> {
    vec![
        (
            "RFC 7515 A.1",
            json!({
                "kty": "oct",
                "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
            }),
            with_claims("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ),
        (
            "RFC 7515 A.2",
            json!({
                "kty": "RSA", "e": "AQAB",
                "n": concat!(
                    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
                    "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
                    "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
                    "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
                ),
            }),
            with_claims(
                "eyJhbGciOiJSUzI1NiJ9",
                concat!(
                    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9",
                    "uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB",
                    "_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq",
                    "Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
                ),
            ),
        ),
        (
            "RFC 7515 A.3",
            json!({
                "kty": "EC", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }),
            with_claims(
                "eyJhbGciOiJFUzI1NiJ9",
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            ),
        ),
        (
            "RFC 7515 A.4",
            json!({
                "kty": "EC", "crv": "P-521",
                "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
                "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
            }),
            format!(
                "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.{}",
                concat!(
                    "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCA",
                    "PZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
                )
            ),
        ),
        (
            "RFC 8037 A.4",
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            format!(
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.{}",
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
            ),
        ),
    ]
}

#[test]
fn the_examples_verify_and_tampered_ones_do_not() {
    for (name, key, token) in examples() {
        assert!(is_good(&key, &token), "{name}");
        let tampered = token.replacen('.', ".e", 1);
        assert!(!is_good(&key, &tampered), "{name}");
    }
    // RFC 7515 A.5: an unsecured JWS.
    assert!(!is_good(&examples()[0].1, &with_claims("eyJhbGciOiJub25lIn0", "")));
}

/// The keys are used without `alg`, as in RFC 7520: Wycheproof added algorithms that do not match.
#[test]
fn the_cookbook_examples_verify() {
    let vectors: Value = serde_json::from_str(TestName::JsonWebSignature.json_data()).unwrap();
    let groups = vectors["testGroups"].as_array().unwrap().iter().filter(|group| group["comment"] == "rfc7520");
    let mut figures = Vec::new();
    for group in groups {
        let mut key = group.get("public").unwrap_or(&group["private"]).clone();
        key.as_object_mut().unwrap().remove("alg");
        let test = &group["tests"][0];
        assert!(is_good(&key, test["jws"].as_str().unwrap()), "{}", test["comment"]);
        figures.push(test["comment"].as_str().unwrap());
    }
    assert_eq!(figures, ["Figure13", "Figure20", "Figure27", "Figure35", "Figure35"]);
}
