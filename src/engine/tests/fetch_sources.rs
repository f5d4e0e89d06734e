//! The requests of a fetch: mirrors, the issuer's metadata, and what a 304 confirms.

use super::*;

/// A provider that fetches as `remote_jwks` says.
fn world_from(mut remote_jwks: serde_json::Value) -> World {
    remote_jwks["rotation"] = json!({"unknown_kid_max_wait": "5s", "second_look": "0s"});
    remote_jwks["cache_duration"] = json!("100s");
    remote_jwks["request_headers"] = json!([{"key": "x-key", "value": "T0pSecret"}]);
    let mut world = world_of(&json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": remote_jwks}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    }));
    world.wake();
    world
}

pub(super) fn uri(host: &str) -> serde_json::Value {
    json!({"uri": format!("https://{host}/jwks"), "cluster": host, "timeout": "2s"})
}

pub(super) fn mirrored() -> World {
    mirrored_by(&[uri("m"), uri("n")])
}

pub(super) fn mirrored_by(mirrors: &[serde_json::Value]) -> World {
    world_from(json!({"http_uri": uri("i"), "mirrors": mirrors}))
}

fn discovering() -> World {
    world_from(json!({"discovery": {"uri": "https://i/meta", "cluster": "c", "timeout": "2s", "ttl": "60s"}}))
}

pub(super) fn response(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
    Response { status, headers: headers.iter().map(owned).collect(), body }
}

fn metadata(issuer: &str, jwks_uri: &str) -> Response {
    response(200, &[], json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string().into_bytes())
}

pub(super) fn keys(kids: &[&str], etag: &str) -> Response {
    response(200, &[("etag", etag)], jwks(kids))
}

pub(super) fn status(status: u16) -> Response {
    response(status, &[], Vec::new())
}

impl World {
    /// The request that runs is answered.
    pub(super) fn respond(&mut self, response: Response) {
        let [(worker, fetch)] = self.fetches[..] else { panic!("{} fetches", self.fetches.len()) };
        self.fetches.clear();
        let actions = self.engines[worker].on_fetched(ISSUER, fetch, Ok(response), u32::MAX, self.now);
        self.perform(worker, actions);
    }

    /// The URIs that were asked since this was last called, each with the entity tag that the request named.
    pub(super) fn asked(&mut self) -> Vec<String> {
        let asked = |request: FetchRequest| {
            let names = request.headers().iter().any(|(name, _)| *name == "x-key");
            let Endpoint { scheme, authority, path, .. } = request.endpoint;
            let etag = request.validators.etag.map(|etag| format!(" {etag}")).unwrap_or_default();
            format!("{scheme}://{authority}{path}{etag}{}", if names { " with headers" } else { "" })
        };
        std::mem::take(&mut self.requests).into_iter().map(asked).collect()
    }

    pub(super) fn failures(&self) -> u32 {
        Record::decode(&self.record).unwrap().failures
    }
}

const ISSUERS: &str = "https://i/jwks with headers";
const META: &str = "https://i/meta with headers";

#[test]
fn mirrors_are_asked_in_order_within_one_fetch_and_the_issuer_first_again() {
    let mut world = mirrored();
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (None, None));
    world.respond(status(503));
    world.respond(response(200, &[], b"<html>".to_vec()));
    assert_eq!((world.statuses(), world.fetches.len()), (vec![], 1));
    world.respond(keys(&["a"], "\"1\""));
    assert_eq!((world.statuses(), world.failures()), (vec![200; 2], 0));
    assert_eq!(world.asked(), [ISSUERS, "https://m/jwks", "https://n/jwks"]);
    // The entity tag is that of the last mirror, which is not asked first.
    world.pass_until_fetch();
    world.respond(keys(&["a"], "\"2\""));
    assert_eq!(world.asked(), [ISSUERS]);
    world.pass_until_fetch();
    world.respond(status(304));
    assert_eq!((world.asked(), world.failures()), (vec!["https://i/jwks \"2\" with headers".to_owned()], 0));
}

