//! The clients. Each has one connection, and pauses between its requests, so that the load is bounded.

use std::{
    io,
    net::SocketAddr,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
    time::{Duration, Instant},
};

use jwks_gate_issuer::{Alg, SigningKey};
use jwks_gate_testbed::http::{Connection, Request};
use serde_json::json;

use crate::{
    judge::{Answered, Count, Expected, Judge},
    ledger::{Key, Ledger},
    settings::NAMES,
    timeline::Timeline,
};

/// Everything that a client needs.
pub struct World {
    pub ledgers: [Ledger; 2],
    pub timeline: Timeline,
    pub judge: Judge,
    pub addr: SocketAddr,
    /// A key that no issuer ever published.
    pub foreign: SigningKey,
    /// The key of the forged records.
    pub forged: Arc<SigningKey>,
    pub stop: AtomicBool,
}

/// What a client sends.
#[derive(Clone, Copy)]
pub enum Role {
    Good,
    UnknownKey,
    Bad,
    Aborts,
}

pub const CLIENTS: [(Role, usize, Duration); 4] = [
    (Role::Good, 16, Duration::from_millis(85)),
    (Role::UnknownKey, 6, Duration::from_millis(200)),
    (Role::Bad, 16, Duration::from_millis(85)),
    (Role::Aborts, 3, Duration::from_millis(150)),
];

struct Sent<'a> {
    what: &'static str,
    ledger: &'a Ledger,
    key: Option<Key>,
    expected: Expected,
    token: Option<String>,
}

impl World {
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub fn client(&self, role: Role, seed: u64, pause: Duration) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = None;
        while !self.stopped() {
            thread::sleep(pause.mul_f64(random.f64() * 2.0));
            let ledger = &self.ledgers[random.usize(..2)];
            match role {
                Role::Aborts => self.abort(ledger, &mut random),
                Role::Good => self.send(&mut connection, good(ledger, &mut random)),
                Role::UnknownKey => self.send(&mut connection, Some(self.unknown(ledger))),
                Role::Bad => self.send(&mut connection, self.bad(ledger, &mut random)),
            }
        }
    }

    fn send(&self, connection: &mut Option<Connection>, sent: Option<Sent>) {
        // Some kinds of tokens exist at some times only.
        let Some(Sent { what, ledger, key, expected, token }) = sent else { return };
        let path = format!("/{}/x", NAMES[ledger.number]);
        let request = Request::get(&path);
        let request = token.iter().fold(request, |request, token| request.bearer(token));
        let mut is_fresh = false;
        loop {
            let started = Instant::now();
            let result = match connection.take() {
                Some(open) => Ok(open),
                None => {
                    is_fresh = true;
                    Connection::open(self.addr)
                }
            };
            let answer = result.and_then(|mut open| {
                let response = open.send(&request)?;
                if response.header("connection") != Some("close") {
                    *connection = Some(open);
                }
                Ok(response)
            });
            match answer {
                Ok(response) => {
                    let answered = Answered { what, ledger, key: key.as_ref(), expected, sent: started, response };
                    return self.judge.answered(&answered, &self.timeline);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    let text = format!("{what}: no answer after {:?}: {error}", started.elapsed());
                    return self.judge.finding(Count::Hung, text);
                }
                Err(_) if !is_fresh => self.judge.count(Count::Reconnected),
                Err(error) => {
                    let text = format!("{what}: after {:?}: {error}", started.elapsed());
                    return self.judge.finding(Count::Broken, text);
                }
            }
        }
    }

    fn unknown<'a>(&self, ledger: &'a Ledger) -> Sent<'a> {
        let token = self.foreign.mint(&ledger.issuer.claims());
        Sent { what: "key that was never published", ledger, key: None, expected: Expected::Denied, token: Some(token) }
    }

    fn bad<'a>(&self, ledger: &'a Ledger, random: &mut fastrand::Rng) -> Option<Sent<'a>> {
        let current = ledger.published(false)?;
        let claims = ledger.issuer.claims();
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            claims
        };
        let exp = claims["exp"].as_i64().unwrap_or_default() - 2 * 3600;
        let of_current = |claims: &serde_json::Value| Some(current.signing.mint(claims));
        let header = json!({"alg": current.signing.alg.name(), "kid": current.signing.kid});
        let (what, expected, key, token) = match random.u32(..11) {
            0 => ("expired", Expected::Exactly(401), None, of_current(&with("exp", json!(exp)))),
            1 => ("wrong audience", Expected::Exactly(403), None, of_current(&with("aud", json!("other")))),
            2 => ("wrong issuer", Expected::Exactly(401), None, of_current(&with("iss", json!("https://other.test")))),
            3 => ("no token", Expected::Exactly(401), None, None),
            4 => {
                let unsigned = self.foreign.mint_with_header(&json!({"alg": "none"}), &claims);
                let unsigned = unsigned.rsplit_once('.').map(|(signed, _)| format!("{signed}."));
                ("alg none", Expected::Exactly(401), None, unsigned)
            }
            5 => {
                let token = self.foreign.mint_with_header(&header, &claims);
                ("foreign key under a published kid", Expected::Denied, None, Some(token))
            }
            6 => {
                let other = if current.signing.alg == Alg::Es256 { Alg::Es256 } else { Alg::Rs256 };
                let header = json!({"alg": other.name(), "kid": current.signing.kid});
                let mut token = current.signing.mint_with_header(&header, &claims);
                let signature = token.rfind('.').unwrap_or_default() + 5;
                let changed = if token.as_bytes()[signature] == b'A' { "B" } else { "A" };
                token.replace_range(signature..=signature, changed);
                ("changed signature", Expected::Denied, None, Some(token))
            }
            7 => ("key of a forged record", Expected::Denied, None, Some(self.forged.mint(&claims))),
            8 => {
                let revoked = ledger.revoked()?;
                let token = revoked.signing.mint(&claims);
                ("revoked key", Expected::Denied, Some(revoked), Some(token))
            }
            _ => {
                let withdrawn = ledger.withdrawn(&self.timeline)?;
                let token = if random.bool() { withdrawn.token.to_string() } else { withdrawn.signing.mint(&claims) };
                ("withdrawn key", Expected::Denied, Some(withdrawn), Some(token))
            }
        };
        Some(Sent { what, ledger, key, expected, token })
    }

    /// Leaves while the request is parked.
    fn abort(&self, ledger: &Ledger, random: &mut fastrand::Rng) {
        let path = format!("/{}/abort", NAMES[ledger.number]);
        let request = Request::post(&path).bearer(&self.foreign.mint(&ledger.issuer.claims()));
        let request = if random.bool() { request.body(vec![b'x'; 2000]) } else { request };
        if let Ok(mut connection) = Connection::open(self.addr) {
            let _ = connection.transmit(&request);
            thread::sleep(Duration::from_millis(random.u64(..400)));
            self.judge.count(Count::Aborted);
        }
    }
}

fn good<'a>(ledger: &'a Ledger, random: &mut fastrand::Rng) -> Option<Sent<'a>> {
    let older = random.u32(..10) < 3;
    let key = ledger.published(older)?;
    let token = if random.bool() { key.token.to_string() } else { key.signing.mint(&ledger.issuer.claims()) };
    let what = ["good token of the chaotic issuer", "good token of the steady issuer"][ledger.number];
    Some(Sent { what, ledger, key: Some(key), expected: Expected::Allowed, token: Some(token) })
}
