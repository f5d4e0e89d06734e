//! When each key set needs a look, and which fetch may start next. No event costs work in proportion to the number of
//! providers.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ids::{ProviderId, ProviderMap},
    policy::plan::Plan,
    time::UnixTime,
};

/// How many fetches a worker starts within [`YOUNG`]. A start with a thousand issuers opens no thousand connections at once.
const MAX_YOUNG: usize = 32;
/// A fetch that has run for this long takes no place any more: issuers that hang do not delay the others.
const YOUNG: Duration = Duration::from_secs(1);
/// A provider that was handed out is handed out again after this time, whatever became of the look.
const AGAIN: Duration = Duration::from_secs(1);

/// One place for each remote provider: a time, or a place in the queue of those that wait to fetch.
#[derive(Debug)]
pub(super) struct DueTimes {
    places: ProviderMap<Option<Place>>,
    /// First the queue, then the times, each in its order.
    order: BTreeSet<(Place, ProviderId)>,
    /// Since when each provider has been due for a fetch without a place. A look in between costs no provider its turn.
    queued_since: ProviderMap<Option<UnixTime>>,
    /// When each of the latest fetches started.
    young: Vec<(ProviderId, UnixTime)>,
    /// How many of the queue were handed out, and have not started yet. Each takes a place, or all of the queue would be looked
    /// at for each place.
    promised: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Queued(Rank, UnixTime),
    Timed(UnixTime),
}

/// Which fetches start first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Requests wait for the fetch.
    Awaited,
    /// No request waits for the fetch.
    Background,
}

impl DueTimes {
    /// Every remote provider is due.
    pub(super) fn new(plan: &Plan) -> Self {
        let (order, young, promised) = Default::default();
        let (places, queued_since) = (plan.providers.map(|_, _| None), plan.providers.map(|_, _| None));
        let mut times = Self { places, order, queued_since, young, promised };
        for (provider, _) in plan.remotes() {
            times.set(provider, UnixTime::default());
        }
        times
    }

    /// The provider needs a look at this time.
    pub(super) fn set(&mut self, provider: ProviderId, at: UnixTime) {
        self.put(provider, Place::Timed(at));
    }

    /// The provider needs a look at this time at the latest.
    pub(super) fn hurry(&mut self, provider: ProviderId, at: UnixTime) {
        match self.places[provider] {
            Some(Place::Timed(known)) if known <= at => {}
            _ => self.set(provider, at),
        }
    }

    /// The provider is due for a fetch, and there is no place.
    pub(super) fn queue(&mut self, provider: ProviderId, rank: Rank, now: UnixTime) {
        let since = *self.queued_since[provider].get_or_insert(now);
        self.put(provider, Place::Queued(rank, since));
    }

    /// A fetch of the provider starts.
    pub(super) fn start(&mut self, provider: ProviderId, now: UnixTime) {
        self.end(provider);
        self.young.push((provider, now));
    }

    /// Those that were handed out have started by now, or will not.
    pub(super) fn end_promises(&mut self) {
        self.promised = 0;
    }

    /// The fetch of the provider ended, or did not start after all.
    pub(super) fn end(&mut self, provider: ProviderId) {
        self.queued_since[provider] = None;
        self.young.retain(|(known, _)| *known != provider);
    }

    /// Whether another fetch may start.
    pub(super) fn has_place(&mut self, now: UnixTime) -> bool {
        self.young.retain(|(_, at)| *at <= now && now.since(*at) < YOUNG);
        self.young.len() < MAX_YOUNG
    }

    /// Hands out a provider that is due: first those that waited for a place, if there is a place.
    pub(super) fn next(&mut self, now: UnixTime) -> Option<ProviderId> {
        let has_place = self.has_place(now) && self.young.len().saturating_add(self.promised) < MAX_YOUNG;
        let queued = if has_place { self.queued() } else { None };
        self.promised = self.promised.saturating_add(usize::from(queued.is_some()));
        let timed = || self.timed().filter(|(at, _)| *at <= now).map(|(_, provider)| provider);
        let provider = queued.or_else(timed)?;
        self.set(provider, now.plus(AGAIN));
        Some(provider)
    }

