//! The law of flights: beside a list that is searched from end to end.

use super::Steps;
use crate::feed::{Flight, FlightLimits, Flights, NotRetried, WindowFull};
use crate::position::Position;
use base::Monotonic;
use core::time::Duration;

const LIMITS: FlightLimits = FlightLimits { window_max: 6, attempts_max: 3, retry: Duration::from_nanos(10) };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Held,
    Sent,
    Waiting(Monotonic),
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    flight: Flight,
    device: u64,
    state: State,
}

impl Message {
    fn is_under_way(&self) -> bool {
        self.flight.again && self.state != State::Done
    }
}

/// Whatever consumers do: what is sent is the first that may be; a device's messages do not overtake one that waits; the
/// cursor passes nothing that is not done, and everything that is.
pub fn flights(bytes: &[u8]) {
    let mut steps = Steps(bytes);
    let mut flights = Flights::new(LIMITS, at(1));
    let mut model: Vec<Message> = Vec::new();
    let (mut horizon, mut now) = (1, Monotonic(0));
    while !steps.0.is_empty() {
        let operation = steps.byte() % 12;
        // Any position around those that are kept, most of them known ones.
        let position = at((horizon as usize).saturating_sub(steps.below(2 * LIMITS.window_max)) as u64);
        let known = model.iter_mut().find(|message| message.flight.position == position);
        match operation {
            0..=3 => {
                let from = horizon + steps.byte() as u64 % 2;
                let device = u64::from(steps.byte() % 3);
                let pushed = flights.push(at(from), at(from + 1), device);
                assert_eq!(pushed, if model.len() == LIMITS.window_max { Err(WindowFull) } else { Ok(()) });
                if pushed.is_ok() {
                    let flight = Flight { position: at(from), end: at(from + 1), attempts: 0, again: false };
                    model.push(Message { flight, device, state: State::Held });
                    horizon = from + 1;
                }
            }
            4..=6 => assert_eq!(flights.next_to_send(now), next_to_send(&mut model, now)),
            7 => {
                let done = known.filter(|message| message.is_under_way());
                assert_eq!(flights.acknowledge(position), done.is_some());
                if let Some(message) = done {
                    message.state = State::Done;
                }
            }
            8 => {
                let done = model.iter_mut().filter(|message| message.flight.position <= position);
                let done = done.filter(|message| message.is_under_way());
                let count = done.map(|message| message.state = State::Done).count();
                assert_eq!(flights.acknowledge_through(position), count);
            }
            9 => {
                let expected = match known.filter(|message| message.state == State::Sent) {
                    None => Err(NotRetried::Unknown),
                    Some(message) => {
                        message.flight.attempts += 1;
                        let is_dead = message.flight.attempts == LIMITS.attempts_max;
                        let due = if is_dead { Monotonic::NEVER } else { now.after(LIMITS.retry) };
                        message.state = State::Waiting(due);
                        if is_dead { Err(NotRetried::DeadLetter) } else { Ok(due) }
                    }
                };
                assert_eq!(flights.refuse(position, now), expected);
            }
            10 => {
                flights.release_all();
                let live = |message: &&mut Message| {
                    message.state != State::Done && message.state != State::Waiting(Monotonic::NEVER)
                };
                model.iter_mut().filter(live).for_each(|message| message.state = State::Held);
            }
            _ => {
                now.0 += u64::from(steps.byte() % 8);
                if steps.byte() % 4 == 0 {
                    horizon += 1;
                    flights.pass(at(horizon));
                }
            }
        }
        let done = model.iter().take_while(|message| message.state == State::Done).count();
        model.drain(..done);
        let due = |message: &Message| if let State::Waiting(due) = message.state { Some(due) } else { None };
        assert_eq!(flights.deadline(), model.iter().filter_map(due).min().unwrap_or(Monotonic::NEVER));
        assert_eq!(flights.cursor(), model.first().map_or(at(horizon), |message| message.flight.position));
        assert_eq!((flights.len(), flights.horizon()), (model.len(), at(horizon)));
    }
}

fn at(place: u64) -> Position {
    Position::new(1, 2, place * 8)
}

fn next_to_send(model: &mut [Message], now: Monotonic) -> Option<Flight> {
    let may_go = |place: &usize| {
        let Message { device, state, .. } = model[*place];
        let is_ready = match state {
            State::Held => true,
            State::Waiting(due) => due <= now,
            State::Sent | State::Done => false,
        };
        let overtakes = |earlier: &Message| earlier.device == device && matches!(earlier.state, State::Waiting(_));
        is_ready && !model[..*place].iter().any(overtakes)
    };
    let place = (0..model.len()).find(may_go)?;
    let flight = model[place].flight;
    model[place].state = State::Sent;
    model[place].flight.again = true;
    Some(flight)
}