#[test]
fn a_fetch_that_every_mirror_fails_is_one_failure_with_the_issuers_pause() {
    begin_log();
    let mut world = mirrored();
    world.respond(response(429, &[("retry-after", "7")], Vec::new()));
    world.respond(response(503, &[("retry-after", "200")], Vec::new()));
    world.respond(status(404));
    let record = Record::decode(&world.record).unwrap();
    assert_eq!((record.failures, record.pause, record.lease), (1, 7 * SECOND, None));
    let log = take_log();
    let expected = "provider \"p\": JWKS fetch of https://i/jwks by cluster \"i\" failed (1 in a row): answered 429; \
                    then of https://m/jwks by cluster \"m\": answered 503; then of https://n/jwks by cluster \"n\": answered \
                    404; next attempt in 7000 ms; there are no keys yet";
    assert_eq!(log, [expected]);
    let counts = world.engines[0].take_counts(0);
    let counted = counts.counters().map(|(series, times)| format!("{} {times}", series.name("", "p")));
    let counted: Vec<_> = counted.filter(|name| name.contains(".fetch")).collect();
    let prefix = "jwks_gate.provider.p.fetch";
    assert_eq!(counted, [format!("{prefix}_errors.status 3"), format!("{prefix}es.failed 1")]);
}

#[test]
fn a_mirror_that_answers_is_a_success_that_the_log_and_a_counter_tell() {
    begin_log();
    let mut world = mirrored();
    world.respond(status(503));
    world.respond(keys(&["a"], ""));
    let expected =
        "provider \"p\": JWKS fetch of https://i/jwks by cluster \"i\" failed: answered 503; https://m/jwks by \
                    cluster \"m\" answered";
    assert_eq!(take_log()[..2], [expected, "provider \"p\": JWKS accepted, usable keys: 1"]);
    let counts = world.engines[0].take_counts(0);
    let counted: Vec<_> = counts.counters().map(|(series, _)| series.name("", "p")).collect();
    for name in ["fetch_errors.status", "fetches.document"] {
        assert!(counted.contains(&format!("jwks_gate.provider.p.{name}")), "{counted:?}");
    }
}

/// Each answer of a server that the validators are not from, whatever the server says, confirms nothing.
#[test]
fn a_304_of_another_uri_confirms_nothing() {
    let mut world = mirrored();
    world.respond(keys(&["a"], "\"1\""));
    world.asked();
    world.pass_until_fetch();
    world.respond(status(500));
    world.respond(status(304));
    world.respond(status(304));
    let asked = ["https://i/jwks \"1\" with headers", "https://m/jwks", "https://n/jwks"];
    assert_eq!((world.asked(), world.failures()), (asked.map(str::to_owned).to_vec(), 1));
    // Not even where the other worker's JWKS came from a mirror, under the same entity tag.
    let mut world = mirrored();
    world.respond(status(500));
    world.respond(keys(&["a"], "\"1\""));
    world.asked();
    world.pass_until_fetch();
    world.respond(status(304));
    assert_eq!(world.failures(), 0, "the fetch goes on");
    assert_eq!(world.asked(), [ISSUERS, "https://m/jwks \"1\""]);
    world.respond(status(304));
    assert_eq!(world.failures(), 0);
}

#[test]
fn requests_wait_for_a_mirror_while_the_issuer_hangs_and_no_longer_than_the_lease() {
    let mut world = mirrored();
    world.respond(keys(&["a"], ""));
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
    world.pass_waking(2 * SECOND);
    world.respond(status(504));
    world.pass_waking(2 * SECOND);
    world.respond(status(504));
    assert_eq!((world.statuses(), world.fetches.len()), (vec![], 1));
    world.pass_waking(3 * SECOND / 2);
    world.respond(keys(&["a", "b"], ""));
    assert_eq!(world.statuses(), [200; 2]);
    // A worker that is late has no time for another request: another worker may fetch by then.
    let mut world = mirrored();
    world.now = world.now.plus(6 * SECOND);
    world.respond(status(504));
    assert_eq!((world.failures(), world.fetches.len(), world.asked()), (1, 0, vec![ISSUERS.to_owned()]));
}

#[test]
fn a_fetch_that_is_abandoned_at_a_mirror_denies_nothing() {
    let mut world = mirrored();
    assert_eq!(world.request(0, "a"), None);
    world.respond(status(500));
    world.abandoned();
    assert_eq!((world.statuses(), world.fetches.len(), world.failures()), (vec![], 1, 0));
    assert_eq!(world.asked(), [ISSUERS, "https://m/jwks", ISSUERS]);
    world.respond(keys(&["a"], ""));
    assert_eq!(world.statuses(), [200]);
}

