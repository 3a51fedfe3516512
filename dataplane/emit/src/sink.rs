//! The caller's buffer and how much of it is written. Every length is checked once, before its piece is written.

use crate::Inline;
use crate::run::{NoRoom, Span};

/// Constant bytes are copied so many at once, and those that were too many are written over: a copy of known length is two
/// moves where one of any length is a call. So many bytes follow the last constant.
pub(crate) const BLOCK_BYTES: usize = 32;

/// Writes front to back. What does not fit is refused; what the buffer holds by then is of no use.
pub(crate) struct Sink<'a> {
    rest: &'a mut [u8],
    out_bytes: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out_bytes: out.len(), rest: out }
    }

    /// Bytes that are written.
    pub(crate) const fn count(&self) -> usize {
        self.out_bytes - self.rest.len()
    }

    /// The next `count` bytes, all of which the caller writes.
    #[inline]
    pub(crate) fn room(&mut self, count: usize) -> Result<&mut [u8], NoRoom> {
        self.rest.split_off_mut(..count).ok_or(NoRoom)
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// A part of `constants`, which end with [`BLOCK_BYTES`] of no meaning.
    #[inline]
    pub(crate) fn put_of(&mut self, constants: &[u8], span: Span) -> Result<(), NoRoom> {
        let (start, end) = (span.start as usize, span.end as usize);
        if end - start > BLOCK_BYTES {
            return self.put(&constants[start..end]);
        }
        let block = constants[start..start + BLOCK_BYTES].first_chunk().expect("a block's bytes");
        self.put_block::<BLOCK_BYTES>(block, end - start)
    }

    /// The first `count` bytes of `block`; the others as well where there is room, to be written over.
    #[inline]
    pub(crate) fn put_block<const N: usize>(&mut self, block: &[u8; N], count: usize) -> Result<(), NoRoom> {
        let Some(target) = self.rest.first_chunk_mut() else { return self.put(&block[..count]) };
        *target = *block;
        self.room(count).map(|_| ())
    }

    /// A text that nothing escapes, between quotation marks if `quoted`.
    #[inline]
    pub(crate) fn put_inline(&mut self, text: &Inline, quoted: bool) -> Result<(), NoRoom> {
        let (block, count) = text.block();
        if !quoted {
            return self.put_block(block, count);
        }
        self.put(b"\"")?;
        self.put_block(block, count)?;
        self.put(b"\"")
    }

    /// Room for `count` bytes, between quotation marks if `quoted`.
    #[inline]
    pub(crate) fn room_within(&mut self, count: usize, quoted: bool) -> Result<&mut [u8], NoRoom> {
        if !quoted {
            return self.room(count);
        }
        match self.room(count + 2)? {
            [first, within @ .., last] => {
                (*first, *last) = (b'"', b'"');
                Ok(within)
            }
            _ => unreachable!("at least two bytes"),
        }
    }
}
