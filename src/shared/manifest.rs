//! What a configuration tells the other configurations of its plugin: which gauges it sets, which records it uses, and which
//! keys it revokes.
//!
//! One value in shared data for each configuration, written once. The value is emptied when the last worker of the
//! configuration is gone.

use std::collections::BTreeSet;

use super::codec::{Reader, Writer};

/// The format marker. Another layout takes another marker.
const MARKER: &[u8; 8] = b"jwksman1";
/// A manifest has no more providers than this.
const MAX_PROVIDERS: u64 = 100_000;

/// The name of a key set: a digest of where its keys come from.
pub type CellName = [u8; 16];

/// What a configuration tells of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderManifest {
    /// The name of the provider, as its gauges have it.
    pub name: String,
    /// Where the shared keys are.
    pub cell: CellName,
    /// `revoked_keys`.
    pub revoked: Vec<String>,
}

/// What a configuration tells the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(pub Vec<ProviderManifest>);

impl Manifest {
    /// Reads shared bytes. `None`: the bytes are no manifest.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes, MARKER)?;
        let text = |from: &mut Reader<'_>| Some(std::str::from_utf8(from.bytes()?).ok()?.to_owned());
        let mut providers = Vec::new();
        for _ in 0..from.number()?.min(MAX_PROVIDERS) {
            let (name, cell) = (text(&mut from)?, from.bytes()?.try_into().ok()?);
            let mut revoked = Vec::new();
            for _ in 0..from.number()? {
                revoked.push(text(&mut from)?);
            }
            providers.push(ProviderManifest { name, cell, revoked });
        }
        Some(Self(providers))
    }

    /// The bytes to share.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(MARKER);
        out.number(self.0.len() as u64);
        for provider in &self.0 {
            out.bytes(provider.name.as_bytes());
            out.bytes(&provider.cell);
            out.number(provider.revoked.len() as u64);
            provider.revoked.iter().for_each(|key| out.bytes(key.as_bytes()));
        }
        out.into_bytes()
    }

    /// The records that this configuration uses.
    pub fn cells(&self) -> impl Iterator<Item = &CellName> {
        self.0.iter().map(|provider| &provider.cell)
    }
}

/// What the newer configurations of a plugin tell an older one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newer {
    /// The providers, by the names of their gauges, and their records.
    providers: BTreeSet<(String, CellName)>,
    revoking: Vec<ProviderManifest>,
}

impl Newer {
    /// The sum of the manifests of all newer configurations. `None` instead of a manifest: another plugin has overwritten the
    /// manifest. Then, and where the list of configurations itself is not `whole`, what was `known` before still counts.
    pub fn new(manifests: impl IntoIterator<Item = Option<Manifest>>, known: &Self, is_whole: bool) -> Self {
        let (mut newer, mut is_whole) = (Self::default(), is_whole);
        for manifest in manifests {
            is_whole &= manifest.is_some();
            newer.add(manifest.unwrap_or_default().0);
        }
        if !is_whole {
            newer.providers.extend(known.providers.iter().cloned());
            newer.add(known.revoking.clone());
        }
        newer
    }

    fn add(&mut self, providers: Vec<ProviderManifest>) {
        for provider in providers {
            self.providers.insert((provider.name.clone(), provider.cell));
            if !provider.revoked.is_empty() && !self.revoking.contains(&provider) {
                self.revoking.push(provider);
            }
        }
    }

    /// Whether a newer configuration sets the gauges of a provider of this name.
    pub fn has_gauges_of(&self, name: &str) -> bool {
        let mut from = self.providers.range((name.to_owned(), CellName::default())..);
        from.next().is_some_and(|(known, _)| known == name)
    }

    /// The keys that newer configurations revoke for a provider of this name. For a provider with these keys that they do not have,
    /// as under another name, whatever they revoke of these keys.
    pub fn revoked<'a>(&'a self, name: &'a str, cell: &'a CellName) -> impl Iterator<Item = &'a str> {
        let is_known = self.providers.contains(&(name.to_owned(), *cell));
        let is_same =
            move |provider: &&ProviderManifest| provider.name == name || (!is_known && provider.cell == *cell);
        let same = self.revoking.iter().filter(is_same);
        same.flat_map(|provider| provider.revoked.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let provider = |name: &str, cell, revoked: &[&str]| ProviderManifest {
            name: name.to_owned(),
            cell: [cell; 16],
            revoked: revoked.iter().map(|key| (*key).to_owned()).collect(),
        };
        Manifest(vec![provider("a", 1, &["k1", "k2"]), provider("b", 2, &[]), provider("c", 1, &["k3"])])
    }

    #[test]
    fn a_key_is_revoked_for_the_provider_of_the_name_and_for_the_same_keys() {
        let newer = Newer::new([Some(manifest())], &Newer::default(), true);
        let keys = |name, cell: u8| newer.revoked(name, &[cell; 16]).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(keys("a", 9), ["k1", "k2"]);
        assert_eq!(keys("renamed", 1), ["k1", "k2", "k3"]);
        assert!(keys("b", 9).is_empty() && keys("other", 2).is_empty());
        // Both have the same keys, and terms of their own.
        assert_eq!((keys("a", 1), keys("c", 1)), (vec!["k1".to_owned(), "k2".to_owned()], vec!["k3".to_owned()]));
        assert!(newer.has_gauges_of("b") && !newer.has_gauges_of("d") && manifest().cells().count() == 3);
    }

    #[test]
    fn what_another_plugin_overwrites_ends_no_revocation() {
        let known = Newer::new([Some(manifest())], &Newer::default(), true);
        assert_eq!(Newer::new([None], &known, true), known);
        assert_eq!(Newer::new([], &known, false), known);
        assert_eq!(Newer::new([Some(manifest())], &known, false), known);
        // Nobody uses the newer configuration any more, or it revokes nothing.
        assert_eq!(Newer::new([], &known, true), Newer::default());
        assert_eq!(Newer::new([Some(Manifest::default())], &known, true), Newer::default());
    }

    #[test]
    fn it_is_kept_as_bytes_and_hostile_ones_do_no_harm() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes), Some(manifest()));
        for cut in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..cut]), None);
        }
        for place in 0..bytes.len() {
            let mut tampered = bytes.clone();
            tampered[place] ^= 0xff;
            let _ = Manifest::decode(&tampered); // must not panic
        }
    }
}
