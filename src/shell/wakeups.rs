//! How workers wake each other: one shared queue per worker.

use super::abi;
use crate::shared::message::Message;

/// The most messages that are read in one callback. The host calls once for each message.
const MAX_MESSAGES: usize = 1_024;

/// Registers a queue. `None`: the host has no queues, and the worker runs on its ticks.
pub(super) fn register(name: &str) -> Option<u32> {
    abi::register_queue(name).ok()
}

/// Wakes the root context of the worker that registered the queue.
pub(super) fn wake(queue: u32, message: Message) {
    let _ = abi::enqueue(queue, message.encode());
}

/// Takes the messages out of a queue. A message of another plugin that makes no sense is dropped.
pub(super) fn drain(queue: u32) -> Vec<Message> {
    let messages = std::iter::from_fn(|| abi::dequeue(queue).ok().flatten());
    let mut known: Vec<Message> = messages.take(MAX_MESSAGES).filter_map(|bytes| Message::decode(&bytes)).collect();
    known.dedup();
    known
}
