//! Flights: what a feed has sent to its consumer and not heard of yet.
//!
//! Owns a ring of fixed size, in the order of the log. Never reads a record, never looks at a clock; allocates only in
//! [`Flights::new`].
//!
//! ```text
//!   Held ──next_to_send──▶ Sent ──acknowledge──▶ Done          the front leaves once it is Done: that moves the cursor
//!     ▲                     │ └─────refuse─────▶ Waiting ──next_to_send, when it is time──▶ Sent
//!     └─────release_all─────┘                       └─ refused too often: until the dead letter is acknowledged
//! ```
//! A message that waits holds back later ones of its device that are not under way, and no others.
//!
//! Cost: constant while nothing waits. While something does, `next_to_send` walks the window (40 bytes an entry, about a
//! nanosecond each): a consumer that refuses all of a window of 1 000 makes its own feed pay a microsecond a message.

use crate::position::Position;
use base::Monotonic;
use base::mix::mix64;
use core::time::Duration;
use std::collections::VecDeque;

/// How a feed behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlightLimits {
    /// Messages that are kept until they are done; at least one.
    pub window_max: usize,
    /// A message that is refused so many times is a dead letter; at least once.
    pub attempts_max: u8,
    /// How long a refused message waits.
    pub retry: Duration,
}

/// A message that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flight {
    /// Where its record begins.
    pub position: Position,
    /// Where its record ends.
    pub end: Position,
    /// How often it was refused.
    pub attempts: u8,
    /// Whether it was sent before: the consumer may know it.
    pub again: bool,
}

/// The window is full: nothing more is taken until the front is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowFull;

/// Why a refusal is not followed by another attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRetried {
    /// It was refused too often. It holds its device back until it is acknowledged, once the dead letter is in the log.
    DeadLetter,
    /// Nothing at this position is under way.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Held,
    Sent,
    Waiting(Monotonic),
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    flight: Flight,
    device: u64,
    state: State,
}

/// The messages of one feed.
#[derive(Debug)]
pub struct Flights {
    limits: FlightLimits,
    entries: VecDeque<Entry>,
    /// Everything before it was looked at.
    horizon: Position,
    /// No entry before this place is Held or Waiting.
    unsent_from: usize,
    waiting_count: usize,
    /// Devices that are held back, found in the walk of this number.
    held_back: Vec<(u32, u64)>,
    walk: u32,
}

impl Flights {
    /// No messages; the feed begins at `cursor`.
    ///
    /// # Panics
    /// If a limit is zero.
    #[must_use]
    pub fn new(limits: FlightLimits, cursor: Position) -> Self {
        assert!(limits.window_max > 0, "a window has room");
        assert!(limits.attempts_max > 0, "a message is attempted");
        Self {
            limits,
            entries: VecDeque::with_capacity(limits.window_max),
            horizon: cursor,
            unsent_from: 0,
            waiting_count: 0,
            held_back: vec![(0, 0); (2 * limits.window_max).next_power_of_two()],
            walk: 0,
        }
    }

    /// Takes a message of the log, to be sent. `device` tells devices apart.
    ///
    /// # Errors
    /// [`WindowFull`].
    ///
    /// # Panics
    /// If it stands before one that was taken or passed: our own mistake.
    pub fn push(&mut self, position: Position, end: Position, device: u64) -> Result<(), WindowFull> {
        assert!(position >= self.horizon && end > position, "messages come in the order of the log");
        if self.is_full() {
            return Err(WindowFull);
        }
        let flight = Flight { position, end, attempts: 0, again: false };
        self.entries.push_back(Entry { flight, device, state: State::Held });
        self.horizon = end;
        Ok(())
    }

    /// What stands before `position` and was not taken does not concern this feed.
    pub fn pass(&mut self, position: Position) {
        self.horizon = self.horizon.max(position);
    }

