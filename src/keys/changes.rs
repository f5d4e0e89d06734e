//! The differences between two JWKS documents of an issuer, for the log.

use std::{fmt, time::Duration};

use super::{Key, KeyError, KeySet};
use crate::time::UnixTime;

/// Largest number of changes reported for one document; [`KeyChange::Omitted`] counts the rest.
const MAX_CHANGES: usize = 16;
/// Longest part of a `kid` in a log line.
const MAX_KID_CHARS: usize = 64;

/// A change to one key of an issuer. `Display` writes the log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The new document publishes the key with this thumbprint; the previous one did not.
    Appeared(Name, String),
    /// The new document lacks the key; the key still verifies for the given time, `retired_key_grace`.
    Retired(Name, Duration),
    /// The new document lacks the key; the key no longer verifies.
    Removed(Name),
    /// The key is in `revoked_keys` and in the new document, or in its grace.
    Revoked(Name),
    /// The key at this index of the document cannot be used.
    Skipped(usize, KeyError),
    /// The number of changes that are not reported.
    Omitted(usize),
    /// So many keys of the configuration verify until this time, for want of a JWKS.
    SeedInUse(usize, String),
    /// The keys of the configuration end, since there is a JWKS.
    SeedReplaced,
    /// The keys of the configuration ended at this time, and there is no JWKS.
    SeedExpired(String),
}

/// The name of a key in the log: its `kid`, or its thumbprint (RFC 7638) if it has no `kid`. Both are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    fn of(key: &Key) -> Self {
        match key.kid() {
            Some(kid) if kid.chars().nth(MAX_KID_CHARS).is_some() => {
                Self(format!("{:?}…", kid.chars().take(MAX_KID_CHARS).collect::<String>()))
            }
            Some(kid) => Self(format!("{kid:?}")),
            None => Self(format!("without kid, thumbprint {}", key.thumbprint())),
        }
    }
}

impl KeyChange {
    /// Whether an operator should look into the change; the log level is then `warn`.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Skipped(..) | Self::SeedInUse(..) | Self::SeedExpired(_))
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appeared(Name(key), thumbprint) => {
                write!(f, "key {key} appeared in the JWKS; its thumbprint is {thumbprint}")
            }
            Self::Retired(Name(key), left) => {
                // Rounded up: part of the grace had passed when the worker saw the document.
                write!(f, "key {key} left the JWKS; it verifies for another {} s", left.as_millis().div_ceil(1000))
            }
            Self::Removed(Name(key)) => write!(f, "key {key} left the JWKS; it verifies nothing any more"),
            Self::Revoked(Name(key)) => {
                write!(f, "key {key} is revoked; it verifies nothing, whoever publishes it")
            }
            Self::Skipped(index, KeyError::Private) => {
                write!(f, "key {index} of the JWKS is a PRIVATE key, published: skipped")
            }
            Self::Skipped(index, error) => write!(f, "key {index} of the JWKS is skipped: {error}"),
            Self::Omitted(count) => write!(f, "and {count} more changes of keys"),
            Self::SeedInUse(keys, until) => {
                write!(f, "no JWKS yet; seed_jwks verifies tokens until {until} at most, keys: {keys}")
            }
            Self::SeedReplaced => f.write_str("seed_jwks verifies nothing any more: the key set has a JWKS"),
            Self::SeedExpired(until) => {
                write!(f, "seed_jwks verifies nothing any more: not_after was {until}, and there is no JWKS yet")
            }
        }
    }
}

/// The keys of an accepted document.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The usable keys of the document, and retired keys within their grace.
    pub keys: &'a KeySet,
    /// The index of each skipped key of the document, and the reason.
    pub skipped: &'a [(usize, KeyError)],
}

/// The revoked keys among `keys`.
pub fn revoked(keys: &KeySet) -> impl Iterator<Item = KeyChange> + use<'_> {
    keys.revoked_keys().iter().take(MAX_CHANGES).map(|key| KeyChange::Revoked(Name::of(key)))
}

