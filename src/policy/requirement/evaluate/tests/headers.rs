//! Requirements resolved for real headers, then evaluated.

use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};
use serde_json::{json, Value};

use super::notation::{allow, check_node, deny, wait, Expected, State, State::*};
use crate::{
    ids::{ProviderId, RequirementId},
    policy::{
        headers::Headers,
        requirement::{Fallback, IndexedProvider, Requirement, Requirements, TokenPolicyRef, SIGNATURE_VERIFIED},
        token_location::TokenLocation,
    },
    token::{
        claim_rules::{Demands, HeaderRule},
        claims::ClaimName,
        issuers::{Issuers, Template, Tenants},
    },
};

// Each provider is named after its issuer. All but C look in `Authorization` and `?access_token`; C looks in the header `x-c`.
const A: ProviderId = ProviderId::new(0);
const B: ProviderId = ProviderId::new(1);
const C: ProviderId = ProviderId::new(2);
const SECOND_A: ProviderId = ProviderId::new(3);
/// Only in rows that ask for this provider.
const ANY_ISSUER: ProviderId = ProviderId::new(4);

const ISSUERS: [Option<&str>; 5] = [Some("a"), Some("b"), Some("c"), Some("a"), None];

fn is_of(provider: ProviderId) -> TokenPolicyRef {
    TokenPolicyRef::new(provider, 0)
}

fn is(provider: ProviderId) -> Requirement {
    Requirement::Provider(is_of(provider))
}

fn any<const N: usize>(providers: [ProviderId; N]) -> impl Fn(&Requirements) -> Requirement {
    any_or(providers, Fallback::Nothing)
}

fn any_or<const N: usize>(providers: [ProviderId; N], fallback: Fallback) -> impl Fn(&Requirements) -> Requirement {
    move |all| all.any(providers.map(is).into(), fallback, false)
}

fn extract_only() -> Requirement {
    Requirement::ExtractOnly(SIGNATURE_VERIFIED.to_owned())
}

