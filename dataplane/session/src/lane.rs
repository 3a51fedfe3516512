//! Lanes: which part of the network server a frame, a device or an address belongs to.
//!
//! Pure arithmetic over identifiers; owns nothing. The lane of a DevAddr is taken from its NwkAddr part alone, through a
//! bijection of that part, so that a lane's share of the address space can be counted through.
//!
//! ```text
//!   DevAddr 32 = | type prefix | NwkID | NwkAddr b bits |          L2 §6.1.1
//!   spread(NwkAddr) = | counter b-6 bits | lane 6 bits |
//! ```

use base::Eui64;
use base::mix::mix64;
use lorawan::{DevAddr, NetId};

/// Lanes of a store. A power of two, and no more than the smallest NwkAddr space (7 bits) can be shared among.
pub const LANE_COUNT: usize = 64;

const LANE_BITS: u32 = LANE_COUNT.trailing_zeros();
// The smallest address space, that of NetID type 7, has 7 bits.
const _: () = assert!(LANE_COUNT.is_power_of_two() && LANE_BITS < NetId(7 << 21).nwk_addr_bits());

/// One lane: the unit of ownership and order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(pub u8);

/// A set of lanes: what one shard owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lanes(u64);

impl Lanes {
    /// No lane.
    pub const NONE: Self = Self(0);
    /// Every lane.
    pub const ALL: Self = Self(u64::MAX);

    /// This set and one lane more.
    #[must_use]
    pub const fn with(self, lane: Lane) -> Self {
        Self(self.0 | 1 << lane.0)
    }

    /// The lanes of shard `index` out of `count`, when lanes are dealt in turn.
    #[must_use]
    pub fn dealt(index: usize, count: usize) -> Self {
        assert!(index < count, "a shard among those that exist");
        (0..LANE_COUNT).filter(|lane| lane % count == index).fold(Self::NONE, |set, lane| set.with(Lane(lane as u8)))
    }

    /// The first lane of the set.
    #[must_use]
    pub const fn first(self) -> Option<Lane> {
        if self.0 == 0 { None } else { Some(Lane(self.0.trailing_zeros() as u8)) }
    }

    /// The set, a bit for each lane.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the lane is in the set.
    #[must_use]
    pub const fn contains(self, lane: Lane) -> bool {
        self.0 >> lane.0 & 1 == 1
    }
}

/// The lane that keeps an OTAA device, hears its JoinRequests, and knows where an ABP device of this DevEUI lives.
#[must_use]
pub const fn lane_of_eui(dev_eui: Eui64) -> Lane {
    Lane((mix64(dev_eui.to_u64()) >> (64 - LANE_BITS)) as u8)
}

/// The lane of a DevAddr: where its data frames go, whoever's they are.
#[must_use]
pub const fn lane_of_addr(dev_addr: DevAddr) -> Lane {
    Lane((spread(dev_addr.nwk_addr(), dev_addr.nwk_addr_bits()) & mask(LANE_BITS)) as u8)
}

/// The lane of a PHYPayload: by DevAddr for data frames, by DevEUI for JoinRequests, by its hash otherwise.
#[must_use]
pub fn lane_of_frame(phy: &[u8]) -> Lane {
    // MHDR, then DevAddr least significant byte first (L2 1.0.4 §4.2, §4.3.1), or JoinEUI and DevEUI (§6.2.4).
    match phy {
        [mhdr, a, b, c, d, ..] if matches!(mhdr >> 5, 2..=5) => lane_of_addr(DevAddr::from_wire([*a, *b, *c, *d])),
        [mhdr, _, _, _, _, _, _, _, _, eui @ ..] if mhdr >> 5 == 0 && eui.len() >= 8 => {
            lane_of_eui(lorawan::eui_from_wire(eui[..8].try_into().expect("eight bytes")))
        }
        _ => Lane((hash_of(0, phy) >> (64 - LANE_BITS)) as u8),
    }
}

/// The `counter`-th DevAddr of a lane's share of the address space of `net_id`; the counter wraps at [`addr_count`].
#[must_use]
pub const fn addr_in_lane(net_id: NetId, lane: Lane, counter: u64) -> DevAddr {
    let bits = net_id.nwk_addr_bits();
    let point = (counter as u32) << LANE_BITS | lane.0 as u32;
    DevAddr::compose(net_id, gather(point & mask(bits), bits))
}

