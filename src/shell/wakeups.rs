//! How workers wake each other: one shared queue per worker, all listed under `<plugin>.queues`.

use std::rc::Rc;

use proxy_wasm::{hostcalls, types::Status};

use super::shared_data::{self, SharedData, Swap};

/// The longest list of queues. The oldest queues leave the list first, and their workers fall back to their ticks.
const MAX_QUEUES: usize = 512;

/// This worker's queue and the list of all workers' queues.
#[derive(Debug)]
pub(super) struct Wakeups {
    data: Rc<SharedData>,
    list: String,
    queue: Option<u32>,
    worker: u64,
}

impl Wakeups {
    /// Registers a queue under a name that nobody had before, and lists the queue.
    pub(super) fn register(data: Rc<SharedData>, plugin: &[u8]) -> Self {
        let name = shared_data::name(&[plugin]);
        let list = format!("{name}.queues");
        let worker = next_number(&data, &format!("{name}.workers"));
        let queue = worker.and_then(|number| hostcalls::register_shared_queue(&format!("{name}.wake.{number}")).ok());
        let wakeups = Self { data, list, queue, worker: worker.unwrap_or_default() };
        if let Some(queue) = queue {
            wakeups.update(|queues| {
                queues.push(queue);
                let excess = queues.len().saturating_sub(MAX_QUEUES);
                queues.drain(..excess);
            });
        }
        wakeups
    }

    /// This worker's number. No other worker and no other configuration has the same; later ones have higher numbers.
    pub(super) fn worker(&self) -> u64 {
        self.worker
    }

    /// Wakes this worker's root context soon after the running callback.
    pub(super) fn wake_self(&self) {
        if let Some(queue) = self.queue {
            let _ = wake(queue);
        }
    }

    /// Wakes the root contexts of all workers.
    pub(super) fn wake_all(&self) {
        for queue in decode(self.data.read(&self.list).as_deref()) {
            let _ = wake(queue);
        }
    }

    /// Empties this worker's queue. A message says nothing but "look again".
    pub(super) fn drain(&self) {
        if let Some(queue) = self.queue {
            drain(queue);
        }
    }

    /// Takes this worker's queue off the list.
    pub(super) fn unregister(&self) {
        if let Some(queue) = self.queue {
            self.update(|queues| queues.retain(|known| *known != queue));
            drain(queue);
        }
    }

    fn update(&self, change: impl Fn(&mut Vec<u32>)) {
        let _ = self.data.swap(&self.list, |bytes| {
            let mut queues = decode(bytes);
            change(&mut queues);
            (Some(queues.into_iter().flat_map(u32::to_le_bytes).collect()), ())
        });
    }
}

fn decode(bytes: Option<&[u8]>) -> Vec<u32> {
    let queues = bytes.unwrap_or_default().chunks_exact(4);
    let queues = queues.filter_map(|chunk| Some(u32::from_le_bytes(chunk.try_into().ok()?)));
    queues.take(MAX_QUEUES).collect()
}

/// A queue may have no reader left. It is emptied before each message, so that it never holds more than one message per
/// writer.
fn wake(queue: u32) -> Result<(), Status> {
    drain(queue);
    hostcalls::enqueue_shared_queue(queue, Some(b"w"))
}

fn drain(queue: u32) {
    while let Ok(Some(_)) = hostcalls::dequeue_shared_queue(queue) {}
}

/// A number that no other caller gets.
fn next_number(data: &SharedData, key: &str) -> Option<u64> {
    let swapped = data.swap(key, |bytes| {
        let next = shared_data::number(bytes).saturating_add(1);
        (Some(next.to_le_bytes().to_vec()), next)
    });
    match swapped {
        Swap::Written(number) => Some(number),
        Swap::Unchanged(_) | Swap::Failed => None,
    }
}
