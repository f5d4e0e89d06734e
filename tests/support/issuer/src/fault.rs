//! The ways to fail, and how often.

use std::time::Duration;

/// How the JWKS and the discovery document fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers normally, but late.
    Delay(Duration),
    /// Does not answer until [`heal`](crate::Issuer::heal); then normally, unless the client has gone.
    Hang,
    /// Resets the connection before any byte of an answer.
    Reset,
    /// 200 with a body that is not JSON.
    Garbage,
    /// Promises the document by its `content-length` and closes in the middle of it.
    Truncated,
    /// 200 with a JWKS without keys.
    Empty,
}

/// How often a [`Fault`] strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Until [`heal`](crate::Issuer::heal).
    Always,
    /// As many requests, then no more.
    Next(u32),
}

/// The fault that is set, if any.
#[derive(Default)]
pub(crate) struct Plan(Option<(Fault, Times)>);

impl Plan {
    pub(crate) fn set(&mut self, fault: Fault, times: Times) {
        self.0 = Some((fault, times));
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// What happens to the request that has just arrived.
    pub(crate) fn strike(&mut self) -> Option<Fault> {
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
