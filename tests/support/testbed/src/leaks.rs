//! Finds secrets in what Envoy and the filter tell: logs, answers and names of metrics.
//!
//! The HTTP client registers each token that a test sends, and [`Envoy`](crate::Envoy) the secrets of the configuration. The
//! search is for parts of them: of anything longer than [`WINDOW`] bytes, each part of twice that length is found.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use base64::Engine;
use serde_json::Value;

/// Bytes that are compared at a time.
const WINDOW: usize = 16;
/// Shorter values are words that occur anywhere.
const SHORTEST: usize = 5;
/// Shorter claims are words of log lines, too.
const SHORTEST_CLAIM: usize = 12;
/// A part with fewer different bytes than this is filling, as in a token of a test for bounds.
const FEWEST_BYTES: usize = 7;
/// Enough for each test program but the soak, whose tokens are all alike.
const MAX_WINDOWS: usize = 2_000_000;
/// Members of a configuration whose values are secrets.
const SECRET_MEMBERS: [&str; 3] = ["shared_data_secret", "k", "request_headers"];
/// Claims that are no secret of the client: the configuration has their values, and log lines may name them.
const PUBLIC_CLAIMS: [&str; 2] = ["iss", "aud"];

#[derive(Default)]
struct Secrets {
    windows: HashSet<[u8; WINDOW]>,
    /// A bit for each window, by a cheap hash: nearly all bytes of a log need no look at `windows`.
    bits: Vec<u64>,
    /// Values that are shorter than two windows.
    values: BTreeSet<String>,
    /// Values that are not searched for, since a test publishes them on purpose.
    public: BTreeSet<String>,
}

fn secrets() -> MutexGuard<'static, Secrets> {
    static SECRETS: OnceLock<Mutex<Secrets>> = OnceLock::new();
    SECRETS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_few_bytes(window: &[u8]) -> bool {
    window.iter().collect::<HashSet<_>>().len() < FEWEST_BYTES
}

/// A word of `bits` and a bit in the word.
fn bit_of(window: &[u8]) -> (usize, u64) {
    const WORDS: u64 = 1 << 16;
    let half = window.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let hash = half.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (usize::try_from(hash / 64 % WORDS).unwrap_or_default(), 1 << (hash % 64))
}

impl Secrets {
    fn holds(&self, bytes: &[u8]) -> bool {
        bytes.windows(WINDOW).any(|window| {
            let (word, bit) = bit_of(window);
            self.bits.get(word).is_some_and(|bits| bits & bit != 0) && self.windows.contains(window)
        })
    }

    fn add(&mut self, secret: &str) {
        if secret.len() < 2 * WINDOW {
            if secret.len() >= SHORTEST {
                self.values.insert(secret.to_owned());
            }
            return;
        }
        for window in secret.as_bytes().chunks_exact(WINDOW) {
            if self.windows.len() < MAX_WINDOWS && !has_few_bytes(window) {
                self.windows.insert(window.try_into().expect("the length of a window"));
                self.bits.resize(1 << 16, 0);
                let (word, bit) = bit_of(window);
                self.bits[word] |= bit;
            }
        }
    }

    fn add_claims(&mut self, claims: &Value) {
        match claims {
            Value::String(text) if text.len() < SHORTEST_CLAIM => {}
            Value::String(text) => self.add(text),
            Value::Array(list) => list.iter().for_each(|value| self.add_claims(value)),
            Value::Object(members) => {
                let private = members.iter().filter(|(name, _)| !PUBLIC_CLAIMS.contains(&name.as_str()));
                private.for_each(|(_, value)| self.add_claims(value));
            }
            _ => {}
        }
    }
}

/// The tokens in this text, in the form of a compact JWS.
fn tokens(text: &[u8]) -> impl Iterator<Item = (&str, &str, &str)> {
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.split(move |byte| !is_of_token(byte)).filter_map(|word| {
        let mut sections = std::str::from_utf8(word).ok()?.split('.');
        let token = (sections.next()?, sections.next()?, sections.next()?);
        let is_token = sections.next().is_none() && token.1.len() > WINDOW;
        is_token.then_some(token)
    })
}

/// Registers the tokens of a request.
pub(crate) fn register_request(bytes: &[u8]) {
    let head = bytes.split(|byte| *byte == b'\n').filter(|line| {
        line.starts_with(b"host:") || [&b"GET "[..], b"POST "].iter().any(|method| line.starts_with(method))
    });
    for line in head {
        // A challenge names the URI of the request.
        String::from_utf8_lossy(line).split([' ', '/', '\r', ':', '?', '=', '&']).for_each(allow);
    }
    for (_, payload, signature) in tokens(bytes) {
        let claims = BASE64.decode(payload).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let Some(claims) = claims else { continue };
        let mut secrets = secrets();
        secrets.add(payload);
        secrets.add(signature);
        secrets.add_claims(&claims);
    }
}

