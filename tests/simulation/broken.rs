//! Design rules that a run can break on purpose, to show that the invariants detect the break.

use jwks_gate::rotation::record::Record;

use crate::{
    invariants::{sharing, Invariant},
    keys,
    scenario::Settings,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    AllTokensAreRequired,
    AnyTokenIsEnough,
    BudgetIsOfTheRecord,
    ClientsShareTheRoom,
    EveryAnswerArrives,
    EveryAnswerArrivesOnce,
    GraceIsHonored,
    IssuersAreIndependent,
    KeysExpire,
    NewsReachesAllProviders,
    OneFetchAtATime,
    ParkingIsBounded,
    ProvidersShareRecords,
    PublishedKeysVerify,
    RefreshesAreLimited,
    RevocationsAreOfTheProvider,
    RevokedKeysNeverVerify,
    SecondLooksAreLimited,
    SeedsEnd,
    SeedsGiveWay,
    SharedDataIsAuthenticated,
    SignaturesAreChecked,
    TermsAreOfTheProvider,
    UnknownKeysAreFetched,
    WorkersRunOnTicks,
}

/// Each rule, with the invariant that depends on it.
pub const RULES: [(Rule, Invariant); 25] = [
    (Rule::AllTokensAreRequired, Invariant::NoHole),
    (Rule::AnyTokenIsEnough, Invariant::NoOutage),
    (Rule::BudgetIsOfTheRecord, Invariant::NoStampede),
    (Rule::ClientsShareTheRoom, Invariant::NoOutage),
    (Rule::EveryAnswerArrives, Invariant::NothingLost),
    (Rule::EveryAnswerArrivesOnce, Invariant::NothingLost),
    (Rule::GraceIsHonored, Invariant::NoOutage),
    (Rule::IssuersAreIndependent, Invariant::NoOutage),
    (Rule::KeysExpire, Invariant::NoHole),
    (Rule::NewsReachesAllProviders, Invariant::NoOutage),
    (Rule::OneFetchAtATime, Invariant::NoStampede),
    (Rule::ParkingIsBounded, Invariant::BoundedMemory),
    (Rule::ProvidersShareRecords, Invariant::NoStampede),
    (Rule::PublishedKeysVerify, Invariant::NoOutage),
    (Rule::RefreshesAreLimited, Invariant::NoStampede),
    (Rule::RevocationsAreOfTheProvider, Invariant::NoOutage),
    (Rule::RevokedKeysNeverVerify, Invariant::NoHole),
    (Rule::SecondLooksAreLimited, Invariant::NoStampede),
    (Rule::SeedsEnd, Invariant::NoHole),
    (Rule::SeedsGiveWay, Invariant::NoHole),
    (Rule::SharedDataIsAuthenticated, Invariant::NoHole),
    (Rule::SignaturesAreChecked, Invariant::NoHole),
    (Rule::TermsAreOfTheProvider, Invariant::NoHole),
    (Rule::UnknownKeysAreFetched, Invariant::NoOutage),
    (Rule::WorkersRunOnTicks, Invariant::NothingLost),
];

impl Rule {
    /// Breaks a rule that the configuration sets.
    pub fn break_configuration(broken: Option<Self>, settings: &mut [Settings], max_parked: &mut usize) {
        let all = settings.to_vec();
        for settings in settings {
            let longest = |of: fn(&Settings) -> u64| sharing(&all, settings.source).map(of).max().unwrap_or(0);
            match broken {
                Some(Self::GraceIsHonored) => settings.grace = 0,
                Some(Self::KeysExpire) => settings.max_stale = 1_000_000_000,
                Some(Self::RevocationsAreOfTheProvider) => {
                    settings.revoked = sharing(&all, settings.source).flat_map(|other| other.revoked.clone()).collect();
                    settings.revoked.sort_unstable();
                    settings.revoked.dedup();
                }
                Some(Self::TermsAreOfTheProvider) => {
                    (settings.grace, settings.max_stale) =
                        (longest(|other| other.grace), longest(|other| other.max_stale));
                }
                Some(Self::RevokedKeysNeverVerify) => settings.revoked.clear(),
                Some(Self::SecondLooksAreLimited) => settings.second_look = 1,
                Some(Self::SeedsEnd) => settings.seed = settings.seed.map(|_| 3_599),
                _ => {}
            }
        }
        if broken == Some(Self::ParkingIsBounded) {
            *max_parked = 100_000;
        }
    }

    /// Breaks what the rules of a configuration require of several tokens.
    pub fn break_rules(broken: Option<Self>, configuration: String) -> String {
        match broken {
            Some(Self::AllTokensAreRequired) => configuration.replace("requires_all", "requires_any"),
            Some(Self::AnyTokenIsEnough) => configuration.replace("requires_any", "requires_all"),
            _ => configuration,
        }
    }

    /// Breaks the rule that every key of a JWKS verifies: the newest key alone is left. Or breaks the rule that a JWKS takes the
    /// place of the seed: each JWKS has the seed's key as well.
    pub fn break_response(broken: Option<Self>, body: &mut Vec<u8>) {
        let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(body) else { return };
        let keys = document.get_mut("keys").and_then(serde_json::Value::as_array_mut);
        match (broken, keys) {
            (Some(Self::PublishedKeysVerify), Some(keys)) => drop(keys.drain(..keys.len().saturating_sub(1))),
            (Some(Self::SeedsGiveWay), Some(keys)) => {
                keys.extend(serde_json::from_str::<serde_json::Value>(&keys::jwk("seed", keys::SEED)));
            }
            _ => return,
        }
        *body = document.to_string().into_bytes();
    }

    /// Breaks a rule that the shared record enforces. Returns the record's bytes without the field that enforces the
    /// rule.
    pub fn break_record(broken: Option<Self>, bytes: &[u8]) -> Vec<u8> {
        let mut record = Record::decode(bytes).unwrap_or_default();
        match broken {
            Some(Self::OneFetchAtATime) => record.lease = None,
            Some(Self::RefreshesAreLimited) => record.unknown_kid_at = None,
            _ => return bytes.to_vec(),
        }
        record.encode()
    }

    /// Breaks the rule that all providers of a record have one budget. `is_second`: the provider shares the record of another.
    pub fn break_budget(broken: Option<Self>, bytes: Vec<u8>, is_second: bool) -> Vec<u8> {
        match Record::decode(&bytes) {
            Some(record) if is_second && broken == Some(Self::BudgetIsOfTheRecord) => {
                Record { unknown_kid_at: None, ..record }.encode()
            }
            _ => bytes,
        }
    }
}
