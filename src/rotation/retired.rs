//! Keys that left their issuer's document, kept for the grace that a configuration may allow them.

use std::time::Duration;

use super::{
    http_cache::Freshness,
    record::CachedJwks,
    schedule::{self, RotationPolicy, LONGEST_GRACE},
};
use crate::{
    keys::{
        document::{self, Limits},
        Key,
    },
    time::UnixTime,
};

/// A key that was published once and no longer is: what happened to it, whatever grace anybody allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// When the first document without it arrived.
    pub gone_at: UnixTime,
    /// For how long it was seen to be gone, at least. A clock that steps back does not begin its grace anew.
    pub gone_for: Duration,
    /// How long before it was gone the last document with it was fetched or confirmed.
    pub unconfirmed_for: Duration,
    /// What the issuer said about that document's lifetime.
    pub freshness: Freshness,
    /// The JWK as it was published.
    pub jwk: Vec<u8>,
}

impl Retired {
    /// Until when it may still verify under these terms.
    ///
    /// Its grace begins when its last document could no longer be used, if that was before it was gone: what an outage
    /// had already ended does not come back with the issuer.
    pub fn until(&self, terms: &RotationPolicy) -> UnixTime {
        let confirmed_at = self.gone_at.minus(self.unconfirmed_for);
        let unusable_at = schedule::unusable_at(confirmed_at, &self.freshness, terms);
        self.gone_at.min(unusable_at).plus(terms.retired_key_grace)
    }

    /// The latest time at which it was seen to be gone.
    pub fn seen_at(&self) -> UnixTime {
        self.gone_at.plus(self.gone_for)
    }

    /// This key under a clock that shows `now`.
    pub fn as_of(self, now: UnixTime) -> Self {
        let gone_at = if self.seen_at() > now { now.minus(self.gone_for) } else { self.gone_at };
        Self { gone_at, ..self }
    }

    /// This key, seen to be still gone.
    pub fn seen(self, now: UnixTime) -> Self {
        Self { gone_for: self.gone_for.max(now.since(self.gone_at)), ..self }
    }

    /// Whether any terms can still allow it to verify.
    pub fn can_still_verify(&self, now: UnixTime) -> bool {
        now < self.gone_at.plus(LONGEST_GRACE)
    }
}

/// The keys to keep when `new` takes the place of `old`: those that vanish now, and those of `before` that may still
/// matter and have not come back. Bounded as one document is; the latest to go are kept.
pub fn retire(old: &CachedJwks, new: &[u8], before: &[Retired], limits: Limits, now: UnixTime) -> Vec<Retired> {
    let Ok(new) = document::parse(new, limits) else {
        return before.to_vec();
    };
    let vanished = document::raw_keys(&old.body).into_iter().map(|jwk| Retired {
        gone_at: now,
        gone_for: Duration::ZERO,
        unconfirmed_for: now.since(old.fetched_at),
        freshness: old.freshness,
        jwk,
    });
    let mut kept: Vec<(Key, Retired)> = Vec::new();
    let mut bytes = 0_usize;
    for retired in vanished.chain(before.iter().cloned()).filter(|retired| retired.can_still_verify(now)) {
        let Some(key) = document::parse_key(&retired.jwk).filter(|key| !new.keys.publishes(key)) else { continue };
        let total = bytes.saturating_add(retired.jwk.len());
        let full = kept.len() >= limits.max_keys || total > limits.max_document_bytes;
        if !full && !kept.iter().any(|(own, _)| own.is_same(&key)) {
            bytes = total;
            kept.push((key, retired));
        }
    }
    kept.into_iter().map(|(_, retired)| retired).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rotation::schedule;
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    const TERMS: RotationPolicy =
        RotationPolicy { retired_key_grace: Duration::from_secs(60), ..schedule::tests::TERMS };

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

    fn stored(numbers: &[u8]) -> CachedJwks {
        CachedJwks { fetched_at: at(0), body: set(numbers), ..CachedJwks::default() }
    }

    fn step(old: &[u8], new: &[u8], before: &[Retired], now: UnixTime) -> Vec<Retired> {
        retire(&stored(old), &set(new), before, TERMS.limits, now)
    }

    fn kids(retired: &[Retired]) -> Vec<String> {
        let kid = |one: &Retired| document::parse_key(&one.jwk).unwrap().kid().unwrap().to_owned();
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
        assert_eq!(gone.until(&TERMS), at(70));
        assert_eq!(gone.until(&schedule::tests::TERMS), at(10), "without grace");
    }

    #[test]
    fn a_key_that_comes_back_is_not_retired() {
        let gone = step(&[1, 2], &[2], &[], at(0));
        assert!(step(&[2], &[1, 2], &gone, at(1)).is_empty());
    }

    #[test]
    fn what_was_unusable_already_does_not_come_back() {
        // 100 s of lifetime and 50 s of staleness.
        assert_eq!(step(&[1], &[2], &[], at(149))[0].until(&TERMS), at(209));
        assert_eq!(step(&[1], &[2], &[], at(10_000))[0].until(&TERMS), at(210));
        let patient = RotationPolicy { max_stale: schedule::MaxStale::Unbounded, ..TERMS };
        assert_eq!(step(&[1], &[2], &[], at(10_000))[0].until(&patient), at(10_060));
    }

    #[test]
    fn no_more_is_kept_than_a_document_may_hold() {
        let kept = |limits| retire(&stored(&[1, 2, 3]), &set(&[4]), &[], limits, at(0)).len();
        assert_eq!(kept(Limits { max_keys: 2, ..Limits::default() }), 2);
        assert_eq!(kept(Limits { max_document_bytes: 500, ..Limits::default() }), 1);
    }

    #[test]
    fn a_document_that_cannot_be_read_retires_nothing() {
        let gone = step(&[1], &[2], &[], at(0));
        let nonsense = CachedJwks { body: b"x".to_vec(), ..stored(&[]) };
        assert_eq!(retire(&nonsense, &set(&[2]), &gone, TERMS.limits, at(1)), gone);
        assert_eq!(retire(&stored(&[2]), b"x", &gone, TERMS.limits, at(1)), gone);
    }
}
