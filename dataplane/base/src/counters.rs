//! Counters with one writer and any number of readers, declared together with the reason that each one counts.
//!
//! A shard owns its cells and adds with a plain load and store (no locked instruction); ordinary threads read them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `count`. Only the owner may call this: two writers would lose additions.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Replaces the value: for gauges.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value as last written.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that is counted: a drop with its reason, or an achievement.
///
/// Implemented by enums through [`counted!`](crate::counted), whose discriminants index the cells.
pub trait Counted: Copy + 'static {
    /// Every variant, in the order of the discriminants.
    const ALL: &'static [Self];
    /// The metric's label value, `snake_case`.
    fn name(self) -> &'static str;
    /// One sentence for people.
    fn help(self) -> &'static str;
    /// The cell's place.
    fn index(self) -> usize;
}

/// One cell per variant of `C`, aligned so that two owners never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters<C: Counted> {
    cells: Box<[Cell]>,
    of: core::marker::PhantomData<C>,
}

impl<C: Counted> Default for Counters<C> {
    fn default() -> Self {
        // Eight cells of padding on each side keep a neighbour's heap block off our lines.
        Self { cells: (0..C::ALL.len() + 16).map(|_| Cell::default()).collect(), of: core::marker::PhantomData }
    }
}

impl<C: Counted> Counters<C> {
    /// Counts one.
    #[inline]
    pub fn count(&self, what: C) {
        self.cells[8 + what.index()].add(1);
    }

    /// Counts several at once.
    #[inline]
    pub fn add(&self, what: C, count: u64) {
        self.cells[8 + what.index()].add(count);
    }

    /// The cell of one variant.
    #[must_use]
    pub fn cell(&self, what: C) -> &Cell {
        &self.cells[8 + what.index()]
    }

    /// The value of one variant.
    #[must_use]
    pub fn value(&self, what: C) -> u64 {
        self.cell(what).value()
    }
}

/// Declares an enum whose variants are counted: `Variant = "label": "sentence"`.
///
/// ```
/// base::counted! {
///     /// Why a greeting was not returned.
///     pub enum Snub {
///         Asleep = "asleep": "The other side was asleep.",
///         Away = "away": "The other side was away.",
///     }
/// }
/// use base::counters::{Counted, Counters};
/// let counters = Counters::<Snub>::default();
/// counters.count(Snub::Away);
/// assert_eq!((counters.value(Snub::Asleep), counters.value(Snub::Away)), (0, 1));
/// assert_eq!(Snub::ALL[1].name(), "away");
/// ```
#[macro_export]
macro_rules! counted {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident = $label:literal : $help:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        $vis enum $name { $(#[doc = $help] $variant),+ }

        impl $crate::counters::Counted for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn name(self) -> &'static str { match self { $(Self::$variant => $label),+ } }
            fn help(self) -> &'static str { match self { $(Self::$variant => $help),+ } }
            fn index(self) -> usize { self as usize }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                out.write_str($crate::counters::Counted::help(*self))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::counted! {
        enum Thing {
            One = "one": "One.",
            Two = "two": "Two.",
        }
    }

    #[test]
    fn counters_of_two_owners_share_no_line() {
        let owners: Vec<Counters<Thing>> = (0..64).map(|_| Counters::default()).collect();
        let line = |owner: &Counters<Thing>, thing| core::ptr::from_ref(owner.cell(thing)).addr() / 64;
        let mut lines: Vec<(usize, usize)> =
            owners.iter().map(|owner| (line(owner, Thing::One), line(owner, Thing::Two))).collect();
        lines.sort_unstable();
        assert!(lines.windows(2).all(|two| two[0].1 < two[1].0), "{lines:x?}");
    }
}
