//! The event's bytes: what hops between shards. Little endian; EUIs in written order.
//!
//! ```text
//!   0 kind      1 copy       2 copy_index  3 mtype      4 flags      5 fport     6 failure   7 reception count
//!   8 payload length u16    10 dev_nonce u16           12 tenant u32            16 application u32
//!  20 at u64                28 dev_eui 8               36 join_eui 8            44 dev_addr u32
//!  48 session u32           52 fcnt u32                56 frequency_hz u32      60 data_rate 4
//!  64 downlink u64          72 gateway 8               80 receptions ...        then the payload
//! ```

use crate::{Copy, Event, Failure, Kind, RECEPTION_COUNT_MAX, Reception, Receptions};
use base::{DataRate, Eui64, UnixMicros};

/// Bytes before the receptions.
pub const HEAD_BYTES: usize = 80;

/// Bytes of one reception: gateway 8, time 8, tmst 4, rssi 2, snr 2, channel, rf_chain, antenna, reserved.
pub const RECEPTION_BYTES: usize = 28;

const FLAG_ADR: u8 = 1;
const FLAG_FPORT: u8 = 2;

/// These bytes are no event: cut short, or of a kind this version does not know.
#[derive(Clone, core::marker::Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl Reception {
    /// The encoded reception.
    #[must_use]
    pub fn to_wire(&self) -> [u8; RECEPTION_BYTES] {
        let mut out = [0; RECEPTION_BYTES];
        out[..8].copy_from_slice(&self.gateway.0);
        out[8..16].copy_from_slice(&self.time.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.tmst.to_le_bytes());
        out[20..22].copy_from_slice(&self.rssi_deci.to_le_bytes());
        out[22..24].copy_from_slice(&self.snr_deci.to_le_bytes());
        out[24] = self.channel;
        out[25] = self.rf_chain;
        out[26] = self.antenna;
        out
    }

    /// The inverse of [`Reception::to_wire`].
    #[must_use]
    pub fn from_wire(wire: &[u8; RECEPTION_BYTES]) -> Self {
        let wire = &wire[..];
        Self {
            gateway: Eui64(take(wire, 0)),
            time: UnixMicros(u64::from_le_bytes(take(wire, 8))),
            tmst: u32::from_le_bytes(take(wire, 16)),
            rssi_deci: i16::from_le_bytes(take(wire, 20)),
            snr_deci: i16::from_le_bytes(take(wire, 22)),
            channel: wire[24],
            rf_chain: wire[25],
            antenna: wire[26],
        }
    }
}