    /// The first message in the order of the log that may be sent. It is under way from here on.
    pub fn next_to_send(&mut self, now: Monotonic) -> Option<Flight> {
        self.walk = self.walk.wrapping_add(1);
        if self.walk == 0 {
            self.held_back.fill((0, 0));
            self.walk = 1;
        }
        let mut first_unsent = None;
        for place in self.unsent_from..self.entries.len() {
            let Entry { state, device, .. } = self.entries[place];
            if !matches!(state, State::Held | State::Waiting(_)) {
                continue;
            }
            let is_due = !matches!(state, State::Waiting(at) if at > now);
            if is_due && !self.is_held_back(device) {
                self.waiting_count -= usize::from(state != State::Held);
                self.unsent_from = first_unsent.unwrap_or(place + 1);
                let entry = &mut self.entries[place];
                entry.state = State::Sent;
                let flight = entry.flight;
                entry.flight.again = true;
                return Some(flight);
            }
            first_unsent.get_or_insert(place);
            if state != State::Held {
                self.hold_back(device);
            }
        }
        self.unsent_from = first_unsent.unwrap_or(self.entries.len());
        None
    }

    /// The consumer is done with a message. Says whether that message is under way, or was before its session ended.
    pub fn acknowledge(&mut self, position: Position) -> bool {
        let Some(place) = self.place(position) else { return false };
        let is_known = self.finish(place);
        self.leave();
        is_known
    }

    /// The consumer is done with everything up to a position. Returns the count of messages.
    pub fn acknowledge_through(&mut self, position: Position) -> usize {
        let count = self.entries.partition_point(|entry| entry.flight.position <= position);
        let count = (0..count).filter(|place| self.finish(*place)).count();
        self.leave();
        count
    }

    /// The consumer refuses a message: it is sent again later. Returns when.
    ///
    /// # Errors
    /// [`NotRetried`].
    pub fn refuse(&mut self, position: Position, now: Monotonic) -> Result<Monotonic, NotRetried> {
        let place = self.place(position).ok_or(NotRetried::Unknown)?;
        let entry = &mut self.entries[place];
        if entry.state != State::Sent {
            return Err(NotRetried::Unknown);
        }
        entry.flight.attempts += 1;
        let is_dead = entry.flight.attempts >= self.limits.attempts_max;
        let at = if is_dead { Monotonic::NEVER } else { now.after(self.limits.retry) };
        entry.state = State::Waiting(at);
        self.waiting_count += 1;
        self.unsent_from = self.unsent_from.min(place);
        if is_dead { Err(NotRetried::DeadLetter) } else { Ok(at) }
    }

    /// The consumer is gone: everything that is not done is to be sent again, in order, to the next one. What was refused
    /// keeps its count, and waits no longer; a dead letter stays one.
    pub fn release_all(&mut self) {
        for entry in &mut self.entries {
            let is_dead = entry.flight.attempts >= self.limits.attempts_max;
            if entry.state != State::Done && !is_dead {
                self.waiting_count -= usize::from(matches!(entry.state, State::Waiting(_)));
                entry.state = State::Held;
            }
        }
        self.unsent_from = 0;
    }

    /// Everything before it is done.
    #[must_use]
    pub fn cursor(&self) -> Position {
        self.entries.front().map_or(self.horizon, |entry| entry.flight.position)
    }

    /// From where on the log is to be read for more.
    #[must_use]
    pub const fn horizon(&self) -> Position {
        self.horizon
    }

