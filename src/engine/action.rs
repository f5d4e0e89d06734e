//! What goes into the engine and comes out of it.
//!
//! A [`Decision`] is about a request that just came, and is carried out at once. An [`Action`] is what the engine asks for
//! later, or on behalf of a key set. (A [`crate::policy::requirement::Verdict`] is about the tokens of a request under the keys
//! at hand; the engine turns it into a decision or an action.)

use crate::{
    ids::{ProviderId, StreamId},
    policy::{endpoint::FetchRequest, forward::Edits, permit::Clearance, reply::Reply},
    rotation::update::Update,
};

/// What to do with a request, at once.
///
/// A request goes upstream only with a [`Clearance`]. Without one, the code does not compile:
///
/// ```compile_fail,E0061
/// use jwks_gate::engine::{Decision, Edits};
/// let _ = Decision::Continue(Edits::default());
/// ```
///
/// A clearance is a permit, made of a verified token, or an explicit reason for which none is required:
///
/// ```
/// use jwks_gate::engine::{Decision, Edits, NoAuthRequired};
/// let _ = Decision::Continue(Edits::default(), NoAuthRequired::CorsPreflight.into());
/// ```
///
/// Nobody but the verifier can make what a permit is made of:
///
/// ```compile_fail,E0451
/// let _ = jwks_gate::engine::Permit { provider: todo!(), token: 0, verified: todo!() };
/// ```
#[derive(Debug)]
pub enum Decision {
    /// Let the request through with these changes.
    Continue(Edits, Clearance),
    /// Let the request through with these changes, and call [`super::Engine::on_wake`] soon. Report mode evaluates in the
    /// background to count the would-be answer; a token that the requirement does not need may name a key that a fetch can
    /// bring.
    ContinueAndWake(Edits, Clearance),
    /// Hold headers, body and trailers of the request. An [`Action`] ends the wait.
    Park,
    /// Answer the request.
    Reply(Reply),
}

/// What the engine asks of its caller.
#[derive(Debug)]
pub enum Action {
    /// Run [`Update::apply`] on the provider's shared record under compare-and-swap. Give update and result to
    /// [`super::Engine::on_updated`].
    Update(ProviderId, Box<Update>),
    /// Send this request of a fetch of the provider's JWKS. Give the response to [`super::Engine::on_fetched`] under this
    /// number; another request of the same number may follow.
    Fetch(ProviderId, u64, FetchRequest),
    /// Answer a parked request.
    Reply(StreamId, Reply),
    /// Let a parked request through with these changes.
    Resume(StreamId, Edits, Clearance),
    /// Tell all workers that the provider's shared record changed.
    WakeWorkers(ProviderId),
}

/// The response to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, or the beginning of the body of a 503 or 504. Other bodies are not read.
    pub body: Vec<u8>,
}

impl Response {
    /// The status that these headers give; 0 if they give none.
    pub fn status(headers: &[(String, Vec<u8>)]) -> u16 {
        let status = headers.iter().find(|(name, _)| name == ":status");
        status.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or_default()
    }
}
