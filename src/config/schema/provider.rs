//! `providers`: the issuers, their keys, and what is forwarded of their tokens.

use std::time::Duration;

use serde_json::Value;

use super::{Secret, Staleness, StringMatcher, Tenants, Texts, Unsupported};
use crate::{config::read::message, rotation::policy::EmptySet};

message! {
    /// A token issuer: Envoy's `JwtProvider`, with exactly one of `remote_jwks` and `local_jwks`.
    JwtProvider {
        /// Accepted value of `iss`. `issuers` and `issuer_template` add to it. All three unset: tokens of any issuer are
        /// accepted.
        issuer: String,
        /// Accepted audiences, of which `aud` must contain at least one. `http://`, `https://` and one trailing slash are
        /// ignored. Empty: `aud` is not checked.
        audiences: Vec<String>,
        /// Pattern that `sub` must match. A missing `sub` counts as an empty string.
        subjects: Option<StringMatcher>,
        /// Tokens must have an `exp`.
        require_expiration: bool,
        /// `exp` must be earlier than now plus this time, without clock skew. A token without `exp` is denied. Unset: no
        /// limit.
        max_lifetime: Option<Duration>,
        /// JWKS to fetch from the issuer.
        remote_jwks: Option<RemoteJwks>,
        /// JWKS in the configuration itself.
        local_jwks: Option<DataSource>,
        /// Forwards the token to the upstream instead of removing the token from the request. Cookies are always forwarded.
        forward: bool,
        /// Headers that carry tokens. If `from_headers`, `from_params` and `from_cookies` are all empty: `Authorization:
        /// Bearer` and the query parameter `access_token`.
        from_headers: Vec<JwtHeader>,
        /// Query parameters that carry tokens.
        from_params: Vec<String>,
        /// Cookies that carry tokens.
        from_cookies: Vec<String>,
        /// Request header for the payload of a valid token, in base64url. Values sent by the client are removed.
        forward_payload_header: String,
        /// Pads the value of `forward_payload_header` with `=`.
        pad_forward_payload_header: bool,
        /// Addition. Request header for the payload of a valid token, as a `google.protobuf.Value` in base64. Envoy's
        /// `header_to_metadata` turns the header into dynamic metadata, for RBAC filters and Istio's AuthorizationPolicy
        /// ([istio.md](istio.md)). Values sent by the client are removed. A token whose claims do not fit into 8188 characters
        /// or are nested more than 32 deep gets a 403.
        payload_value_header: String,
        /// Filter state for the payload of a valid token: `wasm.NAME`, and `wasm.NAME.CLAIM` for each claim.
        payload_in_metadata: String,
        /// Conversion of claims for `payload_in_metadata` and `payload_value_header`.
        normalize_payload_in_metadata: Option<NormalizePayload>,
        /// Filter state for the header of a valid token: `wasm.NAME`.
        header_in_metadata: String,
        /// Filter state for a failed verification: `wasm.NAME.code` and `wasm.NAME.message`.
        failed_status_in_metadata: String,
        /// Tolerance in seconds for `exp`, `nbf` and `iat`. 0 selects the default. Default: `60`.
        clock_skew_seconds: u32,
        /// Cache of verified tokens, per worker; emptied when the keys change. All caches of a worker share 16 MiB, of which
        /// one takes at most 2 MiB ([performance.md](performance.md#the-token-caches)). Unset: 1000 tokens of up to 4096 bytes.
        jwt_cache_config: Option<JwtCacheConfig>,
        /// Request headers for claims of a valid token.
        claim_to_headers: Vec<JwtClaimToHeader>,
        /// Selects the route again for a request with a valid token. Requires `claim_to_headers`, `forward_payload_header`
        /// or `payload_in_metadata`.
        clear_route_cache: bool,
        /// Addition. Accepted values of `alg`: `RS`, `PS`, `ES` and `HS` with `256`, `384` or `512`, `EdDSA` and `Ed25519`.
        /// `HS` requires a secret key in `local_jwks`. `ES384` and `ES512` require the host's `verify_signature`, unless the
        /// build has `all-curves`. Unset: all except `HS`.
        algorithms: Option<Vec<String>>,
        /// Addition. Claims in which the audience is looked for, by their whole names. The first of them that the token has
        /// decides; its value is a string or a list of strings. Requires `audiences`, here or in a `provider_and_audiences`
        /// ([claims.md](claims.md#tokens-without-aud)). Empty: `aud`.
        audience_claims: Vec<String>,
        /// Addition. Accepted values of `typ`, such as `at+jwt`. Case and the prefix `application/` are ignored. Empty:
        /// `typ` is not checked.
        types: Vec<String>,
        /// Addition. More accepted values of `iss`.
        issuers: Vec<String>,
        /// Addition. Accepted form of `iss`, or a list of forms: text with one placeholder that names a claim, such as
        /// `https://login.microsoftonline.com/{tid}/v2.0`. `iss` must be the text with the value of the token's claim in the
        /// place of the placeholder: a string of 1 to 128 letters, digits, `-`, `.`, `_` and `~`, not of dots alone
        /// ([tenants.md](tenants.md)).
        issuer_template: Texts,
        /// Addition. Values that the claim of `issuer_template` may have, or `any`. Required with `issuer_template`.
        tenants: Option<Tenants>,
        /// Addition. A key whose JWK has an `issuer` verifies tokens of that issuer only. `{tenantid}` in the `issuer` stands
        /// for the tenant of the token. A key without `issuer` verifies tokens of all issuers of the provider
        /// ([tenants.md](tenants.md#keys-of-one-tenant)).
        bind_key_issuer: bool,
        /// Addition. Conditions on claims. If one fails, the response is 403.
        required_claims: Vec<RequiredClaim>,
        /// Addition. Scopes that `scope` or `scp` must contain. If one is missing, the response is 403.
        required_scopes: Vec<String>,
    }

    /// A header that carries a token: Envoy's `JwtHeader`.
    JwtHeader {
        /// Required. Name of the header.
        name: String,
        /// Text before the token, such as `Bearer `. A value without the prefix carries no token.
        value_prefix: String,
    }

    /// A request header for a claim: Envoy's `JwtClaimToHeader`, with exactly one of `claim_name` and `claim_path`.
    JwtClaimToHeader {
        /// Required. Name of the header. Values sent by the client are removed.
        header_name: String,
        /// Name of the claim; for a nested claim, names joined by dots. A dot may also be part of a name, as in
        /// `https://example.com/roles` and `kubernetes.io.namespace`; the whole name counts first. The value of a list or an
        /// object is its JSON in base64.
        claim_name: String,
        /// Path of the claim: one segment for each member, from the outermost in. A dot in a `key` is part of the name.
        claim_path: Vec<PathSegment>,
    }

    /// A segment of a claim's path: Envoy's `JwtClaimToHeader.PathSegment`.
    PathSegment {
        /// Required. Name of the member.
        key: String,
    }

    /// Conversion of claims for other filters: Envoy's `NormalizePayload`.
    NormalizePayload {
        /// Claims that are strings of words separated by spaces, written as lists.
        space_delimited_claims: Vec<String>,
    }

    /// The cache of verified tokens: Envoy's `JwtCacheConfig`.
    JwtCacheConfig {
        /// Maximum number of tokens, at most 100000. 0 selects the default. Default: `100`.
        jwt_cache_size: u32,
        /// Maximum size of a cached token in bytes. 0 selects the default. Default: `4096`.
        jwt_max_token_size: u32,
        /// Addition. Turns the cache off. Envoy has no cache unless `jwt_cache_config` is set.
        disabled: bool,
    }

    /// A condition on a claim ([claims.md](claims.md)): exactly one of `claim` and `path`, and at most one of the other fields.
    /// Without them, the claim must be present and not `null`. Not in Envoy.
    RequiredClaim {
        /// Name of the claim; for a nested claim, names joined by dots. A dot may also be part of a name, as in
        /// `https://example.com/roles` and `kubernetes.io.namespace`; the whole name counts first.
        claim: String,
        /// Path of the claim: the name of each member, from the outermost in. A dot is part of a name. No path leads into a list.
        path: Option<Vec<String>>,
        /// The claim equals this string, number or boolean.
        equals: Option<Value>,
        /// The claim is a list containing this value, or a space-separated string containing it as a word.
        contains: Option<Value>,
        /// The claim equals one of these strings, numbers and booleans, at most 1000, or is a list containing one of them.
        one_of: Option<Vec<Value>>,
        /// Pattern that the claim must match, or one string of a list. A regular expression is tried on strings of up to 4096
        /// bytes, and on 16384 bytes of a list; longer strings do not match.
        matches: Option<StringMatcher>,
        /// Name of a request header. The claim equals the value of the header, or is a list containing the value. A header that
        /// is missing, empty, longer than 8192 bytes or given more than once equals no claim
        /// ([claims.md](claims.md#a-claim-that-must-equal-a-header)).
        equals_header: Option<String>,
    }

    /// A JWKS that the issuer publishes: Envoy's `RemoteJwks`.
    RemoteJwks {
        /// Where to fetch the JWKS. Required, unless `discovery` is set; overrides `discovery`.
        http_uri: Option<HttpUri>,
        /// Addition. How to find the URI of the JWKS in the issuer's metadata
        /// ([fetching.md](fetching.md#discovery)).
        discovery: Option<Discovery>,
        /// Addition. Where else to fetch the JWKS if the fetch from the issuer fails, in this order; at most 4. A mirror is
        /// trusted like the issuer ([fetching.md](fetching.md#mirrors)).
        mirrors: Vec<HttpUri>,
        /// Addition. Additional headers of each request to the issuer; at most 16. Mirrors do not get the headers
        /// ([fetching.md](fetching.md#request-headers)).
        request_headers: Vec<HeaderValue>,
        /// Lifetime of a JWKS that comes without cache headers and without `spiffe_refresh_hint`. Default: `600s`.
        cache_duration: Option<Duration>,
        /// Back-off after failed fetches. The JWKS is fetched before the first request, whether or not this is set.
        async_fetch: Option<AsyncFetch>,
        /// How long requests wait while fetches fail.
        retry_policy: Option<RetryPolicy>,
        /// Addition. How the JWKS is cached and refreshed.
        rotation: Rotation,
        /// Addition. Keys that verify tokens until the first fetch succeeds ([cold-start.md](cold-start.md#a-seed)). Unset: none.
        seed_jwks: Option<SeedJwks>,
    }

    /// Keys for the time before the first JWKS. Not in Envoy.
    SeedJwks {
        /// Required. The keys as JSON, in a form in which the issuer could publish them ([key-sets.md](key-sets.md#documents)). The
        /// bounds `max_document_bytes` and `max_keys` apply, and so does `revoked_keys`. A private or secret key is an error.
        inline_string: String,
        /// Required. Time in UTC from which on the keys verify nothing, such as `2026-12-31T00:00:00Z`.
        not_after: String,
    }

    /// Envoy's `HttpUri`.
    HttpUri {
        /// Required. `http://` or `https://` URI. The scheme does not select TLS; the cluster does.
        uri: String,
        /// Required. Name of the Envoy cluster for the URI.
        cluster: String,
        /// Required. Time limit for the whole response.
        timeout: Option<Duration>,
    }

    /// A header of a request: Envoy's `HeaderValue`.
    HeaderValue {
        /// Required. Name of the header. `user-agent` and `accept` replace the values of jwks-gate. Headers that frame the
        /// message, select the host, or make the request conditional are not possible.
        key: String,
        /// Required. Value of the header, without control characters, of at most 8192 bytes. No log shows the value, but
        /// Envoy's config dump does.
        value: Secret,
    }

    /// The issuer's metadata, as of OpenID Connect Discovery 1.0 or RFC 8414. Not in Envoy.
    Discovery {
        /// Required. URI of the metadata document, such as `https://ISSUER/.well-known/openid-configuration`. The `issuer` in
        /// the document must equal the provider's `issuer`, which is required.
        uri: String,
        /// Required. Name of the Envoy cluster for the URI.
        cluster: String,
        /// Required. Time limit for each of the two responses, the document and the JWKS.
        timeout: Option<Duration>,
        /// How long the `jwks_uri` of the document is used before the document is read again, up to `86400s`. Default:
        /// `3600s`.
        ttl: Option<Duration>,
        /// Name of the Envoy cluster for the JWKS. Unset: `cluster`.
        jwks_cluster: String,
        /// Host of the JWKS, with its port if that is not the scheme's. A `jwks_uri` with another host is rejected. Unset: the
        /// host of `uri`.
        jwks_host: String,
    }

    /// Envoy's `JwksAsyncFetch`.
    AsyncFetch {
        /// Accepted for compatibility; has no effect. Requests wait for keys, listeners do not.
        _fast_listener: bool,
        /// Maximum back-off after failed fetches. Default: `30s`.
        failed_refetch_duration: Option<Duration>,
    }

    /// Envoy's `RetryPolicy`.
    RetryPolicy {
        /// Number of failed fetches in a row that a waiting request outlasts, at most 100. After one more failure, a request
        /// that arrived before that fetch started gets a 503. While fetches fail, a request waits only for a fetch that runs or
        /// starts within the back-offs of these retries and one second. Without a `retry_policy`: 0. Default: `1`.
        num_retries: Option<u32>,
        /// Back-off between failed fetches.
        retry_back_off: Option<BackoffStrategy>,
        /// Accepted for compatibility; has no effect. Every failed fetch is retried.
        _retry_on: String,
        /// The load balancing of the cluster selects the host.
        retry_priority: Option<Unsupported>,
        /// The load balancing of the cluster selects the host.
        retry_host_predicate: Option<Unsupported>,
        /// The load balancing of the cluster selects the host.
        host_selection_retry_max_attempts: Option<Unsupported>,
    }

    /// Envoy's `BackoffStrategy`: the back-off doubles with each failure, reduced by a random part of up to one half.
    BackoffStrategy {
        /// Required. Back-off after the first failure.
        base_interval: Duration,
        /// Maximum back-off. Unset: `failed_refetch_duration`.
        max_interval: Option<Duration>,
    }

    /// How a JWKS is cached and refreshed ([key-sets.md](key-sets.md)). Not in Envoy.
    Rotation {
        /// Takes the lifetime of the JWKS from `Cache-Control` or `Expires`, or else from `spiffe_refresh_hint` in the JWKS. If all
        /// are missing, or with `false`: `cache_duration`. Default: `true`.
        honor_cache_headers: Option<bool>,
        /// Lifetime of a JWKS whose headers say `no-cache`, `no-store`, `max-age=0`, or an `Expires` that is past. At most
        /// `300s`, since some issuers send `no-store` only near a rotation; `min_ttl` and `max_ttl` apply. Unset:
        /// `cache_duration`, at most `300s`.
        no_cache_ttl: Option<Duration>,
        /// Lower limit of a lifetime from cache headers. Also the minimum age at which a signature that fails causes a
        /// refresh: a JWKS that was fetched or confirmed more recently is not refreshed for it. Default: `30s`.
        min_ttl: Option<Duration>,
        /// Upper limit of a lifetime from cache headers. Default: `86400s`.
        max_ttl: Option<Duration>,
        /// How long before the end of the lifetime the background refresh may start, up to half the lifetime. Unset: a fifth
        /// of the lifetime.
        refresh_ahead: Option<Duration>,
        /// Minimum time between the starts of two refreshes that tokens cause, by an unknown `kid` or a signature that fails;
        /// `second_look` adds at most one fetch per interval.
        /// Default: `10s`.
        unknown_kid_min_interval: Option<Duration>,
        /// How long after a refresh for an unknown `kid` the issuer is asked once more, if a request still waits for its key:
        /// the answer may come from a replica that lags. Once per `unknown_kid_min_interval`, and only within the interval. At
        /// most `60s`; `0s` turns the second look off. Default: `1s`.
        second_look: Option<Duration>,
        /// Maximum time that a request waits for a refresh. If a refresh that may start within this time has not ended by
        /// then, the request waits for up to one `http_uri.timeout` longer (with mirrors or discovery: the timeouts of all requests of
        /// a fetch). If this is shorter than
        /// `unknown_kid_min_interval`, tokens of a new key may be denied. Default: `10s`.
        unknown_kid_max_wait: Option<Duration>,
        /// How long a JWKS stays usable after its lifetime while fetches fail. A shorter `stale-if-error` of the issuer
        /// applies instead, if `honor_cache_headers` is set. `unbounded` removes the limit, also that of `stale-if-error`.
        /// Default: `3600s`.
        max_stale: Option<Staleness>,
        /// What a well-formed JWKS without any key means. `keep`: the fetch counts as failed, and the last accepted JWKS stays in use.
        /// `revoke`: the issuer revokes all keys, at once and without `retired_key_grace`, as the specification of SPIFFE trust
        /// bundles says. A change of this field begins the key set anew. Default: `keep`.
        empty_set: EmptySet,
        /// How long a key verifies tokens after the issuer removed the key from the JWKS, at most `86400s`. Default: `0s`.
        retired_key_grace: Option<Duration>,
        /// Keys that never verify a token, even if the issuer publishes them, by `kid` or JWK thumbprint (RFC 7638)
        /// ([rotation.md](rotation.md#emergency-a-key-is-compromised)).
        revoked_keys: Vec<String>,
        /// Maximum size of a JWKS in bytes, at most 4194304. The fetch of a larger JWKS counts as failed, and the last
        /// accepted JWKS stays in use. Default: `1048576`.
        max_document_bytes: Option<u32>,
        /// Maximum number of keys in a JWKS, at most 10000. The fetch of a JWKS with more keys counts as failed, and the last
        /// accepted JWKS stays in use. Default: `1000`.
        max_keys: Option<u32>,
    }

    /// Envoy's `DataSource`: exactly one of `inline_string` and `inline_bytes`.
    DataSource {
        /// The keys as JSON: a JWKS, or a map of `kid` to PEM ([key-sets.md](key-sets.md#documents)).
        inline_string: Option<String>,
        /// The same JSON in base64.
        inline_bytes: Option<String>,
        /// Wasm filters cannot read files.
        filename: Option<Unsupported>,
        /// Wasm filters cannot read Envoy's environment.
        environment_variable: Option<Unsupported>,
        /// Wasm filters cannot read files.
        watched_directory: Option<Unsupported>,
    }
}
