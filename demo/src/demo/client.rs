//! Requests to the API and to the issuer.

use std::io;

use jwks_gate_testbed::http::{self, Connection, Request, Response};

use crate::{Result, API, ISSUER};

/// A request for the protected path.
pub(crate) fn call() -> Request {
    Request::get("/api/orders")
}

/// Sends equal requests in sequence over one connection, and different requests all at once.
pub(crate) fn exchange(requests: &[Request]) -> Result<Vec<Response>> {
    let (Some(first), Some(last)) = (requests.first(), requests.last()) else {
        return Ok(Vec::new());
    };
    let responses: io::Result<Vec<Response>> = if first.headers == last.headers {
        let mut connection = Connection::open(API)?;
        requests.iter().map(|request| connection.send(request)).collect()
    } else {
        http::concurrently(API, requests.len(), |i| requests[i].clone()).into_iter().collect()
    };
    Ok(responses?)
}

/// A token from the issuer, with these claims changed and this query of `/token`.
pub(crate) fn token(claims: &str, query: &str) -> Result<String> {
    Ok(post(&format!("/token{query}"), claims)?.trim().to_owned())
}

/// Sends a POST to the issuer and returns the body of its 200.
pub(crate) fn post(path: &str, body: &str) -> Result<String> {
    let response = http::send(ISSUER, &Request::post(path).body(body))?;
    if response.status != 200 {
        let text = response.text();
        return Err(format!("the issuer answers {path} with {}: {text}", response.status).into());
    }
    Ok(response.text())
}

/// The number of JWKS GETs at the issuer; `None` while the issuer is down.
pub(crate) fn jwks_gets() -> Option<u64> {
    let stats = http::send(ISSUER, &Request::get("/admin/stats")).ok()?;
    stats.json()["jwks_requests"].as_u64()
}

/// The seconds of `Retry-After`.
pub(crate) fn retry_after(response: &Response) -> Option<u64> {
    response.header("retry-after")?.parse().ok()
}
