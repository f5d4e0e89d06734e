//! An issuer that rotates its keys, sends cache headers, and fails in every way that the scenario asks for.

use jwks_gate::{
    engine::{FetchError, Response},
    rotation::http_cache::Validators,
};

use crate::keys::{self, Material};

/// A key, and when the JWKS contained it; in true time, in milliseconds.
#[derive(Clone, Debug)]
pub struct Published {
    pub kid: String,
    pub material: Material,
    pub from: u64,
    pub until: Option<u64>,
}

/// How an issuer fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Down,
    Empty,
    Garbage,
    Hang,
    Huge,
    NotStarted,
    Reset,
    Slow,
    Truncated,
    /// Answers 304 to a request without validators.
    Unasked304,
}

pub const FAULTS: [Fault; 10] = [
    Fault::Down,
    Fault::Empty,
    Fault::Garbage,
    Fault::Hang,
    Fault::Huge,
    Fault::NotStarted,
    Fault::Reset,
    Fault::Slow,
    Fault::Truncated,
    Fault::Unasked304,
];

/// The cache headers of a response.
#[derive(Clone, Copy, Debug)]
pub struct CacheStyle {
    pub max_age: Option<u64>,
    pub no_store: bool,
    pub etag: bool,
}

/// How an issuer replaces its signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The old key leaves the JWKS at once.
    Hard,
    /// The old key stays in the JWKS until the next rotation.
    Overlap,
    /// The new key has the old key's `kid`.
    SameKid,
}

/// The key at an index of an issuer's history. Issuers do not share keys.
pub fn material(issuer: usize, index: usize) -> Material {
    Material(issuer * 20 + index % 20)
}

#[derive(Debug)]
pub struct Issuer {
    number: usize,
    pub name: String,
    pub history: Vec<Published>,
    pub current: usize,
    pub fault: Option<Fault>,
    pub cache: CacheStyle,
    pub gets: u64,
    version: u64,
}

impl Issuer {
    pub fn new(number: usize, cache: CacheStyle) -> Self {
        let name = format!("i{number}");
        let mut issuer =
            Self { number, name, history: Vec::new(), current: 0, fault: None, cache, gets: 0, version: 0 };
        issuer.publish(format!("{}-0", issuer.name), 0);
        issuer
    }

    fn publish(&mut self, kid: String, now: u64) {
        let material = material(self.number, self.history.len());
        self.current = self.history.len();
        self.history.push(Published { kid, material, from: now, until: None });
        self.version += 1;
    }

    pub fn rotate(&mut self, rotation: Rotation, now: u64) {
        let current = self.current;
        for (index, key) in self.history.iter_mut().enumerate() {
            if key.until.is_none() && (rotation != Rotation::Overlap || index != current) {
                key.until = Some(now);
            }
        }
        let kid = match rotation {
            Rotation::SameKid => self.history[current].kid.clone(),
            Rotation::Hard | Rotation::Overlap => format!("{}-{}", self.name, self.history.len()),
        };
        self.publish(kid, now);
    }

    fn document(&self) -> String {
        let keys = self.history.iter().filter(|key| key.until.is_none());
        let keys: Vec<_> = keys.map(|key| keys::jwk(&key.kid, key.material)).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    /// The response to a fetch; `None` means no response.
    pub fn serve(&mut self, is_mirror: bool, validators: &Validators) -> Option<Result<Response, FetchError>> {
        self.gets += 1;
        let respond = |status, body: String| Response { status, headers: Vec::new(), body: body.into_bytes() };
        let document = self.document();
        Some(Ok(match self.fault.filter(|_| !is_mirror) {
            None | Some(Fault::Slow) => return Some(Ok(self.good(document, validators))),
            Some(Fault::Hang) => return None,
            Some(Fault::Reset) => return Some(Err(FetchError::Reset)),
            Some(Fault::NotStarted) => return Some(Err(FetchError::NotStarted)),
            Some(Fault::Down) => respond(503, String::new()),
            Some(Fault::Empty) => respond(200, r#"{"keys":[]}"#.to_owned()),
            Some(Fault::Garbage) => respond(200, "<html>".to_owned()),
            Some(Fault::Huge) => respond(200, format!("{}{document}", " ".repeat(10_000))),
            Some(Fault::Truncated) => respond(200, document[..document.len() / 2].to_owned()),
            Some(Fault::Unasked304) if *validators == Validators::default() => respond(304, String::new()),
            Some(Fault::Unasked304) => respond(500, String::new()),
        }))
    }

    fn good(&self, document: String, validators: &Validators) -> Response {
        let etag = format!("\"{}\"", self.version);
        let mut headers = Vec::new();
        let mut header = |name: &str, value: String| headers.push((name.to_owned(), value.into_bytes()));
        if let Some(seconds) = self.cache.max_age {
            header("cache-control", format!("max-age={seconds}"));
        }
        if self.cache.no_store {
            header("cache-control", "no-store".to_owned());
        }
        if self.cache.etag {
            header("etag", etag.clone());
            if validators.etag.as_ref() == Some(&etag) {
                return Response { status: 304, headers, body: Vec::new() };
            }
        }
        Response { status: 200, headers, body: document.into_bytes() }
    }
}
