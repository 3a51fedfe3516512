//! Which gateway slot a datagram belongs to: a keyed mix of the gateway's EUI.
//!
//! [`slot_of`] is the twin of the program that `uring` gives to the kernel; both agree bit for bit, and a test of that
//! room sends datagrams to see it. Pure: no state, no I/O. The key makes it costly to aim many gateways at one slot.
//!
//! ```text
//!   | version 1 | token 2 | identifier 1 | EUI 8 | ...          a datagram from a gateway
//!                                          ^ bytes 4..12
//! ```

use base::Eui64;

/// Slots in all, bound once and in order.
pub const SLOT_COUNT: usize = 256;

/// Where the EUI starts in a datagram.
pub const EUI_OFFSET: usize = 4;

/// The odd multipliers of the three rounds (MurmurHash3's two, and the golden ratio), as the program uses them.
pub const MULTIPLIERS: [u32; 3] = [0x85EB_CA6B, 0xC2B2_AE35, 0x9E37_79B1];

/// The right shifts that follow the multiplications.
pub const SHIFTS: [u32; 3] = [15, 13, 16];

/// The slot of a gateway. Only 32-bit operations that classic BPF has.
#[must_use]
pub const fn slot_of(key: u32, eui: Eui64) -> u8 {
    let value = eui.to_u64();
    let mut mixed = (value >> 32) as u32 ^ key;
    mixed = mixed.wrapping_mul(MULTIPLIERS[0]);
    mixed ^= mixed >> SHIFTS[0];
    mixed = mixed.wrapping_add(value as u32);
    mixed = mixed.wrapping_mul(MULTIPLIERS[1]);
    mixed ^= mixed >> SHIFTS[1];
    mixed = mixed.wrapping_add(key);
    mixed = mixed.wrapping_mul(MULTIPLIERS[2]);
    mixed ^= mixed >> SHIFTS[2];
    mixed as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_neighbouring_gateways_over_all_slots() {
        for key in [0, 1, 0xDEAD_BEEF] {
            let mut counts = [0u32; SLOT_COUNT];
            for serial in 0..25_600u64 {
                counts[usize::from(slot_of(key, Eui64::new(0x0016_C001_F000_0000 + serial)))] += 1;
            }
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(least > Some(&50) && most < Some(&160), "key {key:x}: {least:?}..{most:?} of 100 expected");
        }
    }

    #[test]
    fn a_key_moves_most_gateways() {
        let moved = (0..4096u64).filter(|&serial| slot_of(1, Eui64::new(serial)) != slot_of(2, Eui64::new(serial)));
        assert!(moved.count() > 3900);
    }
}
