//! Which worker tells of which keys.

use serde_json::json;

use super::world::{jwks, world, world_of, World};

impl World {
    fn told(&mut self, worker: usize) -> Vec<String> {
        let changes = self.engines[worker].key_log.take();
        let lines = changes.into_iter().map(|(provider, change)| format!("{} {change}", provider.index()));
        lines.map(|line| line.split("; its thumbprint is ").next().unwrap().to_owned()).collect()
    }

    /// The issuer publishes these keys, and the first worker fetches them.
    fn publish(&mut self, kids: &[&str]) {
        self.pass_until_fetch();
        self.fetched(Ok(jwks(kids)));
    }
}

const APPEARED: &str = r#"0 key "b" appeared in the JWKS"#;
const LEFT: &str = r#"0 key "a" left the JWKS; it verifies nothing any more"#;

#[test]
fn each_worker_knows_each_change_whoever_made_the_fetch() {
    let mut world = world().started(&["a"]);
    for worker in [0, 1] {
        assert_eq!(world.told(worker), [r#"0 key "a" appeared in the JWKS"#]);
        assert!(world.told(worker).is_empty());
    }
    world.publish(&["b"]);
    for worker in [0, 1] {
        assert_eq!(world.told(worker), [APPEARED, LEFT]);
        assert!(world.told(worker).is_empty());
    }
}

#[test]
fn a_key_that_nobody_fetched_is_told() {
    let (mut world, mut intruder) = (world().started(&["a"]), world().started(&["a"]));
    assert_eq!(world.told(1).len(), 1);
    intruder.publish(&["b"]);
    world.record = intruder.record;
    world.now = intruder.now;
    world.wake();
    assert_eq!(world.told(1), [APPEARED, LEFT]);
}

#[test]
fn what_others_have_told_is_not_told_again() {
    let mut world = world().started(&["a"]);
    world.engines[1].leave_key_changes_to_others();
    assert!(world.told(1).is_empty());
    world.publish(&["b"]);
    assert_eq!(world.told(1), [APPEARED, LEFT]);
}

#[test]
fn of_keys_that_were_fetched_before_its_configuration_only_the_revoked_ones_are_told() {
    for (revoked, expected) in
        [("c", [].as_slice()), ("a", &[r#"0 key "a" is revoked; it verifies nothing, whoever publishes it"#])]
    {
        let mut world = world_of(&json!({"providers": {"p": {"issuer": "i", "remote_jwks": {
            "http_uri": {"uri": "http://i/jwks", "cluster": "c", "timeout": "2s"},
            "rotation": {"revoked_keys": [revoked]},
        }}}}));
        let later = world.now.as_millis() + 1;
        world.engines.iter_mut().for_each(|engine| engine.begin_key_log_at(later));
        world = world.started(&["a"]);
        assert_eq!(world.told(1), expected);
    }
}