/// The changes from `before` to `after`, at most 16 and one [`KeyChange::Omitted`].
pub fn diff(before: Snapshot<'_>, after: Snapshot<'_>, now: UnixTime) -> Vec<KeyChange> {
    let is_known = |keys: &[Key], key: &Key| keys.iter().any(|known| known.is_same(key));
    let revoked = after.keys.revoked_keys().iter().filter(|key| !is_known(before.keys.revoked_keys(), key));
    let appeared = after.keys.published().filter(|key| !before.keys.publishes(key));
    let removed = before.keys.published().filter(|key| !after.keys.publishes(key));
    let unpublished = before.keys.revoked_keys().iter().filter(|key| !after.keys.publishes(key));
    let removed = removed.chain(unpublished).filter(|key| !is_known(after.keys.revoked_keys(), key));
    let mut changes: Vec<_> = revoked.map(|key| KeyChange::Revoked(Name::of(key))).collect();
    changes.extend(appeared.map(|key| KeyChange::Appeared(Name::of(key), key.thumbprint().to_owned())));
    changes.extend(removed.map(|key| match after.keys.retired_until(key).filter(|until| now < *until) {
        Some(until) => KeyChange::Retired(Name::of(key), until.since(now)),
        None => KeyChange::Removed(Name::of(key)),
    }));
    let skipped = after.skipped.iter().filter(|skipped| !before.skipped.contains(skipped));
    changes.extend(skipped.map(|(index, error)| KeyChange::Skipped(*index, *error)));
    let omitted = changes.len().saturating_sub(MAX_CHANGES);
    if omitted > 0 {
        changes.truncate(MAX_CHANGES);
        changes.push(KeyChange::Omitted(omitted));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::revoked::RevokedKeys;
    use base64::{engine::general_purpose::URL_SAFE_NO_PAD as BASE64, Engine as _};

    const NOW: UnixTime = UnixTime::from_millis(1000);

    fn key(kid: &str) -> Key {
        let number = kid.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) | 1;
        let modulus = BASE64.encode([&[0xff; 255][..], &[number]].concat());
        let kid = if kid.is_empty() { String::new() } else { format!(r#""kid":{kid:?},"#) };
        Key::from_json(&format!(r#"{{"kty":"RSA",{kid}"e":"AQAB","n":"{modulus}"}}"#)).unwrap()
    }

    fn lines(before: &KeySet, after: &KeySet) -> Vec<String> {
        let [before, after] = [before, after].map(|keys| Snapshot { keys, skipped: &[] });
        diff(before, after, NOW).iter().map(KeyChange::to_string).collect()
    }

    #[test]
    fn each_added_or_removed_key_is_reported_once() {
        let [none, a, ab] =
            [&[][..], &["a"], &["a", "b"]].map(|kids| KeySet::new(kids.iter().map(|kid| key(kid)).collect()));
        let appeared = |kid| {
            let thumbprint = key(kid).thumbprint().to_owned();
            [format!("key {kid:?} appeared in the JWKS; its thumbprint is {thumbprint}")]
        };
        assert_eq!(lines(&none, &a), appeared("a"));
        assert_eq!(lines(&a, &ab), appeared("b"));
        assert_eq!(lines(&ab, &a), [r#"key "b" left the JWKS; it verifies nothing any more"#]);
        assert!(lines(&ab, &ab).is_empty());
        let retired = a.clone().with_retired([(key("b"), UnixTime::from_millis(60_999))]);
        assert_eq!(lines(&ab, &retired), [r#"key "b" left the JWKS; it verifies for another 60 s"#]);
        assert!(lines(&retired, &retired).is_empty());
    }

    #[test]
    fn a_revoked_key_is_reported_while_it_is_published() {
        let revoked = RevokedKeys::new(["b".to_owned()]);
        let ab = KeySet::new(vec![key("a"), key("b")]);
        let expected = [r#"key "b" is revoked; it verifies nothing, whoever publishes it"#];
        assert_eq!(lines(&ab, &ab.clone().without_revoked(&revoked)), expected);
        let without_b = ab.clone().without_revoked(&revoked);
        assert!(lines(&without_b, &without_b).is_empty());
        let a = KeySet::new(vec![key("a")]);
        assert_eq!(lines(&without_b, &a), [r#"key "b" left the JWKS; it verifies nothing any more"#]);
        assert!(lines(&without_b, &ab)[0].starts_with(r#"key "b" appeared"#), "no longer revoked");
    }

    #[test]
    fn a_skipped_key_is_reported_once() {
        let keys = KeySet::new(vec![key("a")]);
        let bad = [(1, KeyError::Private), (2, KeyError::Malformed)];
        let [before, after] = [&bad[1..], &bad[..]].map(|skipped| Snapshot { keys: &keys, skipped });
        assert_eq!(diff(before, after, NOW), [KeyChange::Skipped(1, KeyError::Private)]);
        assert!(diff(after, after, NOW).is_empty());
    }

    #[test]
    fn names_and_line_counts_are_bounded() {
        let long = "\n".repeat(1000);
        let one = lines(&KeySet::default(), &KeySet::new(vec![key(&long)]));
        assert!(one.iter().all(|line| line.len() < 300 && !line.contains('\n')), "{one:?}");
        let many = KeySet::new((0..40).map(|number| key(&number.to_string())).collect());
        let reported = lines(&KeySet::default(), &many);
        assert_eq!((reported.len(), reported.last().unwrap().as_str()), (17, "and 24 more changes of keys"));
        assert!(lines(&KeySet::default(), &KeySet::new(vec![key("")]))[0].starts_with("key without kid, thumbprint "));
    }
}
