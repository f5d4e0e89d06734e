//! Shared data and queues: the records that all workers share, and how they wake each other.
//!
//! Keys in shared data, all under a name that holds the plugin and what it fetches (any plugin may share the namespace):
//! * `<provider>.record`: the [`Record`], changed by compare-and-swap only;
//! * `<provider>.version`: its version, eight bytes that a request can afford to read;
//! * `<provider>.parked`: how many requests wait in each worker, as [`Shares`];
//! * `<plugin>.queues`: the wake-up queues of the workers;
//! * `<provider>.speaks`: the [`Claim`] of the configuration that sets its gauges.

use proxy_wasm::{hostcalls, types::Status};
use sha2::{Digest, Sha256};

use crate::{
    policy::provider::Remote,
    rotation::{
        record::Record,
        schedule::RotationPolicy,
        transition::{self, Effect, Event},
    },
    shared::{
        gauge_owner::{Claim, Standing},
        worker_totals::Shares,
    },
    time::UnixTime,
};

/// More writers than this in a row between our read and our write do not happen; if they do, the next tick tries again.
const MAX_TRIES: usize = 32;
/// Creates a key that is absent, and only then: no value ever has this mark.
const CREATE: u32 = u32::MAX;
/// Wake-up queues that are remembered; the oldest are forgotten first, and their workers fall back to their ticks.
const MAX_QUEUES: usize = 512;

/// The shared keys of one provider.
#[derive(Debug)]
pub(super) struct Cell {
    record: String,
    version: String,
    parked: String,
}

/// A name that no other plugin, and no other issuer of this one, has.
fn name(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hex: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("jwks-gate.{hex}")
}

impl Cell {
    /// The cell for what `remote` fetches, on behalf of this plugin.
    pub(super) fn new(plugin: &[u8], provider: &str, issuer: &str, remote: &Remote) -> Self {
        let Remote { cluster, scheme, authority, path, terms, .. } = remote;
        // What one configuration takes, another with other limits may not be able to read.
        let limits = [terms.limits.max_document_bytes, terms.limits.max_keys].map(|limit| (limit as u64).to_le_bytes());
        let name = name(&[
            plugin,
            issuer.as_bytes(),
            cluster.as_bytes(),
            scheme.as_bytes(),
            authority.as_bytes(),
            path.as_bytes(),
            limits.as_flattened(),
        ]);
        Self {
            record: format!("{name}.record"),
            version: format!("{name}.version"),
            parked: format!("{}.parked", self::name(&[plugin, provider.as_bytes()])),
        }
    }

    /// The version that was last announced; 0 if none was.
    pub(super) fn version(&self) -> u64 {
        read_version(&self.version).0
    }

    /// The record's bytes; empty if there is none.
    pub(super) fn read(&self) -> Vec<u8> {
        hostcalls::get_shared_data(&self.record).ok().and_then(|(value, _)| value).unwrap_or_default()
    }

