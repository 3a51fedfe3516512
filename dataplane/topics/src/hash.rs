//! Keyed hashes of levels and of ways through a tree.
//!
//! Topics are hostile input: a level is hashed with SipHash-1-3 under a key that nobody outside knows, and what is built from
//! it is as hard to guess. A way is hashed step by step, so that the hashes of all levels of a topic are known before the
//! first node is looked at, and the loads do not wait for each other.

use base::mix::mix64;
use siphasher::sip::SipHasher13;

/// The key of the hashes: drawn by the caller, told to nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl core::fmt::Debug for Key {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Key(..)")
    }
}

/// Hashes under one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    sip: SipHasher13,
    secret: u64,
    plus: u64,
}

impl Hasher {
    pub(crate) fn new(key: Key) -> Self {
        let sip = SipHasher13::new_with_key(&key.0);
        // A level of a valid topic holds no NUL and no wildcard (MQTT 5.0 §1.5.4, §4.7.1).
        Self { sip, secret: sip.hash(b"\0secret"), plus: sip.hash(b"+") }
    }

    /// The hash of a level's text.
    #[inline]
    pub(crate) fn level(&self, text: &[u8]) -> u64 {
        self.sip.hash(text)
    }

    /// What stands for the level `+`.
    pub(crate) const fn plus(&self) -> u64 {
        self.plus
    }

    /// The hash of a pair of numbers of our own.
    #[inline]
    pub(crate) const fn pair(&self, first: u32, second: u32) -> u64 {
        mix64(self.secret ^ ((first as u64) << 32 | second as u64))
    }

    /// The hash of a space's root.
    #[inline]
    pub(crate) const fn root(&self, space: u32) -> u32 {
        (self.pair(0, space) >> 32) as u32
    }
}

/// The hash of a way that goes one level further.
#[inline]
pub(crate) const fn step(way: u32, level: u64) -> u32 {
    (mix64(level ^ (way as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32) as u32
}
