//! `rules` and `requirement_map`: which requests need which tokens.

use super::{Empty, RegexMatcher, RequiredClaim, StringMatcher, Unsupported};
use crate::config::read::message;

message! {
    /// Which tokens a request needs: Envoy's `RequirementRule`. With neither `requires` nor `requirement_name`, the requests
    /// need no token.
    RequirementRule {
        /// Required. Requests to which the rule applies.
        r#match: RouteMatch,
        /// Tokens that the requests need.
        requires: Option<JwtRequirement>,
        /// Name of a requirement in `requirement_map`.
        requirement_name: Option<String>,
    }

    /// Envoy's `RouteMatch`: exactly one of the first five fields, and all other conditions. Paths are compared without the
    /// query.
    RouteMatch {
        /// The path starts with this string.
        prefix: Option<String>,
        /// The path equals this string.
        path: Option<String>,
        /// A regular expression that must match the whole path.
        safe_regex: Option<RegexMatcher>,
        /// The path equals this string, or starts with this string and a slash.
        path_separated_prefix: Option<String>,
        /// CONNECT requests.
        connect_matcher: Option<Empty>,
        /// Compares the case of ASCII letters. No effect on `safe_regex`. Default: `true`.
        case_sensitive: Option<bool>,
        /// Conditions on headers; all must hold.
        headers: Vec<HeaderMatcher>,
        /// Conditions on query parameters; all must hold.
        query_parameters: Vec<QueryParameterMatcher>,
        /// A path matcher of Envoy's; such extensions are not available to Wasm filters. Use `safe_regex`.
        path_match_policy: Option<Unsupported>,
        /// `jwt_authn` ignores this field, so the rule would match more requests than the rule
        /// states.
        runtime_fraction: Option<Unsupported>,
        /// `jwt_authn` ignores this field, so the rule would match more requests than the rule
        /// states.
        grpc: Option<Unsupported>,
        /// `jwt_authn` ignores this field, so the rule would match more requests than the rule
        /// states.
        tls_context: Option<Unsupported>,
        /// `jwt_authn` ignores this field, so the rule would match more requests than the rule
        /// states.
        dynamic_metadata: Option<Unsupported>,
        /// `jwt_authn` ignores this field, so the rule would match more requests than the rule
        /// states.
        filter_state: Option<Unsupported>,
        /// `jwt_authn` ignores this field, so the rule would match more requests than the rule
        /// states.
        cookies: Option<Unsupported>,
    }

    /// Envoy's `HeaderMatcher`: at most one match; without a match, the header must be present. Several values of a header
    /// are joined by commas.
    HeaderMatcher {
        /// Required. Name of the header.
        name: String,
        /// A pattern that the value must match.
        string_match: Option<StringMatcher>,
        /// The value equals this string.
        exact_match: Option<String>,
        /// The value starts with this string.
        prefix_match: Option<String>,
        /// The value ends with this string.
        suffix_match: Option<String>,
        /// The value contains this string.
        contains_match: Option<String>,
        /// A regular expression that must match the whole value.
        safe_regex_match: Option<RegexMatcher>,
        /// The value is an integer in this range.
        range_match: Option<Int64Range>,
        /// `true`: the header is present. `false`: the header is missing.
        present_match: Option<bool>,
        /// Inverts the match. Except with `present_match`, a missing header never matches, inverted or not, unless
        /// `treat_missing_header_as_empty` is set.
        invert_match: bool,
        /// Treats a missing header as present with an empty value.
        treat_missing_header_as_empty: bool,
    }

    /// Envoy's `Int64Range`.
    Int64Range {
        /// First integer in the range.
        start: i64,
        /// First integer after the range.
        end: i64,
    }

    /// Envoy's `QueryParameterMatcher`: at most one match; without a match, the parameter must be present.
    QueryParameterMatcher {
        /// Required. Name of the parameter.
        name: String,
        /// A pattern that the first value must match, as sent, without percent-decoding.
        string_match: Option<StringMatcher>,
        /// `true`: the parameter is present. `false`: the parameter is missing.
        present_match: Option<bool>,
    }

    /// Envoy's `JwtRequirement`: at most one of Envoy's fields; without a field, no token is needed.
    JwtRequirement {
        /// A valid token of this provider.
        provider_name: Option<String>,
        /// A valid token of this provider, with other `audiences`.
        provider_and_audiences: Option<ProviderWithAudiences>,
        /// At least one of the requirements.
        requires_any: Option<JwtRequirements>,
        /// All of the requirements.
        requires_all: Option<JwtRequirements>,
        /// Within `requires_any`: also allows requests without a token. Otherwise: every token in the request must be valid
        /// for its provider, and a request without a token is allowed.
        allow_missing: Option<Empty>,
        /// Addition. Within `requires_any`: also allows requests whose tokens all are of no configured issuer, unverified.
        /// Otherwise: every token of a configured issuer must be valid for its provider, at least one token is there, and the
        /// tokens of other issuers are ignored ([tenants.md](tenants.md#tokens-of-other-issuers)).
        allow_foreign: Option<Empty>,
        /// Within `requires_any`: also allows requests without a token or with an invalid one. Otherwise: tokens are
        /// verified, and every request is allowed.
        allow_missing_or_failed: Option<Empty>,
        /// Tokens are verified, and every request is allowed; a request header reports invalid tokens. Envoy verifies too,
        /// despite the name.
        extract_only_without_validation: Option<ExtractOnlyWithoutValidation>,
        /// Addition. Only beside `provider_name` or `provider_and_audiences`. Scopes that the token must have in addition to the
        /// provider's `required_scopes`. If one is missing, the response is 403
        /// ([claims.md](claims.md#claims-and-scopes-of-a-rule)).
        scopes: Vec<String>,
        /// Addition. Only beside `provider_name` or `provider_and_audiences`. Conditions on claims in addition to the provider's
        /// `required_claims`. If one fails, the response is 403.
        claims: Vec<RequiredClaim>,
    }

    /// Envoy's `ExtractOnlyWithoutValidation`.
    ExtractOnlyWithoutValidation {
        /// Request header that is set to `false` if a token is invalid. Values sent by the client are removed. Default:
        /// `x-jwt-signature-verified`.
        verification_status_header: String,
    }

    /// Envoy's `ProviderWithAudiences`.
    ProviderWithAudiences {
        /// Required. Name of the provider.
        provider_name: String,
        /// Accepted audiences, instead of those of the provider. Empty: those of the provider.
        audiences: Vec<String>,
        /// Addition. As `scopes` of `JwtRequirement`.
        scopes: Vec<String>,
        /// Addition. As `claims` of `JwtRequirement`.
        claims: Vec<RequiredClaim>,
    }

    /// Envoy's `JwtRequirementOrList` and `JwtRequirementAndList`.
    JwtRequirements {
        /// Required. At least two requirements.
        requirements: Vec<JwtRequirement>,
    }
}
