//! `rules`: which requests need which tokens.

use super::{Empty, RegexMatcher, StringMatcher, Unsupported};
use crate::config::read::message;

message! {
    /// Which requests need which tokens: Envoy's `RequirementRule`. With neither of the last two, they need none.
    RequirementRule {
        /// Required. The requests.
        r#match: RouteMatch,
        /// What they need.
        requires: Option<JwtRequirement>,
        /// That by its name in `requirement_map`.
        requirement_name: Option<String>,
    }

    /// Envoy's `RouteMatch`: one of the first five, and all that is said besides.
    RouteMatch {
        /// What the path begins with.
        prefix: Option<String>,
        /// The path itself, without the query.
        path: Option<String>,
        /// What the path, without the query, fits.
        safe_regex: Option<RegexMatcher>,
        /// What the path begins with, up to its end or a slash.
        path_separated_prefix: Option<String>,
        /// CONNECT requests.
        connect_matcher: Option<Empty>,
        /// Not for `safe_regex`. Default: `true`.
        case_sensitive: Option<bool>,
        /// All of them must fit.
        headers: Vec<HeaderMatcher>,
        /// All of them must fit.
        query_parameters: Vec<QueryParameterMatcher>,
        /// Neither this nor what follows is looked at by `jwt_authn`: a rule would match more than it says.
        path_match_policy: Option<Unsupported>,
        /// The same.
        runtime_fraction: Option<Unsupported>,
        /// The same.
        grpc: Option<Unsupported>,
        /// The same.
        tls_context: Option<Unsupported>,
        /// The same.
        dynamic_metadata: Option<Unsupported>,
        /// The same.
        filter_state: Option<Unsupported>,
        /// The same.
        cookies: Option<Unsupported>,
    }

    /// Envoy's `HeaderMatcher`: one of the matches; without any, that the header is there.
    HeaderMatcher {
        /// Required. The header's name.
        name: String,
        /// What it is like.
        string_match: Option<StringMatcher>,
        /// What it is.
        exact_match: Option<String>,
        /// What it begins with.
        prefix_match: Option<String>,
        /// What it ends with.
        suffix_match: Option<String>,
        /// What stands in it.
        contains_match: Option<String>,
        /// What it fits.
        safe_regex_match: Option<RegexMatcher>,
        /// Between which numbers it is.
        range_match: Option<Int64Range>,
        /// Whether it is there.
        present_match: Option<bool>,
        /// The contrary.
        invert_match: bool,
        /// A header that is not there is empty.
        treat_missing_header_as_empty: bool,
    }

    /// Envoy's `Int64Range`.
    Int64Range {
        /// The first that fits.
        start: i64,
        /// The first that does not fit any more.
        end: i64,
    }

    /// Envoy's `QueryParameterMatcher`: one of the matches; without any, that the parameter is there.
    QueryParameterMatcher {
        /// Required. The parameter's name.
        name: String,
        /// What it is like.
        string_match: Option<StringMatcher>,
        /// Whether it is there.
        present_match: Option<bool>,
    }

    /// Envoy's `JwtRequirement`: one of these, or nothing.
    JwtRequirement {
        /// A good token of this provider.
        provider_name: Option<String>,
        /// The same with other `audiences`.
        provider_and_audiences: Option<ProviderWithAudiences>,
        /// One of the requirements.
        requires_any: Option<JwtRequirements>,
        /// All of the requirements.
        requires_all: Option<JwtRequirements>,
        /// Within `requires_any`: or no token at all. Alone: no bad token of any provider.
        allow_missing: Option<Empty>,
        /// Within `requires_any`: or whatever there is. Alone: tokens are verified, and nothing is refused.
        allow_missing_or_failed: Option<Empty>,
        /// Tokens are verified, bad ones pass, and a header says so.
        extract_only_without_validation: Option<ExtractOnlyWithoutValidation>,
    }

    /// Envoy's `ExtractOnlyWithoutValidation`.
    ExtractOnlyWithoutValidation {
        /// The header for the upstream. Default: `x-jwt-signature-verified`.
        verification_status_header: String,
    }

    /// Envoy's `ProviderWithAudiences`.
    ProviderWithAudiences {
        /// Required. The provider.
        provider_name: String,
        /// Instead of its own; its own, unless set.
        audiences: Vec<String>,
    }

    /// Envoy's `JwtRequirementOrList` and `JwtRequirementAndList`.
    JwtRequirements {
        /// Required. Two or more.
        requirements: Vec<JwtRequirement>,
    }
}
