//! A change of a shared record, from bytes to bytes.

use super::{
    policy::RotationPolicy,
    record::Record,
    transition::{self, Cause, Effect, Event, Outcome},
};
use crate::{keys::document::Document, time::UnixTime};

/// A change that the engine wants of a provider's shared record. The caller runs [`Self::apply`] under compare-and-swap, as
/// often as another worker comes in between, and gives the result back to the engine.
#[derive(Debug)]
pub struct Update {
    event: Event,
    policy: RotationPolicy,
}

/// What an [`Update`] comes to.
#[derive(Debug)]
pub struct Applied {
    /// The record as it is after the update.
    pub record: Record,
    /// What follows for the engine.
    pub effect: Effect,
    /// The bytes to store. `None`: the record has not changed.
    pub bytes: Option<Vec<u8>>,
}

impl Update {
    pub fn new(event: Event, policy: RotationPolicy) -> Self {
        Self { event, policy }
    }

    /// Applies the update to the shared bytes. Bytes that are no record count as absent.
    pub fn apply(&self, bytes: Option<&[u8]>, now: UnixTime) -> Applied {
        let record = bytes.and_then(Record::decode).unwrap_or_default();
        match transition::apply(&record, &self.event, &self.policy, now) {
            (Some(record), effect) => Applied { bytes: Some(record.encode()), record, effect },
            (None, effect) => Applied { record, effect, bytes: None },
        }
    }

    /// Why a fetch is wanted, if the update asks for a fetch.
    pub fn cause(&self) -> Option<Cause> {
        match self.event {
            Event::Refresh(cause) => Some(cause),
            Event::FetchEnded { .. } | Event::Discard(_) => None,
        }
    }

    /// The JWKS that the fetch brought, parsed.
    pub fn into_document(self) -> Option<Document> {
        match self.event {
            Event::FetchEnded { outcome: Outcome::Jwks(jwks), .. } => Some(jwks.document),
            Event::FetchEnded { .. } | Event::Refresh(_) | Event::Discard(_) => None,
        }
    }
}
