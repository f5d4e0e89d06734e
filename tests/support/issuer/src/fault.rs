//! Faults of the issuer.

use std::time::Duration;

/// How the JWKS and the discovery document fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers normally after a delay.
    Delay(Duration),
    /// Does not answer until [`heal`](crate::Issuer::heal). Then answers normally, unless the client has left.
    Hang,
    /// Resets the connection without an answer.
    Reset,
    /// Answers 200 with a body that is not JSON.
    Garbage,
    /// Sends the full `content-length` and half of the document, then closes the connection.
    Truncated,
    /// Answers 200 with a JWKS without keys.
    Empty,
    /// Answers with the JWKS from before the last rotation, as a replica that lags.
    Lag,
}

/// How many requests a [`Fault`] affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// All requests until [`heal`](crate::Issuer::heal).
    Always,
    /// This number of requests.
    Next(u32),
}

/// The current fault, if any.
#[derive(Default)]
pub(crate) struct Plan(Option<(Fault, Times)>);

impl Plan {
    pub(crate) fn set(&mut self, fault: Fault, times: Times) {
        self.0 = Some((fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Returns the fault for the next request, and counts the request.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        let (fault, times) = self.0.as_mut()?;
        let fault = fault.clone();
        match times {
            Times::Always => return Some(fault),
            Times::Next(left) if *left > 1 => {
                *left -= 1;
                return Some(fault);
            }
            Times::Next(0) => {
                self.0 = None;
                return None;
            }
            Times::Next(_) => self.0 = None,
        }
        Some(fault)
    }
}
