//! Mixers: cheap, fixed functions that spread identifiers. None is a defence by itself; a key makes guessing costly.

/// Spreads all 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014). A bijection.
#[must_use]
pub const fn mix64(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A small generator for what must be spread but not secret (jitter, sampling, simulated faults).
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that always yields the same sequence for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix64(self.0)
    }

    /// A number below `bound` (0 if `bound` is 0); the bias is below 2^-32 for bounds below 2^32.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}

/// Hashes one integer key with [`mix64`]: for tables whose keys an attacker does not choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct MixHasher(u64);

/// Builds [`MixHasher`]s.
pub type BuildMixHasher = core::hash::BuildHasherDefault<MixHasher>;

impl core::hash::Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix64(self.0.rotate_left(1) ^ value);
    }

    // A length prefix says nothing where all keys of a table are of one length.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_sequence() {
        // First outputs for seed 1234567, as given with the reference implementation.
        let mut generator = SplitMix64::new(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
        for _ in 0..1000 {
            assert!(generator.below(7) < 7);
        }
        assert_eq!(generator.below(0), 0);
    }
}
