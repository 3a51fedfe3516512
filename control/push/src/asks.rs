//! Questions and commands that the dataplane answers one by one: queries, downlinks, flushes, what durable streams keep.
//!
//! Owns which are open and until when. An answer that comes too late finds nobody and is dropped.

use base::Monotonic;
use contract::v1::{
    Answer, DeadLetterPage, DeadLetters, Enqueue, Enqueued, Flush, Flushed, GroupMoved, History, HistoryPage, PutBack,
    PutBackDone, Query, RemoveGroup, SeekGroup, from_dataplane, to_dataplane,
};
use std::collections::BTreeMap;

/// What may be asked of the dataplane.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The state of devices, gateways and streams; at most [`contract::QUERY_COUNT_MAX`] of each.
    Query(Query),
    /// A downlink to queue.
    Enqueue(Enqueue),
    /// A queue to empty.
    Flush(Flush),
    /// A group of consumers that is to read on elsewhere.
    SeekGroup(SeekGroup),
    /// A group of consumers to forget.
    RemoveGroup(RemoveGroup),
    /// What a durable stream kept.
    History(History),
    /// What a durable stream could not deliver.
    DeadLetters(DeadLetters),
    /// Dead letters to deliver again.
    PutBack(PutBack),
}

impl Ask {
    pub(crate) fn into_body(self) -> to_dataplane::Body {
        match self {
            Self::Query(query) => to_dataplane::Body::Query(query),
            Self::Enqueue(enqueue) => to_dataplane::Body::Enqueue(enqueue),
            Self::Flush(flush) => to_dataplane::Body::Flush(flush),
            Self::SeekGroup(seek) => to_dataplane::Body::SeekGroup(seek),
            Self::RemoveGroup(remove) => to_dataplane::Body::RemoveGroup(remove),
            Self::History(history) => to_dataplane::Body::History(history),
            Self::DeadLetters(letters) => to_dataplane::Body::DeadLetters(letters),
            Self::PutBack(put_back) => to_dataplane::Body::PutBack(put_back),
        }
    }

    /// The minor version of the contract that a dataplane must speak to answer.
    pub(crate) const fn minor(&self) -> u32 {
        match self {
            Self::Query(query) if query.journal => contract::MINOR_DURABLE,
            Self::Query(_) | Self::Enqueue(_) | Self::Flush(_) => 0,
            Self::SeekGroup(_) | Self::RemoveGroup(_) | Self::History(_) | Self::DeadLetters(_) | Self::PutBack(_) => {
                contract::MINOR_DURABLE
            }
        }
    }
}

/// What the dataplane answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a query.
    Answer(Answer),
    /// To a downlink; it may still name a reason why it was not accepted.
    Enqueued(Enqueued),
    /// To a flush.
    Flushed(Flushed),
    /// To what was asked of a group; it may name a reason why it was not done, as may those below.
    GroupMoved(GroupMoved),
    /// A part of what was kept.
    HistoryPage(HistoryPage),
    /// A part of what could not be delivered.
    DeadLetterPage(DeadLetterPage),
    /// To dead letters that are to be delivered again.
    PutBackDone(PutBackDone),
}

impl Reply {
    pub(crate) fn from_body(body: from_dataplane::Body) -> Result<Self, from_dataplane::Body> {
        match body {
            from_dataplane::Body::Answer(answer) => Ok(Self::Answer(answer)),
            from_dataplane::Body::Enqueued(enqueued) => Ok(Self::Enqueued(enqueued)),
            from_dataplane::Body::Flushed(flushed) => Ok(Self::Flushed(flushed)),
            from_dataplane::Body::GroupMoved(moved) => Ok(Self::GroupMoved(moved)),
            from_dataplane::Body::HistoryPage(page) => Ok(Self::HistoryPage(page)),
            from_dataplane::Body::DeadLetterPage(page) => Ok(Self::DeadLetterPage(page)),
            from_dataplane::Body::PutBackDone(done) => Ok(Self::PutBackDone(done)),
            other => Err(other),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// There is no link to the dataplane; nothing was sent.
    Absent,
    /// Too many questions are open; nothing was sent.
    Busy,
    /// The dataplane speaks an earlier minor version of the contract than this one; nothing was sent.
    TooOld {
        /// The one that it would have to speak.
        needed: u32,
        /// The one that it speaks.
        spoken: u32,
    },
    /// The link broke after the question was sent: a command may have taken effect.
    Lost,
    /// No answer came in time: a command may have taken effect.
    Late,
    /// The dataplane refused.
    Refused {
        /// The field it names.
        field: String,
        /// Why.
        reason: String,
    },
}

impl core::fmt::Display for AskError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Absent => out.write_str("the dataplane is not connected"),
            Self::Busy => out.write_str("too many requests wait for the dataplane"),
            Self::TooOld { needed, spoken } => {
                let major = contract::MAJOR;
                write!(
                    out,
                    "the dataplane speaks version {major}.{spoken} of the contract, this needs {major}.{needed}"
                )
            }
            Self::Lost => out.write_str("the link to the dataplane broke before it answered"),
            Self::Late => out.write_str("the dataplane did not answer in time"),
            Self::Refused { field, reason } if field.is_empty() => write!(out, "the dataplane refused: {reason}"),
            Self::Refused { field, reason } => write!(out, "the dataplane refused {field}: {reason}"),
        }
    }
}

impl core::error::Error for AskError {}

/// The open questions, by request id. Ids grow, and so do their deadlines only if every caller waits equally long:
/// expiry therefore looks at all of them, which are few.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    open: BTreeMap<u64, (u64, Monotonic)>,
}

impl Asks {
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn open(&mut self, request: u64, token: u64, until: Monotonic) {
        let before = self.open.insert(request, (token, until));
        assert!(before.is_none(), "request ids are never reused");
    }

    /// The token of an answered request.
    pub(crate) fn close(&mut self, request: u64) -> Option<u64> {
        self.open.remove(&request).map(|(token, _)| token)
    }

    /// The token of one request that is past its deadline.
    pub(crate) fn expire(&mut self, now: Monotonic) -> Option<u64> {
        let request = self.open.iter().find(|(_, (_, until))| *until <= now).map(|(request, _)| *request)?;
        self.close(request)
    }

    /// Every token; none is open afterwards.
    pub(crate) fn abandon(&mut self) -> Vec<u64> {
        core::mem::take(&mut self.open).into_values().map(|(token, _)| token).collect()
    }

    pub(crate) fn deadline(&self) -> Monotonic {
        self.open.values().map(|(_, until)| *until).min().unwrap_or(Monotonic::NEVER)
    }
}
