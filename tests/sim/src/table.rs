//! How often what went wrong, over many stories: a fault that never happens proves nothing.
//!
//! Owns the list of kinds. Whoever runs many seeds adds their histories up and looks at [`Table::missing`].

use crate::consumer::Temper;
use crate::disk_words::Lie;
use crate::history::History;
use std::collections::BTreeMap;
use std::fmt;

/// A kind of fault, and how often a history has it.
type Kind = (&'static str, fn(&History) -> u64);

fn lies(history: &History, is_it: fn(&Lie) -> bool) -> u64 {
    history.lies.iter().filter(|lie| is_it(lie)).count() as u64
}

fn connections(history: &History, temper: Temper) -> u64 {
    history.consumers.iter().filter(|it| it.temper == temper).map(|it| u64::from(it.connections)).sum()
}

const KINDS: &[Kind] = &[
    ("writes torn", |it| it.disk.lost.torn),
    ("writes vanished", |it| it.disk.lost.vanished),
    ("writes reordered", |it| it.disk.lost.reordered),
    ("disk operations overtaken", |it| it.disk.overtaken),
    ("disk operations interrupted", |it| it.disk.interrupted),
    ("fsyncs lost", |it| lies(it, |lie| matches!(lie, Lie::LostSync(_)))),
    ("directory fsyncs lost", |it| lies(it, |lie| matches!(lie, Lie::LostDirectorySync))),
    ("bits flipped on the disk", |it| lies(it, |lie| matches!(lie, Lie::FlippedStored(..)))),
    ("bits flipped in memory", |it| lies(it, |lie| matches!(lie, Lie::FlippedCached(..)))),
    ("ENOSPC", |it| it.disk.full),
    ("EROFS", |it| it.disk.read_only),
    ("EIO of writes", |it| it.disk.write_errors),
    ("EIO of fsyncs", |it| it.disk.sync_errors),
    ("EIO of reads", |it| it.disk.read_errors),
    ("short reads and writes of files", |it| it.disk.short),
    ("short reads of streams", |it| it.tally.short_reads),
    ("disk stalls", |it| it.disk.stalls),
    ("disk operations delayed by a stall", |it| it.disk.delayed),
    ("completions of sends delayed", |it| it.tally.late_words),
    ("ENOBUFS: datagrams unsent", |it| it.tally.unsent_for_buffers),
    ("ENOBUFS: receive buffers all lent", |it| it.tally.starved),
    ("buffers and slots refused", |it| it.tally.busy),
    ("datagrams lost", |it| it.tally.lost),
    ("datagrams duplicated", |it| it.tally.duplicated),
    ("datagrams overtaken", |it| it.tally.overtaken),
    ("datagrams overrun", |it| it.tally.overrun),
    ("consumers that stall: windows full", |it| it.tally.stalled),
    ("consumers that stall: deaf connections", |it| connections(it, Temper::Deaf)),
    ("consumers that lie: lies", |it| it.consumers.iter().map(|it| it.lie_count).sum()),
    ("consumers that vanish", |it| it.consumers.iter().map(|it| it.vanished.len() as u64).sum()),
    ("clock set forward", |it| it.tally.clocks_forward),
    ("clock set back", |it| it.tally.clocks_back),
    ("power cuts", |it| it.befell.power_cuts),
    ("records that only memory carried over a kill", |it| it.control.carried),
    ("memory that carries nothing over", |it| it.disk.carries_refused),
    ("kills", |it| it.befell.kills),
    ("ends between two disk operations", |it| it.befell.crashes_at_operations),
    ("control restarts", |it| it.befell.control_restarts),
    ("plan changes in flight", |it| it.befell.plan_changes),
    ("checkpoints", |it| it.control.checkpoints),
    ("damage reported", |it| it.control.damages.len() as u64),
    ("damaged manifests put aside", |it| it.control.repairs),
    ("dead letters", |it| it.control.counter("shard_drops", "dead_letter")),
    ("acknowledgements of what is not under way", |it| it.control.counter("shard_drops", "acknowledgement_unknown")),
];

/// Counts by kind, in the order of the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table(BTreeMap<usize, u64>);

impl Table {
    /// Adds what happened in a history.
    pub fn add(&mut self, history: &History) {
        for (place, (_, count)) in KINDS.iter().enumerate() {
            *self.0.entry(place).or_default() += count(history);
        }
    }

    /// Kinds that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let never = |place| self.0.get(&place).is_none_or(|count| *count == 0);
        KINDS.iter().enumerate().filter(|(place, _)| never(*place)).map(|(_, (name, _))| *name).collect()
    }
}

/// One line per kind, `fault NAME: COUNT`, for people and for whoever adds up several.
impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, _)) in KINDS.iter().enumerate() {
            writeln!(out, "fault {name}: {}", self.0.get(&place).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}
