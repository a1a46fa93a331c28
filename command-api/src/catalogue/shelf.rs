//! A bounded number of aggregates of one kind, as the log left them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cqrs_es::Aggregate;
use domain::{Sequence, StreamId};
use quick_cache::unsync::Cache;

/// An aggregate and the version it stands at; [`Sequence::NONE`] where it does not exist.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known<A> {
    pub aggregate: A,
    pub version: Sequence,
}

/// The entries. Of two versions of one entry the higher wins, whoever brings it: the follower, a
/// command of this process, or a reader that looked into the log.
pub(crate) struct Shelf<A>(Mutex<Contents<A>>);

struct Contents<A> {
    kept: Cache<StreamId, Arc<Known<A>>>,
    /// Streams being read from the log, with the highest version heard of meanwhile: what a reader
    /// brings must not hide an event that passed while it was reading.
    reading: HashMap<StreamId, Reading>,
}

#[derive(Default)]
struct Reading {
    readers: usize,
    heard_of: Sequence,
}

impl<A: Aggregate + Clone> Shelf<A> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(Contents {
            kept: Cache::new(capacity.max(1)),
            reading: HashMap::new(),
        }))
    }

    fn contents(&self) -> MutexGuard<'_, Contents<A>> {
        // Every change is a single step, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, stream: &StreamId) -> Option<Arc<Known<A>>> {
        self.contents().kept.get(stream).cloned()
    }

    /// To be held while the stream is read from the log.
    pub(crate) fn begin_reading(&self, stream: StreamId) -> ReadingGuard<'_, A> {
        self.contents().reading.entry(stream.clone()).or_default().readers += 1;
        ReadingGuard { shelf: self, stream }
    }

    /// What a command of this process left behind.
    pub(crate) fn learn(&self, stream: &StreamId, known: Known<A>) {
        let mut contents = self.contents();
        contents.hear_of(stream, known.version);
        contents.keep(stream, Arc::new(known));
    }

    /// The next event of the log.
    pub(crate) fn follow(&self, stream: &StreamId, sequence: Sequence, event: &A::Event) {
        let mut contents = self.contents();
        contents.hear_of(stream, sequence);
        let Some(known) = contents.kept.peek(stream).cloned() else {
            return;
        };
        if known.version >= sequence {
            return;
        }
        if known.version.next() == sequence {
            let mut aggregate = known.aggregate.clone();
            aggregate.apply(event.clone());
            let version = sequence;
            contents.keep(stream, Arc::new(Known { aggregate, version }));
        } else {
            // Something between was missed; whoever asks next reads the log.
            contents.kept.remove(stream);
        }
    }

    /// Forgets everything, because nobody watched for a while. What is being read at this moment
    /// may be from before, so it is not kept either.
    pub(crate) fn clear(&self) {
        let mut contents = self.contents();
        contents.kept.clear();
        for reading in contents.reading.values_mut() {
            reading.heard_of = Sequence(i64::MAX);
        }
    }

    /// Something happened to the stream that cannot be understood here.
    pub(crate) fn forget(&self, stream: &StreamId, sequence: Sequence) {
        let mut contents = self.contents();
        contents.hear_of(stream, sequence);
        contents.kept.remove(stream);
    }
}

impl<A> Contents<A> {
    fn hear_of(&mut self, stream: &StreamId, version: Sequence) {
        if let Some(reading) = self.reading.get_mut(stream) {
            reading.heard_of = reading.heard_of.max(version);
        }
    }

    fn keep(&mut self, stream: &StreamId, known: Arc<Known<A>>) {
        if self.kept.peek(stream).is_none_or(|kept| kept.version < known.version) {
            self.kept.insert(stream.clone(), known);
        }
    }
}

/// Marks a stream as being read from the log, also when the reader goes away half-way.
pub(crate) struct ReadingGuard<'a, A: Aggregate + Clone> {
    shelf: &'a Shelf<A>,
    stream: StreamId,
}

impl<A: Aggregate + Clone> ReadingGuard<'_, A> {
    /// Keeps what was read, unless something newer passed meanwhile. What does not exist is not
    /// kept: names that nobody uses must not push out those that are.
    pub(crate) fn keep(self, known: &Arc<Known<A>>) {
        let mut contents = self.shelf.contents();
        let heard_of = contents
            .reading
            .get(&self.stream)
            .map_or(Sequence::NONE, |reading| reading.heard_of);
        if known.version > Sequence::NONE && known.version >= heard_of {
            contents.keep(&self.stream, Arc::clone(known));
        }
    }
}

