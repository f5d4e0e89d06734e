use super::{
    single::{ENTRY_BYTES, MAX_CACHE_BYTES},
    *,
};
use crate::{
    keys::{Algorithm, Key, KeySet},
    token::{
        jws::Jws,
        signature::{BadSignature, SignatureCheck},
        validation::TokenPolicy,
        verify::verify,
    },
};

struct AcceptAll;

impl SignatureCheck for AcceptAll {
    fn check(&self, _: &Key, _: Algorithm, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

const NOW: UnixTime = UnixTime::from_millis(1_000_000);

fn verified() -> Verified {
    // RFC 7515 A.3.1
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let keys = KeySet::new(vec![Key::from_json(key).unwrap()]);
    let jws = Jws::parse(b"eyJhbGciOiJFUzI1NiJ9.e30.AA"[..].into()).unwrap();
    verify(&jws, &TokenPolicy::permissive(), Some(&keys), &AcceptAll, UnixTime::default()).unwrap()
}

fn token(number: u32) -> Vec<u8> {
    format!("{number:040}").into_bytes()
}

/// A token of 4096 bytes.
fn long(number: u32) -> Vec<u8> {
    [vec![b'x'; 4_056], token(number)].concat()
}

const UNLIMITED: Limits = Limits { entries: 100_000, max_token_bytes: 4096 };

/// Caches with these limits.
fn caches<const N: usize>(max_bytes: usize, limits: [Limits; N]) -> (TokenCaches, [CacheId; N]) {
    let mut caches = TokenCaches::with_budget(max_bytes);
    let ids = limits.map(|limits| caches.add(limits));
    (caches, ids)
}

fn insert(caches: &mut TokenCaches, id: CacheId, token: &[u8]) {
    caches.insert(id, token, verified(), None, NOW);
}

#[test]
fn entries_are_bounded_and_tokens_in_use_stay() {
    for entries in 1..50 {
        let (mut caches, [id]) = caches(MAX_BYTES, [Limits { entries, max_token_bytes: 40 }]);
        let in_use = token(1_000);
        insert(&mut caches, id, &in_use);
        for number in 0..200 {
            assert!(caches.get(id, &token(number)).is_none());
            insert(&mut caches, id, &token(number));
            assert!(caches.get(id, &token(number)).is_some() && caches.len(id) <= entries);
            assert!(caches.get(id, &in_use).is_some() || entries < 2, "{entries} {number}");
            assert_eq!(caches.bytes(), caches.len(id) * (40 + ENTRY_BYTES));
        }
        assert_eq!(caches.len(id), entries);
    }
}

/// A token goes only after half of the others have gone or were used since its own last use.
#[test]
fn a_token_that_was_used_outlasts_half_of_the_cache() {
    let mut random = fastrand::Rng::with_seed(1);
    let entries = 20;
    let (mut caches, [id]) = caches(MAX_BYTES, [Limits { entries, max_token_bytes: 40 }]);
    let mut used_at = std::collections::BTreeMap::new();
    let (mut next, mut lost) = (0, 0);
    for step in 0..20_000_usize {
        let number = if random.bool() {
            random.u32(..30)
        } else {
            next += 1;
            1_000 + next
        };
        let known = used_at.insert(number, step);
        if caches.get(id, &token(number)).is_none() {
            insert(&mut caches, id, &token(number));
            if let Some(known) = known {
                lost += 1;
                assert!(step - known >= entries / 2, "{step}: {number} was used at {known}");
            }
        }
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn bytes_are_bounded_in_each_cache_and_in_all() {
    let mut caches = TokenCaches::default();
    let ids: Vec<_> = (0..20).map(|_| caches.add(UNLIMITED)).collect();
    for number in 0..12_000_u32 {
        let id = ids[number as usize % ids.len()];
        insert(&mut caches, id, &long(number));
        assert!(caches.bytes() <= MAX_BYTES && caches.len(id) * (4096 + ENTRY_BYTES) <= MAX_CACHE_BYTES);
    }
    assert!(caches.bytes() > MAX_BYTES - 2 * (4096 + ENTRY_BYTES));
    let entries: usize = ids.iter().map(|id| caches.len(*id)).sum();
    assert_eq!(caches.bytes(), entries * (4096 + ENTRY_BYTES));
    for number in 0..2_000_u32 {
        insert(&mut caches, ids[0], &long(100_000 + number));
    }
    assert!(caches.len(ids[0]) * (4096 + ENTRY_BYTES) <= MAX_CACHE_BYTES);
    ids.iter().for_each(|id| caches.clear(*id));
    assert_eq!((caches.bytes(), caches.by_bytes.len(), caches.by_end.len()), (0, 0, 0));
}

/// A flood of one provider's tokens costs a provider nothing that keeps within its equal share, used or not.
#[test]
fn a_flood_takes_only_from_caches_above_their_share() {
    let size = 40 + ENTRY_BYTES;
    let (mut caches, [a, b, c, flooded]) = caches(40 * size, [UNLIMITED; 4]);
    for number in 0..10 {
        insert(&mut caches, a, &token(number));
    }
    for number in 0..25 {
        insert(&mut caches, b, &token(number));
    }
    insert(&mut caches, c, &token(0));
    for number in 0..1_000 {
        insert(&mut caches, flooded, &token(number));
        assert!(caches.bytes() <= 40 * size);
    }
    assert!((0..10).all(|number| caches.get(a, &token(number)).is_some()) && caches.get(c, &token(0)).is_some());
    // What lay above the share was lent.
    assert!((14..=15).contains(&caches.len(b)), "{}", caches.len(b));
    assert!((10..25).filter(|number| caches.get(b, &token(*number)).is_some()).count() >= 14);
    assert!((14..=15).contains(&caches.len(flooded)), "{}", caches.len(flooded));
}

#[test]
fn expired_tokens_go_first() {
    let size = 40 + ENTRY_BYTES;
    let (mut caches, [idle, busy]) = caches(100 * size, [UNLIMITED, Limits { entries: 40, max_token_bytes: 40 }]);
    let end = |seconds| Some(NOW.plus(std::time::Duration::from_secs(seconds)));
    for number in 0..60 {
        caches.insert(idle, &token(number), verified(), end(u64::from(number) + 10), NOW);
    }
    for number in 0..40 {
        caches.insert(busy, &token(number), verified(), (number >= 20).then_some(NOW), UnixTime::default());
    }
    assert_eq!(caches.bytes(), 100 * size);
    // The expired tokens of this cache make room, then those of the other cache: two at each insert.
    for number in 0..20 {
        insert(&mut caches, busy, &token(100 + number));
    }
    assert!((0..20).all(|number| caches.get(busy, &token(number)).is_some()));
    assert_eq!((caches.len(idle), caches.len(busy)), (60, 40));
    let later = NOW.plus(std::time::Duration::from_secs(39));
    for number in 0..10 {
        caches.insert(busy, &token(200 + number), verified(), None, later);
    }
    assert_eq!(caches.len(idle), 40);
    for number in 0..10 {
        caches.insert(busy, &token(300 + number), verified(), None, later);
    }
    assert_eq!(caches.len(idle), 30);
    assert!((30..60).all(|number| caches.get(idle, &token(number)).is_some()));
}

/// The sums and indexes agree with the caches, whatever is done.
#[test]
fn the_budget_is_kept_whatever_is_done() {
    let mut random = fastrand::Rng::with_seed(2);
    let size = 40 + ENTRY_BYTES;
    let limits = [5, 50, 0, 1000].map(|entries| Limits { entries, max_token_bytes: 60 });
    let (mut caches, ids) = caches(60 * size, limits);
    for step in 0..30_000_u64 {
        let (id, number) = (ids[random.usize(..4)], random.u32(..100));
        let mut token = token(number);
        token.extend(vec![b'x'; random.usize(..30)]);
        let now = UnixTime::from_millis(step.saturating_sub(random.u64(..100)));
        match random.u8(..20) {
            0 => caches.remove(id, &token),
            1 if random.u8(..20) == 0 => caches.clear(id),
            2..=8 => {
                caches.get(id, &token);
            }
            _ => {
                let end = random.bool().then(|| UnixTime::from_millis(step + random.u64(..200)));
                caches.insert(id, &token, verified(), end, now);
            }
        }
        let bytes: usize = caches.caches.iter().map(TokenCache::bytes).sum();
        assert!(caches.bytes() == bytes && bytes <= 60 * size);
        assert!(caches.caches.iter().zip(limits).all(|(cache, limits)| cache.len() <= limits.entries));
        let known = |index: &CacheId| caches.caches.get(index.0).unwrap();
        assert!(caches.by_bytes.iter().all(|(bytes, id)| known(id).bytes() == *bytes && *bytes > 0));
        assert!(caches.by_end.iter().all(|(end, id)| known(id).first_end() == Some(*end)));
        assert_eq!(caches.by_bytes.len(), caches.caches.iter().filter(|cache| cache.len() > 0).count());
        assert_eq!(caches.by_end.len(), caches.caches.iter().filter(|cache| cache.first_end().is_some()).count());
    }
}

#[test]
fn a_hit_requires_the_whole_token_to_match() {
    let (mut caches, [id, other_id]) = caches(MAX_BYTES, [Limits { entries: 9, max_token_bytes: 100 }; 2]);
    insert(&mut caches, id, &token(1));
    for index in 0..40 {
        let mut other = token(1);
        other[index] ^= 1;
        assert!(caches.get(id, &other).is_none());
    }
    assert!(caches.get(id, &token(1)[1..]).is_none());
    assert!(caches.get(id, &[b"0", token(1).as_slice()].concat()).is_none());
    assert!(caches.get(id, &token(1)).is_some() && caches.get(id, b"").is_none());
    assert!(caches.get(other_id, &token(1)).is_none(), "another policy's");
    // Another token with the same suffix replaces the first.
    let mut other = token(1);
    other[0] = b'1';
    insert(&mut caches, id, &other);
    assert!(caches.get(id, &other).is_some() && caches.get(id, &token(1)).is_none() && caches.len(id) == 1);
}

#[test]
fn tokens_can_be_removed_and_long_ones_are_not_cached() {
    let limits = |entries| Limits { entries, max_token_bytes: 40 };
    let (mut caches, [id, none]) = caches(MAX_BYTES, [limits(9), limits(0)]);
    insert(&mut caches, id, &token(1));
    insert(&mut caches, id, &token(2));
    caches.remove(id, &token(1));
    assert!(caches.get(id, &token(1)).is_none() && caches.get(id, &token(2)).is_some());
    caches.clear(id);
    assert!(caches.len(id) == 0 && caches.bytes() == 0 && caches.get(id, &token(2)).is_none());
    insert(&mut caches, id, &[b'x'; 41]);
    insert(&mut caches, none, &token(1));
    assert!(caches.len(id) == 0 && caches.len(none) == 0);
}