/// A mirror is trusted like the issuer, but for what the configuration revokes.
#[test]
fn a_mirror_does_not_bring_back_a_revoked_key() {
    let mut world = world_of(&json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": uri("i"), "mirrors": [uri("m")], "rotation": {"revoked_keys": ["a"]},
        }}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    }));
    world.wake();
    world.respond(status(500));
    world.respond(keys(&["a"], ""));
    assert_eq!((world.request(0, "a"), world.failures()), (Some(401), 0));
}

/// The worker that has read newer metadata decides where all workers fetch.
#[test]
fn workers_agree_on_the_uri_that_the_metadata_names() {
    let mut world = discovering();
    world.respond(metadata("i", "https://i/jwks"));
    world.respond(keys(&["a"], ""));
    world.now = world.now.plus(SECOND);
    assert_eq!(world.request(1, "b"), None);
    world.respond(metadata("i", "https://i/moved"));
    world.respond(keys(&["b"], ""));
    assert_eq!(world.statuses(), [200]);
    world.asked();
    world.now = world.now.plus(11 * SECOND);
    assert_eq!((world.request(0, "c"), world.asked()), (None, vec!["https://i/moved with headers".to_owned()]));
}

#[test]
fn discovery_reads_the_metadata_once_per_ttl() {
    let mut world = discovering();
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (None, None));
    world.respond(metadata("i", "https://i/jwks"));
    assert!(world.statuses().is_empty());
    world.respond(keys(&["a"], "\"1\""));
    assert_eq!(world.statuses(), [200; 2]);
    assert_eq!(world.asked(), [META, ISSUERS]);
    // A new key within the TTL: the same URI.
    assert_eq!(world.request(0, "b"), None);
    world.respond(keys(&["b"], "\"2\""));
    assert_eq!((world.statuses(), world.asked()), (vec![200], vec!["https://i/jwks \"1\" with headers".to_owned()]));
    // After the TTL: the URI has moved, and its validators mean nothing.
    world.pass_until_fetch();
    world.respond(metadata("i", "https://i/moved"));
    world.respond(keys(&["c"], "\"2\""));
    assert_eq!(world.asked(), [META, "https://i/moved with headers"]);
    assert_eq!((world.request(1, "c"), world.failures()), (Some(200), 0));
}

#[test]
fn metadata_that_fails_drops_no_keys_and_no_uri() {
    begin_log();
    for bad in [status(500), status(302), status(304), metadata("evil", "https://i/x"), metadata("i", "https://evil/x")]
    {
        let mut world = discovering();
        world.respond(metadata("i", "https://i/jwks"));
        world.respond(keys(&["a"], "\"1\""));
        world.asked();
        world.pass_until_fetch();
        take_log();
        world.respond(bad.clone());
        world.respond(status(304));
        assert_eq!(world.asked(), [META, "https://i/jwks \"1\" with headers"]);
        assert_eq!((world.request(0, "a"), world.failures()), (Some(200), 0));
        assert!(take_log()[0].contains("JWKS fetch of https://i/meta by cluster \"c\" failed: "));
        // Where there is no URI yet, the fetch fails, and nothing else is asked.
        let mut world = discovering();
        world.asked();
        world.respond(bad);
        assert_eq!((world.failures(), world.fetches.len(), world.asked()), (1, 0, vec![]));
    }
}

/// A worker that has never read the metadata goes where the other worker's JWKS came from, and nowhere else.
#[test]
fn metadata_that_fails_does_not_keep_another_worker_from_a_new_key() {
    for (location, asked) in
        [("https://i/jwks", &["https://i/jwks \"1\" with headers"][..]), ("https://evil/jwks", &[])]
    {
        let mut world = discovering();
        world.respond(metadata("i", "https://i/jwks"));
        world.respond(keys(&["a"], "\"1\""));
        world.asked();
        let mut record = Record::decode(&world.record).unwrap();
        record.document.as_mut().unwrap().location = location.to_owned();
        record.version += 1;
        world.record = record.encode();
        assert_eq!(world.request(1, "b"), None);
        assert_eq!((world.fetches[0].0, world.asked()), (1, vec![META.to_owned()]));
        world.respond(status(500));
        assert_eq!(world.asked(), asked);
        if !asked.is_empty() {
            world.respond(keys(&["b"], "\"2\""));
            assert_eq!(world.statuses(), [200]);
        }
    }
}

