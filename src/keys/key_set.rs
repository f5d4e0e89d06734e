//! The keys that a token may be verified with.

use std::{fmt, time::Duration};

use super::{revoked::RevokedKeys, Algorithm, Key, Material};
use crate::time::UnixTime;

/// How many signatures are checked for one request at a time, at most: a token without `kid` is tried under no more keys.
pub const MAX_TRIED: usize = 256;

/// A key set has more keys for this algorithm than [`MAX_TRIED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyToTry {
    algorithm: Algorithm,
    keys: usize,
}

impl fmt::Display for TooManyToTry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, keys } = self;
        let algorithm = algorithm.name();
        write!(f, "{keys} keys fit {algorithm}; a token without kid is tried under the first {MAX_TRIED} only")
    }
}

/// The usable keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    /// The published keys in the order of the document, then the retired keys.
    entries: Vec<Entry>,
    /// The thumbprints of keys whose private keys the document publishes.
    exposed: Vec<String>,
    revoked: RevokedKeys,
    /// The keys that [`Self::without_revoked`] removed.
    revoked_keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    /// When the grace of a retired key ends; `None` for a published key.
    until: Option<UnixTime>,
}

impl KeySet {
    /// Creates a set of published keys.
    pub fn new(keys: Vec<Key>) -> Self {
        let entries = keys.into_iter().map(|key| Entry { key, until: None }).collect();
        Self { entries, ..Self::default() }
    }

    /// Keeps keys with these thumbprints out of the retired keys: the document publishes their private keys.
    pub fn with_exposed(self, exposed: Vec<String>) -> Self {
        Self { exposed, ..self }
    }

    /// Adds retired keys, each with the time at which its grace ends, except for exposed keys.
    pub fn with_retired(mut self, keys: impl IntoIterator<Item = (Key, UnixTime)>) -> Self {
        for (key, until) in keys {
            if !self.exposes(&key) {
                self.entries.push(Entry { key, until: Some(until) });
            }
        }
        self
    }

    /// Whether the document publishes the private key of `key`.
    pub fn exposes(&self, key: &Key) -> bool {
        self.exposed.iter().any(|exposed| exposed == key.thumbprint())
    }

    /// Removes the keys on the list, published or retired.
    pub fn without_revoked(mut self, revoked: &RevokedKeys) -> Self {
        let (listed, kept): (Vec<Entry>, Vec<Entry>) =
            self.entries.into_iter().partition(|entry| revoked.contains_key(&entry.key));
        // The same key under another kid, or without kid, is revoked as well.
        let is_alias = |entry: &Entry| listed.iter().any(|other| other.key.thumbprint() == entry.key.thumbprint());
        let (aliases, kept) = kept.into_iter().partition(is_alias);
        self.entries = kept;
        self.revoked_keys.extend([listed, aliases].into_iter().flatten().map(|entry: Entry| entry.key));
        self.revoked = revoked.clone();
        self
    }

    /// A copy for a clock that is behind by `ahead`. Returns `None` if no key is retired.
    pub fn set_back(&self, ahead: Duration) -> Option<Self> {
        self.entries.iter().any(|entry| entry.until.is_some()).then(|| {
            let mut copy = self.clone();
            copy.entries.iter_mut().for_each(|entry| entry.until = entry.until.map(|until| until.minus(ahead)));
            copy
        })
    }

    /// The number of published keys.
    pub fn len(&self) -> usize {
        self.published().count()
    }