/// A token of this issuer, in this state. Tokens with different numbers differ.
fn token(issuer: &str, state: State, number: usize) -> String {
    let mut payload = json!({"sub": format!("{state:?}"), "jti": number.to_string()});
    if !issuer.is_empty() {
        payload["iss"] = issuer.into();
    }
    format!("{}.{}.AA", BASE64.encode(r#"{"alg":"ES256"}"#), BASE64.encode(payload.to_string()))
}

/// The state that a token names.
fn state_of(token: &[u8]) -> State {
    let payload = token.split(|byte| *byte == b'.').nth(1).unwrap();
    let payload: Value = serde_json::from_slice(&BASE64.decode(payload).unwrap()).unwrap();
    let states = [Good, Expired, UnknownKid, Unavailable];
    states.into_iter().find(|state| payload["sub"] == format!("{state:?}")).unwrap()
}

type Header = (&'static str, Vec<u8>);

fn authorization(issuer: &str, state: State) -> Header {
    ("authorization", format!("Bearer {}", token(issuer, state, 0)).into())
}

fn access_token(issuer: &str, state: State) -> Header {
    (":path", format!("/?access_token={}", token(issuer, state, 0)).into())
}

fn x_c(issuer: &str, state: State, number: usize) -> Header {
    ("x-c", token(issuer, state, number).into())
}

fn requirements(with_any_issuer: bool) -> Requirements {
    let count = if with_any_issuer { 5 } else { 4 };
    let providers = ISSUERS.iter().take(count).enumerate().map(|(index, issuer)| IndexedProvider {
        issuers: Issuers::new(issuer.map(str::to_owned).into_iter().collect(), Vec::new()),
        locations: usize::from(index == C.index()),
    });
    let x_c = TokenLocation::Header { name: "x-c".into(), prefix: String::new() };
    let mut defaults = TokenLocation::defaults();
    defaults.sort();
    Requirements::new(providers.collect(), vec![defaults, vec![x_c]], 1024)
}

/// Resolves, evaluates and compares: the expectation, and which tokens are checked for which providers.
#[track_caller]
fn row(
    requirement: impl Fn(&Requirements) -> Requirement,
    headers: &[Header],
    expected: Expected,
    checks: &[(ProviderId, usize)],
) {
    // Resolving does not depend on providers that a row does not name, except for this provider.
    let has_any_issuer = checks.iter().any(|(provider, _)| *provider == ANY_ISSUER);
    let mut requirements = requirements(has_any_issuer);
    requirements.tell_foreign_tokens();
    let id = requirements.add(requirement(&requirements));
    let list: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let resolved = requirements.resolve(id, Headers::new(&list));
    let name = format!("{:?} with {} headers", resolved.root, headers.len());
    let check = |policy: TokenPolicyRef, token: usize| {
        let candidate = &resolved.tokens[token];
        let is_accepted = ISSUERS[policy.provider.index()].is_none_or(|issuer| candidate.issuer() == Ok(Some(issuer)));
        let state = if is_accepted { state_of(candidate.token()) } else { OtherIssuer };
        state.check(policy.provider, token)
    };
    assert_eq!(check_node(&name, &resolved.root, check, &expected), checks, "{name}");
}

#[test]
fn only_the_providers_of_the_issuer_are_checked() {
    row(any([A, B]), &[authorization("b", Good)], allow([0]), &[(B, 0)]);
    row(any([A, B]), &[authorization("b", UnknownKid)], wait([0]), &[(B, 0)]);
    row(any([A, B, SECOND_A]), &[authorization("a", Expired)], deny(Expired), &[(A, 0), (SECOND_A, 0)]);
    // The first token decides which providers remain; here `?access_token`, which is tried before `Authorization`.
    let tokens = [access_token("a", Good), authorization("b", Good)];
    row(any([A, B]), &tokens, deny(OtherIssuer), &[(A, 0), (A, 1)]);
}

#[test]
fn a_token_that_no_provider_accepts_is_denied_unchecked() {
    row(any([A, B]), &[authorization("z", Good)], deny(Foreign), &[]);
    row(any([A, B]), &[authorization("", Good)], deny(Foreign), &[]);
    row(any([A, B]), &[("authorization", b"Bearer x".to_vec())], deny(Malformed), &[]);
    row(any_or([A, B], Fallback::Missing), &[authorization("z", Good)], deny(Foreign), &[]);
    row(any_or([A, B], Fallback::MissingOrFailed), &[authorization("z", Good)], allow([]), &[]);
}

/// Children of one provider that differ in their demands are children of their own, also where the index finds them.
#[test]
fn children_of_one_provider_differ_by_their_demands() {
    let mut requirements = requirements(false);
    let scoped = |scope: &str| Demands { scopes: vec![scope.to_owned()], ..Demands::default() };
    let of_header = HeaderRule { claim: ClaimName::Dotted("t".to_owned()), header: "x-t".into() };
    let demands = [scoped("a"), scoped("b"), Demands { headers: vec![of_header], ..Demands::default() }];
    let demands = demands.map(|demands| requirements.demands.add(demands));
    let [a, b, header] = demands.map(|demands| TokenPolicyRef { demands, ..TokenPolicyRef::new(A, 0) });
    let children = || [a, is_of(B), b, header].map(Requirement::Provider).into();
    let any = requirements.any(children(), Fallback::Nothing, false);
    let ids = [any, Requirement::All(children())].map(|requirement| requirements.add(requirement));
    let (_, value) = authorization("a", Good);
    let list = [("authorization", &value[..]), ("X-T", b"acme")];
    let resolved = ids.map(|id| requirements.resolve(id, Headers::new(&list)));
    assert_eq!(resolved.each_ref().map(|resolved| resolved.headers.get("x-t")), [Some(&b"acme"[..]); 2]);
    assert_eq!(resolved[0].policies(), [a, b, header]);
    assert_eq!(resolved[0].providers(), [A]);
    for met in [a, b, header] {
        let check = |policy: TokenPolicyRef, token: usize| match policy == met {
            true => Good.check(policy.provider, token),
            false => OtherIssuer.check(policy.provider, token),
        };
        let checks = [a, b, header].iter().position(|policy| *policy == met).unwrap() + 1;
        check_node("any", &resolved[0].root, check, &allow([0]));
        assert_eq!(check_node("any", &resolved[0].root, check, &allow([0])).len(), checks);
        let denied = check_node("all", &resolved[1].root, check, &deny(OtherIssuer));
        assert_eq!(denied.len(), if met == a { 2 } else { 1 });
    }
}

#[test]
fn a_single_provider_checks_every_token_that_it_finds() {
    row(|_| is(A), &[authorization("z", Good)], deny(OtherIssuer), &[(A, 0)]);
    row(any([A, C]), &[authorization("c", Good)], deny(OtherIssuer), &[(A, 0)]);
    row(any([A, C]), &[authorization("z", Good), x_c("c", Good, 0)], allow([1]), &[(A, 0), (C, 1)]);
}

#[test]
fn a_request_without_a_token_is_missing_one() {
    row(any([A, B]), &[], deny(Missing), &[]);
    row(any([A, C]), &[("authorization", b"Basic eA==".to_vec())], deny(Missing), &[]);
    row(any_or([A, C], Fallback::Missing), &[], allow([]), &[]);
    row(|_| Requirement::AllowMissing, &[], allow([]), &[]);
    row(|_| Requirement::All(vec![is(A), is(C)]), &[authorization("a", Good)], deny(Missing), &[(A, 0)]);
}

#[test]
fn the_same_token_in_two_locations_is_two_tokens_and_in_one_location_is_one() {
    let twice = [authorization("a", Good), access_token("a", Good)];
    row(|_| is(A), &twice, allow([0, 1]), &[(A, 0), (A, 1)]);
    row(|_| is(C), &[x_c("c", Good, 0), x_c("c", Good, 0)], allow([0]), &[(C, 0)]);
    let other = [authorization("a", Expired), access_token("a", Good)];
    row(|_| is(A), &other, deny(Expired), &[(A, 0), (A, 1)]);
}

#[test]
fn a_token_that_two_children_find_has_one_permit_for_each_provider() {
    let tokens = [authorization("a", Good), x_c("c", Good, 0)];
    row(|_| Requirement::All(vec![is(A), is(C)]), &tokens, allow([0, 1]), &[(A, 0), (C, 1)]);
    row(|_| Requirement::All(vec![is(A), is(A)]), &tokens, allow([0]), &[(A, 0), (A, 0)]);
    row(|_| Requirement::All(vec![is(A), is(SECOND_A)]), &tokens, allow([0, 0]), &[(A, 0), (SECOND_A, 0)]);
}

#[test]
fn sixteen_tokens_are_checked_and_seventeen_are_not() {
    let tokens = |count| (0..count).map(|number| x_c("c", Good, number)).collect::<Vec<_>>();
    let all = std::array::from_fn::<usize, 16, _>(|index| index);
    row(|_| is(C), &tokens(16), allow(all), &all.map(|index| (C, index)));
    row(|_| is(C), &tokens(17), deny(TooManyTokens), &[]);
    row(any_or([A, C], Fallback::Missing), &tokens(17), deny(TooManyTokens), &[]);
    row(any_or([A, C], Fallback::MissingOrFailed), &tokens(17), allow([]), &[]);
    row(|_| Requirement::AllowMissing, &tokens(17), deny(TooManyTokens), &[]);
    row(|_| Requirement::AllowMissingOrFailed, &tokens(17), allow([]), &[]);
    row(|_| extract_only(), &tokens(17), allow([]).invalid(), &[]);
    row(|_| Requirement::All(vec![is(C), extract_only()]), &tokens(17), deny(TooManyTokens), &[]);
}

#[test]
fn a_provider_of_any_issuer_stands_beside_the_provider_of_the_issuer() {
    row(any([A, ANY_ISSUER]), &[authorization("z", Good)], allow([0]), &[(ANY_ISSUER, 0)]);
    row(any([A, ANY_ISSUER]), &[authorization("", Good)], allow([0]), &[(ANY_ISSUER, 0)]);
    row(any([B, ANY_ISSUER]), &[authorization("b", Expired)], deny(Expired), &[(B, 0), (ANY_ISSUER, 0)]);
    row(|_| Requirement::AllowMissing, &[authorization("z", Good)], allow([0]), &[(ANY_ISSUER, 0)]);
    // The issuer's own provider comes first.
    let tokens = [access_token("z", Unavailable), authorization("b", Good)];
    row(|_| Requirement::AllowMissing, &tokens, deny(Unavailable), &[(ANY_ISSUER, 0)]);
    row(|_| Requirement::AllowMissingOrFailed, &tokens, allow([1]), &[(ANY_ISSUER, 0), (B, 1)]);
}

#[test]
fn allow_missing_checks_each_token_for_the_first_provider_of_its_issuer() {
    let tokens = [authorization("a", Good), x_c("c", Good, 0)];
    // `x-c` is tried before `Authorization`.
    row(|_| Requirement::AllowMissing, &tokens, allow([0, 1]), &[(C, 0), (A, 1)]);
    let tokens = [authorization("b", UnknownKid), x_c("c", Good, 0)];
    row(|_| Requirement::AllowMissing, &tokens, wait([1]), &[(C, 0), (B, 1)]);
}

#[test]
fn allow_missing_denies_a_token_where_its_issuer_does_not_look() {
    row(|_| Requirement::AllowMissing, &[x_c("a", Good, 0)], deny(Foreign), &[]);
    row(|_| Requirement::AllowMissing, &[authorization("c", Good)], deny(Foreign), &[]);
    row(|_| Requirement::AllowMissingOrFailed, &[x_c("a", Good, 0)], allow([]), &[]);
    row(|_| extract_only(), &[x_c("a", Good, 0)], allow([]).invalid(), &[]);
}

#[test]
fn an_unknown_requirement_denies() {
    let (name, value) = authorization("a", Good);
    let resolved = requirements(false).resolve(RequirementId::new(0), Headers::new(&[(name, &value)]));
    check_node("an unknown requirement", &resolved.root, |_, _| unreachable!(), &deny(Missing));
}

/// A requirement that one of these providers satisfies, or that all tokens are foreign.
fn any_or_foreign<const N: usize>(
    providers: [ProviderId; N],
    fallback: Fallback,
) -> impl Fn(&Requirements) -> Requirement {
    move |all| all.any(providers.map(is).into(), fallback, true)
}

fn alone(or_missing: bool) -> impl Fn(&Requirements) -> Requirement {
    move |_| Requirement::AllowForeign { or_missing }
}

fn bearer(token: &str) -> Header {
    ("authorization", format!("Bearer {token}").into())
}

#[test]
fn a_request_passes_whose_tokens_all_are_foreign() {
    let any = || any_or_foreign([A, B], Fallback::Nothing);
    let foreign = || [authorization("z", Good), access_token("y", Expired), ("x-c", b"opaque".to_vec())];
    row(any(), &foreign(), allow([]), &[]);
    row(any(), &[bearer("opaque")], allow([]), &[]);
    row(any(), &[authorization("", Good)], allow([]), &[]);
    row(any_or_foreign([A], Fallback::Nothing), &[authorization("z", Good)], allow([]), &[(A, 0)]);
    row(any(), &[authorization("a", Good)], allow([0]), &[(A, 0)]);
    row(any(), &[authorization("a", Expired)], deny(Expired), &[(A, 0)]);
    row(any(), &[authorization("a", UnknownKid)], wait([0]), &[(A, 0)]);
    row(any(), &[authorization("a", Unavailable)], deny(Unavailable), &[(A, 0)]);
    // Of a provider that the requirement does not name, here or at another location.
    row(any(), &[authorization("c", Good)], deny(Foreign), &[]);
    row(any(), &[authorization("z", Good), x_c("c", Good, 0)], deny(Foreign), &[]);
    row(any(), &[authorization("z", Good), x_c("a", Good, 0)], deny(Foreign), &[]);
    // One of ours among others.
    row(any(), &[access_token("z", Good), authorization("a", Good)], deny(Foreign), &[]);
    // No token is not a foreign token.
    row(any(), &[], deny(Missing), &[]);
    row(any_or_foreign([A, B], Fallback::Missing), &[], allow([]), &[]);
    row(any_or_foreign([A, B], Fallback::Missing), &foreign(), allow([]), &[]);
    row(any_or_foreign([A, B], Fallback::Missing), &[authorization("a", Expired)], deny(Expired), &[(A, 0)]);
    row(any(), &[bearer("a b")], deny(Malformed), &[]);
}

#[test]
fn allow_foreign_alone_ignores_the_tokens_of_other_issuers() {
    row(alone(false), &[authorization("z", Good), x_c("z", Good, 0)], allow([]), &[]);
    row(alone(false), &[access_token("z", Good), authorization("a", Good)], allow([1]), &[(A, 1)]);
    row(alone(false), &[access_token("z", Good), authorization("a", Expired)], deny(Expired), &[(A, 1)]);
    row(alone(false), &[access_token("z", Good), authorization("a", UnknownKid)], wait([1]), &[(A, 1)]);
    // The issuer is ours, and expected elsewhere.
    row(alone(false), &[x_c("a", Good, 0)], deny(Foreign), &[]);
    row(alone(false), &[], deny(Missing), &[]);
    row(alone(true), &[], allow([]), &[]);
    row(alone(true), &[authorization("a", Expired)], deny(Expired), &[(A, 0)]);
    row(alone(true), &[authorization("z", Expired)], allow([]), &[]);
}

/// The providers of a template are found by the tenant, as those of an issuer are by the issuer.
#[test]
fn a_template_finds_its_provider() {
    let template = |tenant: &str| {
        let tenants = Tenants::listed(vec![tenant.to_owned()]);
        Issuers::new(Vec::new(), vec![Template::parse("https://e/{tid}", tenants).unwrap()])
    };
    let all = [Issuers::new(vec!["a".into()], Vec::new()), template("x"), template("y")];
    let providers: Vec<_> = all.into_iter().map(|issuers| IndexedProvider { issuers, locations: 0 }).collect();
    let requirements = || Requirements::new(Vec::clone(&providers), vec![TokenLocation::defaults()], 1024);
    for (iss, provider) in [("a", Some(0)), ("https://e/x", Some(1)), ("https://e/y", Some(2)), ("https://e/z", None)] {
        let (_, value) = authorization(iss, Good);
        let headers = [("authorization", value.as_slice())];
        for requirement in
            [requirements().any([A, B, C].map(is).into(), Fallback::Nothing, false), Requirement::AllowMissing]
        {
            let mut requirements = requirements();
            let id = requirements.add(requirement);
            let resolved = requirements.resolve(id, Headers::new(&headers));
            let expected: Vec<_> = provider.map(ProviderId::new).into_iter().collect();
            assert_eq!(resolved.providers(), expected, "{iss} {:?}", resolved.root);
        }
    }
}