    /// When [`Self::next`] has a provider.
    pub(super) fn next_at(&self, now: UnixTime) -> Option<UnixTime> {
        let has_place = self.young.len() < MAX_YOUNG;
        let place_at = || self.young.iter().map(|(_, at)| at.plus(YOUNG)).min().unwrap_or(now);
        let queued = self.queued().map(|_| if has_place { now } else { place_at() });
        queued.into_iter().chain(self.timed().map(|(at, _)| at)).min()
    }

    fn queued(&self) -> Option<ProviderId> {
        match self.order.first() {
            Some((Place::Queued(..), provider)) => Some(*provider),
            _ => None,
        }
    }

    fn timed(&self) -> Option<(UnixTime, ProviderId)> {
        let first = (Place::Timed(UnixTime::default()), ProviderId::new(0));
        match self.order.range(first..).next() {
            Some((Place::Timed(at), provider)) => Some((*at, *provider)),
            _ => None,
        }
    }

    fn put(&mut self, provider: ProviderId, place: Place) {
        if let Some(before) = self.places[provider].replace(place) {
            self.order.remove(&(before, provider));
        }
        self.order.insert((place, provider));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(providers: usize) -> DueTimes {
        let (order, young, promised) = Default::default();
        let (places, queued_since) = (vec![None; providers].into(), vec![None; providers].into());
        let mut times = DueTimes { places, order, queued_since, young, promised };
        (0..providers).for_each(|index| times.set(ProviderId::new(index), UnixTime::default()));
        times
    }

    const NOW: UnixTime = UnixTime::from_millis(1_000_000);

    #[test]
    fn each_provider_is_handed_out_when_due_and_again_if_nothing_came_of_it() {
        let mut times = times(3);
        let [a, b, c] = [0, 1, 2].map(ProviderId::new);
        assert_eq!([(); 4].map(|()| times.next(NOW)), [Some(a), Some(b), Some(c), None]);
        times.set(b, NOW.plus(Duration::from_millis(7)));
        assert_eq!(times.next_at(NOW), Some(NOW.plus(Duration::from_millis(7))));
        times.hurry(c, NOW);
        times.hurry(c, NOW.plus(AGAIN));
        assert_eq!((times.next(NOW), times.next(NOW)), (Some(c), None));
        assert_eq!(times.next(NOW.plus(AGAIN)), Some(b));
    }

    #[test]
    fn fetches_that_requests_wait_for_start_first_and_hanging_issuers_take_no_place_for_long() {
        let mut times = times(MAX_YOUNG + 2);
        while times.next(NOW).is_some() {}
        for index in 0..MAX_YOUNG {
            assert!(times.has_place(NOW));
            times.start(ProviderId::new(index), NOW);
            times.set(ProviderId::new(index), NOW.plus(YOUNG * 10));
        }
        let [background, awaited] = [MAX_YOUNG, MAX_YOUNG + 1].map(ProviderId::new);
        times.queue(background, Rank::Background, NOW);
        times.queue(awaited, Rank::Awaited, NOW);
        assert_eq!((times.has_place(NOW), times.next(NOW)), (false, None));
        assert_eq!(times.next_at(NOW), Some(NOW.plus(YOUNG)));
        times.end(ProviderId::new(0));
        assert_eq!((times.next(NOW), times.next(NOW)), (Some(awaited), None), "one place is free");
        times.end_promises();
        times.start(awaited, NOW);
        assert_eq!(times.next(NOW), None);
        assert_eq!(times.next(NOW.plus(YOUNG)), Some(background));
        // A look in between, as for each request that parks, costs no provider its turn.
        let later = |millis| NOW.plus(Duration::from_millis(millis));
        times.end(background);
        times.queue(awaited, Rank::Awaited, later(2_000));
        times.queue(background, Rank::Awaited, later(2_001));
        times.set(awaited, later(2_002));
        times.queue(awaited, Rank::Awaited, later(2_003));
        assert_eq!(times.next(later(2_004)), Some(awaited));
        // A clock that steps back frees the places.
        times.start(background, NOW);
        assert!(times.has_place(UnixTime::default()) && times.young.is_empty());
    }
}
