//! Rules on claims: of providers, and of rules.

use serde_json::{json, Value};

use super::{minimal, parse, rejection, rejection_with};
use crate::{
    ids::{ProviderId, RequirementId},
    policy::headers::Headers,
    token::{
        claim_rules::{ClaimValue, Demands},
        claims::ClaimName,
    },
};

const REQUIRED: &str = "providers.p.required_claims[0]";

#[test]
fn a_required_claim_has_one_name_and_at_most_one_condition() {
    let conditions = "at most one of equals, contains, one_of, matches, equals_header";
    for (claim, expected) in [
        (json!({}), ": expected exactly one of claim, path; found none".to_owned()),
        (json!({"claim": "a", "path": ["a"]}), ": expected exactly one of claim, path; found claim, path".to_owned()),
        (json!({"claim": "a", "path": []}), ": expected exactly one of claim, path; found claim, path".to_owned()),
        (json!({"path": []}), ".path: must not be empty".to_owned()),
        (json!({"path": ["a", ""]}), ".path[1]: must not be empty".to_owned()),
        (json!({"path": ["a", 7]}), ".path[1]: invalid type: a number, expected a string".to_owned()),
        (json!({"claim": "a."}), ".claim: must be the name of a claim".to_owned()),
        (
            json!({"claim": "a", "one_of": ["b"], "equals_header": "x-a"}),
            format!(": expected {conditions}; found one_of, equals_header"),
        ),
        (
            json!({"claim": "a", "equals": "b", "matches": {"exact": "b"}}),
            format!(": expected {conditions}; found equals, matches"),
        ),
        (json!({"claim": "a", "one_of": []}), ".one_of: must not be empty".to_owned()),
        (
            json!({"claim": "a", "one_of": ["b", null]}),
            ".one_of[1]: must be a string, a number or a boolean".to_owned(),
        ),
        (json!({"claim": "a", "one_of": [["b"]]}), ".one_of[0]: must be a string, a number or a boolean".to_owned()),
        (json!({"claim": "a", "one_of": [1e300]}), ".one_of[0]: a number of this size is not exact".to_owned()),
        (json!({"claim": "a", "equals": 9007199254740994.0}), ".equals: a number of this size is not exact".to_owned()),
        (json!({"claim": "a", "matches": {}}), ".matches: expected exactly one of exact".to_owned()),
        (json!({"claim": "a", "matches": {"safe_regex": {"regex": "("}}}), ".matches.safe_regex.regex: ".to_owned()),
        (json!({"claim": "a", "one_of": null}), ".one_of: must not be null".to_owned()),
        (json!({"claim": "a", "equals": null}), ".equals: must not be null".to_owned()),
        (json!({"claim": "a", "equals_header": ""}), ".equals_header: must be a header name".to_owned()),
        (json!({"claim": "a", "equals_header": "x a"}), ".equals_header: must be a header name".to_owned()),
        (json!({"claim": "a", "equals_header": ":path"}), ".equals_header: must be a header name".to_owned()),
    ] {
        let error = rejection_with("/providers/p/required_claims", json!([claim]));
        assert!(error.starts_with(&format!("{REQUIRED}{expected}")), "{claim}: {error}");
    }
}

