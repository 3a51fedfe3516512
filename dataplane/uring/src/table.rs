//! The connections of a shard: one small fixed place each, and what is still to be done about it.
//!
//! Twenty-four bytes a place, so a million idle connections cost 24 MB here and 4 MB for the free list.

use std::os::fd::RawFd;

/// What holds of a connection, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The place has a holder.
    pub(crate) const OPEN: u32 = 1;
    /// It is in the list of those to look at; outlives the holder.
    pub(crate) const DIRTY: u32 = 1 << 1;
    /// It is in the list of those without a buffer; outlives the holder.
    pub(crate) const LISTED: u32 = 1 << 2;
    /// A multishot receive is in the kernel: its last completion is to come.
    pub(crate) const ARMED: u32 = 1 << 3;
    /// That receive was asked to end.
    pub(crate) const DISARMING: u32 = 1 << 4;
    /// The receive ended for want of buffers.
    pub(crate) const STARVED: u32 = 1 << 5;
    /// The owner wants no bytes now.
    pub(crate) const PAUSED: u32 = 1 << 6;
    /// Nothing more will be received.
    pub(crate) const ENDED: u32 = 1 << 7;
    /// Bytes wait to be given to the kernel.
    pub(crate) const QUEUED: u32 = 1 << 8;
    /// A send is in the kernel.
    pub(crate) const FLYING: u32 = 1 << 9;
    /// That send was asked to end.
    pub(crate) const RECALLED: u32 = 1 << 10;
    /// The owner closed it; it hears only of the end.
    pub(crate) const CLOSING: u32 = 1 << 11;
    /// Without waiting for anything, by reset.
    pub(crate) const ABORT: u32 = 1 << 12;
    /// Our FIN is out; what the peer still sends is discarded.
    pub(crate) const LINGERING: u32 = 1 << 13;
    /// The peer had its time.
    pub(crate) const LINGERED: u32 = 1 << 14;
    /// The owner gives it away.
    pub(crate) const DETACHING: u32 = 1 << 15;
    /// The kernel holds nothing of it any more; its last word waits to be told.
    pub(crate) const GONE: u32 = 1 << 16;
    /// Above it stands the errno with which receiving failed, here or where it was before; 0 if it did not.
    const FAILURE_SHIFT: u32 = 17;

    pub(crate) const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    pub(crate) const fn set(&mut self, bits: u32) {
        self.0 |= bits;
    }

    pub(crate) const fn clear(&mut self, bits: u32) {
        self.0 &= !bits;
    }

    /// With which errno receiving failed; 0 if it did not.
    pub(crate) const fn failure(self) -> i32 {
        (self.0 >> Self::FAILURE_SHIFT) as i32
    }

    /// Receiving failed.
    pub(crate) const fn fail(&mut self, errno: i32) {
        debug_assert!(errno > 0 && errno < 1 << (u32::BITS - Self::FAILURE_SHIFT), "an errno of the kernel's");
        self.0 = self.0 & ((1 << Self::FAILURE_SHIFT) - 1) | (errno as u32) << Self::FAILURE_SHIFT;
    }

    /// Only those of the place, not of its holder.
    const fn vacate(&mut self) {
        self.0 &= Self::DIRTY | Self::LISTED;
    }
}

/// One place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) fd: RawFd,
    pub(crate) generation: u32,
    /// The output buffer on its way, while QUEUED or FLYING.
    pub(crate) output: u32,
    /// Bytes of it that the kernel has taken.
    pub(crate) done: u32,
    /// Bytes of it to be sent.
    pub(crate) len: u32,
    pub(crate) flags: Flags,
}

const _: () = assert!(size_of::<Place>() == 24, "as the header promises");

#[derive(Debug)]
pub(crate) struct Table {
    places: Box<[Place]>,
    free: Vec<u32>,
}

impl Table {
    pub(crate) fn new(count: u32) -> Self {
        let vacant = Place { fd: -1, generation: 0, output: 0, done: 0, len: 0, flags: Flags::default() };
        Self { places: vec![vacant; count as usize].into_boxed_slice(), free: (0..count).rev().collect() }
    }

    /// A place for `fd`, with a new generation; none if all are held.
    pub(crate) fn occupy(&mut self, fd: RawFd) -> Option<u32> {
        let index = self.free.pop()?;
        let place = &mut self.places[index as usize];
        debug_assert!(!place.flags.has(Flags::OPEN), "a free place has no holder");
        place.fd = fd;
        place.generation = place.generation.wrapping_add(1);
        place.flags.set(Flags::OPEN);
        Some(index)
    }

    /// The holder is gone.
    pub(crate) fn vacate(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        assert!(place.flags.has(Flags::OPEN), "a place is vacated once");
        place.fd = -1;
        place.flags.vacate();
        self.free.push(index);
    }

    pub(crate) fn at(&mut self, index: u32) -> &mut Place {
        &mut self.places[index as usize]
    }

    /// The place of a present holder; none if the completion is late.
    pub(crate) fn holder(&mut self, index: u32, generation: u32) -> Option<&mut Place> {
        let place = self.places.get_mut(index as usize)?;
        (place.flags.has(Flags::OPEN) && place.generation == generation).then_some(place)
    }

    pub(crate) fn open_fds(&self) -> impl Iterator<Item = RawFd> {
        let held = |place: &&Place| place.flags.has(Flags::OPEN) && place.fd >= 0;
        self.places.iter().filter(held).map(|place| place.fd)
    }
}
