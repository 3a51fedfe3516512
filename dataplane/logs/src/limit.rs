//! Who has written how many lines lately.
//!
//! Time arrives as an argument. Memory is bounded: by callsite the times of [`LINE_COUNT_MAX`] lines and the beginning of
//! one that was held back; beyond [`CALLSITE_COUNT_MAX`] callsites all further ones count as one.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};

/// Lines of one callsite in any window.
pub const LINE_COUNT_MAX: usize = 20;

/// In which they are counted, and after which it is said how many more there were.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Callsites that are told apart. A program has few hundred.
const CALLSITE_COUNT_MAX: usize = 1024;

/// Of a line that was held back, so much is repeated.
const LINE_BYTES_MAX: usize = 200;

/// What a callsite would have written.
pub(crate) trait Spoken {
    fn target(&self) -> &'static str;
    /// Module and line of the source.
    fn place(&self) -> (&'static str, u32);
    /// Writes the message.
    fn write(&self, out: &mut dyn Write) -> fmt::Result;
}

/// An event, as something that could be repeated.
pub(crate) struct Line<'a>(pub(crate) &'a tracing::Event<'a>);

impl Spoken for Line<'_> {
    fn target(&self) -> &'static str {
        self.0.metadata().target()
    }

    fn place(&self) -> (&'static str, u32) {
        let metadata = self.0.metadata();
        (metadata.module_path().unwrap_or_default(), metadata.line().unwrap_or_default())
    }

    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        struct Message<'a>(&'a mut dyn Write, fmt::Result);
        impl Visit for Message<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" && self.1.is_ok() {
                    self.1 = write!(self.0, "{value:?}");
                }
            }
        }
        let mut message = Message(out, Ok(()));
        self.0.record(&mut message);
        message.1
    }
}

/// What is to be said of a callsite after its window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HeldBack {
    pub(crate) count: u64,
    pub(crate) target: &'static str,
    pub(crate) line: String,
    /// As `module:line`: other callsites may say the same.
    pub(crate) at: String,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Limit {
    /// `None` stands for all callsites beyond the bound.
    callsites: HashMap<Option<Identifier>, Callsite>,
}

#[derive(Default)]
struct Callsite {
    /// When its last lines were written: a ring, oldest at `next` once it is full.
    written: Vec<Instant>,
    next: usize,
    held: Option<(Instant, HeldBack)>,
}

impl Limit {
    /// Whether a line of this callsite may be written now.
    pub(crate) fn admit(&mut self, callsite: Identifier, line: &dyn Spoken, now: Instant) -> bool {
        let room = self.callsites.len() < CALLSITE_COUNT_MAX || self.callsites.contains_key(&Some(callsite.clone()));
        self.callsites.entry(room.then_some(callsite)).or_default().admit(line, now)
    }

    /// What was held back in windows that have passed.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<HeldBack> {
        self.take(|since| now.saturating_duration_since(since) >= WINDOW)
    }

    /// Whatever was held back and not said yet.
    pub(crate) fn rest(&mut self) -> Vec<HeldBack> {
        self.take(|_| true)
    }

    fn take(&mut self, when: impl Fn(Instant) -> bool) -> Vec<HeldBack> {
        let held = self.callsites.values_mut().map(|callsite| &mut callsite.held);
        held.filter_map(|held| held.take_if(|(since, _)| when(*since))).map(|(_, held_back)| held_back).collect()
    }
}

impl Callsite {
    fn admit(&mut self, line: &dyn Spoken, now: Instant) -> bool {
        if self.written.len() < LINE_COUNT_MAX {
            self.written.push(now);
            return true;
        }
        let oldest = &mut self.written[self.next];
        if now.saturating_duration_since(*oldest) >= WINDOW {
            *oldest = now;
            self.next = (self.next + 1) % LINE_COUNT_MAX;
            return true;
        }
        let first = || {
            let (module, number) = line.place();
            let at = format!("{module}:{number}");
            (now, HeldBack { count: 0, target: line.target(), line: beginning(line), at })
        };
        self.held.get_or_insert_with(first).1.count += 1;
        false
    }
}

fn beginning(line: &dyn Spoken) -> String {
    struct Bounded(String);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = LINE_BYTES_MAX - self.0.len();
            let fits = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            self.0.push_str(&text[..fits]);
            // Nothing more is made of a line that is long enough.
            if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut bounded = Bounded(String::new());
    let _whole_or_its_beginning = line.write(&mut bounded);
    bounded.0
}
