//! What rules demand of tokens besides the token policy: checked for each request, cached or not, parked or not.

use serde_json::{json, Value};

use super::{world::*, *};
use crate::policy::reply::Denial;

/// Rules `/0`, `/1` and so on with these requirements, and `p` with these fields.
fn world_with_rules(provider: Value, requirements: &[Value]) -> World {
    let mut p = json!({"issuer": "i", "remote_jwks": {
        "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"},
        "cache_duration": "100s",
    }});
    provider.as_object().unwrap().iter().for_each(|(field, value)| p[field] = value.clone());
    let rule = |(index, requires)| json!({"match": {"path": format!("/{index}")}, "requires": requires});
    let rules: Vec<_> = requirements.iter().enumerate().map(rule).collect();
    world_of(&json!({"providers": {"p": p}, "rules": rules}))
}

fn equals_header() -> Value {
    json!([{"claim": "tenant", "equals_header": "X-Tenant"}])
}

fn of_tenants(tenants: Value) -> String {
    token_of("a", json!({"iss": "i", "tenant": tenants}))
}

fn with_scope(scope: &str) -> String {
    token_of("a", json!({"iss": "i", "scope": scope, "jti": "1"}))
}

impl World {
    fn request_of_rule(&mut self, rule: usize, token: &str) -> Option<u16> {
        self.request_to(0, format!("/{rule}").into_bytes(), token)
    }

    fn of_tenant(&mut self, rule: usize, token: &str, tenant: &[u8]) -> Option<u16> {
        let path = format!("/{rule}");
        self.request_of(0, &[(":path", path.as_bytes()), ("x-tenant", tenant)], token)
    }

    fn signature_checks(&self) -> u32 {
        self.engines[0].check.checks.get()
    }
}

/// Whoever demands: the provider, a rule, or the provider of a token under `allow_missing`.
#[test]
fn a_cached_token_is_compared_with_the_header_of_each_request() {
    let name = json!({"provider_name": "p"});
    let of_rule = json!({"provider_name": "p", "claims": equals_header()});
    let of_provider = || json!({ "required_claims": equals_header() });
    for (provider, requires) in
        [(of_provider(), name), (json!({}), of_rule), (of_provider(), json!({"allow_missing": {}}))]
    {
        let mut world = world_with_rules(provider, &[requires]).started(&["a"]);
        let token = of_tenants(json!(["acme", "other"]));
        for (tenant, status) in
            [("acme", 200), ("evil", 403), ("other", 200), ("acme,other", 403), ("", 403), ("acme", 200)]
        {
            assert_eq!(world.of_tenant(0, &token, tenant.as_bytes()), Some(status), "{tenant}");
        }
        assert_eq!(world.request_of_rule(0, &token), Some(403), "without the header");
        let twice = [(":path", &b"/0"[..]), ("x-tenant", b"acme"), ("X-Tenant", b"acme")];
        assert_eq!(world.request_of(0, &twice, &token), Some(403));
        assert_eq!(world.signature_checks(), 1);
        // A token that was denied first is allowed under another header.
        let second = of_tenants(json!("second"));
        assert_eq!(world.of_tenant(0, &second, b"acme"), Some(403));
        assert_eq!((world.of_tenant(0, &second, b"second"), world.signature_checks()), (Some(200), 2));
    }
}

#[test]
fn a_request_that_waits_keeps_its_header() {
    for provider in [json!({}), json!({ "required_claims": equals_header() })] {
        let rule = json!({"provider_name": "p", "claims": equals_header()});
        let mut world = world_with_rules(provider, &[rule]);
        let token = of_tenants(json!("acme"));
        for tenant in ["acme", "evil", "acme"] {
            assert_eq!(world.of_tenant(0, &token, tenant.as_bytes()), None);
        }
        assert_eq!(world.request_of_rule(0, &token), None);
        world.fetched(Ok(jwks(&["a"])));
        let mut answers = std::mem::take(&mut world.answers);
        answers.sort_unstable();
        assert_eq!(answers, [(1, 200), (2, 403), (3, 200), (4, 403)]);
    }
}

