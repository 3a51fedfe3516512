//! Streams as one shard sees them: who listens where, what was delivered, and the rendering of events.
//!
//! Owns, per stream, the set of shards on which someone listens and the head of the list of this shard's sessions.
//! Indexed as the plan in force indexes its streams; carried over by id when the plan changes. Never allocates.
//!
//! ```text
//!   event -> plan.covering -> presence -> shards to tell      (lane's shard)
//!   event -> plan.covering -> sessions -> one rendering per format -> each session's queue   (consumers' shards)
//! ```

use crate::metrics::{Counters, Drop};
use event::Event;
use plan::{Plan, StreamPlan};

/// No session.
pub(crate) const NONE: u32 = u32::MAX;

/// The longest rendered message, bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Renderings of one event that are kept at once.
const RENDERING_COUNT_MAX: usize = 16;

/// One stream's state on one shard. The control thread makes those of all shards, so each is alone on its cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub(crate) struct StreamState {
    /// The stream's id.
    pub(crate) id: u32,
    /// First of this shard's sessions, a connection index, or [`NONE`].
    pub(crate) head: u32,
    /// This shard's sessions.
    pub(crate) session_count: u32,
    pub(crate) delivered: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) dropped_queue_full: u64,
    pub(crate) dropped_pool_exhausted: u64,
    pub(crate) dropped_no_room: u64,
    /// Messages that should have been kept.
    pub(crate) not_stored: u64,
    pub(crate) downlinks: u64,
}

impl StreamState {
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            id,
            head: NONE,
            session_count: 0,
            delivered: 0,
            delivered_bytes: 0,
            dropped_queue_full: 0,
            dropped_pool_exhausted: 0,
            dropped_no_room: 0,
            not_stored: 0,
            downlinks: 0,
        }
    }
}

/// The set of shards on which someone listens to a stream that takes `event`.
///
/// `presence` has, per stream, a bit for each shard with an open session.
pub(crate) fn listeners(plan: &Plan, presence: &[u64], event: &Event<'_>) -> u64 {
    let mut shards = 0;
    plan.covering(event, |index, _| shards |= presence[index as usize]);
    shards
}

/// Renders one event at most once per format.
pub(crate) struct Renderer {
    text: Box<[u8]>,
    used: usize,
    done: [(u32, Rendering); RENDERING_COUNT_MAX],
    done_count: usize,
}

/// What became of one format's rendering.
#[derive(Clone, Copy)]
enum Rendering {
    /// The format has no template for this kind.
    Absent,
    /// It exceeded the limit.
    TooLong,
    /// Where its text lies.
    At { start: usize, end: usize },
}

/// A rendered message, or why there is none.
pub(crate) enum Rendered<'a> {
    /// Its text.
    Message(&'a [u8]),
    /// The format does not send this kind.
    Absent,
    /// It is longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
}

impl Default for Renderer {
    fn default() -> Self {
        Self {
            text: vec![0; MESSAGE_BYTES_MAX * RENDERING_COUNT_MAX].into(),
            used: 0,
            done: [(0, Rendering::Absent); RENDERING_COUNT_MAX],
            done_count: 0,
        }
    }
}

impl Renderer {
    /// Forgets the last event.
    pub(crate) fn begin(&mut self) {
        self.used = 0;
        self.done_count = 0;
    }

    /// The event in the stream's format.
    pub(crate) fn render(
        &mut self,
        plan: &Plan,
        stream: &StreamPlan,
        event: &Event<'_>,
        counters: &Counters,
    ) -> Rendered<'_> {
        let known = self.done[..self.done_count].iter().find(|(format, _)| *format == stream.format);
        let rendering = match known {
            Some((_, rendering)) => *rendering,
            None => {
                if self.done_count == RENDERING_COUNT_MAX {
                    self.begin();
                }
                let rendering = self.run(plan, stream.format, event, counters);
                self.done[self.done_count] = (stream.format, rendering);
                self.done_count += 1;
                rendering
            }
        };
        match rendering {
            Rendering::Absent => Rendered::Absent,
            Rendering::TooLong => Rendered::TooLong,
            Rendering::At { start, end } => Rendered::Message(&self.text[start..end]),
        }
    }

    fn run(&mut self, plan: &Plan, format: u32, event: &Event<'_>, counters: &Counters) -> Rendering {
        let Some(template) = plan.formats[format as usize].template(event.kind) else { return Rendering::Absent };
        let start = self.used;
        match template.run(event, &mut self.text[start..start + MESSAGE_BYTES_MAX]) {
            Ok(count) => {
                self.used += count;
                Rendering::At { start, end: start + count }
            }
            Err(_) => {
                counters.drops.count(Drop::TemplateNoRoom);
                Rendering::TooLong
            }
        }
    }
}
