//! Keys that left their issuer's document, kept for the grace that the configuration allows them.

use std::time::Duration;

use super::{
    document,
    record::Stored,
    schedule::{self, Terms},
    Key,
};
use crate::time::UnixTime;

/// A key that was published once and no longer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// When the first document without it arrived.
    pub gone_at: UnixTime,
    /// The JWK as it was published.
    pub jwk: Vec<u8>,
}

impl Retired {
    /// Until when it may still verify.
    pub fn until(&self, grace: Duration) -> UnixTime {
        self.gone_at.plus(grace)
    }
}

/// The keys to keep when `new` takes the place of `old`: those that vanish now, and those of `before` that are still
/// within their grace and have not come back. Bounded as one document is; the latest to go are kept.
///
/// The grace of a key begins when the old document could no longer be used, if that was before: what an outage had
/// already ended does not come back with the issuer.
pub fn retire(old: &Stored, new: &[u8], before: &[Retired], terms: &Terms, now: UnixTime) -> Vec<Retired> {
    let Terms { retired_key_grace: grace, limits, .. } = *terms;
    if grace.is_zero() {
        return Vec::new();
    }
    let Ok(new) = document::parse(new, limits) else {
        return before.to_vec();
    };
    let gone_at = now.min(schedule::unusable_at(old, terms));
    let vanished = document::raw_keys(&old.body).into_iter().map(|jwk| Retired { gone_at, jwk });
    let mut kept: Vec<(Key, Retired)> = Vec::new();
    let mut bytes = 0_usize;
    for retired in vanished.chain(before.iter().cloned()).filter(|retired| now < retired.until(grace)) {
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
mod tests {
    use super::*;
    use crate::keys::{document::Limits, schedule};
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    const TERMS: Terms = Terms { retired_key_grace: Duration::from_secs(60), ..schedule::tests::TERMS };

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    /// A document with a key for each number.
    fn set(numbers: &[u8]) -> Vec<u8> {
        let key = |number: &u8| {
            let modulus = BASE64.encode([&[0xff; 255][..], &[2 * number + 1]].concat());
            format!(r#"{{"kty":"RSA","kid":"k{number}","e":"AQAB","n":"{modulus}"}}"#)
        };
        format!(r#"{{"keys":[{}]}}"#, numbers.iter().map(key).collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn stored(numbers: &[u8]) -> Stored {
        Stored { fetched_at: at(0), body: set(numbers), ..Stored::default() }
    }

    fn step(old: &[u8], new: &[u8], before: &[Retired], now: UnixTime) -> Vec<Retired> {
        retire(&stored(old), &set(new), before, &TERMS, now)
    }

    fn kids(retired: &[Retired]) -> Vec<String> {
        let kid = |one: &Retired| document::parse_key(&one.jwk).unwrap().kid().unwrap().to_owned();
        retired.iter().map(kid).collect()
    }

    #[test]
    fn a_key_is_kept_from_when_it_left_and_for_its_grace_only() {
        let first = step(&[1, 2], &[2, 3], &[], at(0));
        assert_eq!((kids(&first), first[0].gone_at), (vec!["k1".to_owned()], at(0)));
        let second = step(&[2, 3], &[3], &first, at(59));
        assert_eq!(kids(&second), ["k2", "k1"]);
        assert_eq!(second[1].gone_at, at(0), "the first grace is not begun anew");
        assert_eq!(kids(&step(&[3], &[3], &second, at(60))), ["k2"]);
    }

    #[test]
    fn a_key_that_comes_back_is_not_retired() {
        let gone = step(&[1, 2], &[2], &[], at(0));
        assert!(step(&[2], &[1, 2], &gone, at(1)).is_empty());
    }

    #[test]
    fn without_grace_nothing_is_kept() {
        assert!(retire(&stored(&[1]), &set(&[2]), &[], &schedule::tests::TERMS, at(0)).is_empty());
    }

    #[test]
    fn what_was_unusable_already_does_not_come_back() {
        // 100 s of lifetime and 50 s of staleness.
        assert_eq!(step(&[1], &[2], &[], at(149))[0].gone_at, at(149));
        assert_eq!(step(&[1], &[2], &[], at(209))[0].gone_at, at(150));
        assert!(step(&[1], &[2], &[], at(210)).is_empty());
    }

    #[test]
    fn no_more_is_kept_than_a_document_may_hold() {
        let kept = |limits| retire(&stored(&[1, 2, 3]), &set(&[4]), &[], &Terms { limits, ..TERMS }, at(0)).len();
        assert_eq!(kept(Limits { max_keys: 2, ..Limits::default() }), 2);
        assert_eq!(kept(Limits { max_document_bytes: 500, ..Limits::default() }), 1);
    }

    #[test]
    fn a_document_that_cannot_be_read_retires_nothing() {
        let gone = step(&[1], &[2], &[], at(0));
        let nonsense = Stored { body: b"x".to_vec(), ..stored(&[]) };
        assert_eq!(retire(&nonsense, &set(&[2]), &gone, &TERMS, at(1)), gone);
        assert_eq!(retire(&stored(&[2]), b"x", &gone, &TERMS, at(1)), gone);
    }
}
