//! HTTP/1.1 messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::{json, Value};

use crate::date::http_date;

pub(crate) struct Request {
    pub(crate) method: String,
    /// The path and the query, not decoded.
    pub(crate) target: String,
    /// The headers in order, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the connection stays open after the answer.
    pub(crate) keep_alive: bool,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query parameters, decoded.
    pub(crate) fn query(&self) -> Result<BTreeMap<String, String>, String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((percent_decoded(name)?, percent_decoded(value)?))
            })
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("not percent-encoded text: {text:?}");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[derive(Clone)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", format!("{value}\n"))
    }

    pub(crate) fn error(status: u16, reason: &str) -> Self {
        Self::json(status, &json!({ "error": reason }))
    }

    /// Sets a header, and removes other headers with this name.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// This response as a 304, for a client that has the document.
    pub(crate) fn not_modified(mut self) -> Self {
        self.status = 304;
        self
    }

    /// The bytes to send. An answer to HEAD has the headers of GET, and `with_body` is false.
    pub(crate) fn bytes(&self, with_body: bool, keep_alive: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            let _ = write!(head, "date: {}\r\n", http_date(SystemTime::now()));
        }
        let bodiless = matches!(self.status, 204 | 304);
        if !bodiless {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        if !keep_alive {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if with_body && !bodiless {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    /// As [`bytes`](Self::bytes), but without the second half of the body. A response that has no body, such as a 304, lacks the
    /// end of its head.
    pub(crate) fn truncated(&self) -> Vec<u8> {
        let mut bytes = self.bytes(true, true);
        let head = self.bytes(false, true).len();
        let body = bytes.len().saturating_sub(head);
        bytes.truncate(if body == 0 { head / 2 } else { head + body / 2 });
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
