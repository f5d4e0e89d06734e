//! What `revoked_keys` of newer configurations change, and that the end of such a configuration takes it back.

use super::world::{world, ISSUER};

#[test]
fn a_key_that_a_newer_configuration_revoked_verifies_again_when_that_configuration_is_gone() {
    let mut world = world().started(&["a"]);
    let statuses = |world: &mut super::world::World| [0, 1].map(|worker| world.request(worker, "a"));
    assert_eq!(statuses(&mut world), [Some(200); 2]);
    for _ in 0..2 {
        for engine in &mut world.engines {
            engine.on_revoked_elsewhere(ISSUER, ["a".to_owned()].into());
        }
        assert_eq!(statuses(&mut world), [Some(401); 2]);
        world.engines.iter_mut().for_each(|engine| engine.on_revoked_elsewhere(ISSUER, Default::default()));
        assert_eq!(statuses(&mut world), [Some(200); 2]);
    }
    assert!(world.fetches.is_empty());
}

#[test]
fn keys_that_come_later_are_revoked_too() {
    let mut world = world();
    for engine in &mut world.engines {
        engine.on_revoked_elsewhere(ISSUER, ["a".to_owned()].into());
    }
    world = world.started(&["a"]);
    assert_eq!([0, 1].map(|worker| world.request(worker, "a")), [Some(401); 2]);
}
