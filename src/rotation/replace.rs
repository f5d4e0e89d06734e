//! What changes when a fetched JWKS takes the place of the cached one.

use super::{
    record::{CachedJwks, Record},
    retired::RetiredKey,
};
use crate::{
    keys::{
        document::{self, Limits},
        revoked::FormerName,
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
    /// The names that keys have lost by now, the oldest first. Not yet bounded.
    pub former: Vec<FormerName>,
    /// When the keys were last rotated. A rotation is a key that was neither published nor retired before. A key that leaves
    /// is no rotation, nor is one that comes back, as from servers of an issuer that disagree.
    pub rotated_at: UnixTime,
}

/// Puts `new` in the place of the cached JWKS of `record`, if there is one.
pub fn replace(record: &Record, new: &KeySet, limits: Limits, now: UnixTime) -> Replacement {
    let gone = |old: &CachedJwks| RetiredKey {
        gone_at: now,
        unconfirmed_for: now.since(old.fetched_at),
        freshness: old.freshness,
        jwk: Vec::new(),
    };
    let published = record.document.iter().flat_map(|old| {
        let gone = gone(old);
        document::entries(&old.body).into_iter().map(move |(key, jwk)| (key, RetiredKey { jwk, ..gone.clone() }))
    });
    let published: Vec<(Key, RetiredKey)> = published.collect();
    let former = former(&record.former, published.iter().map(|(key, _)| key), new);
    let earlier = record.retired.iter();
    let earlier = earlier.filter_map(|retired| Some((document::parse_key(&retired.jwk)?, retired.clone())));
    let known: Vec<(Key, RetiredKey)> = published.into_iter().chain(earlier).collect();
    let introduces_key = new.published().any(|key| !known.iter().any(|(known, _)| known.is_same(key)));
    let mut kept: Vec<(Key, RetiredKey)> = Vec::new();
    let mut bytes = 0_usize;
    for (key, retired) in known {
        let total = bytes.saturating_add(retired.jwk.len());
        let is_full = kept.len() >= limits.max_keys || total > limits.max_document_bytes;
        let is_kept = kept.iter().any(|(known, _)| known.is_same_entry(&key));
        // An empty JWKS revokes all keys.
        if !new.is_empty()
            && retired.can_still_verify(now)
            && !new.publishes(&key)
            && !new.exposes(&key)
            && !is_full
            && !is_kept
        {
            bytes = total;
            kept.push((key, retired));
        }
    }
    Replacement {
        retired: kept.into_iter().map(|(_, retired)| retired).collect(),
        former,
        rotated_at: record.document.as_ref().filter(|_| !introduces_key).map_or(now, |old| old.rotated_at),
    }
}

/// The former names when `new` takes the place of these keys: a name that a key loses now stands last.
fn former<'k>(before: &[FormerName], published: impl Iterator<Item = &'k Key>, new: &KeySet) -> Vec<FormerName> {
    let current: Vec<_> = new.published().filter_map(FormerName::of).collect();
    let lost: Vec<_> = published.filter_map(FormerName::of).filter(|name| !current.contains(name)).collect();
    before.iter().filter(|name| !lost.contains(name)).chain(&lost).copied().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

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
        replace(&record(old, before), &parsed(new), POLICY.limits, now).retired
    }

    fn record(old: &[u8], before: &[RetiredKey]) -> Record {
        Record { document: Some(stored(old)), retired: before.to_vec(), ..Record::default() }
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

    /// The `issuer` of a key is no name of the key, and stays with the key.
    #[test]
    fn a_key_retires_with_its_issuer_and_not_for_another_issuer() {
        let with = |members: &[(u8, &str)]| {
            let key = |(number, issuer): &(u8, &str)| {
                let key = String::from_utf8(set(&[*number])).unwrap();
                let issuer = format!(r#""issuer":"{issuer}","kty""#);
                key.trim_start_matches(r#"{"keys":["#).trim_end_matches("]}").replacen(r#""kty""#, &issuer, 1)
            };
            format!(r#"{{"keys":[{}]}}"#, members.iter().map(key).collect::<Vec<_>>().join(",")).into_bytes()
        };
        let replaced = |old: &[(u8, &str)], new: &[(u8, &str)]| {
            let record =
                Record { document: Some(CachedJwks { body: with(old).into(), ..stored(&[]) }), ..record(&[], &[]) };
            let new = document::parse(&with(new), POLICY.limits).unwrap().keys;
            replace(&record, &new, POLICY.limits, at(5))
        };
        let changed = replaced(&[(1, "a"), (2, "a")], &[(1, "b"), (2, "a")]);
        assert!(changed.retired.is_empty() && changed.rotated_at != at(5), "{changed:?}");
        let gone = replaced(&[(1, "a"), (1, "b"), (2, "a")], &[(2, "a")]);
        let keys: Vec<_> = gone.retired.iter().map(|retired| document::parse_key(&retired.jwk).unwrap()).collect();
        assert!(keys.iter().map(Key::issuer).eq([Some("a"), Some("b")]));
    }

    #[test]
    fn a_key_published_in_pem_retires_as_a_jwk() {
        let [rsa, p256] = [
            include_str!("../keys/document/pem/rsa-certificate.pem"),
            include_str!("../keys/document/pem/p256-certificate.pem"),
        ];
        let map = |members: serde_json::Value| members.to_string().into_bytes();
        let (old, new) = (map(serde_json::json!({"a": rsa, "b": p256})), map(serde_json::json!({"b": p256, "c": rsa})));
        let keys = |body: &[u8]| document::parse(body, POLICY.limits).unwrap().keys;
        let record =
            Record { document: Some(CachedJwks { body: old.clone().into(), ..stored(&[]) }), ..record(&[], &[]) };
        let replacement = replace(&record, &keys(&new), POLICY.limits, at(10));
        assert_eq!((kids(&replacement.retired), replacement.retired[0].until(&POLICY)), (vec!["a".into()], at(70)));
        let (before, after) = (keys(&old), document::parse_key(&replacement.retired[0].jwk).unwrap());
        assert!(before.published().next().unwrap().is_same(&after));
        assert_eq!(replacement.former, [FormerName::of(&after).unwrap()]);
        assert_eq!(replacement.rotated_at, at(10), "a key under another kid is another key");
    }

    #[test]
    fn each_configuration_allows_its_own_grace() {
        let gone = &step(&[1], &[2], &[], at(10))[0];
        assert_eq!(gone.until(&POLICY), at(70));
        assert_eq!(gone.until(&schedule::tests::POLICY), at(10), "without grace");
    }

    #[test]
    fn an_empty_jwks_leaves_no_key_a_grace() {
        let gone = step(&[1, 2], &[2], &[], at(0));
        let empty = document::parse_cached(br#"{"keys":[]}"#, POLICY.limits).unwrap().keys;
        let replacement = replace(&record(&[2], &gone), &empty, POLICY.limits, at(1));
        assert_eq!((replacement.retired.len(), replacement.former.len()), (0, 1));
        assert_eq!(replacement.rotated_at, UnixTime::default(), "no key appeared");
        assert_eq!(step(&[], &[1], &[], at(2)), []);
    }

    #[test]
    fn a_key_that_comes_back_is_not_retired() {
        let gone = step(&[1, 2], &[2], &[], at(0));
        assert!(step(&[2], &[1, 2], &gone, at(1)).is_empty());
    }

    #[test]
    fn a_key_whose_private_key_is_published_has_no_grace() {
        let gone = step(&[1, 2], &[3], &[], at(0));
        assert_eq!(kids(&gone), ["k1", "k2"]);
        let exposed = String::from_utf8(set(&[1, 3, 4])).unwrap().replacen("\"e\"", "\"d\":\"AA\",\"e\"", 1);
        let exposed = exposed.replacen("\"kid\":\"k3\"", "\"d\":\"AA\",\"kid\":\"k3\"", 1);
        let new = document::parse(exposed.as_bytes(), POLICY.limits).unwrap().keys;
        let replacement = replace(&record(&[3], &gone), &new, POLICY.limits, at(1));
        assert_eq!((kids(&replacement.retired), replacement.former.len()), (vec!["k2".into()], 1));
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
        let kept = |limits| replace(&record(&[1, 2, 3], &[]), &parsed(&[4]), limits, at(0)).retired.len();
        assert_eq!(kept(Limits { max_keys: 2, ..Limits::default() }), 2);
        assert_eq!(kept(Limits { max_document_bytes: 500, ..Limits::default() }), 1);
    }

    /// The most that the default bounds admit: each document has a thousand other keys.
    #[test]
    // The test's own time, not the engine's.
    #[allow(clippy::disallowed_methods)]
    fn a_thousand_keys_replace_a_thousand_quickly() {
        let keys = |first: u16| {
            let key = |number: u16| {
                let modulus = BASE64.encode([&[0xff; 253][..], &number.to_be_bytes(), &[1]].concat());
                format!(r#"{{"kty":"RSA","kid":"k{number}","e":"AQAB","n":"{modulus}"}}"#)
            };
            format!(r#"{{"keys":[{}]}}"#, (first..first + 1000).map(key).collect::<Vec<_>>().join(",")).into_bytes()
        };
        let parsed = |first| document::parse(&keys(first), Limits::default()).unwrap().keys;
        let with = |first, retired| {
            let document = CachedJwks { body: keys(first).into(), ..stored(&[]) };
            Record { document: Some(document), retired, ..Record::default() }
        };
        let first = replace(&with(0, Vec::new()), &parsed(1000), Limits::default(), at(0));
        let (record, new) = (with(1000, first.retired), parsed(2000));
        let start = std::time::Instant::now();
        let second = replace(&record, &new, Limits::default(), at(1));
        assert_eq!((second.retired.len(), second.former.len()), (1000, 1000));
        println!("{:?}, record of {} bytes", start.elapsed(), record.encode().len());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn a_document_that_cannot_be_read_retires_nothing() {
        let gone = step(&[1], &[2], &[], at(0));
        let nonsense = CachedJwks { body: b"x"[..].into(), ..stored(&[]) };
        let record = Record { document: Some(nonsense), ..record(&[], &gone) };
        assert_eq!(replace(&record, &parsed(&[2]), POLICY.limits, at(1)).retired, gone);
        // Nor does a record that lost its document.
        let record = Record { document: None, ..record };
        let replacement = replace(&record, &parsed(&[2]), POLICY.limits, at(1));
        assert_eq!((replacement.retired, replacement.rotated_at), (gone, at(1)));
    }

    #[test]
    fn a_name_that_a_key_lost_is_kept_once_and_the_newest_last() {
        let name = |number: u8| FormerName::of(parsed(&[number]).published().next().unwrap()).unwrap();
        let former = |old: &[u8], new: &[u8], before: &[FormerName]| {
            let record = Record { former: before.to_vec(), ..record(old, &[]) };
            replace(&record, &parsed(new), POLICY.limits, at(0)).former
        };
        assert_eq!(former(&[1, 2], &[2, 3], &[]), [name(1)]);
        assert_eq!(former(&[2, 3], &[4], &[name(1)]), [name(1), name(2), name(3)]);
        assert_eq!(former(&[1], &[4], &[name(1), name(2)]), [name(2), name(1)]);
        assert_eq!(former(&[1], &[1, 4], &[name(2)]), [name(2)]);
    }
}