#[test]
fn a_claim_is_compared_with_headers_of_the_client_only() {
    let with_header = |header: &str, provider: Value, rule: Value| {
        let mut config = minimal();
        config["providers"]["p"]["required_claims"] = json!([{"claim": "a", "equals_header": header}]);
        provider.as_object().unwrap().iter().for_each(|(field, value)| config["providers"]["p"][field] = value.clone());
        config["rules"].as_array_mut().unwrap().push(json!({"match": {"prefix": "/"}, "requires": rule}));
        config
    };
    let header_name = json!([{"header_name": "X-Own", "claim_name": "b"}]);
    let extract = json!({"extract_only_without_validation": {"verification_status_header": "x-own"}});
    for config in [
        with_header("x-own", json!({"claim_to_headers": header_name}), json!({})),
        with_header("X-OWN", json!({"forward_payload_header": "x-own"}), json!({})),
        with_header("x-own", json!({}), extract),
    ] {
        assert_eq!(
            rejection(&config),
            format!(
                "{REQUIRED}.equals_header: the filter itself sets this header, and removes the value of the client"
            )
        );
    }
    let from = json!({"from_headers": [{"name": "x-own"}]});
    for config in [with_header("Authorization", json!({}), json!({})), with_header("x-own", from, json!({}))] {
        assert_eq!(rejection(&config), format!("{REQUIRED}.equals_header: this header carries a token"));
    }
    // Where the rule, not the provider, compares.
    let mut config = minimal();
    config["rules"][0]["requires"]["claims"] = json!([{"claim": "a", "equals_header": "authorization"}]);
    assert_eq!(rejection(&config), "rules[0].requires.claims[0].equals_header: this header carries a token");
    assert!(parse(with_header("Host", json!({}), json!({})).to_string().as_bytes()).is_ok());
}

#[test]
fn the_claims_of_the_audience_require_audiences() {
    let path = "providers.p.audience_claims";
    for claims in [json!(["aud"]), json!(["aud", "client_id"]), json!("azp")] {
        let error = rejection_with("/providers/p/audience_claims", claims);
        assert_eq!(error, format!("{path}: requires audiences, of the provider or of a provider_and_audiences"));
    }
    assert!(rejection_with("/providers/p/audience_claims", json!(["aud", " "]))
        .starts_with(&format!("{path}[1]: must not")));
    let config = |claims: Value, audiences: Value, requires: Value| {
        let mut config = minimal();
        config["providers"]["p"]["audience_claims"] = claims;
        config["providers"]["p"]["audiences"] = audiences;
        config["rules"][0]["requires"] = requires;
        parse(config.to_string().as_bytes()).unwrap()
    };
    let of_rule = json!({"provider_and_audiences": {"provider_name": "p", "audiences": ["b"]}});
    for (claims, audiences, requires, expected) in [
        (json!([]), json!([]), json!({"provider_name": "p"}), &[][..]),
        // As without the field.
        (json!(["aud"]), json!(["a"]), json!({"provider_name": "p"}), &[]),
        (json!(["azp"]), json!(["a"]), json!({"provider_name": "p"}), &["azp"]),
        (json!(["aud", "azp"]), json!(["a"]), of_rule.clone(), &["aud", "azp"]),
        (json!(["aud", "azp"]), json!([]), of_rule, &["aud", "azp"]),
    ] {
        let plan = config(claims.clone(), audiences, requires);
        for policy in &plan.providers[ProviderId::new(0)].policies {
            assert_eq!(policy.audience_claims, expected, "{claims}");
        }
    }
}

