//! The issuer's HTTP interface for minting, rotation and faults. Faults do not affect these paths.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use serde_json::{json, Value};

use crate::core::Core;
use crate::fault::{Fault, Times};
use crate::gateway;
use crate::http::{Request, Response};
use crate::issuer::Rotation;
use crate::server::{Connection, Reply};
use crate::token;

pub(crate) fn handle(core: &Core, request: &Request, connection: &Connection) -> Reply {
    let method = match request.path() {
        "/admin/stats" | "/admin/keys" => "GET",
        "/token" | "/admin/rotate" | "/admin/retire" | "/admin/revoke" | "/admin/fault" | "/admin/heal"
        | "/admin/stop" => "POST",
        path => return Reply::Answer(Response::error(404, &format!("nothing at {path:?}"))),
    };
    if request.method != method {
        return Reply::Answer(Response::error(405, &format!("{method} only")).with("allow", method));
    }
    perform(core, request, connection).unwrap_or_else(|reason| Reply::Answer(Response::error(400, &reason)))
}

fn perform(core: &Core, request: &Request, connection: &Connection) -> Result<Reply, String> {
    if request.path() == "/token" {
        let token = token::requested(request, &core.issuer, &core.current())?;
        core.counters.tokens.fetch_add(1, SeqCst);
        return Ok(Reply::Answer(Response::new(200, "text/plain", format!("{token}\n"))));
    }
    let mut query = Query(request.query()?);
    let answer = match request.path() {
        "/admin/rotate" => {
            let rotation = match query.take("mode").as_deref() {
                None | Some("overlap") => Rotation::Overlap,
                Some("hard") => Rotation::Hard,
                Some(mode) => return Err(format!("unknown mode {mode:?}: overlap or hard")),
            };
            query.end()?;
            json!({ "kid": core.rotate(rotation) })
        }
        "/admin/retire" => {
            let kid = query.take("kid").ok_or("kid is missing")?;
            query.end()?;
            if !core.retire(&kid) {
                return Err(format!("no key {kid:?} is published"));
            }
            json!({ "retired": kid })
        }
        "/admin/revoke" => {
            let kid = query.take("kid").ok_or("kid is missing")?;
            query.end()?;
            let filter = core.filter.as_ref().ok_or("there is no --filter to revoke it in")?;
            gateway::revoke(filter, &kid)?;
            json!({ "revoked": kid })
        }
        "/admin/fault" => {
            let (fault, times) = fault(&mut query)?;
            query.end()?;
            let answer = json!({ "fault": format!("{fault:?}"), "times": format!("{times:?}") });
            core.fault(fault, times);
            answer
        }
        "/admin/heal" => {
            query.end()?;
            core.heal();
            json!({ "healed": true })
        }
        "/admin/stop" => {
            let ms = query.number("ms")?.unwrap_or(2000);
            query.end()?;
            let response = Response::json(200, &json!({ "stopped_for_ms": ms }));
            return Ok(Reply::AnswerAndPause(response, Duration::from_millis(ms)));
        }
        "/admin/keys" => {
            query.end()?;
            keys(core)
        }
        _ => {
            query.end()?;
            stats(core, connection)
        }
    };
    Ok(Reply::Answer(Response::json(200, &answer)))
}

fn fault(query: &mut Query) -> Result<(Fault, Times), String> {
    let kind = query.take("kind").ok_or("kind is missing")?;
    let fault = match kind.as_str() {
        "status" => match query.number("status")?.unwrap_or(500) {
            status @ 200..=599 => Fault::Status(status as u16),
            status => return Err(format!("not the status of an answer: {status}")),
        },
        "delay" => Fault::Delay(Duration::from_millis(query.number("ms")?.unwrap_or(1000))),
        "hang" => Fault::Hang,
        "reset" => Fault::Reset,
        "garbage" => Fault::Garbage,
        "truncated" => Fault::Truncated,
        "empty" => Fault::Empty,
        _ => {
            return Err(format!("unknown kind {kind:?}: status, delay, hang, reset, garbage, truncated or empty"));
        }
    };
    let times = match query.number("times")? {
        None => Times::Always,
        Some(times) => Times::Next(u32::try_from(times).map_err(|_| format!("too often: {times}"))?),
    };
    Ok((fault, times))
}

fn keys(core: &Core) -> Value {
    let (current, published) = core.kids();
    let published: Vec<_> = published.into_iter().map(|kid| json!({ "current": kid == current, "kid": kid })).collect();
    json!({ "current": current, "published": published })
}

fn stats(core: &Core, connection: &Connection) -> Value {
    let stats = core.stats(connection.accepted());
    json!({
        "jwks_requests": stats.jwks_requests,
        "metadata_requests": stats.metadata_requests,
        "not_modified": stats.not_modified,
        "faults": stats.faults,
        "tokens": stats.tokens,
        "rotations": stats.rotations,
        "connections": stats.connections,
    })
}

/// The query parameters that no code has read yet.
struct Query(BTreeMap<String, String>);

impl Query {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.take(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{name} is not a number: {text:?}"))
    }

    /// Rejects unknown parameters, so that a misspelt parameter does not mean a default.
    fn end(&self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("unknown parameter {name:?}")),
            None => Ok(()),
        }
    }
}
