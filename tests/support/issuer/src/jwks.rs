//! The published JWKS and the HTTP answers that carry it.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;

use crate::date::http_date;
use crate::http::{Request, Response};
use crate::keys::{fingerprint, SigningKey};

/// A version of the JWKS.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    etag: String,
    modified: SystemTime,
}

impl Document {
    pub(crate) fn of_keys(keys: &[Arc<SigningKey>]) -> Self {
        let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
        Self::verbatim(json!({ "keys": keys }).to_string().into_bytes())
    }

    pub(crate) fn verbatim(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{}\"", fingerprint(&bytes));
        Self { bytes, etag, modified: SystemTime::now() }
    }

    /// A 200 with the document, or a 304 to a client that has the document.
    pub(crate) fn answer(&self, request: &Request, cache_control: Option<&str>, extra: &[(String, String)]) -> Answer {
        let mut response = Response::new(200, "application/json", self.bytes.clone())
            .with("etag", &self.etag)
            .with("last-modified", http_date(self.modified));
        if let Some(cache_control) = cache_control {
            response = response.with("cache-control", cache_control);
        }
        for (name, value) in extra {
            response = response.with(name, value);
        }
        let is_not_modified = request.header("if-none-match").is_some_and(|tags| self.matches(tags));
        Answer { response: if is_not_modified { response.not_modified() } else { response }, is_not_modified }
    }

    fn matches(&self, tags: &str) -> bool {
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
    }
}

/// An answer, and whether the answer is a 304.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) is_not_modified: bool,
}
