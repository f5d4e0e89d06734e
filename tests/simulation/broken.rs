//! Rules that can be broken on purpose, to see that the invariants notice.

use jwks_gate::rotation::record::Record;

use crate::{invariants::Invariant, scenario::Terms};

/// A rule of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    EveryAnswerArrives,
    EveryAnswerArrivesOnce,
    IssuersAreIndependent,
    KeysExpire,
    OneFetchAtATime,
    ParkingIsBounded,
    RefreshesAreRationed,
    RevokedKeysNeverVerify,
    SignaturesAreChecked,
    UnknownKeysAreAskedFor,
    WorkersLookAgain,
}

/// Each rule, and the invariant that needs it.
pub const RULES: [(Rule, Invariant); 11] = [
    (Rule::EveryAnswerArrives, Invariant::NothingLost),
    (Rule::EveryAnswerArrivesOnce, Invariant::NothingLost),
    (Rule::IssuersAreIndependent, Invariant::NoOutage),
    (Rule::KeysExpire, Invariant::NoHole),
    (Rule::OneFetchAtATime, Invariant::NoStampede),
    (Rule::ParkingIsBounded, Invariant::BoundedMemory),
    (Rule::RefreshesAreRationed, Invariant::NoStampede),
    (Rule::RevokedKeysNeverVerify, Invariant::NoHole),
    (Rule::SignaturesAreChecked, Invariant::NoHole),
    (Rule::UnknownKeysAreAskedFor, Invariant::NoOutage),
    (Rule::WorkersLookAgain, Invariant::NothingLost),
];

impl Rule {
    /// Breaks the rules that are a matter of configuration.
    pub fn bend(broken: Option<Self>, terms: &mut [Terms], max_parked: &mut usize) {
        for terms in terms {
            match broken {
                Some(Self::KeysExpire) => terms.max_stale = 1_000_000_000,
                Some(Self::RevokedKeysNeverVerify) => terms.revoked.clear(),
                _ => {}
            }
        }
        if broken == Some(Self::ParkingIsBounded) {
            *max_parked = 100_000;
        }
    }

    /// Breaks the rules that the shared record keeps: the bytes without what the record remembers of them.
    pub fn forget(broken: Option<Self>, bytes: &[u8]) -> Vec<u8> {
        let mut record = Record::decode(bytes).unwrap_or_default();
        match broken {
            Some(Self::OneFetchAtATime) => record.lease = None,
            Some(Self::RefreshesAreRationed) => record.unknown_kid_at = None,
            _ => return bytes.to_vec(),
        }
        record.encode()
    }
}
