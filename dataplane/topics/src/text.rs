//! The text of a level: short ones in place, the rest of long ones in blocks of one size.
//!
//! Owns the blocks. As all have one size, what one text frees another can use, whatever their lengths.
//!
//! ```text
//!   text  20 = | len 2 | bytes 18 |                    up to 18 bytes
//!            = | len 2 | bytes 14 | block 4 |          longer
//!   block 32 = | next block 4 | bytes 28 |
//! ```

use crate::chunks::{Chunks, NONE, Value};

/// Bytes that a text holds by itself.
const IN_PLACE: usize = 18;

/// Bytes that stand before the number of the first block.
const BEFORE_BLOCK: usize = 14;

/// Bytes of a block.
const BLOCK_BYTES: usize = 28;

/// The longest text: that of MQTT's strings (MQTT 5.0 §1.5.4).
pub(crate) const TEXT_BYTES_MAX: usize = u16::MAX as usize;

/// A text, whose blocks are its [`Texts`]'s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    len: u16,
    bytes: [u8; IN_PLACE],
}

#[derive(Clone, Copy, Debug)]
struct Block {
    next: u32,
    bytes: [u8; BLOCK_BYTES],
}

impl Value for Block {
    fn free(next: u32) -> Self {
        Self { next, bytes: [0; BLOCK_BYTES] }
    }

    fn next_free(&self) -> u32 {
        self.next
    }
}

/// The blocks of all texts.
#[derive(Debug)]
pub(crate) struct Texts {
    blocks: Chunks<Block>,
}

impl Text {
    /// The text of nothing.
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; IN_PLACE] };

    const fn first_block(&self) -> u32 {
        let [.., a, b, c, d] = self.bytes;
        u32::from_le_bytes([a, b, c, d])
    }

    const fn is_long(&self) -> bool {
        self.len as usize > IN_PLACE
    }
}

impl Texts {
    pub(crate) const fn new() -> Self {
        Self { blocks: Chunks::new() }
    }

    /// Blocks in use.
    pub(crate) const fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.bytes()
    }

    /// Blocks that a text of so many bytes takes.
    pub(crate) const fn blocks_of(len: usize) -> usize {
        if len <= IN_PLACE { 0 } else { (len - BEFORE_BLOCK).div_ceil(BLOCK_BYTES) }
    }

    /// Keeps a text of at most [`TEXT_BYTES_MAX`].
    pub(crate) fn keep(&mut self, text: &[u8]) -> Text {
        assert!(text.len() <= TEXT_BYTES_MAX, "a level is no longer than a topic");
        let mut kept = Text { len: text.len() as u16, bytes: [0; IN_PLACE] };
        if !kept.is_long() {
            kept.bytes[..text.len()].copy_from_slice(text);
            return kept;
        }
        let (head, rest) = text.split_at(BEFORE_BLOCK);
        kept.bytes[..BEFORE_BLOCK].copy_from_slice(head);
        let mut next = NONE;
        // From the last block to the first, so that each knows its next.
        for part in rest.chunks(BLOCK_BYTES).rev() {
            let mut block = Block { next, bytes: [0; BLOCK_BYTES] };
            block.bytes[..part.len()].copy_from_slice(part);
            next = self.blocks.insert(block);
        }
        kept.bytes[BEFORE_BLOCK..].copy_from_slice(&next.to_le_bytes());
        kept
    }

    /// Gives the blocks of a text back.
    pub(crate) fn free(&mut self, text: Text) {
        let mut block = if text.is_long() { text.first_block() } else { NONE };
        while block != NONE {
            block = self.blocks.remove(block).next;
        }
    }

    /// Whether this is that text.
    #[inline]
    pub(crate) fn is(&self, text: &Text, other: &[u8]) -> bool {
        if usize::from(text.len) != other.len() {
            return false;
        }
        if !text.is_long() {
            return text.bytes[..other.len()] == *other;
        }
        let mut rest = other;
        self.parts(text).all(|part| {
            let (head, tail) = rest.split_at(part.len());
            rest = tail;
            head == part
        })
    }

    /// The text, in one piece or several.
    pub(crate) fn parts<'a>(&'a self, text: &'a Text) -> impl Iterator<Item = &'a [u8]> {
        let len = usize::from(text.len);
        let (in_place, mut block) = if text.is_long() { (BEFORE_BLOCK, text.first_block()) } else { (len, NONE) };
        let mut rest = len - in_place;
        let blocks = core::iter::from_fn(move || {
            (block != NONE).then(|| {
                let count = rest.min(BLOCK_BYTES);
                rest -= count;
                let Block { next, bytes } = &self.blocks[block];
                block = *next;
                &bytes[..count]
            })
        });
        core::iter::once(&text.bytes[..in_place]).chain(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_come_back() {
        let mut texts = Texts::new();
        let long: Vec<u8> = (0..200u8).collect();
        for len in 0..long.len() {
            let text = texts.keep(&long[..len]);
            assert_eq!(texts.len(), Texts::blocks_of(len), "{len}");
            assert_eq!(texts.parts(&text).collect::<Vec<_>>().concat(), &long[..len]);
            assert!(texts.is(&text, &long[..len]));
            assert!(!texts.is(&text, &long[..len + 1]));
            for changed in 0..len {
                let mut other = long[..len].to_vec();
                other[changed] ^= 1;
                assert!(!texts.is(&text, &other), "{changed} of {len}");
            }
            texts.free(text);
            assert_eq!(texts.len(), 0, "{len}");
        }
        let longest = texts.keep(&[7; TEXT_BYTES_MAX]);
        assert!(texts.is(&longest, &[7; TEXT_BYTES_MAX]));
    }
}
