//! Masking: payload octet i is XORed with mask octet i mod 4 (RFC 6455 §5.3).
//!
//! The mask is widened to sixteen bytes, which the compiler turns into vector instructions; the same function masks and
//! unmasks.

/// Applies `mask` to `payload`, whose first byte is byte `phase` of its frame.
pub fn apply(payload: &mut [u8], mask: [u8; 4], phase: usize) {
    let turned = turn(mask, phase);
    let wide = u128::from(u32::from_le_bytes(turned)) * 0x0000_0001_0000_0001_0000_0001_0000_0001;
    let mut chunks = payload.chunks_exact_mut(16);
    for chunk in &mut chunks {
        let word = u128::from_le_bytes((&*chunk).try_into().expect("sixteen bytes"));
        chunk.copy_from_slice(&(word ^ wide).to_le_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(turned.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The mask as a payload sees it that starts at byte `phase`.
const fn turn(mask: [u8; 4], phase: usize) -> [u8; 4] {
    [mask[phase & 3], mask[(phase + 1) & 3], mask[(phase + 2) & 3], mask[(phase + 3) & 3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_rfcs_sentence_at_every_phase_and_length() {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        for phase in 0..9 {
            for count in 0..70 {
                let source: Vec<u8> = (0..count).map(|at| (at * 7 + phase) as u8).collect();
                let naive: Vec<u8> =
                    source.iter().enumerate().map(|(at, byte)| byte ^ mask[(at + phase) % 4]).collect();
                let mut payload = source.clone();
                apply(&mut payload, mask, phase);
                assert_eq!(payload, naive, "phase {phase}, {count} bytes");
            }
        }
    }
}
