//! The room for waiting requests: how much each request takes, and who gives way when there is no room.

use std::collections::{BTreeMap, BTreeSet};

use super::shares::Shares;
use crate::ids::{ClientId, ProviderId, StreamId};

/// The most memory that waiting requests take, in bytes. A VM that runs out of memory traps, and answers nobody.
const MAX_BYTES: u64 = 256 << 20;

/// A client that takes more than one part in so many of the room can give way to clients of any provider.
const MODEST_PART: u64 = 8;

/// Whose room a request takes: a client's share of a provider's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) provider: ProviderId,
    pub(super) client: ClientId,
}

impl Group {
    fn numbers(self) -> (u64, u64) {
        (self.provider.into(), self.client.0)
    }
}

/// The room. A request takes the bytes that it holds, and one place at least, so that one measure bounds the number of requests
/// and their memory. No call costs work in proportion to the number of requests.
#[derive(Debug)]
pub(super) struct Room {
    size: u64,
    /// The least that a request takes.
    place: u64,
    taken: u64,
    providers: Shares,
    clients: Shares,
    /// The clients' shares of each provider's share.
    clients_of: BTreeMap<u64, Shares>,
    /// The providers' shares of each client's share.
    providers_of: BTreeMap<u64, Shares>,
    streams: BTreeSet<(Group, StreamId)>,
}

/// Who gives way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Party {
    Provider(ProviderId),
    Group(Group),
    Client(ClientId),
}

impl Room {
    /// A room for this number of requests, if they are not large.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity as u64;
        let place = MAX_BYTES.checked_div(capacity).unwrap_or(MAX_BYTES).max(1);
        let (providers, clients, clients_of, providers_of, streams) = Default::default();
        let size = place.saturating_mul(capacity);
        Self { size, place, taken: 0, providers, clients, clients_of, providers_of, streams }
    }

    /// How much a request of so many bytes takes.
    pub(super) fn size_of(&self, bytes: usize) -> u64 {
        self.place.max(bytes as u64)
    }

    /// Whether there is room for so much.
    pub(super) fn has(&self, size: u64) -> bool {
        self.taken.saturating_add(size) <= self.size
    }

    /// Whether this provider takes more than half of the room.
    pub(super) fn is_crowded_by(&self, provider: ProviderId) -> bool {
        self.providers.of(provider.into()) > self.size / 2
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let are_shares_empty = self.providers.is_empty() && self.clients.is_empty();
        let are_maps_empty = self.clients_of.is_empty() && self.providers_of.is_empty();
        are_shares_empty && are_maps_empty && self.taken == 0 && self.streams.is_empty()
    }

    pub(super) fn enter(&mut self, group: Group, stream: StreamId, size: u64) {
        let (provider, client) = group.numbers();
        self.taken = self.taken.saturating_add(size);
        self.providers.add(provider, size);
        self.clients.add(client, size);
        self.clients_of.entry(provider).or_default().add(client, size);
        self.providers_of.entry(client).or_default().add(provider, size);
        self.streams.insert((group, stream));
    }

    pub(super) fn leave(&mut self, group: Group, stream: StreamId, size: u64) {
        let (provider, client) = group.numbers();
        if !self.streams.remove(&(group, stream)) {
            return;
        }
        self.taken = self.taken.saturating_sub(size);
        self.providers.remove(provider, size);
        self.clients.remove(client, size);
        remove(&mut self.clients_of, provider, client, size);
        remove(&mut self.providers_of, client, provider, size);
    }

    /// Who gives way to a new request of this group and size. `None`: the new request, since the room is fair without it.
    ///
    /// 1. The provider that takes most gives way to a provider that takes less.
    /// 2. Otherwise, within the provider of the request, the client that takes most gives way to a client that takes less.
    /// 3. Otherwise, the new request gives way.
    ///
    /// But where a client takes more in all than the client that would give way, and more than that client's provider or an eighth
    /// of the room, the client that takes most in all gives way instead: whichever providers a client asks, it does not crowd
    /// out the clients of others.
    ///
    /// Each comparison counts the new request. So whoever gives way takes more than the new request needs.
    pub(super) fn who_gives_way(&self, group: Group, size: u64) -> Option<Party> {
        let party = self.who_takes_more(group, size);
        let loser = party.and_then(|party| self.first_to_go(party)).map_or(group, |(loser, _)| loser);
        let (provider, client) = loser.numbers();
        let (largest, most) = self.clients.largest()?;
        let takes_more = |than: u64| most > than.saturating_add(size);
        let modest = self.size.checked_div(MODEST_PART).unwrap_or_default();
        if takes_more(self.providers.of(provider).min(modest)) && takes_more(self.clients.of(client)) {
            Some(Party::Client(ClientId(largest)))
        } else {
            party
        }
    }

    /// The provider that takes more than the provider of the request, or else the client that takes more than its client there.
    fn who_takes_more(&self, group: Group, size: u64) -> Option<Party> {
        let (provider, client) = group.numbers();
        let takes_more = |most: u64, own: u64| most > own.saturating_add(size);
        let (largest, most) = self.providers.largest()?;
        if takes_more(most, self.providers.of(provider)) {
            return Some(Party::Provider(largest.into()));
        }
        let clients = self.clients_of.get(&provider)?;
        let (largest, most) = clients.largest()?;
        let party = Party::Group(Group { client: ClientId(largest), ..group });
        takes_more(most, clients.of(client)).then_some(party)
    }

    /// The request with which a party gives way: the newest of its largest share.
    pub(super) fn first_to_go(&self, party: Party) -> Option<(Group, StreamId)> {
        let group = match party {
            Party::Group(group) => group,
            Party::Provider(provider) => {
                Group { provider, client: ClientId(self.clients_of.get(&provider.into())?.largest()?.0) }
            }
            Party::Client(client) => Group { provider: self.providers_of.get(&client.0)?.largest()?.0.into(), client },
        };
        let all = (group, StreamId(0))..=(group, StreamId(u32::MAX));
        self.streams.range(all).next_back().copied()
    }
}

fn remove(shares: &mut BTreeMap<u64, Shares>, of: u64, party: u64, size: u64) {
    if let Some(known) = shares.get_mut(&of) {
        known.remove(party, size);
        if known.is_empty() {
            shares.remove(&of);
        }
    }
}