#[test]
fn a_uri_that_is_gone_is_looked_up_within_the_same_fetch() {
    for gone in [404, 410, 301, 403, 500] {
        let mut world = discovering();
        world.respond(metadata("i", "https://i/jwks"));
        world.respond(keys(&["a"], "\"1\""));
        world.asked();
        assert_eq!(world.request(0, "b"), None);
        world.respond(status(gone));
        world.respond(metadata("i", "https://i/moved"));
        world.respond(keys(&["b"], "\"1\""));
        let asked = ["https://i/jwks \"1\" with headers", META, "https://i/moved with headers"];
        assert_eq!((world.statuses(), world.asked()), (vec![200], asked.map(str::to_owned).to_vec()));
    }
    // Where the metadata still names the URI, or fails, that is a failure; the next fetch reads the metadata again.
    for second in [metadata("i", "https://i/jwks"), status(500)] {
        let mut world = discovering();
        world.respond(metadata("i", "https://i/jwks"));
        world.respond(keys(&["a"], ""));
        world.asked();
        assert_eq!(world.request(0, "b"), None);
        world.respond(status(404));
        world.respond(second);
        assert_eq!((world.failures(), world.statuses()), (1, vec![503]));
        assert_eq!(world.asked(), [ISSUERS, META]);
        world.pass_until_fetch();
        assert_eq!((world.asked(), world.request(0, "a")), (vec![META.to_owned()], Some(200)));
    }
}

/// The response to a metadata request is never taken for a JWKS, nor the other way round, even if the document is both.
#[test]
fn a_document_counts_for_what_was_asked() {
    let mut both: serde_json::Value = serde_json::from_slice(&jwks(&["evil"])).unwrap();
    (both["issuer"], both["jwks_uri"]) = (json!("i"), json!("https://i/jwks"));
    let both = response(200, &[], both.to_string().into_bytes());
    let mut world = discovering();
    world.respond(both);
    assert_eq!((world.request(0, "evil"), world.fetches.len()), (None, 1));
    world.respond(metadata("i", "https://i/other"));
    assert_eq!((world.failures(), world.statuses()), (1, vec![]));
}

#[test]
fn a_fetch_that_is_abandoned_between_metadata_and_jwks_denies_nothing() {
    let mut world = discovering();
    assert_eq!((world.request(0, "a"), world.request(1, "a")), (None, None));
    world.respond(metadata("i", "https://i/jwks"));
    world.abandoned();
    assert_eq!((world.statuses(), world.fetches.len(), world.failures()), (vec![], 1, 0));
    world.requests.pop();
    // The late response changes nothing.
    while world.fetches.first().is_some_and(|(worker, _)| *worker == 1) {
        world.respond(metadata("i", "https://i/jwks"));
        world.respond(keys(&["a"], ""));
    }
    if !world.fetches.is_empty() {
        world.respond(keys(&["a"], ""));
    }
    assert_eq!(world.statuses(), [200; 2]);
}

/// Both round trips may take their timeouts, and mirrors come after that.
#[test]
fn both_round_trips_fit_in_one_wait_and_one_lease() {
    let discovery = json!({"uri": "https://i/meta", "cluster": "c", "timeout": "2s", "ttl": "1s"});
    let mut world = world_from(json!({"discovery": discovery, "mirrors": [uri("m")]}));
    world.respond(metadata("i", "https://i/jwks"));
    world.respond(keys(&["a"], ""));
    world.pass(11 * SECOND);
    world.asked();
    assert_eq!((world.request(0, "b"), world.request(1, "b")), (None, None));
    for response in [metadata("i", "https://i/jwks"), status(504)] {
        world.pass_waking(2 * SECOND);
        assert_eq!((world.statuses(), world.fetches.len()), (vec![], 1));
        world.respond(response);
    }
    world.pass_waking(2 * SECOND);
    world.respond(keys(&["b"], ""));
    assert_eq!(
        (world.statuses(), world.asked()),
        (vec![200; 2], [META, ISSUERS, "https://m/jwks"].map(str::to_owned).to_vec())
    );
}

/// No log line, and no debug form of the engine or of an action, shows the value of a header.
#[test]
fn the_value_of_a_header_is_nowhere() {
    begin_log();
    let mut world = mirrored();
    let request = format!("{:?} {:?}", world.requests, Action::Fetch(ISSUER, 1, world.requests[0].clone()));
    assert!(world.requests[0].headers().contains(&("x-key", "T0pSecret")));
    world.respond(status(401));
    world.respond(status(401));
    world.respond(status(401));
    let all = format!("{request} {:?} {:?} {:?}", world.engines, take_log(), String::from_utf8_lossy(&world.record));
    assert!(!all.contains("T0pSecret") && all.contains("x-key") && all.contains("answered 401"));
}
