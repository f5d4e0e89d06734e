//! Keys that the configuration gives a key set until the first JWKS arrives.

use std::rc::Rc;

use crate::{
    keys::{revoked::RevokedKeys, KeySet},
    time::UnixTime,
};

/// Keys that verify tokens while their key set never had a JWKS, and until a fixed time.
#[derive(Clone, Debug)]
pub struct Seed {
    pub keys: Rc<KeySet>,
    /// From this time on, the keys verify nothing.
    pub not_after: UnixTime,
    /// That time as the configuration writes it.
    pub until: String,
}

impl Seed {
    /// The keys, if they may be used at this time.
    pub fn keys_at(&self, time: UnixTime) -> Option<&KeySet> {
        (time < self.not_after).then_some(&self.keys)
    }

    /// This seed without the keys on the list.
    pub fn without_revoked(&self, revoked: &RevokedKeys) -> Self {
        Self { keys: Rc::new(KeySet::clone(&self.keys).without_revoked(revoked)), ..self.clone() }
    }
}
