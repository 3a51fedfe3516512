//! What a match found, by session: overlapping subscriptions of one client become one delivery.
//!
//! Owns buffers that it uses again; allocates only while a message finds more than any before it. Costs a few instructions
//! for each match, whatever their number: a session's delivery is found by its slot.
//!
//! ```text
//!   places[session] = | round 4 | delivery 4 |      of another round: not found yet
//! ```

use crate::chunks::NONE;
use crate::subscriptions::Match;

/// What one session is to get of a message, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The session's slot.
    pub session: u32,
    /// The highest QoS of the subscriptions that match (MQTT 5.0 §3.3.4).
    pub qos: u8,
    /// One of them keeps the retain flag as it was published.
    pub retain_as_published: bool,
    /// It was chosen from a shared group: a delivery of its own, beside one for what the session subscribes to by itself.
    pub is_shared: bool,
    /// The first of its subscription identifiers, `NONE` if there is none.
    first_identifier: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    round: u32,
    delivery: u32,
}

/// Deliveries of one message.
#[derive(Debug)]
pub struct Fold {
    places: Vec<Place>,
    round: u32,
    deliveries: Vec<Delivery>,
    /// Identifiers, each with the place of the next one of the same delivery.
    identifiers: Vec<(u32, u32)>,
}

impl Fold {
    /// Room for sessions with slots below this, eight bytes each.
    #[must_use]
    pub fn new(session_count_max: usize) -> Self {
        let places = vec![Place::default(); session_count_max];
        Self { places, round: 0, deliveries: Vec::new(), identifiers: Vec::new() }
    }

    /// Forgets what was added: another message begins.
    pub fn clear(&mut self) {
        self.deliveries.clear();
        self.identifiers.clear();
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            // Rounds of four thousand million messages ago are not to be taken for this one.
            self.places.fill(Place::default());
            self.round = 1;
        }
    }

    /// Adds what a match found. `publisher` is the session that sent the message, if it is of this shard: subscriptions of
    /// its own with `no_local` are passed over (MQTT 5.0 §3.8.3.1).
    ///
    /// # Panics
    /// If a session's slot is out of range, or nothing was cleared before.
    pub fn add(&mut self, found: Match, publisher: Option<u32>) {
        debug_assert!(self.round > 0, "a message begins with `clear`");
        let Match { session, options, is_shared } = found;
        if options.no_local && publisher == Some(session) {
            return;
        }
        let place = &mut self.places[session as usize];
        let is_new = is_shared || place.round != self.round;
        let index = if is_new { self.deliveries.len() } else { place.delivery as usize };
        if is_new {
            if !is_shared {
                *place = Place { round: self.round, delivery: index as u32 };
            }
            let first_identifier = NONE;
            self.deliveries.push(Delivery { session, qos: 0, retain_as_published: false, is_shared, first_identifier });
        }
        let delivery = &mut self.deliveries[index];
        delivery.qos = delivery.qos.max(options.qos);
        delivery.retain_as_published |= options.retain_as_published;
        if options.identifier != 0 {
            self.identifiers.push((options.identifier, delivery.first_identifier));
            delivery.first_identifier = self.identifiers.len() as u32 - 1;
        }
    }

    /// What was added since [`Fold::clear`], in the order in which sessions were first found.
    #[must_use]
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// The identifiers of all subscriptions behind a delivery of this fold; none of them is 0.
    pub fn identifiers(&self, delivery: &Delivery) -> impl Iterator<Item = u32> + '_ {
        let mut at = delivery.first_identifier;
        core::iter::from_fn(move || {
            let (identifier, next) = *self.identifiers.get(at as usize)?;
            at = next;
            Some(identifier)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn found(session: u32, qos: u8, identifier: u32) -> Match {
        Match { session, options: Options { qos, identifier, ..Options::default() }, is_shared: false }
    }

    #[test]
    fn overlapping_subscriptions_become_one_delivery() {
        let mut fold = Fold::new(4);
        for round in 0..3 {
            fold.clear();
            fold.add(found(2, 0, 7), None);
            fold.add(found(1, 1, 0), None);
            fold.add(found(2, 2, 0), None);
            fold.add(Match { is_shared: true, ..found(2, 1, 9) }, None);
            fold.add(found(2, 1, 8), None);
            let seen: Vec<_> = fold
                .deliveries()
                .iter()
                .map(|delivery| {
                    let mut identifiers: Vec<u32> = fold.identifiers(delivery).collect();
                    identifiers.sort_unstable();
                    (delivery.session, delivery.qos, delivery.is_shared, identifiers)
                })
                .collect();
            let expected = [(2, 2, false, vec![7, 8]), (1, 1, false, vec![]), (2, 1, true, vec![9])];
            assert_eq!(seen, expected, "round {round}");
        }
    }

    #[test]
    fn a_publisher_is_passed_over_where_it_asked_for_it() {
        let mut fold = Fold::new(4);
        fold.clear();
        let quiet = Match { options: Options { no_local: true, qos: 2, ..Options::default() }, ..found(3, 0, 0) };
        fold.add(quiet, Some(3));
        assert!(fold.deliveries().is_empty());
        fold.add(quiet, Some(2));
        fold.add(found(3, 1, 5), Some(3));
        assert_eq!(fold.deliveries().len(), 1);
        fold.clear();
        fold.add(found(3, 1, 5), Some(3));
        fold.add(quiet, Some(3));
        assert_eq!(fold.deliveries()[0].qos, 1, "what is passed over lends no QoS");
    }

    #[test]
    fn rounds_of_long_ago_are_not_this_one() {
        let mut fold = Fold::new(2);
        fold.clear();
        fold.add(found(1, 2, 0), None);
        fold.round = u32::MAX;
        fold.clear();
        fold.add(found(1, 0, 0), None);
        assert_eq!(
            fold.deliveries(),
            [Delivery { session: 1, qos: 0, retain_as_published: false, is_shared: false, first_identifier: NONE }]
        );
    }
}
