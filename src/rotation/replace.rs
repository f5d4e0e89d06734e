//! What changes when a fetched JWKS takes the place of the cached one.

use std::time::Duration;

use super::{record::CachedJwks, retired::RetiredKey};
use crate::{
    keys::{
        document::{self, Limits},
        Key, KeySet,
    },
    time::UnixTime,
};

/// The facts that change besides the JWKS itself.
#[derive(Debug)]
pub struct Replacement {
    /// The keys that vanish now, and those retired earlier that can still verify and have not come back. Bounded as one JWKS
    /// is; the keys that left last are kept.
    pub retired: Vec<RetiredKey>,
    /// When the keys were last rotated. A rotation is a key that was neither published nor retired before. A key that leaves
    /// is no rotation, nor is one that comes back, as from servers of an issuer that disagree.
    pub rotated_at: UnixTime,
}

/// Puts `new` in the place of `old`; `retired` are the keys retired so far.
pub fn replace(old: &CachedJwks, new: &KeySet, retired: &[RetiredKey], limits: Limits, now: UnixTime) -> Replacement {
    let gone = RetiredKey {
        gone_at: now,
        gone_for: Duration::ZERO,
        unconfirmed_for: now.since(old.fetched_at),
        freshness: old.freshness,
        jwk: Vec::new(),
    };
    let published =
        document::entries(&old.body).into_iter().map(|(key, jwk)| (key, RetiredKey { jwk, ..gone.clone() }));
    let earlier = retired.iter().filter_map(|retired| Some((document::parse_key(&retired.jwk)?, retired.clone())));
    let known: Vec<(Key, RetiredKey)> = published.chain(earlier).collect();
    let introduces_key = new.published().any(|key| !known.iter().any(|(known, _)| known.is_same(key)));
    let mut kept: Vec<(Key, RetiredKey)> = Vec::new();
    let mut bytes = 0_usize;
    for (key, retired) in known {
        let total = bytes.saturating_add(retired.jwk.len());
        let is_full = kept.len() >= limits.max_keys || total > limits.max_document_bytes;
        let is_kept = kept.iter().any(|(known, _)| known.is_same(&key));
        if retired.can_still_verify(now) && !new.publishes(&key) && !is_full && !is_kept {
            bytes = total;
            kept.push((key, retired));
        }
    }
    Replacement {
        retired: kept.into_iter().map(|(_, retired)| retired).collect(),
        rotated_at: if introduces_key { now } else { old.rotated_at },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rotation::{
        policy::{MaxStale, RotationPolicy},
        schedule,
    };
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    const POLICY: RotationPolicy =
        RotationPolicy { retired_key_grace: Duration::from_secs(60), ..schedule::tests::POLICY };

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    /// A document with a key for each number.
    pub(in crate::rotation) fn set(numbers: &[u8]) -> Vec<u8> {
        let key = |number: &u8| {
            let modulus = BASE64.encode([&[0xff; 255][..], &[2 * number + 1]].concat());
            format!(r#"{{"kty":"RSA","kid":"k{number}","e":"AQAB","n":"{modulus}"}}"#)
        };
        format!(r#"{{"keys":[{}]}}"#, numbers.iter().map(key).collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn parsed(numbers: &[u8]) -> KeySet {
        document::parse(&set(numbers), POLICY.limits).unwrap().keys
    }

    fn stored(numbers: &[u8]) -> CachedJwks {
        CachedJwks { fetched_at: at(0), body: set(numbers).into(), ..CachedJwks::default() }
    }

    fn step(old: &[u8], new: &[u8], before: &[RetiredKey], now: UnixTime) -> Vec<RetiredKey> {
        replace(&stored(old), &parsed(new), before, POLICY.limits, now).retired
    }

    fn kids(retired: &[RetiredKey]) -> Vec<String> {
        let kid = |one: &RetiredKey| document::parse_key(&one.jwk).unwrap().kid().unwrap().to_owned();
        retired.iter().map(kid).collect()
    }

    #[test]
    fn a_key_is_kept_from_when_it_left_for_as_long_as_any_grace_may_be() {
        let first = step(&[1, 2], &[2, 3], &[], at(0));
        assert_eq!((kids(&first), first[0].gone_at), (vec!["k1".to_owned()], at(0)));
        let second = step(&[2, 3], &[3], &first, at(59));
        assert_eq!(kids(&second), ["k2", "k1"]);
        assert_eq!(second[1].gone_at, at(0), "the first grace is not begun anew");
        assert_eq!(kids(&step(&[3], &[3], &second, at(86_400))), ["k2"]);
    }

    #[test]
    fn each_configuration_allows_its_own_grace() {
        let gone = &step(&[1], &[2], &[], at(10))[0];
        assert_eq!(gone.until(&POLICY), at(70));
        assert_eq!(gone.until(&schedule::tests::POLICY), at(10), "without grace");
    }

    #[test]
    fn a_key_that_comes_back_is_not_retired() {
        let gone = step(&[1, 2], &[2], &[], at(0));
        assert!(step(&[2], &[1, 2], &gone, at(1)).is_empty());
    }

    #[test]
    fn what_was_unusable_already_does_not_come_back() {
        // 100 s of lifetime and 50 s of staleness.
        assert_eq!(step(&[1], &[2], &[], at(149))[0].until(&POLICY), at(209));
        assert_eq!(step(&[1], &[2], &[], at(10_000))[0].until(&POLICY), at(210));
        let patient = RotationPolicy { max_stale: MaxStale::Unbounded, ..POLICY };
        assert_eq!(step(&[1], &[2], &[], at(10_000))[0].until(&patient), at(10_060));
    }

    #[test]
    fn no_more_is_kept_than_a_document_may_hold() {
        let kept = |limits| replace(&stored(&[1, 2, 3]), &parsed(&[4]), &[], limits, at(0)).retired.len();
        assert_eq!(kept(Limits { max_keys: 2, ..Limits::default() }), 2);
        assert_eq!(kept(Limits { max_document_bytes: 500, ..Limits::default() }), 1);
    }

    #[test]
    fn a_document_that_cannot_be_read_retires_nothing() {
        let gone = step(&[1], &[2], &[], at(0));
        let nonsense = CachedJwks { body: b"x"[..].into(), ..stored(&[]) };
        assert_eq!(replace(&nonsense, &parsed(&[2]), &gone, POLICY.limits, at(1)).retired, gone);
    }
}