impl<'a> Event<'a> {
    /// Bytes that [`Event::write`] needs.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        HEAD_BYTES + self.receptions.0.len() + self.payload.len()
    }

    /// Encodes into the front of `out`. Returns the count of bytes, or `None` without room.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let count = self.encoded_bytes();
        let out = out.get_mut(..count)?;
        let payload_bytes = u16::try_from(self.payload.len()).ok()?;
        out[0] = self.kind as u8;
        out[1] = self.copy as u8;
        out[2] = self.copy_index;
        out[3] = self.mtype;
        out[4] = (u8::from(self.adr) * FLAG_ADR) | (u8::from(self.fport.is_some()) * FLAG_FPORT);
        out[5] = self.fport.unwrap_or(0);
        out[6] = self.failure.map_or(0, |failure| failure as u8);
        out[7] = self.receptions.len() as u8;
        out[8..10].copy_from_slice(&payload_bytes.to_le_bytes());
        out[10..12].copy_from_slice(&self.dev_nonce.to_le_bytes());
        out[12..16].copy_from_slice(&self.tenant.to_le_bytes());
        out[16..20].copy_from_slice(&self.application.to_le_bytes());
        out[20..28].copy_from_slice(&self.at.0.to_le_bytes());
        out[28..36].copy_from_slice(&self.dev_eui.0);
        out[36..44].copy_from_slice(&self.join_eui.0);
        out[44..48].copy_from_slice(&self.dev_addr.to_le_bytes());
        out[48..52].copy_from_slice(&self.session.to_le_bytes());
        out[52..56].copy_from_slice(&self.fcnt.to_le_bytes());
        out[56..60].copy_from_slice(&self.frequency_hz.to_le_bytes());
        out[60..64].copy_from_slice(&self.data_rate.to_wire());
        out[64..72].copy_from_slice(&self.downlink.to_le_bytes());
        out[72..80].copy_from_slice(&self.gateway.0);
        let tail = &mut out[HEAD_BYTES..];
        let (receptions, payload) = tail.split_at_mut(self.receptions.0.len());
        receptions.copy_from_slice(self.receptions.0);
        payload.copy_from_slice(self.payload);
        Some(count)
    }

    /// Reads an encoded event, which must fill `bytes` exactly.
    ///
    /// # Errors
    /// [`Malformed`] if it does not, or says what this version does not know.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEAD_BYTES {
            return Err(Malformed);
        }
        let reception_count = usize::from(bytes[7]);
        let payload_bytes = usize::from(u16::from_le_bytes(take(bytes, 8)));
        let payload_at = HEAD_BYTES + reception_count * RECEPTION_BYTES;
        if reception_count > RECEPTION_COUNT_MAX || bytes.len() != payload_at + payload_bytes {
            return Err(Malformed);
        }
        let copy = match bytes[1] {
            0 => Copy::First,
            1 => Copy::Later,
            2 => Copy::Best,
            _ => return Err(Malformed),
        };
        Ok(Self {
            kind: Kind::ALL.into_iter().find(|kind| *kind as u8 == bytes[0]).ok_or(Malformed)?,
            copy,
            copy_index: bytes[2],
            mtype: bytes[3],
            fport: (bytes[4] & FLAG_FPORT != 0).then_some(bytes[5]),
            adr: bytes[4] & FLAG_ADR != 0,
            failure: Failure::from_u8(bytes[6]),
            at: UnixMicros(u64::from_le_bytes(take(bytes, 20))),
            tenant: u32::from_le_bytes(take(bytes, 12)),
            application: u32::from_le_bytes(take(bytes, 16)),
            dev_eui: Eui64(take(bytes, 28)),
            join_eui: Eui64(take(bytes, 36)),
            dev_addr: u32::from_le_bytes(take(bytes, 44)),
            session: u32::from_le_bytes(take(bytes, 48)),
            fcnt: u32::from_le_bytes(take(bytes, 52)),
            dev_nonce: u16::from_le_bytes(take(bytes, 10)),
            frequency_hz: u32::from_le_bytes(take(bytes, 56)),
            data_rate: DataRate::from_wire(take(bytes, 60)),
            downlink: u64::from_le_bytes(take(bytes, 64)),
            gateway: Eui64(take(bytes, 72)),
            receptions: Receptions(&bytes[HEAD_BYTES..payload_at]),
            payload: &bytes[payload_at..],
        })
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a fixed field within the checked head")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(receptions: &[u8]) -> Event<'_> {
        Event {
            kind: Kind::Uplink,
            copy: Copy::Best,
            copy_index: 3,
            mtype: 4,
            fport: Some(0),
            adr: true,
            failure: Some(Failure::Expired),
            tenant: 7,
            application: 9,
            dev_eui: Eui64::new(0x70B3_D57E_D000_0001),
            join_eui: Eui64::new(2),
            dev_addr: 0x2601_1BDA,
            session: 5,
            fcnt: 0x0001_0002,
            dev_nonce: 77,
            frequency_hz: 868_100_000,
            data_rate: DataRate::Lora { sf: 7, bw_khz: 125 },
            downlink: u64::MAX,
            gateway: Eui64::new(3),
            receptions: Receptions::new(receptions),
            payload: b"payload",
            ..Event::new(Kind::Uplink, UnixMicros(1_700_000_000_000_000))
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let reception =
            Reception { gateway: Eui64::new(8), rssi_deci: -1125, snr_deci: -75, tmst: 9, ..Reception::default() };
        let receptions = [reception.to_wire(), reception.to_wire()].concat();
        let event = full(&receptions);
        let mut out = [0; crate::EVENT_BYTES_MAX];
        let count = event.write(&mut out).expect("room");
        assert_eq!(Event::parse(&out[..count]), Ok(event.clone()));
        assert_eq!(event.receptions.get(1), Some(reception));
        assert!(event.touches(Eui64::new(8)) && event.touches(Eui64::new(3)) && !event.touches(Eui64::new(9)));
        assert_eq!(event.write(&mut out[..count - 1]), None);
        for cut in 0..count {
            assert_eq!(Event::parse(&out[..cut]), Err(Malformed), "cut to {cut}");
        }
    }

    #[test]
    fn refuses_unknown_kinds_and_counts() {
        let mut out = [0; 200];
        let count = full(&[]).write(&mut out).expect("room");
        for (at, value) in [(0, 0), (0, 99), (1, 3), (7, 17)] {
            let kept = core::mem::replace(&mut out[at], value);
            assert_eq!(Event::parse(&out[..count]), Err(Malformed), "byte {at} = {value}");
            out[at] = kept;
        }
    }
}
