//! The demo: issuer, upstream and Envoy with `envoy/envoy.yaml` as it is, and a story that checks itself.
//!
//! `jwks-gate-demo` tells the story and exits with 1 if anything went otherwise than told;
//! `jwks-gate-demo serve` leaves everything running.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};

use jwks_gate_testbed::http::{self, Connection, Request, Response};
use jwks_gate_testbed::{eventually, workspace_root, Envoy, EnvoyOptions, Process};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

// As in envoy/envoy.yaml.
const API: SocketAddr = local(10_000);
const ADMIN: SocketAddr = local(9_901);
const ISSUER: SocketAddr = local(9_000);
const UPSTREAM: SocketAddr = local(9_001);
const ISSUER_NAME: &str = "https://issuer.test";
const UNKNOWN_KID_MIN_INTERVAL: Duration = Duration::from_secs(2);

const START_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let done = match env::args().nth(1).as_deref() {
        None => demo(),
        Some("serve") => serve(),
        Some(other) => Err(format!("unknown argument {other:?}; there is only `serve`").into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as told.
fn demo() -> Result<bool> {
    let mut world = World::start()?;
    let mut story = Story::new();
    println!("Envoy is up: API on {API}, issuer on {ISSUER}, upstream on {UPSTREAM}.");

    story.part("Who gets in");
    story.step(
        "Without a token nobody gets in, and the answer says what is asked for.",
        "no token",
        &[call()],
        &refused("Jwt is missing").gets(0..=1),
    )?;
    let good = token("{}", "")?;
    story.step(
        "A token of the issuer opens the way; the keys are fetched at most once for all workers.",
        "a good token",
        &[call().bearer(&good)],
        &passed().gets(0..=1),
    )?;
    story.step(
        "A token for another API is genuine, but not for this one.",
        "a token with aud=other",
        &[call().bearer(&token(r#"{"aud":"other"}"#, "")?)],
        &expect(403, "Audiences in Jwt are not allowed").gets(0..=0),
    )?;
    story.step(
        "One changed character in the signature is enough.",
        "the good token, signature altered",
        &[call().bearer(&tampered(&good))],
        &refused("Jwt verification fails").gets(0..=1),
    )?;
    story.step(
        "Yesterday's token is over.",
        "a token that expired an hour ago",
        &[call().bearer(&token("{}", "?expires_in=-3600")?)],
        &refused("Jwt is expired").gets(0..=0),
    )?;
    story.step(
        "Known keys cost the issuer nothing.",
        "50 requests with the good token",
        &vec![call().bearer(&good); 50],
        &passed().gets(0..=0),
    )?;

    story.part("The issuer rotates");
    wait_for_interval();
    post("/admin/rotate?mode=hard", "")?;
    println!("    The issuer replaces its key: the old one is gone, nobody was told.");
    let renewed = token("{}", "")?;
    story.step(
        "The first token under the new key waits for one refresh instead of failing.",
        "a token signed by the new key",
        &[call().bearer(&renewed)],
        &passed().gets(1..=1),
    )?;
    wait_for_interval();
    story.step(
        "A kid that nobody knows could be a rotation too: one look at the issuer, then no.",
        "a token with an invented kid",
        &[call().bearer(&with_kid(&renewed, "invented"))],
        &unknown_key().gets(1..=1),
    )?;
    let flood: Vec<Request> =
        (0..100).map(|i| call().bearer(&with_kid(&renewed, &format!("random-{i}-{}", nanoseconds())))).collect();
    story.step(
        "A flood of invented kids must not become a flood at the issuer.",
        "100 requests at once, each with a kid of its own",
        &flood,
        &unknown_key().gets(0..=1),
    )?;
    story.step(
        "A key that the issuer withdrew opens nothing any more.",
        "the good token from before the rotation",
        &[call().bearer(&good)],
        &unknown_key().gets(0..=1),
    )?;

    story.part("The issuer goes down");
    wait_for_interval();
    world.stop_issuer();
    println!("    The issuer's process is killed: its port refuses connections.");
    story.step(
        "Keys that are known stay good: an issuer's outage is not ours.",
        "the token signed by the current key",
        &[call().bearer(&renewed)],
        &passed(),
    )?;
    let answers = story.step(
        "An unknown kid cannot be judged now. \"No\" would be a guess: come back later.",
        "a token with an invented kid",
        &[call().bearer(&with_kid(&renewed, "invented-in-the-outage"))],
        &expect(503, "Jwks remote fetch is failed"),
    )?;
    let delay = answers.first().and_then(retry_after).unwrap_or(2).min(30);
    world.start_issuer()?;
    println!("    The issuer is back, with a new key. Waiting {delay} s, as Retry-After asked.");
    thread::sleep(Duration::from_secs(delay));
    story.step(
        "The client that came back gets in.",
        "a token of the restarted issuer",
        &[call().bearer(&token("{}", "")?)],
        &passed().gets(0..=1),
    )?;

    Ok(story.end())
}

fn serve() -> Result<bool> {
    let mut world = World::start()?;
    let payload = base64url(format!(r#"{{"iss":"{ISSUER_NAME}","aud":"api"}}"#).as_bytes());
    let unknown = with_kid(&format!("e30.{payload}.AAAA"), "nobody");
    println!("Envoy is up. Ctrl-C ends everything. To try in another terminal:");
    for (what, command) in [
        ("a token of the issuer", format!("TOKEN=$(curl -s -d '{{}}' {ISSUER}/token)")),
        ("200, and what the upstream saw", format!("curl -i {API}/api/orders -H \"authorization: Bearer $TOKEN\"")),
        ("401: no token", format!("curl -i {API}/api/orders")),
        (
            "401 after one look at the issuer: an unknown kid",
            format!("curl -i {API}/api/orders -H 'authorization: Bearer {unknown}'"),
        ),
        (
            "a new key in the place of the old one: fetch a TOKEN of it, and that works at once; with that, the old one is void",
            format!("curl -X POST '{ISSUER}/admin/rotate?mode=hard'"),
        ),
        (
            "the issuer fails: tokens of known keys still work",
            format!("curl -X POST '{ISSUER}/admin/fault?kind=status&status=500&times=1000'"),
        ),
        ("and is well again", format!("curl -X POST {ISSUER}/admin/heal")),
        ("how often the keys were fetched", format!("curl {ISSUER}/admin/stats")),
        ("what the filter counted", format!("curl -s {ADMIN}/stats | grep wasmcustom")),
    ] {
        println!("\n  # {what}\n  {command}");
    }
    loop {
        thread::sleep(Duration::from_millis(500));
        if let Some(name) = world.ended() {
            return Err(format!("{name} has ended").into());
        }
    }
}

/// The processes. All end with us.
struct World {
    envoy: Envoy,
    upstream: Process,
    issuer: Option<Process>,
}

impl World {
    fn start() -> Result<Self> {
        for addr in [API, ADMIN, ISSUER, UPSTREAM] {
            TcpListener::bind(addr)
                .map_err(|error| format!("{addr} must be free for the demo: {error}. Is another one running?"))?;
        }
        let issuer = start_issuer()?;
        let upstream = program("jwks-gate-echo", UPSTREAM, &[])?;
        let config = fs::read_to_string(workspace_root().join("envoy/envoy.yaml"))?;
        let quiet = EnvoyOptions { expect_start: false, ..EnvoyOptions::default() };
        Ok(Self { envoy: Envoy::start(&config, quiet)?, upstream, issuer: Some(issuer) })
    }

    fn stop_issuer(&mut self) {
        self.issuer = None;
    }

    fn start_issuer(&mut self) -> Result<()> {
        self.issuer = Some(start_issuer()?);
        Ok(())
    }

    /// Which process has ended by itself.
    fn ended(&mut self) -> Option<&'static str> {
        if !self.envoy.is_running() {
            return Some("Envoy");
        }
        if self.upstream.exited().is_some() {
            return Some("the upstream");
        }
        let issuer = self.issuer.as_mut()?;
        issuer.exited().map(|_| "the issuer")
    }
}

fn start_issuer() -> Result<Process> {
    program("jwks-gate-issuer", ISSUER, &["--issuer", ISSUER_NAME])
}

/// Starts a program that was built beside this one and waits until it listens.
fn program(name: &str, listen: SocketAddr, args: &[&str]) -> Result<Process> {
    let path = env::current_exe()?.with_file_name(name);
    let mut process =
        Process::spawn(Command::new(&path).args(["--listen", &listen.to_string()]).args(args).stdout(Stdio::null()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    let mut ended = None;
    let listens = eventually(START_TIMEOUT, || {
        ended = process.exited();
        ended.is_some() || TcpStream::connect(listen).is_ok()
    });
    match ended {
        Some(status) => Err(format!("{name} ended at once: {status}").into()),
        None if !listens => Err(format!("{name} does not listen on {listen}").into()),
        None => Ok(process),
    }
}

/// What a step must show.
struct Expect {
    status: u16,
    says: &'static str,
    gets: Option<RangeInclusive<u64>>,
}

fn expect(status: u16, says: &'static str) -> Expect {
    Expect { status, says, gets: None }
}

fn passed() -> Expect {
    expect(200, "")
}

fn refused(says: &'static str) -> Expect {
    expect(401, says)
}

fn unknown_key() -> Expect {
    refused("Jwks doesn't have key to match kid or alg from Jwt")
}

impl Expect {
    /// How many further JWKS GETs are right.
    fn gets(mut self, range: RangeInclusive<u64>) -> Self {
        self.gets = Some(range);
        self
    }

    /// What is wrong with an answer.
    fn objection(&self, response: &Response) -> Option<String> {
        let challenge = response.header("www-authenticate").unwrap_or_default();
        if response.status != self.status {
            Some(format!("expected {}", self.status))
        } else if !response.text().contains(self.says) {
            Some(format!("expected {:?}", self.says))
        } else if self.status == 401 && !challenge.starts_with("Bearer realm=") {
            Some("expected a Bearer challenge".to_owned())
        } else if self.status == 503 && retry_after(response).is_none() {
            Some("expected Retry-After".to_owned())
        } else {
            None
        }
    }

    fn objection_to_gets(&self, before: Option<u64>, after: Option<u64>) -> Option<String> {
        let (range, before, after) = (self.gets.as_ref()?, before?, after?);
        let wrong = !range.contains(&after.saturating_sub(before));
        wrong.then(|| match (range.start(), range.end()) {
            (low, high) if low == high => format!("expected +{low} GET"),
            (_, high) => format!("expected +{high} GET at most"),
        })
    }
}

/// Tells the steps and keeps the score.
struct Story {
    colours: bool,
    steps: u32,
    wrong: u32,
}

impl Story {
    fn new() -> Self {
        Self { colours: io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none(), steps: 0, wrong: 0 }
    }

    fn part(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// Sends the requests, all at once if they are different, and shows what came back.
    fn step(&mut self, why: &str, sent: &str, requests: &[Request], expect: &Expect) -> Result<Vec<Response>> {
        let before = jwks_gets();
        let responses = exchange(requests)?;
        let after = jwks_gets();

        let objection = responses
            .iter()
            .find_map(|response| expect.objection(response))
            .or_else(|| expect.objection_to_gets(before, after));
        self.steps += 1;
        println!("\n{:2}  {why}", self.steps);
        println!("    sent  GET /api/orders, {sent}");
        self.show(expect, &responses);
        println!("    keys  {}", count_of_gets(before, after));
        match objection {
            None => println!("    {}", self.paint("32", "✓ as expected")),
            Some(objection) => {
                self.wrong += 1;
                println!("    {}", self.paint("31", &format!("✗ {objection}")));
            }
        }
        Ok(responses)
    }

    fn show(&self, expect: &Expect, responses: &[Response]) {
        // Of many answers, one that is not as expected is worth more than the first.
        let Some(shown) = responses.iter().find(|response| expect.objection(response).is_some()).or(responses.first())
        else {
            return;
        };
        let alike = responses.iter().filter(|response| response.status == shown.status).count();
        let times = match responses.len() {
            1 => String::new(),
            all => format!("{alike} of {all} times "),
        };
        println!("    got   {times}{} {}", shown.status, excerpt(shown));
        for name in ["www-authenticate", "retry-after"] {
            if let Some(value) = shown.header(name) {
                println!("          {name}: {value}");
            }
        }
    }

    /// The score; whether all was well.
    fn end(&self) -> bool {
        let (steps, wrong) = (self.steps, self.wrong);
        let verdict = match wrong {
            0 => self.paint("32", &format!("All {steps} steps went as expected.")),
            _ => self.paint("31", &format!("{wrong} of {steps} steps did not.")),
        };
        println!("\n{verdict}");
        wrong == 0
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Equal requests go one after the other over one connection, different ones all at once.
fn exchange(requests: &[Request]) -> Result<Vec<Response>> {
    let (Some(first), Some(last)) = (requests.first(), requests.last()) else {
        return Ok(Vec::new());
    };
    let responses: io::Result<Vec<Response>> = if first.headers == last.headers {
        let mut connection = Connection::open(API)?;
        requests.iter().map(|it| connection.send(it)).collect()
    } else {
        http::concurrently(API, requests.len(), |i| requests[i].clone()).into_iter().collect()
    };
    Ok(responses?)
}

fn call() -> Request {
    Request::get("/api/orders")
}

/// A token from the issuer: claims to change, and the query of its `/token`.
fn token(claims: &str, query: &str) -> Result<String> {
    Ok(post(&format!("/token{query}"), claims)?.trim().to_owned())
}

fn post(path: &str, body: &str) -> Result<String> {
    let response = http::send(ISSUER, &Request::post(path).body(body))?;
    if response.status != 200 {
        let text = response.text();
        return Err(format!("the issuer answers {path} with {}: {text}", response.status).into());
    }
    Ok(response.text())
}

/// How often the issuer's keys were fetched; nothing while it is down.
fn jwks_gets() -> Option<u64> {
    let stats = http::send(ISSUER, &Request::get("/admin/stats")).ok()?;
    stats.json()["jwks_requests"].as_u64()
}

fn count_of_gets(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("{after} JWKS GETs so far (+{})", after.saturating_sub(before))
        }
        _ => "the issuer is down and counts nothing".to_owned(),
    }
}

/// The part of a body that says the most.
fn excerpt(response: &Response) -> String {
    let text = response.text();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(240) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn retry_after(response: &Response) -> Option<u64> {
    response.header("retry-after")?.parse().ok()
}

fn wait_for_interval() {
    thread::sleep(UNKNOWN_KID_MIN_INTERVAL + Duration::from_millis(200));
}

/// The token with a character in the middle of its signature changed.
fn tampered(token: &str) -> String {
    let signature = token.rfind('.').map_or(0, |dot| dot + 1);
    let middle = (signature + token.len()) / 2;
    let other = if token[middle..].starts_with('A') { "B" } else { "A" };
    format!("{}{other}{}", &token[..middle], &token[middle + 1..])
}

/// The token with a header that names another key.
fn with_kid(token: &str, kid: &str) -> String {
    let header = format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#);
    let rest = token.split_once('.').map_or("", |(_, rest)| rest);
    format!("{}.{rest}", base64url(header.as_bytes()))
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | usize::from(group.get(i).copied().unwrap_or(0)));
        for sextet in 0..=group.len() {
            text.push(char::from(ALPHABET[bits >> (18 - 6 * sextet) & 63]));
        }
    }
    text
}

fn nanoseconds() -> u32 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos())
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
