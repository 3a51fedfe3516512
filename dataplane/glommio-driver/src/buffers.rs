//! Buffers: numbered boxes that pass from hand to hand, so that no two can hold one.
//!
//! ```text
//!   received:  Pool --take--> a task fills it --event--> Lent --release--> Pool
//!   to send:   Pool --output--> Lent --send--> a task --done--> Pool
//! ```
//! A box is made when it is first needed, and kept.

use driver::Lease;

/// Which buffers a lease is of: the two highest bits of its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Datagrams = 0,
    Streams = 1,
    Output = 2,
    Files = 3,
}

impl Kind {
    /// The kind of a lease, and its buffer's number.
    pub(crate) const fn of(lease: &Lease) -> (Self, u32) {
        let kind = match lease.index >> 30 {
            0 => Self::Datagrams,
            1 => Self::Streams,
            2 => Self::Output,
            _ => Self::Files,
        };
        (kind, lease.index & 0x3FFF_FFFF)
    }
}

/// One buffer, in the hand of whoever has it.
#[derive(Debug)]
pub(crate) struct Buffer {
    kind: Kind,
    index: u32,
    pub(crate) bytes: Box<[u8]>,
}

impl Buffer {
    /// The lease of its first `len` bytes.
    pub(crate) const fn lease(&self, len: u32) -> Lease {
        Lease { index: (self.kind as u32) << 30 | self.index, len }
    }
}

/// The buffers of one kind that nobody has.
#[derive(Debug)]
pub(crate) struct Pool {
    kind: Kind,
    bytes: usize,
    count: u32,
    made: u32,
    free: Vec<Buffer>,
}

impl Pool {
    pub(crate) const fn new(kind: Kind, count: u32, bytes: u32) -> Self {
        Self { kind, bytes: bytes as usize, count, made: 0, free: Vec::new() }
    }

    /// The one that came back last, for its pages are warm; none if all are in somebody's hand.
    pub(crate) fn take(&mut self) -> Option<Buffer> {
        self.free.pop().or_else(|| {
            let index = (self.made < self.count).then_some(self.made)?;
            self.made += 1;
            Some(Buffer { kind: self.kind, index, bytes: vec![0; self.bytes].into_boxed_slice() })
        })
    }

    pub(crate) fn give(&mut self, buffer: Buffer) {
        assert!(buffer.kind == self.kind, "a buffer comes back to where it is from");
        self.free.push(buffer);
    }

    /// How many can be taken.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + (self.count - self.made) as usize
    }
}

/// The buffers that the shard has.
#[derive(Debug, Default)]
pub(crate) struct Lent([Vec<Option<Box<[u8]>>>; 4]);

impl Lent {
    pub(crate) fn put(&mut self, buffer: Buffer) {
        let places = &mut self.0[buffer.kind as usize];
        let index = buffer.index as usize;
        if places.len() <= index {
            places.resize_with(index + 1, || None);
        }
        assert!(places[index].is_none(), "a buffer is lent once at a time");
        places[index] = Some(buffer.bytes);
    }

    /// Back from the shard.
    pub(crate) fn take(&mut self, lease: &Lease) -> Buffer {
        let (kind, index) = Kind::of(lease);
        let bytes = self.place(kind, index).take().expect("a lease comes back exactly once");
        Buffer { kind, index, bytes }
    }

    pub(crate) fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        let (kind, index) = Kind::of(lease);
        let bytes = self.place(kind, index).as_deref_mut().expect("only a lent buffer is looked at");
        &mut bytes[..lease.len as usize]
    }

    fn place(&mut self, kind: Kind, index: u32) -> &mut Option<Box<[u8]>> {
        self.0[kind as usize].get_mut(index as usize).expect("a lease of this shard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_in_one_hand() {
        let mut pool = Pool::new(Kind::Output, 2, 8);
        let mut lent = Lent::default();
        let first = pool.take().expect("the first");
        let second = pool.take().expect("the second");
        assert!(pool.take().is_none() && pool.available() == 0);
        let lease = second.lease(3);
        assert_eq!(Kind::of(&lease), (Kind::Output, 1));
        lent.put(second);
        lent.bytes(&lease).copy_from_slice(b"abc");
        pool.give(first);
        pool.give(lent.take(&lease));
        assert_eq!(pool.available(), 2);
        assert_eq!(pool.take().expect("the warm one").bytes[..3], *b"abc");
    }

    #[test]
    #[should_panic(expected = "a lease comes back exactly once")]
    fn twice_is_our_own_mistake() {
        let mut lent = Lent::default();
        let buffer = Pool::new(Kind::Files, 1, 8).take().expect("one");
        let lease = buffer.lease(8);
        lent.put(buffer);
        lent.take(&lease);
        lent.take(&lease);
    }
}