impl<A: Aggregate + Clone> Drop for ReadingGuard<'_, A> {
    fn drop(&mut self) {
        let mut contents = self.shelf.contents();
        let finished = contents.reading.get_mut(&self.stream).is_some_and(|reading| {
            reading.readers = reading.readers.saturating_sub(1);
            reading.readers == 0
        });
        if finished {
            contents.reading.remove(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::product::{Product, ProductAvailabilityChanged, ProductDefined, ProductEvent};
    use domain::{Amount, Currency, Money, ProductId, TenantId, Text};

    use super::*;

    fn product() -> ProductId {
        ProductId::new("espresso").unwrap()
    }

    fn stream() -> StreamId {
        StreamId::product(&TenantId::new("acme").unwrap(), &product())
    }

    fn defined(amount: i64) -> ProductEvent {
        ProductEvent::ProductDefined(ProductDefined {
            product_id: product(),
            name: Text::new("Espresso").unwrap(),
            price: Money {
                amount: Amount(amount),
                currency: Currency::new("EUR").unwrap(),
            },
            establishment_id: None,
            category: None,
            modifiers: Vec::new(),
        })
    }

    fn off_sale() -> ProductEvent {
        ProductEvent::ProductAvailabilityChanged(ProductAvailabilityChanged {
            product_id: product(),
            available: false,
        })
    }

    fn known(version: i64, events: &[ProductEvent]) -> Known<Product> {
        let mut aggregate = Product::default();
        for event in events {
            aggregate.apply(event.clone());
        }
        Known {
            aggregate,
            version: Sequence(version),
        }
    }

    fn shelf_with(version: i64) -> Shelf<Product> {
        let shelf = Shelf::new(16);
        shelf.learn(&stream(), known(version, &[defined(100)]));
        shelf
    }

    fn version_on(shelf: &Shelf<Product>) -> Option<i64> {
        shelf.get(&stream()).map(|known| known.version.0)
    }

    #[test]
    fn given_an_entry_when_its_next_event_passes_then_it_moves_on() {
        let shelf = shelf_with(1);
        shelf.follow(&stream(), Sequence(2), &off_sale());
        let entry = shelf.get(&stream()).unwrap();
        assert_eq!(entry.version, Sequence(2));
        assert!(!entry.aggregate.state().unwrap().available);
    }

    #[test]
    fn given_an_entry_when_old_events_pass_again_then_nothing_changes() {
        let shelf = shelf_with(3);
        shelf.follow(&stream(), Sequence(2), &off_sale());
        shelf.follow(&stream(), Sequence(3), &off_sale());
        assert!(shelf.get(&stream()).unwrap().aggregate.state().unwrap().available);
        shelf.learn(&stream(), known(2, &[defined(1)]));
        assert_eq!(version_on(&shelf), Some(3));
    }

    #[test]
    fn given_an_entry_when_an_event_was_missed_then_it_is_dropped() {
        let shelf = shelf_with(1);
        shelf.follow(&stream(), Sequence(3), &off_sale());
        assert_eq!(version_on(&shelf), None);
    }

    #[test]
    fn given_a_reader_when_an_event_passes_meanwhile_then_what_it_read_is_not_kept() {
        let shelf = Shelf::new(16);
        let reading = shelf.begin_reading(stream());
        shelf.follow(&stream(), Sequence(2), &off_sale());
        reading.keep(&Arc::new(known(1, &[defined(100)])));
        assert_eq!(version_on(&shelf), None);
        assert!(shelf.contents().reading.is_empty());
    }

    #[test]
    fn given_a_reader_when_everything_is_forgotten_then_what_it_read_is_not_kept() {
        let shelf = shelf_with(1);
        let reading = shelf.begin_reading(stream());
        shelf.clear();
        reading.keep(&Arc::new(known(1, &[defined(100)])));
        assert_eq!(version_on(&shelf), None);
    }

    #[test]
    fn given_a_reader_when_it_goes_away_half_way_then_nothing_of_it_stays() {
        let shelf = Shelf::<Product>::new(16);
        drop(shelf.begin_reading(stream()));
        assert!(shelf.contents().reading.is_empty());
    }

    #[test]
    fn given_a_name_that_nobody_uses_then_it_takes_no_room() {
        let shelf = Shelf::<Product>::new(16);
        shelf.begin_reading(stream()).keep(&Arc::default());
        assert_eq!(version_on(&shelf), None);
    }

    #[test]
    fn given_more_entries_than_room_then_it_stays_within_it() {
        let shelf = Shelf::<Product>::new(16);
        for index in 0..1_000 {
            let id = ProductId::new(&format!("p{index}")).unwrap();
            let stream = StreamId::product(&TenantId::new("acme").unwrap(), &id);
            shelf.learn(&stream, known(1, &[defined(1)]));
        }
        assert!(shelf.contents().kept.len() <= 16);
    }
}
