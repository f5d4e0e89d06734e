//! A pool of RSA keys, so that a rotation does not wait for key generation.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use aws_lc_rs::rsa::{KeyPair, KeySize};

const WANTED: usize = 3;

struct Pool {
    keys: Vec<KeyPair>,
    filling: bool,
}

/// One pool for all RSA algorithms: RS and PS use the same keys.
static POOL: Mutex<Pool> = Mutex::new(Pool { keys: Vec::new(), filling: false });

/// A key of 2048 bits, from the pool if it has one.
pub(crate) fn take() -> KeyPair {
    let spare = pool().keys.pop();
    spare.unwrap_or_else(generate)
}

/// Fills the pool in the background; returns at once.
pub(crate) fn fill() {
    {
        let mut pool = pool();
        if pool.filling || pool.keys.len() >= WANTED {
            return;
        }
        pool.filling = true;
    }
    thread::spawn(|| loop {
        let key = generate();
        let mut pool = pool();
        pool.keys.push(key);
        if pool.keys.len() >= WANTED {
            pool.filling = false;
            return;
        }
    });
}

fn generate() -> KeyPair {
    KeyPair::generate(KeySize::Rsa2048).expect("the library generates RSA keys")
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
