//! The steps of the demo: allowed and denied requests, a rotation, an outage.

use std::thread;
use std::time::{Duration, SystemTime};

use jwks_gate_testbed::http::Request;

use crate::client::{call, post, retry_after, token};
use crate::expect::{denied, expect, passed, unknown_key};
use crate::processes::Processes;
use crate::story::Story;
use crate::token::{tampered, with_kid};
use crate::{Result, API, ISSUER, UNKNOWN_KID_MIN_INTERVAL, UPSTREAM};

/// Runs all steps; returns whether each went as expected.
pub(crate) fn run() -> Result<bool> {
    let mut processes = Processes::start()?;
    let mut story = Story::new();
    println!("Envoy is up: API on {API}, issuer on {ISSUER}, upstream on {UPSTREAM}.");

    story.part("Who gets in");
    let good = who_gets_in(&mut story)?;
    story.part("The issuer rotates");
    let renewed = rotation(&mut story, &good)?;
    story.part("The issuer goes down");
    outage(&mut story, &mut processes, &renewed)?;

    Ok(story.end())
}

/// Returns a good token.
fn who_gets_in(story: &mut Story) -> Result<String> {
    story.step(
        "Without a token nobody gets in, and the answer says what is required.",
        "no token",
        &[call()],
        &denied("Jwt is missing").gets(0..=1),
    )?;
    let good = token("{}", "")?;
    story.step(
        "A token of the issuer gets in; the keys are fetched at most once for all workers.",
        "a good token",
        &[call().bearer(&good)],
        &passed().gets(0..=1),
    )?;
    story.step(
        "A token for another API is genuine, but not meant for this one.",
        "a token with aud=other",
        &[call().bearer(&token(r#"{"aud":"other"}"#, "")?)],
        &expect(403, "Audiences in Jwt are not allowed").gets(0..=0),
    )?;
    story.step(
        "One changed character in the signature is enough to be denied.",
        "the good token, signature altered",
        &[call().bearer(&tampered(&good))],
        &denied("Jwt verification fails").gets(0..=1),
    )?;
    story.step(
        "An expired token is denied.",
        "a token that expired an hour ago",
        &[call().bearer(&token("{}", "?expires_in=-3600")?)],
        &denied("Jwt is expired").gets(0..=0),
    )?;
    story.step(
        "Known keys cost the issuer nothing.",
        "50 requests with the good token",
        &vec![call().bearer(&good); 50],
        &passed().gets(0..=0),
    )?;
    Ok(good)
}

/// Returns a token of the new key.
fn rotation(story: &mut Story, good: &str) -> Result<String> {
    wait_for_interval();
    post("/admin/rotate?mode=hard", "")?;
    println!("    The issuer replaces its key without notice; the old key is gone.");
    let renewed = token("{}", "")?;
    story.step(
        "The first token of the new key waits for one refresh instead of failing.",
        "a token signed by the new key",
        &[call().bearer(&renewed)],
        &passed().gets(1..=1),
    )?;
    wait_for_interval();
    story.step(
        "An unknown kid could mean another rotation: one fetch from the issuer, a second look after a second, then 401.",
        "a token with an invented kid",
        &[call().bearer(&with_kid(&renewed, "invented"))],
        &unknown_key().gets(2..=2),
    )?;
    let flood: Vec<Request> =
        (0..100).map(|i| call().bearer(&with_kid(&renewed, &format!("random-{i}-{}", nanoseconds())))).collect();
    story.step(
        "A flood of invented kids does not become a flood at the issuer.",
        "100 requests at once, each with its own kid",
        &flood,
        &unknown_key().gets(0..=2),
    )?;
    story.step(
        "A token of the key that the issuer withdrew is denied.",
        "the good token from before the rotation",
        &[call().bearer(good)],
        &unknown_key().gets(0..=2),
    )?;
    Ok(renewed)
}

fn outage(story: &mut Story, processes: &mut Processes, renewed: &str) -> Result<()> {
    wait_for_interval();
    processes.stop_issuer();
    println!("    The issuer's process is killed: its port refuses connections.");
    story.step(
        "Known keys keep working during the issuer's outage.",
        "the token signed by the current key",
        &[call().bearer(renewed)],
        &passed(),
    )?;
    let answers = story.step(
        "Nobody can tell now whether an unknown kid is good: 503, and when to come back.",
        "a token with an invented kid",
        &[call().bearer(&with_kid(renewed, "invented-in-the-outage"))],
        &expect(503, "Jwks remote fetch is failed"),
    )?;
    let delay = answers.first().and_then(retry_after).unwrap_or(2).min(30);
    processes.start_issuer()?;
    println!("    The issuer is back, with a new key. Waiting {delay} s, as Retry-After asked.");
    thread::sleep(Duration::from_secs(delay));
    story.step(
        "The client that comes back gets in.",
        "a token of the restarted issuer",
        &[call().bearer(&token("{}", "")?)],
        &passed().gets(0..=1),
    )?;
    Ok(())
}

/// Waits until the next unknown `kid` may cause a fetch.
fn wait_for_interval() {
    thread::sleep(UNKNOWN_KID_MIN_INTERVAL + Duration::from_millis(200));
}

fn nanoseconds() -> u32 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos())
}
