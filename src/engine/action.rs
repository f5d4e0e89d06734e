//! What goes into the engine and comes out of it: fetched responses, decisions, and what it asks of the world.

use std::fmt;

use crate::{
    engine::parked::StreamId,
    keys::document::DocumentError,
    policy::{forward::Edits, reply::Reply},
    rotation::{http_cache::Validators, transition::Event},
    token::ProviderId,
};

/// What to do with a request, at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it through with these changes.
    Continue(Edits),
    /// The same; and it is still to be found out how it would be answered, as for [`Self::Park`].
    Shadow(Edits),
    /// Hold it, headers, body and trailers; an [`Action`] will end that.
    Park,
    /// Evaluation it.
    Reply(Reply),
}

/// All that the core asks of the world.
#[derive(Debug)]
pub enum Action {
    /// Run [`crate::rotation::transition::step`] on the provider's shared record under compare-and-swap; give the result to
    /// [`super::Engine::on_changed`].
    Change(ProviderId, Event),
    /// Fetch the provider's document, conditionally if there are validators; give what came of it to
    /// [`super::Engine::on_fetched`] under this number.
    Fetch(ProviderId, u64, Validators),
    /// Evaluation a parked request.
    Reply(StreamId, Reply),
    /// Let a parked request through with these changes.
    Resume(StreamId, Edits),
    /// Tell all workers that a shared record changed.
    WakeWorkers,
}

/// The response to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body; only looked at in a 200.
    pub body: Vec<u8>,
}

/// Why a fetch brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The host would not start it: the cluster is unknown, not ready yet, or has no hosts.
    NotStarted,
    /// Its configuration went before the answer came.
    Abandoned,
    /// The connection broke within the response.
    Reset,
    /// Neither a 200 nor a 304 that was asked for. Envoy itself answers 503 and 504 where the issuer cannot be reached
    /// in time.
    Status(u16),
    /// The response was not a document that can be used.
    Document(DocumentError),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => f.write_str("the cluster is unknown, not ready or has no hosts"),
            Self::Abandoned => f.write_str("its configuration has gone"),
            Self::Reset => f.write_str("the response broke off"),
            Self::Status(503) => f.write_str("answered 503, by the issuer, or by Envoy where it cannot reach it"),
            Self::Status(504) => f.write_str("answered 504, by the issuer, or by Envoy at the timeout"),
            Self::Status(status) => write!(f, "answered {status}"),
            Self::Document(error) => write!(f, "the document is refused: {error}"),
        }
    }
}
