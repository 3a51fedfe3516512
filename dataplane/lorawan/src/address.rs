//! Identifiers of the network: DevAddr and NetID, and the turn between written and wire order.
//! Never decides which network is ours; that is the caller's.
//!
//! ```text
//!   DevAddr  | prefix: t ones, a zero | NwkID | NwkAddr |     32 bits, little endian on the wire      L2 §6.1.1
//!   NetID    | type 3 | ... | NwkID |                         24 bits
//! ```

use base::Eui64;
use core::fmt;

/// NwkID and NwkAddr bits by NetID type 0..=7 (L2 §6.1.1, Table 66; LoRaWAN Backend Interfaces §17).
const FIELDS: [(u32, u32); 8] = [(6, 25), (6, 24), (9, 20), (11, 17), (12, 15), (13, 13), (15, 10), (17, 7)];

// Prefix (type + 1 bits), NwkID and NwkAddr fill a DevAddr exactly.
const _: () = {
    let mut index = 0;
    while index < FIELDS.len() {
        assert!(index as u32 + 1 + FIELDS[index].0 + FIELDS[index].1 == 32);
        index += 1;
    }
};

/// The network's address of a session. Written as 8 upper-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DevAddr(pub u32);

/// The network's identifier, 24 bits. Written as 6 upper-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NetId(pub u32);

impl DevAddr {
    /// Reads the wire order, least significant byte first.
    #[must_use]
    pub const fn from_wire(wire: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(wire))
    }

    /// The wire order, least significant byte first.
    #[must_use]
    pub const fn to_wire(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    /// The type of the NetID that it was composed under, 0..=7; `None` for the unassigned prefix of eight ones.
    #[must_use]
    pub const fn net_id_type(self) -> Option<u8> {
        let kind = self.0.leading_ones();
        if kind < 8 { Some(kind as u8) } else { None }
    }

    /// How many low bits are the network's to assign. The unassigned prefix counts as type 7, so that every address has an answer.
    #[must_use]
    pub const fn nwk_addr_bits(self) -> u32 {
        let kind = self.0.leading_ones() as usize;
        FIELDS[if kind < 8 { kind } else { 7 }].1
    }

    /// The bits that the network assigned.
    #[must_use]
    pub const fn nwk_addr(self) -> u32 {
        self.0 & ((1 << self.nwk_addr_bits()) - 1)
    }

    /// The address of `nwk_addr` (its low bits) in network `net_id`.
    #[must_use]
    pub const fn compose(net_id: NetId, nwk_addr: u32) -> Self {
        let kind = net_id.kind() as u32;
        let (nwk_id_bits, nwk_addr_bits) = FIELDS[kind as usize];
        // `kind` ones and a zero: 0, 10, 110 ... 11111110.
        let prefix = ((1 << (kind + 1)) - 2) << (31 - kind);
        let nwk_id = net_id.0 & ((1 << nwk_id_bits) - 1);
        Self(prefix | nwk_id << nwk_addr_bits | nwk_addr & ((1 << nwk_addr_bits) - 1))
    }
}

impl NetId {
    /// Reads the wire order, least significant byte first.
    #[must_use]
    pub const fn from_wire(wire: [u8; 3]) -> Self {
        Self(u32::from_le_bytes([wire[0], wire[1], wire[2], 0]))
    }

    /// The wire order, least significant byte first.
    #[must_use]
    pub const fn to_wire(self) -> [u8; 3] {
        let bytes = self.0.to_le_bytes();
        [bytes[0], bytes[1], bytes[2]]
    }

    /// The NetID type, 0..=7: the three most significant of its 24 bits.
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 >> 21 & 7) as u8
    }

    /// How many addresses the network may assign, as a power of two.
    #[must_use]
    pub const fn nwk_addr_bits(self) -> u32 {
        FIELDS[self.kind() as usize].1
    }

    /// Whether `address` lies in this network's share.
    #[must_use]
    pub const fn contains(self, address: DevAddr) -> bool {
        Self::matches(Self(self.0 & 0x00FF_FFFF), address)
    }

    const fn matches(self, address: DevAddr) -> bool {
        DevAddr::compose(self, address.0).0 == address.0
    }
}

/// Reads an EUI in wire order, least significant byte first (L2 §1.1: all octets of multi-octet fields are little endian).
#[must_use]
pub const fn eui_from_wire(wire: [u8; 8]) -> Eui64 {
    Eui64(u64::from_le_bytes(wire).to_be_bytes())
}

/// The EUI in wire order, least significant byte first.
#[must_use]
pub const fn eui_to_wire(eui: Eui64) -> [u8; 8] {
    u64::from_be_bytes(eui.0).to_le_bytes()
}

impl fmt::Display for DevAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08X}", self.0)
    }
}

impl fmt::Debug for DevAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for NetId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:06X}", self.0)
    }
}

impl fmt::Debug for NetId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