/// Registers the secrets of a configuration, in JSON or in YAML, and of the configurations in its strings.
pub(crate) fn register_configuration(text: &str) {
    if let Ok(configuration) = serde_yaml_ng::from_str::<Value>(text) {
        register_members(&configuration);
        publish_strings(&configuration);
    }
}

fn register_members(configuration: &Value) {
    match configuration {
        Value::String(text) if text.trim_start().starts_with('{') => {
            if let Ok(inner) = serde_json::from_str::<Value>(text) {
                register_members(&inner);
            }
        }
        Value::Array(list) => list.iter().for_each(register_members),
        Value::Object(members) => {
            for (name, value) in members {
                if SECRET_MEMBERS.contains(&name.as_str()) {
                    register_values(value);
                }
                register_members(value);
            }
        }
        _ => {}
    }
}

/// What a configuration says, a log and an answer may say: names of providers, claims that it requires. Secrets are no part of it.
fn publish_strings(configuration: &Value) {
    match configuration {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner) if inner.is_object() => publish_strings(&inner),
            _ => allow(text),
        },
        Value::Array(list) => list.iter().for_each(publish_strings),
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(name, _)| !SECRET_MEMBERS.contains(&name.as_str())) {
                allow(name);
                publish_strings(value);
            }
        }
        _ => {}
    }
}

/// Registers every value of a secret member: a string, or the `value`s of headers.
fn register_values(value: &Value) {
    match value {
        Value::String(text) => secrets().add(text),
        Value::Array(list) => list.iter().for_each(register_values),
        Value::Object(members) => {
            for (name, value) in members {
                if value.is_object() || name == "value" {
                    register_values(value);
                }
            }
        }
        _ => {}
    }
}

/// Allows a value in logs from now on, in all tests of this program: a test puts the value there on purpose.
pub fn allow(value: &str) {
    // Longer values are searched for by their parts, whatever is allowed.
    if (SHORTEST..2 * WINDOW).contains(&value.len()) {
        secrets().public.insert(value.to_owned());
    }
}

/// Registers a secret that is neither in a request nor in a configuration, such as the value of a variable.
pub fn register(secret: &str) {
    secrets().add(secret);
}

/// The lines of a text that hold a secret. Short values are searched for in lines of the filter only.
pub fn find(text: &str, is_of_filter: impl Fn(&str) -> bool) -> Vec<String> {
    let secrets = secrets();
    // A challenge lists the scopes of the configuration, with spaces between them.
    let is_public = |word: &str| word.len() < SHORTEST || secrets.public.contains(word);
    let is_private = |value: &&String| !is_public(value) && !value.split(' ').all(is_public);
    let values: Vec<_> = secrets.values.iter().filter(is_private).collect();
    let holds = |line: &&str| {
        secrets.holds(line.as_bytes()) || (is_of_filter(line) && values.iter().any(|value| has_word(line, value)))
    };
    text.lines().filter(holds).map(str::to_owned).collect()
}

/// Whether the word is in the line, and not a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    if !line.contains(word) {
        return false;
    }
    let is_inner = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.as_bytes()[..at].last(), line.as_bytes().get(at + word.len()));
        !is_inner(before) && !is_inner(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(claims: &str, signature: &str) -> String {
        let token = format!("eyJhbGciOiJFUzI1NiJ9.{}.{}", BASE64.encode(claims), BASE64.encode(signature));
        register_request(format!("GET /?t={token} HTTP/1.1\r\n").as_bytes());
        token
    }

    #[test]
    fn parts_of_tokens_are_found() {
        let token = sent(r#"{"sub":"nobody.in.particular","n":1}"#, "0123456789 a signature of some length 0123456789");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let payload = signed.rsplit_once('.').unwrap().1;
        let all = [token.as_str(), payload, signature, &signature[3..40], "the subject is nobody.in.particular"];
        for part in all {
            assert_eq!(find(&format!("fine\nx {part} y\nfine"), |_| true).len(), 1, "{part}");
        }
        assert_eq!(find("nobody.in.particularity, nobody", |_| true), Vec::<String>::new());
        assert_eq!(find("the subject is nobody.in.particular", |_| false), Vec::<String>::new());
        allow("nobody.in.particular");
        assert_eq!(find("the subject is nobody.in.particular", |_| true), Vec::<String>::new());
    }

    #[test]
    fn secrets_of_configurations_are_found() {
        let inner = r#"{"shared_data_secret": "a secret of some length, to be long enough", "request_headers": [{"name": "x-key", "value": "hunter2"}]}"#;
        register_configuration(&serde_json::json!({ "value": inner }).to_string());
        assert_eq!(find("a secret of some length, to be\nx-key: hunter2\nx-key", |_| true).len(), 2);
        register_configuration("providers:\n  p:\n    k: aGVsbG8gd29ybGQsIHRoaXMgaXMgYSBrZXk");
        assert_eq!(find("aGVsbG8gd29ybGQsIHRoaXMgaXMgYSBrZXk", |_| false).len(), 1);
    }
}