/// The headers of a waiting request take room.
#[test]
fn long_headers_take_room() {
    let config = json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"}}}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p", "claims": equals_header()}}],
        "max_parked_requests": 100_000,
    });
    let taken = |length: usize| {
        let mut world = world_of(&config);
        assert_eq!(world.request_of(0, &[(":path", b"/"), ("x-tenant", &vec![b'a'; length])], &token("a")), None);
        let stream = StreamId(world.streams);
        world.engines[0].waiting.request(stream).unwrap().bytes()
    };
    assert_eq!(taken(8192) - taken(1), 8191);
    assert!(taken(8193) < 8192, "a longer value equals no claim");
}

#[test]
fn rules_of_one_provider_share_its_signature_checks() {
    let scope = |scope: &str| json!({"provider_name": "p", "scopes": [scope]});
    let any = json!({"requires_any": {"requirements": [scope("admin"), scope("write"), {"provider_name": "p", "claims": [{"claim": "jti"}]}]}});
    let all = json!({"requires_all": {"requirements": [scope("read"), scope("write")]}});
    let rules = [scope("read"), scope("write"), any, all];
    // Without a cache, each request still needs one check only.
    for (cache, checks) in [(json!({}), [1, 1, 1, 1, 1]), (json!({"disabled": true}), [1, 2, 3, 4, 5])] {
        let mut world = world_with_rules(json!({ "jwt_cache_config": cache }), &rules).started(&["a"]);
        let reader = with_scope("read");
        for ((rule, status), checks) in [(0, 200), (1, 403), (2, 200), (3, 403), (0, 200)].into_iter().zip(checks) {
            assert_eq!(world.request_of_rule(rule, &reader), Some(status), "{rule}");
            assert_eq!(world.signature_checks(), checks, "{rule}");
        }
        assert_eq!(world.request_of_rule(3, &with_scope("write read")), Some(200));
        // A bad signature is found once, too.
        let before = world.signature_checks();
        let bad = format!("{}.{}", reader.rsplit_once('.').unwrap().0, BASE64.encode("b"));
        world.request_of_rule(2, &bad);
        assert_eq!(world.signature_checks(), before + 1);
    }
}

/// What is demanded of one alternative says nothing about another, though both check the same token under the same policy.
#[test]
fn alternatives_with_other_demands_are_told_apart_while_a_token_waits() {
    let scope = |scope: &str| json!({"provider_name": "p", "scopes": [scope]});
    let other = json!({"issuer": "j", "from_headers": [{"name": "x-j"}], "remote_jwks": {
        "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"}}});
    let config = json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"}}}, "q": other},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
            {"requires_all": {"requirements": [scope("admin"), {"provider_name": "q"}]}},
            {"requires_all": {"requirements": [scope("read"), {"provider_name": "q"}]}},
        ]}}}],
    });
    let mut world = world_of(&config).started(&["a"]);
    let of_q = |kid: &str| token_of(kid, json!({"iss": "j"})).into_bytes();
    let (good, new) = (of_q("a"), of_q("b"));
    let reader = with_scope("read");
    assert_eq!(world.request_of(0, &[(":path", b"/"), ("x-j", &good)], &reader), Some(200));
    assert_eq!(world.request_of(0, &[(":path", b"/"), ("x-j", &new)], &reader), None, "the second alternative waits");
    // Were the first alternative's denial taken for the second's, the request would be denied for its scope where there is no
    // room.
    let parked = world.engines[0].waiting.request(StreamId(world.streams)).unwrap();
    assert_eq!(parked.without_room, Denial::TooManyParked);
    assert_eq!(world.request_of(0, &[(":path", b"/"), ("x-j", &new)], &with_scope("x")), Some(403), "none can hold");
}