    /// Whether no key is published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a key is a shared secret (`kty` `oct`).
    pub fn contains_secrets(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.key.material(), Material::Hmac(_)))
    }

    /// Whether a good token without `kid` can be denied because the set has too many keys that may have signed the token.
    pub fn too_many_to_try(&self) -> Option<TooManyToTry> {
        let fitting = |algorithm| self.published().filter(move |key| key.fits(algorithm)).count();
        let all = Algorithm::ASYMMETRIC.into_iter().chain(Algorithm::SYMMETRIC);
        let most =
            all.map(|algorithm| TooManyToTry { algorithm, keys: fitting(algorithm) }).max_by_key(|most| most.keys);
        most.filter(|most| most.keys > MAX_TRIED)
    }

    /// The usable keys of the document.
    pub fn published(&self) -> impl Iterator<Item = &Key> {
        self.entries.iter().filter(|entry| entry.until.is_none()).map(|entry| &entry.key)
    }

    /// The keys that are not in the set because they are revoked.
    pub fn revoked_keys(&self) -> &[Key] {
        &self.revoked_keys
    }

    /// When the grace of a retired key ends. Returns `None` if `key` is published or not in the set.
    pub fn retired_until(&self, key: &Key) -> Option<UnixTime> {
        self.entries.iter().find(|entry| entry.key.is_same(key))?.until
    }

    /// Whether `key` is published.
    pub fn publishes(&self, key: &Key) -> bool {
        self.published().any(|known| known.is_same(key))
    }

    /// Whether a key with this `kid` may verify a token now.
    pub fn contains_kid(&self, kid: &str, now: UnixTime) -> bool {
        self.current(now).any(|entry| entry.key.kid() == Some(kid))
    }

    /// Whether this `kid` belongs to revoked keys only. A refresh of the JWKS cannot help then.
    pub fn is_revoked(&self, kid: &str, now: UnixTime) -> bool {
        self.revoked.contains_name(kid)
            || (self.revoked_keys.iter().any(|key| key.kid() == Some(kid)) && !self.contains_kid(kid, now))
    }

    /// The keys that a token with this `kid` and algorithm may be verified with. A retired key comes
    /// with the time at which its grace ends.
    ///
    /// As in Envoy's `jwt_authn`, a `kid` selects the keys that carry it and the keys without a `kid`. A token without `kid`
    /// selects every key that fits the algorithm.
    pub fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
        now: UnixTime,
    ) -> impl Iterator<Item = (&'a Key, Option<UnixTime>)> {
        self.current(now)
            .filter(move |entry| kid.is_none() || entry.key.kid().is_none() || entry.key.kid() == kid)
            .filter(move |entry| entry.key.fits(algorithm))
            .map(|entry| (&entry.key, entry.until))
    }

    fn current(&self, now: UnixTime) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.until.is_none_or(|until| now < until))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::revoked::FormerName, *};
    use crate::crypto::Hash;
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    const NOW: UnixTime = UnixTime::from_millis(1000);
    const LATER: UnixTime = UnixTime::from_millis(2000);

    fn key(kid: Option<&str>, number: u8) -> Key {
        let modulus = BASE64.encode([&[0xff; 255][..], &[2 * number + 1]].concat());
        let kid = kid.map_or(String::new(), |kid| format!(r#""kid":"{kid}","#));
        Key::from_json(&format!(r#"{{"kty":"RSA",{kid}"e":"AQAB","n":"{modulus}"}}"#)).unwrap()
    }

    fn kids<'a>(set: &'a KeySet, kid: Option<&'a str>, now: UnixTime) -> Vec<Option<&'a str>> {
        set.candidates(kid, Algorithm::Rs(Hash::Sha256), now).map(|(key, _)| key.kid()).collect()
    }

    #[test]
    fn a_kid_selects_its_keys_and_keys_without_kid() {
        let set = KeySet::new(vec![key(Some("a"), 1), key(Some("b"), 2), key(None, 3)]);
        assert_eq!(kids(&set, Some("a"), NOW), [Some("a"), None]);
        assert_eq!(kids(&set, Some("x"), NOW), [None]);
        assert_eq!(kids(&set, None, NOW).len(), 3);
        assert_eq!(set.candidates(Some("a"), Algorithm::Es(Hash::Sha256), NOW).count(), 0);
        let many = KeySet::new((0..100).map(|n| key(Some("a"), n)).collect());
        assert_eq!(kids(&many, Some("a"), NOW).len(), 100);
    }

    #[test]
    fn more_keys_than_are_tried_for_a_token_without_kid_are_told() {
        let keys = |number| {
            let secret = |n: usize| {
                format!(r#"{{"kty":"oct","kid":"{n}","k":"{}"}}"#, BASE64.encode([n.to_le_bytes(); 4].concat()))
            };
            KeySet::new((0..number).map(|n| Key::from_local_json(&secret(n)).unwrap()).collect())
        };
        assert_eq!(keys(MAX_TRIED).too_many_to_try(), None);
        let told = keys(MAX_TRIED + 1).too_many_to_try().map(|told| told.to_string());
        assert_eq!(told.unwrap(), "257 keys fit HS256; a token without kid is tried under the first 256 only");
    }

    #[test]
    fn a_retired_key_verifies_until_its_grace_ends() {
        let set = KeySet::new(vec![key(Some("new"), 1)]).with_retired([(key(Some("old"), 2), LATER)]);
        assert_eq!(kids(&set, Some("old"), NOW), [Some("old")]);
        assert!(kids(&set, Some("old"), LATER).is_empty() && !set.contains_kid("old", LATER));
        assert_eq!(set.len(), 1);
        let back = set.set_back(Duration::from_millis(700)).unwrap();
        let at = |millis| kids(&back, Some("old"), UnixTime::from_millis(millis)).len();
        assert_eq!((at(1_299), at(1_300), back.len()), (1, 0, 1));
        assert!(KeySet::new(vec![key(None, 1)]).set_back(Duration::from_secs(1)).is_none());
    }

    #[test]
    fn a_revoked_key_never_verifies_by_kid_or_thumbprint_published_or_retired() {
        let bad = key(Some("bad"), 2);
        for name in ["bad", bad.thumbprint()] {
            let revoked = RevokedKeys::new([name.to_owned()]);
            for set in [
                KeySet::new(vec![key(Some("good"), 1), bad.clone()]),
                KeySet::new(vec![key(Some("good"), 1)]).with_retired([(bad.clone(), LATER)]),
            ] {
                let set = set.without_revoked(&revoked);
                assert!(kids(&set, Some("bad"), NOW).is_empty() && set.is_revoked("bad", NOW), "{name}");
                assert_eq!(kids(&set, None, NOW), [Some("good")]);
            }
        }
        // A key revoked by thumbprint leaves its kid to another key.
        let both = KeySet::new(vec![bad.clone(), key(Some("bad"), 3)])
            .without_revoked(&RevokedKeys::new([bad.thumbprint().into()]));
        assert!(!both.is_revoked("bad", NOW) && kids(&both, Some("bad"), NOW).len() == 1);
        assert!(!both.is_revoked("other", NOW));
        // The same key under another kid, or without kid, does not verify either.
        let again = KeySet::new(vec![bad.clone(), key(None, 2), key(Some("alias"), 2), key(None, 4)]);
        let again = again.without_revoked(&RevokedKeys::new(["bad".to_owned()]));
        assert_eq!((again.len(), kids(&again, Some("alias"), NOW)), (1, vec![None]));
    }

    #[test]
    fn a_key_revoked_by_kid_is_revoked_under_every_later_name() {
        let (bad, good) = (key(Some("bad"), 2), key(Some("good"), 1));
        let former = [FormerName::of(&bad).unwrap(), FormerName::of(&key(Some("bad-2"), 2)).unwrap()];
        let revoked = RevokedKeys::new(["bad".to_owned()]).resolved(&former);
        for name in [Some("bad-2"), Some("bad-3"), None] {
            let set = KeySet::new(vec![good.clone(), key(name, 2)]).without_revoked(&revoked);
            assert_eq!(kids(&set, None, NOW), [Some("good")], "{name:?}");
            assert!(name.is_none_or(|name| set.is_revoked(name, NOW)));
        }
        // Another key under the listed kid stays denied; another key under a later name does not.
        let set = KeySet::new(vec![key(Some("bad"), 3), key(Some("bad-2"), 4)]).without_revoked(&revoked);
        assert_eq!(kids(&set, None, NOW), [Some("bad-2")]);
        // A name that is not listed tells nothing.
        let other = RevokedKeys::new(["x".to_owned()]).resolved(&former);
        assert_eq!(KeySet::new(vec![bad]).without_revoked(&other).len(), 1);
    }
}
