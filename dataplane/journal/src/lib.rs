//! The append-only log of a shard: records, the segments that hold them, what is read from them.
//!
//! Owns the bytes of segments, the log's tail in memory, and the rules by which records are written, stored, found again
//! and cut. Never opens, reads or writes a file, never reads a clock; allocates when something is made, never while it
//! serves. Why it is as it is: `dataplane/decisions/0006-the-journal.md`.

mod carry;
mod catalog;
mod cursor;
mod feed;
pub mod fuzzing;
mod info;
mod log;
mod position;
mod record;
mod ring;
mod scan;
mod segment;

pub use carry::{BadCarryOver, CARRY_HEADER_BYTES, CarryOver};
pub use catalog::{Catalog, Gap, Part, Retention};
pub use cursor::{BadCursor, CURSOR_BYTES_MAX, Cursor, CursorBody, Cursors, GROUP_BYTES_MAX};
pub use feed::{Flight, FlightLimits, Flights, NotRetried, WindowFull};
pub use info::SegmentInfo;
pub use log::{Appended, Fault, Full, Limits, Log, Tail, Write};
pub use position::{ALIGN_BYTES, LOG_COUNT_MAX, OFFSET_END, Position};
pub use record::{BODY_BYTES_MAX, HEAD_BYTES, Kind, LANE_COUNT, MARK_BYTES, RECORD_BYTES_MAX, Record, Unreadable};
pub use scan::{Extent, Found, Scan, Step};
pub use segment::{BadHeader, HEADER_BYTES, Header, NAME_BYTES, SegmentName, VERSION, Wanted};
