//! `allow_missing`, `allow_missing_or_failed` and `extract_only_without_validation` outside of `requires_any`: each token of
//! the request is checked under the policy of its own issuer.

use super::notation::{State::*, *};

table! {
    allow_missing_allows_no_token_or_good_tokens {
        allow_missing![] => allow([]);
        allow_missing![Good] => allow([0]);
        allow_missing![Good, Good] => allow([0, 1]);
    }

    allow_missing_denies_a_bad_token_as_requires_all_does {
        allow_missing![Expired] => deny(Expired);
        allow_missing![Good, Foreign] => deny(Foreign);
        allow_missing![Malformed, Good] => deny(Malformed).checks([]);
        allow_missing![Expired, Foreign] => deny(Expired).checks([0]);
        allow_missing![Foreign, Unavailable] => deny(Foreign).checks([]);
        allow_missing![Good, MissingKey] => deny(MissingKey);
        allow_missing![UnknownKid, Expired] => deny(Expired);
        allow_missing![UnknownKid, Good] => wait([0]);
    }

    allow_missing_or_failed_never_waits {
        allow_missing_or_failed![] => allow([]);
        allow_missing_or_failed![Good] => allow([0]);
        allow_missing_or_failed![Expired] => allow([]);
        allow_missing_or_failed![Foreign, Good] => allow([1]).checks([1]);
        allow_missing_or_failed![Unavailable, Good] => allow([1]);
        allow_missing_or_failed![Malformed, TooManyParked] => allow([]);
        allow_missing_or_failed![Expired, UnknownKid, Good] => allow([2]).checks([0, 1, 2]);
        allow_missing_or_failed![NoKeys, UnknownKid] => allow([]);
    }

    extract_only_allows_and_tells_the_upstream_of_an_invalid_token {
        extract_only![] => allow([]);
        extract_only![Good] => allow([0]);
        extract_only![Expired] => allow([]).invalid();
        extract_only![Good, Foreign] => allow([0]).invalid();
        extract_only![Malformed, Good] => allow([1]).invalid();
        extract_only![MissingKeyRefresh] => allow([]).invalid();
        extract_only![Unavailable] => allow([]).invalid();
        extract_only![Good, UnknownKid] => allow([0]).invalid();
    }
}
