//! The load: clients send requests at a fixed rate through both Envoys, while the issuers rotate.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use jwks_gate_issuer::Rotation;
use jwks_gate_testbed::http::{Connection, Request};

use crate::recording::{Answer, Recording};
use crate::side::Side;
use crate::Result;

/// How often the main thread checks for fetches and due rotations.
const TICK: Duration = Duration::from_millis(5);

/// The load on each Envoy.
pub(crate) struct Plan {
    /// The number of clients. Each client has one connection.
    pub(crate) clients: u32,
    pub(crate) requests_per_client: u32,
    /// The time between two requests of a client.
    pub(crate) period: Duration,
    pub(crate) rotations: u32,
    pub(crate) rotation_interval: Duration,
    /// After a rotation, client number `n` changes to a token of the new key after `n` times this time.
    pub(crate) renewal_stagger: Duration,
}

impl Plan {
    pub(crate) fn duration(&self) -> Duration {
        self.period * self.requests_per_client
    }

    pub(crate) fn requests_per_second(&self) -> u32 {
        (f64::from(self.clients) / self.period.as_secs_f64()).round() as u32
    }

    /// The time from a rotation until the last client has a token of the new key.
    pub(crate) fn longest_renewal(&self) -> Duration {
        self.renewal_stagger * self.clients.saturating_sub(1)
    }

    /// When a client sends a request. The clients take turns.
    fn due(&self, client: u32, request: u32) -> Duration {
        self.period * request + self.period * client / self.clients
    }
}

/// The result of a run.
pub(crate) struct Measured {
    /// The recordings, in the order of the sides.
    pub(crate) recordings: [Recording; 2],
    /// When the issuers rotated.
    pub(crate) rotations: Vec<Duration>,
}

/// A token, and when the issuer began to sign with its key.
struct Issued {
    at: Duration,
    token: String,
}

type Tokens = RwLock<Vec<Issued>>;

/// Runs the plan through both sides at once.
pub(crate) fn run(plan: &Plan, sides: &[Side; 2]) -> Result<Measured> {
    let tokens =
        sides.each_ref().map(|side| RwLock::new(vec![Issued { at: Duration::ZERO, token: side.issuer.token() }]));
    let mut fetches = sides.each_ref().map(Fetches::before_the_run);
    let start = Instant::now();
    thread::scope(|scope| {
        let clients = [0, 1].map(|index| {
            let (addr, tokens) = (sides[index].addr(), &tokens[index]);
            let spawn = |number| scope.spawn(move || client(plan, number, addr, tokens, start));
            (0..plan.clients).map(spawn).collect::<Vec<_>>()
        });
        let rotations = rotate_issuers(plan, sides, &tokens, &mut fetches, start);
        let mut recordings = fetches.map(|fetches| Recording::new(plan.duration(), &fetches.times));
        for (recording, clients) in recordings.iter_mut().zip(clients) {
            for client in clients {
                client.join().map_err(|_| "a client panicked")??.iter().for_each(|answer| recording.add(answer));
            }
        }
        Ok(Measured { recordings, rotations })
    })
}

/// Rotates both issuers when a rotation is due, and records the fetches. Returns the times of the rotations.
fn rotate_issuers(
    plan: &Plan,
    sides: &[Side; 2],
    tokens: &[Tokens; 2],
    fetches: &mut [Fetches; 2],
    start: Instant,
) -> Vec<Duration> {
    let mut rotations = Vec::new();
    while start.elapsed() < plan.duration() {
        let next = rotations.len() as u32 + 1;
        if next <= plan.rotations && start.elapsed() >= plan.rotation_interval * next {
            let at = start.elapsed();
            for (side, tokens) in sides.iter().zip(tokens) {
                side.issuer.rotate(Rotation::Hard);
                let token = side.issuer.token();
                tokens.write().unwrap_or_else(PoisonError::into_inner).push(Issued { at, token });
            }
            rotations.push(at);
        }
        for (side, fetches) in sides.iter().zip(fetches.iter_mut()) {
            fetches.update(side, start.elapsed());
        }
        thread::sleep(TICK);
    }
    rotations
}

/// Sends the requests of one client.
fn client(plan: &Plan, number: u32, addr: SocketAddr, tokens: &Tokens, start: Instant) -> Result<Vec<Answer>> {
    let mut connection = Connection::open(addr)?;
    let mut answers = Vec::new();
    for request in 0..plan.requests_per_client {
        thread::sleep(plan.due(number, request).saturating_sub(start.elapsed()));
        let sent = start.elapsed();
        let token = {
            let issued = tokens.read().unwrap_or_else(PoisonError::into_inner);
            token_of(&issued, plan.renewal_stagger * number, sent).to_owned()
        };
        let response = connection.send(&Request::get("/api/orders").bearer(&token))?;
        let at = start.elapsed();
        answers.push(Answer { at, latency: at.saturating_sub(sent), status: response.status });
    }
    Ok(answers)
}

/// The token of a client that renews its token `renews_after` a rotation.
fn token_of(issued: &[Issued], renews_after: Duration, now: Duration) -> &str {
    let has_renewed = |issued: &&Issued| issued.at + renews_after <= now;
    issued.iter().rev().find(has_renewed).or(issued.first()).map_or("", |issued| &issued.token)
}

/// When an issuer's JWKS was fetched.
struct Fetches {
    seen: u64,
    times: Vec<Duration>,
}

impl Fetches {
    /// Counts the fetches before the run as fetches at its start.
    fn before_the_run(side: &Side) -> Self {
        let mut fetches = Self { seen: 0, times: Vec::new() };
        fetches.update(side, Duration::ZERO);
        fetches
    }

    fn update(&mut self, side: &Side, now: Duration) {
        let fetches = side.issuer.stats().jwks_requests;
        self.times.extend((self.seen..fetches).map(|_| now));
        self.seen = fetches;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        clients: 4,
        requests_per_client: 100,
        period: Duration::from_millis(40),
        rotations: 2,
        rotation_interval: Duration::from_secs(1),
        renewal_stagger: Duration::from_millis(200),
    };

    #[test]
    fn a_plan_has_a_rate_and_an_end() {
        assert_eq!(PLAN.requests_per_second(), 100);
        assert_eq!(PLAN.duration(), Duration::from_secs(4));
        assert_eq!(PLAN.longest_renewal(), Duration::from_millis(600));
    }

    #[test]
    fn the_clients_take_turns() {
        let due = |client, request| PLAN.due(client, request).as_millis();
        assert_eq!((due(0, 0), due(1, 0), due(3, 0), due(0, 1), due(3, 99)), (0, 10, 30, 40, 3990));
    }

    #[test]
    fn a_client_keeps_its_token_until_it_renews() {
        let issued = |at, token: &str| Issued { at: Duration::from_millis(at), token: token.to_owned() };
        let all = [issued(0, "a"), issued(1000, "b"), issued(1500, "c")];
        let token_of =
            |renews_after, now| token_of(&all, Duration::from_millis(renews_after), Duration::from_millis(now));
        assert_eq!((token_of(0, 999), token_of(0, 1000), token_of(0, 1500)), ("a", "b", "c"));
        assert_eq!(
            (token_of(400, 0), token_of(400, 1399), token_of(400, 1400), token_of(400, 1900)),
            ("a", "a", "b", "c")
        );
    }
}
