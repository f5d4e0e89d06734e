//! Requests that are to be decided, client by client: a client with many requests delays another client by one request at a
//! time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use crate::ids::{ClientId, StreamId};

/// The requests, each once.
#[derive(Debug, Default)]
pub(super) struct Turns {
    requests: BTreeMap<ClientId, BTreeSet<StreamId>>,
    clients: BTreeMap<StreamId, ClientId>,
    /// The client that had the latest turn.
    last: Option<ClientId>,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(super) fn insert(&mut self, stream: StreamId, client: ClientId) {
        self.remove(stream);
        self.clients.insert(stream, client);
        self.requests.entry(client).or_default().insert(stream);
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        let Some(client) = self.clients.remove(&stream) else { return };
        if let Some(requests) = self.requests.get_mut(&client) {
            requests.remove(&stream);
            if requests.is_empty() {
                self.requests.remove(&client);
            }
        }
    }

    /// Takes the oldest request of the client whose turn it is.
    pub(super) fn next(&mut self) -> Option<StreamId> {
        let later = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.requests.range((later, Bound::Unbounded)).next().or_else(|| self.requests.first_key_value());
        let (client, stream) = next.and_then(|(client, requests)| Some((*client, *requests.first()?)))?;
        self.remove(stream);
        self.last = Some(client);
        Some(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_and_each_request_comes_once() {
        let mut turns = Turns::default();
        let [flood, good] = [5, 2].map(ClientId);
        (1..=9).for_each(|id| turns.insert(StreamId(id), flood));
        (20..=21).for_each(|id| turns.insert(StreamId(id), good));
        turns.insert(StreamId(3), flood);
        turns.remove(StreamId(2));
        turns.remove(StreamId(40));
        let order: Vec<u32> = std::iter::from_fn(|| turns.next()).map(|stream| stream.0).collect();
        assert_eq!(order, [20, 1, 21, 3, 4, 5, 6, 7, 8, 9]);
        assert!(turns.is_empty() && turns.requests.is_empty());
        turns.insert(StreamId(1), flood);
        turns.insert(StreamId(2), good);
        assert_eq!(turns.next(), Some(StreamId(2)), "the flood had the latest turn");
    }
}
