//! The connections of a shard: what each one's task and the shard have to say to each other.
//!
//! A place is made when it is first needed, and kept; the one freed last is held next.

use crate::buffers::Buffer;
use driver::End;
use std::task::Waker;

/// What holds of a connection, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags(u16);

impl Flags {
    /// The place has a holder.
    pub(crate) const OPEN: u16 = 1;
    /// Its task is to be woken at the next turn.
    pub(crate) const DIRTY: u16 = 1 << 1;
    /// It is in the list of those without a buffer.
    pub(crate) const STARVED: u16 = 1 << 2;
    /// The owner wants no bytes now.
    pub(crate) const PAUSED: u16 = 1 << 3;
    /// Nothing more will be received.
    pub(crate) const ENDED: u16 = 1 << 4;
    /// The owner closed it; it hears only of the end.
    pub(crate) const CLOSING: u16 = 1 << 5;
    /// Without waiting for anything, by reset.
    pub(crate) const ABORT: u16 = 1 << 6;
    /// Our FIN is out; what the peer still sends is discarded.
    pub(crate) const LINGERING: u16 = 1 << 7;
    /// The peer had its time, or there is no peer any more.
    pub(crate) const LINGERED: u16 = 1 << 8;
    /// The shard ends: without waiting for anything, in order.
    pub(crate) const LEFT: u16 = 1 << 9;
    /// The owner gives it away.
    pub(crate) const DETACHING: u16 = 1 << 10;

    pub(crate) const fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    pub(crate) const fn set(&mut self, bits: u16) {
        self.0 |= bits;
    }

    pub(crate) const fn clear(&mut self, bits: u16) {
        self.0 &= !bits;
    }
}

/// Bytes on their way out.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) buffer: Buffer,
    /// Bytes that the kernel has taken.
    pub(crate) done: usize,
    /// Bytes to be sent.
    pub(crate) len: usize,
}

/// One place.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) generation: u32,
    pub(crate) flags: Flags,
    pub(crate) sending: Option<Sending>,
    /// Why receiving ended, here or where it was before.
    pub(crate) ended: Option<End>,
    /// Its task.
    pub(crate) waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    count_max: u32,
}

impl Table {
    pub(crate) const fn new(count_max: u32) -> Self {
        Self { places: Vec::new(), free: Vec::new(), count_max }
    }

    /// A place with a new generation; none if all are held.
    pub(crate) fn occupy(&mut self) -> Option<(u32, u32)> {
        let index = self.free.pop().or_else(|| {
            let next = self.places.len() as u32;
            (next < self.count_max).then(|| {
                self.places.push(Place::default());
                next
            })
        })?;
        let place = self.at(index);
        let generation = place.generation.wrapping_add(1);
        *place = Place { generation, ..Place::default() };
        place.flags.set(Flags::OPEN);
        Some((index, generation))
    }

    /// The holder is gone. Its place is free once its last word is reaped.
    pub(crate) fn vacate(&mut self, index: u32) {
        let place = self.at(index);
        assert!(
            place.flags.has(Flags::OPEN) && place.sending.is_none(),
            "a place is vacated once, and with empty hands"
        );
        (place.flags, place.waker) = (Flags::default(), None);
    }

    /// May be held again.
    pub(crate) fn free(&mut self, index: u32) {
        debug_assert!(!self.at(index).flags.has(Flags::OPEN), "a free place has no holder");
        self.free.push(index);
    }

    pub(crate) fn at(&mut self, index: u32) -> &mut Place {
        &mut self.places[index as usize]
    }

    /// The place of a present holder.
    pub(crate) fn holder(&mut self, index: u32, generation: u32) -> Option<&mut Place> {
        let place = self.places.get_mut(index as usize)?;
        (place.flags.has(Flags::OPEN) && place.generation == generation).then_some(place)
    }

    /// Places with a holder.
    pub(crate) fn open(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.places).filter(|(_, place)| place.flags.has(Flags::OPEN)).map(|(index, _)| index)
    }
}