#[test]
fn only_a_provider_in_a_rule_has_claims_and_scopes() {
    let claims = || json!([{"claim": "a"}]);
    let two = || json!({"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]});
    for (requires, field) in [
        (json!({"allow_missing": {}, "scopes": ["a"]}), "scopes"),
        (json!({"allow_missing_or_failed": {}, "claims": claims()}), "claims"),
        (json!({"extract_only_without_validation": {}, "claims": claims()}), "claims"),
        (json!({"requires_any": two(), "scopes": ["a"], "claims": claims()}), "scopes"),
        (json!({"requires_all": two(), "claims": claims()}), "claims"),
        (json!({"scopes": ["a"]}), "scopes"),
    ] {
        let error = rejection_with("/rules/0/requires", requires);
        assert_eq!(error, format!("rules[0].requires.{field}: requires provider_name or provider_and_audiences"));
    }
    let inner = |fields: Value| json!({"provider_and_audiences": fields});
    for (requires, expected) in [
        (json!({"provider_name": "p", "scopes": ["a b"]}), "scopes[0]: must be one scope"),
        (json!({"provider_name": "p", "scopes": [""]}), "scopes[0]: must not be empty"),
        (
            json!({"provider_name": "p", "claims": [{"claim": "a", "one_of": []}]}),
            "claims[0].one_of: must not be empty",
        ),
        (inner(json!({"provider_name": "p", "scopes": ["\""]})), "provider_and_audiences.scopes[0]: must be one scope"),
        (
            inner(json!({"provider_name": "p", "claims": [{}]})),
            "provider_and_audiences.claims[0]: expected exactly one",
        ),
    ] {
        let error = rejection_with("/rules/0/requires", requires);
        assert!(error.starts_with(&format!("rules[0].requires.{expected}")), "{error}");
    }
    let mut config = minimal();
    let nested = json!({"requirements": [{"provider_name": "p"}, {"provider_name": "p", "scopes": ["\\"]}]});
    config["requirement_map"] = json!({"r": {"requires_any": nested}});
    let path = "requirement_map.r.requires_any.requirements[1].scopes[0]: ";
    assert!(rejection(&config).starts_with(path), "{}", rejection(&config));
}

/// Rules with other demands share one policy, and so one cache. Demands of the provider and of both places in the rule add up.
#[test]
fn demands_of_rules_need_no_policy_of_their_own() {
    let mut config = minimal();
    let of_provider = json!([
        {"path": ["org", "id.x"], "one_of": ["a", 1, true]},
        {"claim": "host", "equals_header": "Host"},
        {"claim": "b", "matches": {"suffix": "x"}},
    ]);
    config["providers"]["p"]["required_claims"] = of_provider;
    let rule = |requires: Value| json!({"match": {"prefix": "/"}, "requires": requires});
    let audiences = json!({"provider_name": "p", "scopes": ["b"], "claims": {"claim": "c", "equals_header": "x-c"}});
    config["rules"] = json!([
        rule(json!({"provider_name": "p"})),
        rule(json!({"provider_name": "p", "scopes": ["a"], "claims": []})),
        rule(json!({"provider_and_audiences": audiences, "scopes": ["a"], "claims": [{"claim": "d", "equals": 1}]})),
        rule(json!({"allow_missing": {}})),
    ]);
    let plan = parse(config.to_string().as_bytes()).unwrap();
    let policies = &plan.providers[ProviderId::new(0)].policies;
    assert_eq!(policies.len(), 1);
    let [first, second] = &policies[0].claims[..] else { panic!("{:?}", policies[0].claims) };
    assert_eq!(first.name, ClaimName::Path(vec!["org".to_owned(), "id.x".to_owned()]));
    assert!(
        matches!((&first.value, &second.value), (ClaimValue::OneOf(values), ClaimValue::Matches(_)) if values.len() == 3)
    );
    let token = "Bearer eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0In0.AA";
    let list = [("authorization", token.as_bytes()), (":authority", b"h"), ("x-c", b"7")];
    let headers_of = |demands: &Demands| demands.headers.iter().map(|rule| rule.header.to_string()).collect::<Vec<_>>();
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (rule, claims, scopes, headers) in [
        (0, 0, &[][..], &[":authority"][..]),
        (1, 0, &["a"], &[":authority"]),
        (2, 1, &["a", "b"], &[":authority", "x-c"]),
        (3, 0, &[], &[":authority"]),
    ] {
        let resolved = plan.requirements.resolve(RequirementId::new(rule), Headers::new(&list));
        let policies = resolved.policies();
        let demands = plan.requirements.demands.get(policies[0].demands.unwrap()).unwrap();
        assert_eq!((policies[0].policy, demands.claims.len()), (0, claims), "{rule}");
        assert_eq!((&demands.scopes, &headers_of(demands)), (&owned(scopes), &owned(headers)));
        assert_eq!(resolved.headers.get(":authority"), Some(&b"h"[..]));
        assert_eq!(resolved.headers.get("x-c"), (rule == 2).then_some(&b"7"[..]));
    }
    let bytes = |value: &[u8]| {
        let headers = [("x-c", value)];
        plan.requirements.resolve(RequirementId::new(2), Headers::new(&headers)).bytes()
    };
    assert_eq!(bytes(&[b'a'; 5001]), bytes(b"a") + 5000, "whoever waits pays for the header");
}
