//! What a hostile plugin writes into shared data: a record of the right form. The end-to-end tests and the soak share this file.

use std::time::Duration;

use jwks_gate::{
    config,
    keys::document,
    rotation::{
        transition::{Cause, Event, FetchedJwks, Outcome},
        update::Update,
    },
    time::UnixTime,
};
use jwks_gate_issuer::SigningKey;
use serde_json::{json, Value};

/// A record as a worker writes it, whose only key is the intruder's.
pub fn forged_record(config: &Value, key: &SigningKey) -> Vec<u8> {
    let policy = config::parse(config.to_string().as_bytes()).unwrap().remotes().next().unwrap().1.rotation;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    // Newer than what the workers write meanwhile.
    let now = UnixTime::from_millis(u64::try_from(now).unwrap()).plus(Duration::from_secs(3600));
    let leased = Update::new(Event::Refresh(Cause::Schedule), policy).apply(None, now);
    let body: std::rc::Rc<[u8]> = json!({"keys": [key.public_jwk()]}).to_string().into_bytes().into();
    let document = document::parse(&body, policy.limits).unwrap();
    let (freshness, validators, source, location) = Default::default();
    let jwks = FetchedJwks { body, document, freshness, validators, source, location };
    let outcome = Outcome::Jwks(Box::new(jwks));
    let fetched = Update::new(Event::FetchEnded { fetch: leased.record.started, outcome, jitter: 0 }, policy);
    fetched.apply(leased.bytes.as_deref(), now).bytes.unwrap()
}