/// How many DevAddrs of `net_id` one lane has.
#[must_use]
pub const fn addr_count(net_id: NetId) -> u64 {
    1 << (net_id.nwk_addr_bits() - LANE_BITS)
}

/// A 64-bit hash of bytes. Under a seed nobody outside knows, collisions cannot be prepared.
#[must_use]
pub(crate) fn hash_of(seed: u64, bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut hash = mix64(seed ^ bytes.len() as u64 ^ 0x9E37_79B9_7F4A_7C15);
    for chunk in chunks {
        hash = mix64(hash.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ u64::from_le_bytes(*chunk));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix64(hash.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ u64::from_le_bytes(last))
}

const fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

// An odd multiplier is a bijection modulo 2^bits, and so is a shift by at least half of the bits, which undoes itself.
const FORTH: u32 = 0x9E37_79B1;
const BACK: u32 = inverse(FORTH);
const _: () = assert!(FORTH.wrapping_mul(BACK) == 1);

const fn spread(value: u32, bits: u32) -> u32 {
    let value = value.wrapping_mul(FORTH) & mask(bits);
    let value = value ^ value >> bits.div_ceil(2);
    value.wrapping_mul(FORTH) & mask(bits)
}

const fn gather(value: u32, bits: u32) -> u32 {
    let value = value.wrapping_mul(BACK) & mask(bits);
    let value = value ^ value >> bits.div_ceil(2);
    value.wrapping_mul(BACK) & mask(bits)
}

/// Newton's iteration doubles the correct low bits: 3, 6, 12, 24, 48.
const fn inverse(odd: u32) -> u32 {
    let mut guess = odd;
    let mut turn = 0;
    while turn < 4 {
        guess = guess.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(guess)));
        turn += 1;
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;
    use std::collections::BTreeSet;

    #[test]
    fn every_type_counts_through_its_share_once() {
        for kind in 0..8u32 {
            let net_id = NetId(kind << 21 | 0x13);
            let count = addr_count(net_id).min(512);
            let mut seen = BTreeSet::new();
            for lane in (0..LANE_COUNT as u8).map(Lane) {
                for counter in 0..count {
                    let dev_addr = addr_in_lane(net_id, lane, counter);
                    assert_eq!(lane_of_addr(dev_addr), lane, "type {kind}");
                    assert!(net_id.contains(dev_addr));
                    assert!(seen.insert(dev_addr), "{dev_addr} given twice");
                }
                assert_eq!(addr_in_lane(net_id, lane, 0), addr_in_lane(net_id, lane, addr_count(net_id)), "wraps");
            }
        }
    }

    #[test]
    fn sequential_identifiers_spread() {
        let mut by_eui = [0u32; LANE_COUNT];
        let mut by_addr = [0u32; LANE_COUNT];
        for index in 0..64_000 {
            by_eui[usize::from(lane_of_eui(Eui64::new(0x70B3_D57E_D000_0000 + index)).0)] += 1;
            by_addr[usize::from(lane_of_addr(DevAddr(0x2601_0000 + index as u32)).0)] += 1;
        }
        assert!(by_eui.iter().chain(&by_addr).all(|count| (700..1300).contains(count)), "{by_eui:?} {by_addr:?}");
    }

    #[test]
    fn frames_go_where_their_device_lives() {
        let mut data = [0x40, 0xDA, 0x1B, 0x01, 0x26, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(lane_of_frame(&data), lane_of_addr(DevAddr(0x2601_1BDA)));
        data[0] = 0x80;
        assert_eq!(lane_of_frame(&data), lane_of_addr(DevAddr(0x2601_1BDA)));
        let mut join = [0; 23];
        join[9..17].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(lane_of_frame(&join), lane_of_eui(Eui64::new(0x0102_0304_0506_0708)));
        let mut random = SplitMix64::new(1);
        for count in 0..40 {
            let bytes: Vec<u8> = (0..count).map(|_| random.next() as u8).collect();
            assert!(usize::from(lane_of_frame(&bytes).0) < LANE_COUNT);
        }
    }

    #[test]
    fn shards_share_all_lanes() {
        for count in [1, 2, 3, 8, 64] {
            for lane in (0..LANE_COUNT as u8).map(Lane) {
                assert_eq!((0..count).filter(|index| Lanes::dealt(*index, count).contains(lane)).count(), 1);
            }
        }
        assert!(!Lanes::NONE.contains(Lane(0)) && Lanes::ALL.contains(Lane(63)));
    }
}
