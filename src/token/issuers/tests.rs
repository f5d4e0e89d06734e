use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

use super::*;

const A: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const B: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const V2: &str = "https://login.microsoftonline.com/{tid}/v2.0";
const V1: &str = "https://sts.windows.net/{tid}/";

fn v2(tenant: &str) -> String {
    V2.replace("{tid}", tenant)
}

fn v1(tenant: &str) -> String {
    V1.replace("{tid}", tenant)
}

fn entra(tenants: &[&str]) -> Issuers {
    let tenants = match tenants {
        [] => Tenants::Any,
        listed => Tenants::listed(listed.iter().map(|tenant| (*tenant).to_owned()).collect()),
    };
    Issuers::new(Vec::new(), [V2, V1].map(|text| Template::parse(text, tenants.clone()).unwrap()).into())
}

fn jws(payload: &str) -> Jws {
    let token = format!("{}.{}.AA", BASE64.encode(r#"{"alg":"ES256"}"#), BASE64.encode(payload));
    Jws::parse(token.as_bytes().into()).unwrap()
}

fn is_accepted(issuers: &Issuers, payload: &str) -> bool {
    let jws = jws(payload);
    jws.claims().is_ok_and(|claims| issuers.check(&jws, claims).is_ok())
}

#[test]
fn a_template_has_one_placeholder_after_some_text() {
    let parse = |text: &str| Template::parse(text, Tenants::Any).map(drop);
    for good in [V1, V2, "https://k/realms/{realm}", "t-{https://e.com/tenant}", "https://{org}.example.com"] {
        assert_eq!(parse(good), Ok(()), "{good}");
    }
    for bad in
        ["", "https://e", "https://{tid", "https://tid}", "https://{a}/{b}", "https://{{tid}}", "a}{tid}", "a{b}}"]
    {
        assert_eq!(parse(bad), Err("must contain exactly one placeholder, such as {tid}"), "{bad}");
    }
    assert_eq!(parse("{tid}/v2.0"), Err("must not begin with the placeholder"));
    for bad in ["https://e/{}", "https://e/{iss}"] {
        assert_eq!(parse(bad), Err("the placeholder must name the claim that holds the tenant"), "{bad}");
    }
}

#[test]
fn a_tenant_has_unreserved_characters_only() {
    let longest = "a".repeat(MAX_TENANT_BYTES);
    for good in [A, "contoso.onmicrosoft.com", "a", "0", "-_~", ".a", &longest] {
        assert!(is_tenant(good), "{good}");
    }
    let too_long = format!("{longest}a");
    for bad in
        ["", ".", "..", "...", "a/b", "a%2fb", "a?b", "a#b", "a b", "a@b", "a:b", "é", "a\0", "a\n", "{tid}", &too_long]
    {
        assert!(!is_tenant(bad), "{bad}");
    }
}

#[test]
fn the_issuer_is_the_template_with_the_claim_of_the_token() {
    let (listed, any) = (entra(&[B, A]), entra(&[]));
    let token = |iss: &str, tid: &str| format!(r#"{{"iss":"{iss}","tid":{tid}}}"#);
    let quoted = |tid: &str| format!("\"{tid}\"");
    for tenant in [A, B] {
        for iss in [v1(tenant), v2(tenant)] {
            assert!(is_accepted(&listed, &token(&iss, &quoted(tenant))), "{iss}");
        }
    }
    // Escapes are read as JSON reads them.
    let escaped = token(&v2(A).replace("https:/", r"\u0068ttps:\/"), &quoted(&A.replace('-', r"\u002d")));
    assert!(is_accepted(&listed, &escaped));
    assert!(is_accepted(&any, &token(&v2("other"), &quoted("other"))));
    let bad = [
        // Another tenant than the claim's, listed or not.
        token(&v2(A), &quoted(B)),
        token(&v2(B), &quoted(A)),
        token(&v2(A), &quoted("")),
        token(&v2(A), &quoted(&A.to_uppercase())),
        // The claim is no string, is missing, or is not at the top.
        token(&v2(A), "null"),
        token(&v2(A), "7"),
        token(&v2(A), &format!("[\"{A}\"]")),
        format!(r#"{{"iss":"{}"}}"#, v2(A)),
        format!(r#"{{"iss":"{}","x":{{"tid":"{A}"}}}}"#, v2(A)),
        format!(r#"{{"iss":"{}","TID":"{A}"}}"#, v2(A)),
        // The claim comes twice.
        format!(r#"{{"iss":"{}","tid":"{A}","tid":"{A}"}}"#, v2(A)),
        format!(r#"{{"iss":"{}","tid":"{B}","\u0074id":"{A}"}}"#, v2(A)),
        // The issuer is not the template.
        token(&v2(A).replace("https", "http"), &quoted(A)),
        token(&v2(A).replace("login", "LOGIN"), &quoted(A)),
        token(&format!("{}/", v2(A)), &quoted(A)),
        token(v2(A).trim_end_matches("/v2.0"), &quoted(A)),
        token(v1(A).trim_end_matches('/'), &quoted(A)),
        token(&format!("x{}", v2(A)), &quoted(A)),
        token(&format!(" {}", v2(A)), &quoted(A)),
        token(&v2(A).replace(".net", "Xnet").replace(".com", "Xcom"), &quoted(A)),
        format!(r#"{{"tid":"{A}"}}"#),
        format!(r#"{{"iss":"","tid":"{A}"}}"#),
        token(V2, &quoted("{tid}")),
    ];
    for payload in bad {
        assert!(!is_accepted(&listed, &payload) && !is_accepted(&any, &payload), "{payload}");
    }
    assert!(!is_accepted(&listed, &token(&v2("other"), &quoted("other"))));
    // A claim with a slash or an escape for one changes the host or the path in the eyes of others.
    for tenant in ["a/b", "../x", "..", "a%2fv2.0", "a?", "a#", "a@evil", "", "a\u{ff0f}b"] {
        assert!(!is_accepted(&any, &token(&v2(tenant), &quoted(tenant))), "{tenant}");
    }
    // Both texts must fit side by side.
    let tight = Issuers::new(Vec::new(), vec![Template::parse("ab{t}ba", Tenants::Any).unwrap()]);
    assert!(!is_accepted(&tight, r#"{"iss":"aba","t":""}"#) && !is_accepted(&tight, r#"{"iss":"aba","t":"b"}"#));
    assert!(is_accepted(&tight, r#"{"iss":"abxba","t":"x"}"#));
}

#[test]
fn exact_issuers_need_no_claim() {
    let issuers = Issuers::new(vec!["z".into(), "a".into()], entra(&[A]).templates().to_vec());
    for (payload, accepted) in [
        (r#"{"iss":"a"}"#.to_owned(), true),
        (r#"{"iss":"z","tid":"x"}"#.to_owned(), true),
        (r#"{"iss":"b"}"#.to_owned(), false),
        (format!(r#"{{"iss":"{}","tid":"{A}"}}"#, v2(A)), true),
        ("{}".to_owned(), false),
    ] {
        assert_eq!(is_accepted(&issuers, &payload), accepted, "{payload}");
    }
    assert!(is_accepted(&Issuers::default(), "{}") && Issuers::default().is_any());
}

#[test]
fn a_claim_after_many_others_may_not_repeat() {
    let many: String = (0..100).map(|at| format!(r#""m{at}":1,"#)).collect();
    let payload = |tail: &str| format!(r#"{{"iss":"{}",{many}{tail}}}"#, v2(A));
    assert!(is_accepted(&entra(&[A]), &payload(&format!(r#""tid":"{A}""#))));
    assert!(!is_accepted(&entra(&[A]), &payload(&format!(r#""tid":"{B}","tid":"{A}""#))));
}

#[test]
fn a_key_verifies_tokens_of_the_issuer_for_which_it_is_published() {
    let exact = Issuers::new(vec![v2(A), v2(B), v1(A)], Vec::new());
    let v2_only = Issuers::new(Vec::new(), entra(&[]).templates()[..1].to_vec());
    let [key_v2, key_v1] = [V2, V1].map(|text| text.replace("{tid}", "{tenantid}"));
    let fits = |issuers: &Issuers, key: &str, iss: &str, tid: &str| {
        let jws = jws(&format!(r#"{{"iss":"{iss}","tid":"{tid}"}}"#));
        let claims = jws.claims().unwrap();
        issuers.check(&jws, claims).unwrap();
        issuers.fits_key(key, &jws, claims)
    };
    let templated = entra(&[]);
    for (issuers, key, iss, tid, expected) in [
        (&templated, &key_v2, v2(A), A, true),
        (&templated, &v2(A), v2(A), A, true),
        (&templated, &v2(A), v2(B), B, false),
        // Keys of version 2 sign tokens of version 1, of the same tenant.
        (&templated, &key_v2, v1(A), A, true),
        (&templated, &v2(A), v1(A), A, true),
        (&templated, &v2(A), v1(B), B, false),
        (&templated, &key_v1, v2(A), A, true),
        // No other issuer of the provider.
        (&v2_only, &key_v1, v2(A), A, false),
        (&v2_only, &v1(A), v2(A), A, false),
        // No template, or another.
        (&templated, &"https://login.microsoftonline.us/{tenantid}/v2.0".to_owned(), v2(A), A, false),
        (&templated, &"{tenantid}".to_owned(), v2(A), A, false),
        (&templated, &V2.to_owned(), v2(A), A, false),
        (&templated, &format!("{{tenantid}}{key_v2}"), v2(A), A, false),
        (&templated, &String::new(), v2(A), A, false),
        // The configuration names the issuers.
        (&exact, &v2(A), v2(A), A, true),
        (&exact, &v2(A), v2(B), B, false),
        (&exact, &key_v2, v2(B), B, true),
        (&exact, &key_v2, v1(A), A, false),
        (&exact, &String::new(), v2(A), A, false),
        (&Issuers::default(), &v2(A), v2(A), A, true),
        (&Issuers::default(), &key_v2, v2(A), A, true),
        (&Issuers::default(), &v2(A), v2(B), B, false),
        (&Issuers::default(), &String::new(), String::new(), A, false),
    ] {
        assert_eq!(fits(issuers, key, &iss, tid), expected, "{key} for {iss}");
    }
}
