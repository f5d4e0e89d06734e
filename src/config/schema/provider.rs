//! `providers`: whose tokens are taken, by which keys, and what is passed on of them.

use std::time::Duration;

use serde_json::Value;

use super::{Staleness, StringMatcher, Unsupported};
use crate::config::read::message;

message! {
    /// Whose tokens are taken: Envoy's `JwtProvider`. It has either `remote_jwks` or `local_jwks`.
    JwtProvider {
        /// The only `iss` that is taken; where it is not set, any is.
        issuer: String,
        /// One of them must be in `aud`; compared without `http(s)://` and a slash at the end. None: any `aud`.
        audiences: Vec<String>,
        /// What `sub` must be like.
        subjects: Option<StringMatcher>,
        /// There must be an `exp`.
        require_expiration: bool,
        /// `exp` must be nearer than this, and there must be one.
        max_lifetime: Option<Duration>,
        /// The issuer's keys, fetched.
        remote_jwks: Option<RemoteJwks>,
        /// Keys that stand here.
        local_jwks: Option<DataSource>,
        /// The token goes on to the upstream.
        forward: bool,
        /// Where tokens are; with none of the three, `Authorization: Bearer` and the parameter `access_token`.
        from_headers: Vec<JwtHeader>,
        /// Names of query parameters.
        from_params: Vec<String>,
        /// Names of cookies.
        from_cookies: Vec<String>,
        /// A header for the upstream: the payload in base64url.
        forward_payload_header: String,
        /// That with padding.
        pad_forward_payload_header: bool,
        /// The payload's name in the filter state.
        payload_in_metadata: String,
        /// What becomes of claims there.
        normalize_payload_in_metadata: Option<NormalizePayload>,
        /// The token's header's name in the filter state.
        header_in_metadata: String,
        /// The refusal's name in the filter state.
        failed_status_in_metadata: String,
        /// Allowance on `exp`, `nbf` and `iat`; 0 is the default. Default: `60`.
        clock_skew_seconds: u32,
        /// Tokens that were verified are remembered, in each worker, while their key is there: 1000, unless this is set.
        jwt_cache_config: Option<JwtCacheConfig>,
        /// Headers for the upstream.
        claim_to_headers: Vec<JwtClaimToHeader>,
        /// The route is chosen anew for a request with a good token.
        clear_route_cache: bool,
        /// Addition. The only ones that are taken: RS, PS and ES with 256, 384 and 512, EdDSA and Ed25519, and HS, for which
        /// `local_jwks` must have a secret. All but HS, unless this is set.
        algorithms: Option<Vec<String>>,
        /// Addition. The only `typ`s that are taken, such as `at+jwt`. None: any, or none.
        types: Vec<String>,
        /// Addition. What the token must say.
        required_claims: Vec<RequiredClaim>,
        /// Addition. All of them must be in `scope` or `scp`; else 403.
        required_scopes: Vec<String>,
    }

    /// A header that has a token: Envoy's `JwtHeader`.
    JwtHeader {
        /// Required. Its name.
        name: String,
        /// What stands before the token.
        value_prefix: String,
    }

    /// A header of what a claim says: Envoy's `JwtClaimToHeader`.
    JwtClaimToHeader {
        /// Required. Its name; what clients send by that name is removed.
        header_name: String,
        /// Required. The claim, nested ones by dots; lists and objects become base64 of their JSON.
        claim_name: String,
    }

    /// Claims as other filters see them.
    NormalizePayload {
        /// Claims of words with spaces between them, which become lists.
        space_delimited_claims: Vec<String>,
    }

    /// The cache of verified tokens: Envoy's `JwtCacheConfig`.
    JwtCacheConfig {
        /// How many; 0 is the default. Default: `100`.
        jwt_cache_size: u32,
        /// The longest that is remembered, in bytes; 0 is the default. Default: `4096`.
        jwt_max_token_size: u32,
        /// Addition. None is remembered. In Envoy, no `jwt_cache_config` means that.
        disabled: bool,
    }

    /// What a claim must say; with neither `equals` nor `contains`, that it is there.
    RequiredClaim {
        /// Required. Its name, nested ones by dots.
        claim: String,
        /// The string, number or boolean that it is.
        equals: Option<Value>,
        /// One that is in the list that it is, or a word of the string that it is.
        contains: Option<Value>,
    }

    /// Keys that an issuer publishes: Envoy's `RemoteJwks`.
    RemoteJwks {
        /// Required. Where they are.
        http_uri: HttpUri,
        /// How long they live where the issuer says nothing. Default: `600s`.
        cache_duration: Option<Duration>,
        /// Keys are fetched before the first request in any case.
        async_fetch: Option<AsyncFetch>,
        /// How patient a request is with an issuer that fails.
        retry_policy: Option<RetryPolicy>,
        /// Addition. The life of the keys.
        rotation: Rotation,
    }

    /// Envoy's `HttpUri`.
    HttpUri {
        /// Required. `http://` or `https://`; whether it is TLS is for the cluster to say.
        uri: String,
        /// Required. The cluster of Envoy's that leads there.
        cluster: String,
        /// Required. For the whole response.
        timeout: Option<Duration>,
    }

    /// Envoy's `JwksAsyncFetch`.
    AsyncFetch {
        /// Says nothing: no listener waits for keys, requests do.
        _fast_listener: bool,
        /// The longest back-off after failed fetches. Default: `30s`.
        failed_refetch_duration: Option<Duration>,
    }

    /// Envoy's `RetryPolicy`.
    RetryPolicy {
        /// So many failures in a row are waited out by a request. Default: `1`.
        num_retries: Option<u32>,
        /// How the back-off grows.
        retry_back_off: Option<BackoffStrategy>,
        /// Says nothing: every failure is retried.
        _retry_on: String,
        /// The cluster's own load balancing chooses hosts.
        retry_priority: Option<Unsupported>,
        /// The same.
        retry_host_predicate: Option<Unsupported>,
        /// The same.
        host_selection_retry_max_attempts: Option<Unsupported>,
    }

    /// Envoy's `BackoffStrategy`.
    BackoffStrategy {
        /// Required. After the first failure.
        base_interval: Duration,
        /// The longest; as `failed_refetch_duration`, unless set.
        max_interval: Option<Duration>,
    }

    /// Ours: the life of the keys ([key-sets.md](key-sets.md)).
    Rotation {
        /// Keys live as long as `Cache-Control` or `Expires` says; else `cache_duration`. Default: `true`.
        honor_cache_headers: Option<bool>,
        /// They live no shorter. Default: `30s`.
        min_ttl: Option<Duration>,
        /// They live no longer. Default: `86400s`.
        max_ttl: Option<Duration>,
        /// How long before their end the background refresh may start; a fifth of the lifetime, unless set.
        refresh_ahead: Option<Duration>,
        /// At most one refresh for unknown keys per issuer in this time. Default: `10s`.
        unknown_kid_min_interval: Option<Duration>,
        /// How long a request may wait for a refresh; keep it as long as the interval. Default: `10s`.
        unknown_kid_max_wait: Option<Duration>,
        /// How long keys outlive their lifetime while the issuer fails; or `unbounded`. Default: `3600s`.
        max_stale: Option<Staleness>,
        /// How long a key that left the JWKS still verifies. Default: `0s`.
        retired_key_grace: Option<Duration>,
        /// `kid`s or thumbprints (RFC 7638) of keys that never verify, whoever publishes them.
        revoked_keys: Vec<String>,
        /// A larger document is refused whole. Default: `65536`.
        max_document_bytes: Option<u32>,
        /// One with more keys is refused whole. Default: `100`.
        max_keys: Option<u32>,
    }

    /// Envoy's `DataSource`: one of the first two.
    DataSource {
        /// The JWKS.
        inline_string: Option<String>,
        /// The JWKS in base64.
        inline_bytes: Option<String>,
        /// A VM reads no files.
        filename: Option<Unsupported>,
        /// A VM reads no environment.
        environment_variable: Option<Unsupported>,
        /// A VM reads no files.
        watched_directory: Option<Unsupported>,
    }
}