    /// When the next message that waits is due, or never.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        if self.waiting_count == 0 {
            return Monotonic::NEVER;
        }
        let due = |entry: &Entry| if let State::Waiting(at) = entry.state { at } else { Monotonic::NEVER };
        self.entries.range(self.unsent_from..).map(due).min().unwrap_or(Monotonic::NEVER)
    }

    /// Messages that are kept, done ones behind one that is not included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether [`Flights::push`] would refuse.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() == self.limits.window_max
    }

    fn place(&self, position: Position) -> Option<usize> {
        self.entries.binary_search_by_key(&position, |entry| entry.flight.position).ok()
    }

    /// Whether the message was sent at all and was not done.
    fn finish(&mut self, place: usize) -> bool {
        let entry = &mut self.entries[place];
        if entry.state == State::Done || !entry.flight.again {
            return false;
        }
        self.waiting_count -= usize::from(matches!(entry.state, State::Waiting(_)));
        entry.state = State::Done;
        true
    }

    fn leave(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.state == State::Done) {
            self.entries.pop_front();
            self.unsent_from = self.unsent_from.saturating_sub(1);
        }
    }

    fn is_held_back(&self, device: u64) -> bool {
        self.waiting_count > 0 && self.held_back[self.slot(device)] == (self.walk, device)
    }

    fn hold_back(&mut self, device: u64) {
        let slot = self.slot(device);
        self.held_back[slot] = (self.walk, device);
    }

    /// The device's slot, or the one that it would take. Half of them are free.
    fn slot(&self, device: u64) -> usize {
        let mask = self.held_back.len() - 1;
        let mut slot = mix64(device) as usize & mask;
        while self.held_back[slot].0 == self.walk && self.held_back[slot].1 != device {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FlightLimits = FlightLimits { window_max: 4, attempts_max: 2, retry: Duration::from_secs(1) };
    const NOW: Monotonic = Monotonic(1);

    fn at(place: u64) -> Position {
        Position::new(1, 2, place * 8)
    }

    /// Four messages: of device 7, 7, 8 and 7.
    fn full() -> Flights {
        let mut flights = Flights::new(LIMITS, at(10));
        for (place, device) in [(10, 7), (12, 7), (14, 8), (16, 7)] {
            flights.push(at(place), at(place + 1), device).expect("room");
        }
        assert_eq!(flights.push(at(20), at(21), 9), Err(WindowFull));
        flights
    }

    fn sent(flights: &mut Flights, now: Monotonic) -> Vec<u64> {
        core::iter::from_fn(|| flights.next_to_send(now)).map(|flight| flight.position.offset() / 8).collect()
    }

    #[test]
    fn a_refused_message_holds_back_its_device_alone() {
        let mut flights = full();
        assert_eq!(flights.next_to_send(NOW).map(|flight| (flight.position, flight.again)), Some((at(10), false)));
        let due = flights.refuse(at(10), NOW).expect("the first time");
        assert_eq!((due, flights.deadline()), (NOW.after(LIMITS.retry), due));
        assert_eq!(sent(&mut flights, NOW), [14]);
        assert_eq!(sent(&mut flights, due), [10, 12, 16]);
        assert_eq!(flights.deadline(), Monotonic::NEVER);
    }

    #[test]
    fn the_cursor_moves_once_the_front_is_done() {
        let mut flights = full();
        assert!(!flights.acknowledge(at(10)), "it was not sent");
        assert_eq!(sent(&mut flights, NOW), [10, 12, 14, 16]);
        assert!(flights.acknowledge(at(12)) && !flights.acknowledge(at(12)) && !flights.acknowledge(at(13)));
        assert_eq!(flights.cursor(), at(10));
        assert!(flights.acknowledge(at(10)));
        assert_eq!((flights.cursor(), flights.len()), (at(14), 2));
        assert_eq!(flights.acknowledge_through(at(15)), 1);
        flights.pass(at(30));
        assert_eq!(flights.cursor(), at(16));
        assert_eq!(flights.acknowledge_through(Position::END), 1);
        assert_eq!((flights.cursor(), flights.horizon(), flights.is_empty()), (at(30), at(30), true));
    }

    #[test]
    fn a_dead_letter_waits_for_its_record() {
        let mut flights = full();
        flights.next_to_send(NOW).expect("the first");
        let due = flights.refuse(at(10), NOW).expect("the first time");
        assert_eq!(flights.refuse(at(10), NOW), Err(NotRetried::Unknown), "it waits");
        let again = flights.next_to_send(due).expect("it is due");
        assert_eq!((again.position, again.attempts, again.again), (at(10), 1, true));
        assert_eq!(flights.refuse(at(10), due), Err(NotRetried::DeadLetter));
        flights.release_all();
        assert_eq!(sent(&mut flights, due), [14]);
        assert!(flights.acknowledge(at(10)));
        assert_eq!(sent(&mut flights, due), [12, 16]);
    }

    #[test]
    fn another_consumer_gets_all_that_is_not_done() {
        let mut flights = full();
        assert_eq!(sent(&mut flights, NOW), [10, 12, 14, 16]);
        assert!(flights.acknowledge(at(12)));
        flights.refuse(at(14), NOW).expect("the first time");
        flights.release_all();
        assert!(flights.acknowledge(at(16)), "its word may come late");
        assert_eq!(sent(&mut flights, NOW), [10, 14]);
    }
}
