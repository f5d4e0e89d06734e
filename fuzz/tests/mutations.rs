//! Runs each target over its seeds and a fixed number of their mutations. Needs stable cargo only.
//!
//! `MUTATIONS=20 cargo test --manifest-path fuzz/Cargo.toml` makes twenty times as many; `SEED` chooses others.

use std::{env, fs, path::Path};

use jwks_gate_fuzz::{mutation, Target, TARGETS};

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Names the input if a target panics.
struct Running<'a>(&'a Target, &'a [u8]);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(target, input) = self;
            let path = env::temp_dir().join(format!("jwks-gate-fuzz-{}", target.name));
            let kept = fs::write(&path, *input);
            eprintln!(
                "target {}: {kept:?}, the input is in {}: {:?}",
                target.name,
                path.display(),
                input.escape_ascii().to_string()
            );
        }
    }
}

fn run(target: &Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{}: no seeds", target.name);
    let mut rng = fastrand::Rng::with_seed(variable("SEED").unwrap_or(1));
    let count = u64::from(target.mutations) * variable("MUTATIONS").unwrap_or(1);
    let mutations = (0..count).map(|_| mutation::mutate(&seeds, &mut rng));
    for input in seeds.iter().cloned().chain(mutations) {
        let running = Running(target, &input);
        (target.run)(&input);
        drop(running);
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(TARGETS.iter().find(|target| target.name == stringify!($name)).expect("a target"));
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

tests! { cache_headers claim_rules claims config config_struct discovery engine jwk jwks jws record request routes rsa shared token }

/// Each target has a test here, a program, and an entry in the manifest.
#[test]
fn no_target_is_left_out() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, NAMES);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    for name in names {
        assert!(root.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has no program");
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{name} is not in the manifest");
    }
}
