//! The environment of the VM. Unlike a configuration, no config dump of Envoy's has to show a variable's value.

/// The variable that gives a secret to a configuration without `shared_data_secret`.
pub(super) const SECRET_VARIABLE: &str = "JWKS_GATE_SHARED_DATA_SECRET";

/// The value of [`SECRET_VARIABLE`]. The environment has WASI's form: `NAME=value` entries, each followed by a zero byte.
pub(super) fn secret(environment: &[u8]) -> Option<&[u8]> {
    let entries = environment.split(|byte| *byte == 0);
    entries.into_iter().find_map(|entry| entry.strip_prefix(SECRET_VARIABLE.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::{super::parse_in, *};

    #[test]
    fn only_the_variable_of_that_name_is_the_secret() {
        for (environment, expected) in [
            (&b""[..], None),
            (b"\0", None),
            (b"JWKS_GATE_SHARED_DATA_SECRET\0", None),
            (b"JWKS_GATE_SHARED_DATA_SECRET_OLD=x\0", None),
            (b"A=JWKS_GATE_SHARED_DATA_SECRET=x\0", None),
            (b"JWKS_GATE_SHARED_DATA_SECRET=\0", Some(&b""[..])),
            (b"A=b\0JWKS_GATE_SHARED_DATA_SECRET=x=y\xff\0C=d\0", Some(b"x=y\xff")),
            (b"JWKS_GATE_SHARED_DATA_SECRET=x", Some(b"x")),
        ] {
            assert_eq!(secret(environment), expected, "{environment:?}");
        }
    }
    #[test]
    fn the_variable_stands_in_for_an_absent_field() {
        let json = |field: &str| {
            format!(
                r#"{{"shared_data_secret": "{field}", "providers": {{"p": {{"issuer": "https://issuer.test", "remote_jwks": {{
                    "http_uri": {{"uri": "https://issuer.test/jwks.json", "cluster": "issuer", "timeout": "2s"}}}}}}}},
                    "rules": [{{"match": {{"prefix": "/"}}, "requires": {{"provider_name": "p"}}}}]}}"#
            )
        };
        let parse = |environment: &str, field: &str| parse_in(environment.as_bytes(), json(field).as_bytes());
        let name = |environment: &str, field: &str| {
            let plan = parse(environment, field).unwrap();
            assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
            plan.seal.unwrap().name(b"plugin")
        };
        let (first, second) = ("the first secret", "the second secret");
        let variable = |secret: &str| format!("PATH=/bin\0JWKS_GATE_SHARED_DATA_SECRET={secret}\0");
        assert_eq!(name(&variable(first), ""), name("", first));
        assert_ne!(name(&variable(first), ""), name(&variable(second), ""));
        assert_eq!(name(&variable(second), first), name("", first), "the field overrides the variable");
        assert_eq!(parse("", "").unwrap().warnings.len(), 1);
        for short in ["", "fifteen bytes!!"] {
            let error = parse(&variable(short), "").unwrap_err().to_string();
            assert_eq!(error, "JWKS_GATE_SHARED_DATA_SECRET: must have at least 16 bytes");
        }
    }
}
