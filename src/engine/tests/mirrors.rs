//! What a mirror may not do.

use super::{
    fetch_sources::{keys, mirrored, mirrored_by, response, status, uri},
    *,
};

/// A mirror may lag behind, and says so with no header: the issuer is asked again soon.
#[test]
fn a_mirrors_jwks_is_not_fresh_for_long() {
    let mut world = mirrored();
    world.respond(status(503));
    world.respond(response(200, &[("cache-control", "max-age=86400")], jwks(&["a"])));
    let before = world.now;
    world.pass_until_fetch();
    assert!(world.now.since(before) <= 31 * SECOND, "{:?}", world.now.since(before));
    world.asked();
    // Unless the issuer wants a pause.
    world.respond(response(503, &[("retry-after", "120")], Vec::new()));
    world.respond(response(200, &[("cache-control", "max-age=5")], jwks(&["a"])));
    let before = world.now;
    world.pass_until_fetch();
    let pause = world.now.since(before);
    assert!((90 * SECOND..=121 * SECOND).contains(&pause), "{pause:?}");
}

/// A fetch is late: there is time left for the mirror with the short timeout only.
#[test]
fn a_mirror_for_which_no_time_is_left_is_passed_over() {
    let patient = json!({"uri": "https://n/jwks", "cluster": "n", "timeout": "1s"});
    let mut world = mirrored_by(&[uri("m"), patient]);
    // Five seconds for the requests and one for the callback.
    world.now = world.now.plus(4 * SECOND + SECOND / 2);
    world.respond(status(503));
    world.respond(keys(&["a"], ""));
    assert_eq!(world.asked(), ["https://i/jwks with headers", "https://n/jwks"]);
    assert_eq!((world.request(0, "a"), world.failures()), (Some(200), 0));
}

#[test]
fn a_mirror_cannot_revoke_all_keys() {
    let mut world = world_of(&json!({
        "providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": uri("i"), "mirrors": [uri("m")], "rotation": {"empty_set": "revoke"},
        }}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    }));
    world.wake();
    world.respond(keys(&["a"], ""));
    world.pass_until_fetch();
    world.respond(status(503));
    world.respond(response(200, &[], br#"{"keys":[]}"#.to_vec()));
    assert_eq!((world.request(0, "a"), world.failures()), (Some(200), 1));
}