    /// Runs one transition under compare-and-swap: the record as it is then, and the effect. `None`: the host would not.
    pub(super) fn change(
        &self,
        event: &Event,
        terms: &RotationPolicy,
        now: impl Fn() -> UnixTime,
    ) -> Option<(Record, Effect)> {
        for _ in 0..MAX_TRIES {
            let (value, cas) = hostcalls::get_shared_data(&self.record).ok()?;
            let record = value.as_deref().and_then(Record::decode).unwrap_or_default();
            let (next, effect) = transition::step(&record, event.clone(), terms, now());
            let Some(next) = next else {
                return Some((record, effect));
            };
            match hostcalls::set_shared_data(&self.record, Some(&next.encode()), Some(cas.unwrap_or(CREATE))) {
                Ok(()) => {
                    self.announce(next.version);
                    return Some((next, effect));
                }
                Err(Status::CasMismatch) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Writes down how many requests wait in this worker, and adds up all workers'.
    pub(super) fn share_parked(&self, worker: u64, waiting: u32, now: UnixTime) -> u64 {
        for _ in 0..MAX_TRIES {
            let Ok((value, cas)) = hostcalls::get_shared_data(&self.parked) else { break };
            let shares = Shares::decode(&value.unwrap_or_default());
            let Some(changed) = shares.with(worker, waiting, now) else { return shares.sum(now) };
            match hostcalls::set_shared_data(&self.parked, Some(&changed.encode()), Some(cas.unwrap_or(CREATE))) {
                Err(Status::CasMismatch) => {}
                Ok(()) | Err(_) => return changed.sum(now),
            }
        }
        waiting.into()
    }

    /// Publishes a version, unless a newer one is already there.
    fn announce(&self, version: u64) {
        for _ in 0..MAX_TRIES {
            let (announced, cas) = read_version(&self.version);
            // A record that was lost and begun again counts from the start.
            let restarted = announced > version && self.read_record_version() == version;
            if announced == version || (announced > version && !restarted) {
                return;
            }
            match hostcalls::set_shared_data(&self.version, Some(&version.to_le_bytes()), Some(cas.unwrap_or(CREATE))) {
                Err(Status::CasMismatch) => {}
                Ok(()) | Err(_) => return,
            }
        }
    }

    fn read_record_version(&self) -> u64 {
        Record::decode(&self.read()).map_or(0, |record| record.version)
    }
}

fn read_version(key: &str) -> (u64, Option<u32>) {
    let Ok((value, cas)) = hostcalls::get_shared_data(key) else { return (0, None) };
    let version = value.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map_or(0, u64::from_le_bytes);
    (version, cas)
}

/// The claim of one configuration to speak for a provider.
#[derive(Debug)]
pub(super) struct Voice {
    key: String,
    configuration: u64,
}

/// By what [`Voice`] tells configurations apart.
pub(super) fn digest(configuration: &[u8]) -> u64 {
    Sha256::digest(configuration).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// This configuration speaks, from now on.
    Begins,
    /// It speaks as before.
    Speaks,
    /// Another one does.
    IsSilent,
}

impl Voice {
    /// That of this configuration. Two that have no gauges in common speak both: a plugin may stand in several listeners.
    pub(super) fn new(plugin: &[u8], stat_prefix: &str, provider: &str, configuration: u64) -> Self {
        let name = name(&[plugin, stat_prefix.as_bytes(), provider.as_bytes()]);
        Self { key: format!("{name}.speaks"), configuration }
    }

    /// A worker ends. Whether it was the last to speak: then nobody does, until another claims it.
    pub(super) fn resign(&self, worker: u64, now: UnixTime) -> bool {
        for _ in 0..MAX_TRIES {
            let Ok((value, cas)) = hostcalls::get_shared_data(&self.key) else { break };
            let found = value.as_deref().and_then(Claim::decode);
            let Some(claim) = found.and_then(|found| found.resigned(self.configuration, worker, now)) else { break };
            match hostcalls::set_shared_data(&self.key, Some(&claim.encode()), Some(cas.unwrap_or(CREATE))) {
                Err(Status::CasMismatch) => {}
                Ok(()) => return true,
                Err(_) => break,
            }
        }
        false
    }

    /// Whether it speaks now.
    pub(super) fn turn(&self, worker: u64, now: UnixTime) -> Turn {
        for _ in 0..MAX_TRIES {
            let Ok((value, cas)) = hostcalls::get_shared_data(&self.key) else { break };
            let found = value.as_deref().and_then(Claim::decode);
            let claim = match Claim::standing(found, self.configuration, worker, now) {
                Standing::Speaks => return Turn::Speaks,
                Standing::IsSilent => return Turn::IsSilent,
                Standing::Writes(claim) => claim,
            };
            match hostcalls::set_shared_data(&self.key, Some(&claim.encode()), Some(cas.unwrap_or(CREATE))) {
                Err(Status::CasMismatch) => {}
                Ok(()) if found.is_some_and(|found| found.configuration == self.configuration) => return Turn::Speaks,
                Ok(()) => return Turn::Begins,
                Err(_) => break,
            }
        }
        Turn::Speaks
    }
}

/// This worker's wake-up queue and the list of everyone's.
#[derive(Debug)]
pub(super) struct Queues {
    list: String,
    own: Option<u32>,
    /// No other worker's, nor another configuration's.
    worker: u64,
}

impl Queues {
    /// Registers a queue of our own, under a name that nobody had before, and lists it.
    pub(super) fn register(plugin: &[u8]) -> Self {
        let name = name(&[plugin]);
        let list = format!("{name}.queues");
        let number = next_number(&format!("{name}.workers"));
        let own = number.and_then(|number| hostcalls::register_shared_queue(&format!("{name}.wake.{number}")).ok());
        let queues = Self { list, own, worker: number.unwrap_or_default() };
        if let Some(own) = own {
            queues.update(|tokens| {
                tokens.push(own);
                let excess = tokens.len().saturating_sub(MAX_QUEUES);
                tokens.drain(..excess);
            });
        }
        queues
    }

    /// This worker's number.
    pub(super) fn worker(&self) -> u64 {
        self.worker
    }

    /// Wakes this worker's root context soon after this callback. `false`: only a tick will.
    pub(super) fn wake_self(&self) -> bool {
        self.own.is_some_and(|own| wake(own).is_ok())
    }

    /// Wakes every worker's root context.
    pub(super) fn wake_all(&self) {
        let (tokens, _) = self.read();
        for token in tokens {
            let _ = wake(token);
        }
    }

    /// Empties this worker's queue: its messages mean nothing but "look again".
    pub(super) fn drain(&self) {
        if let Some(own) = self.own {
            drain(own);
        }
    }

    /// Leaves the list when the configuration goes.
    pub(super) fn unregister(&self) {
        if let Some(own) = self.own {
            self.update(|tokens| tokens.retain(|token| *token != own));
            drain(own);
        }
    }

    fn read(&self) -> (Vec<u32>, Option<u32>) {
        let Ok((value, cas)) = hostcalls::get_shared_data(&self.list) else { return (Vec::new(), None) };
        let tokens = value.unwrap_or_default();
        let tokens = tokens.chunks_exact(4).filter_map(|chunk| Some(u32::from_le_bytes(chunk.try_into().ok()?)));
        (tokens.take(MAX_QUEUES).collect(), cas)
    }

    fn update(&self, change: impl Fn(&mut Vec<u32>)) {
        for _ in 0..MAX_TRIES {
            let (mut tokens, cas) = self.read();
            change(&mut tokens);
            let bytes: Vec<u8> = tokens.into_iter().flat_map(u32::to_le_bytes).collect();
            match hostcalls::set_shared_data(&self.list, Some(&bytes), Some(cas.unwrap_or(CREATE))) {
                Err(Status::CasMismatch) => {}
                Ok(()) | Err(_) => return,
            }
        }
    }
}

/// Nobody may be left to read a queue: it is emptied before each message, so that it never holds more than one per writer.
fn wake(token: u32) -> Result<(), Status> {
    drain(token);
    hostcalls::enqueue_shared_queue(token, Some(b"w"))
}

fn drain(token: u32) {
    while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(token) {}
}

/// A number that no other caller gets.
fn next_number(key: &str) -> Option<u64> {
    for _ in 0..MAX_TRIES {
        let (last, cas) = read_version(key);
        let next = last.saturating_add(1);
        match hostcalls::set_shared_data(key, Some(&next.to_le_bytes()), Some(cas.unwrap_or(CREATE))) {
            Ok(()) => return Some(next),
            Err(Status::CasMismatch) => {}
            Err(_) => return None,
        }
    }
    None
}
