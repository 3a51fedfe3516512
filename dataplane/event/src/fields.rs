//! The names under which templates see an event's fields.
//!
//! A field is absent where its kind has no such thing: no FPort, no session, no gateway. Stable ids are spelt here too:
//!
//! ```text
//!   uplink            70B3D57ED0000001-3-1042-0     DevEUI, session, FCntUp, copy (0 for the first and for the best)
//!   joined            70B3D57ED0000001-3-join       DevEUI, session
//!   downlink events   d17-sent | d17-acknowledged | d17-failed
//!   everything else   AA555A0000000101-1700000000000000   the gateway and the time, in microseconds
//! ```

use crate::{Copy, Event, Kind, Reception, json};
use base::{DataRate, Eui64};
use emit::{Field, FieldName, Inline, NoRoom, Record, Schema, Shape, Value};

macro_rules! fields {
    ($($number:literal $constant:ident $name:literal $shape:ident $list:expr, $help:literal;)+) => {
        $(const $constant: Field = Field($number);)+
        /// Every field of an event, for templates and for the reference.
        pub const SCHEMA: Schema = Schema {
            fields: &[
                $(FieldName { name: $name, field: $constant, shape: Shape::$shape, list: $list, help: $help }),+
            ],
        };
    };
}

fields! {
    0 KIND "kind" Text None, "What happened, in snake_case.";
    1 ID "id" Text None, "The stable id: the same when the same message is delivered again.";
    2 MTYPE "mtype" Number None, "LoRaWAN MType: 2 unconfirmed up, 3 unconfirmed down, 4 confirmed up, 5 confirmed down.";
    3 CONFIRMED "confirmed" Flag None, "Whether the frame asks for an acknowledgement.";
    4 ADR "adr" Flag None, "Whether the device asked for adaptive data rate.";
    5 TIME "time" Time None, "When the platform learned of it.";
    6 DEV_EUI "dev_eui" Bytes None, "The device.";
    7 JOIN_EUI "join_eui" Bytes None, "AppEUI or JoinEUI.";
    8 DEV_ADDR "dev_addr" Bytes None, "Network address of the session, 4 bytes.";
    9 FPORT "fport" Number None, "FPort; absent if the frame had none.";
    10 FCNT "fcnt" Number None, "The frame counter, 32 bits.";
    11 PAYLOAD "payload" Bytes None, "FRMPayload in the clear; of an unknown frame, the PHYPayload.";
    12 FREQUENCY_HZ "frequency_hz" Number None, "Carrier in Hz.";
    13 FREQUENCY_MHZ "frequency_mhz" Number None, "Carrier in MHz.";
    14 DATA_RATE "data_rate" Text None, "Modulation, as in SF7BW125.";
    15 SPREADING_FACTOR "spreading_factor" Number None, "LoRa spreading factor.";
    16 BANDWIDTH_KHZ "bandwidth_khz" Number None, "LoRa bandwidth in kHz.";
    17 GATEWAY "gateway" Bytes None, "The gateway that heard it (best), sent it, or reported.";
    18 RSSI "rssi" Number None, "dBm, of the best reception.";
    19 SNR "snr" Number None, "dB, of the best reception.";
    20 DOWNLINK_ID "downlink_id" Number None, "The downlink that this speaks of.";
    21 FAILURE "failure" Text None, "Why a downlink was given up.";
    22 DEV_NONCE "dev_nonce" Number None, "DevNonce of a join.";
    23 SESSION "session" Number None, "Counts the device's sessions.";
    24 COPY "copy" Number None, "Which copy, from 0, in the order of arrival.";
    25 STATUS "status" Json None, "A gateway's report, a JSON object as received; absent if it was no valid JSON.";
    26 BEST "best" Flag None, "Whether this is the one record of all copies (streams with copies = best).";
    32 RECEPTIONS "receptions" List None, "Every reception, the best first.";
    33 RECEPTION_GATEWAY "gateway" Bytes Some(RECEPTIONS), "The gateway.";
    34 RECEPTION_RSSI "rssi" Number Some(RECEPTIONS), "dBm.";
    35 RECEPTION_SNR "snr" Number Some(RECEPTIONS), "dB.";
    36 RECEPTION_TMST "tmst" Number Some(RECEPTIONS), "The concentrator's counter, microseconds.";
    37 RECEPTION_TIME "time" Time Some(RECEPTIONS), "The gateway's own time; absent if it has no clock.";
    38 RECEPTION_CHANNEL "channel" Number Some(RECEPTIONS), "Concentrator channel.";
    39 RECEPTION_RF_CHAIN "rf_chain" Number Some(RECEPTIONS), "Concentrator RF chain.";
    40 RECEPTION_ANTENNA "antenna" Number Some(RECEPTIONS), "Antenna or board.";
}

/// MTypes of data frames that ask for an acknowledgement (L2 1.0.4 §4.2.1).
const CONFIRMED_UP: u8 = 4;
const CONFIRMED_DOWN: u8 = 5;

impl Record for Event<'_> {
    fn value(&self, field: Field) -> Value<'_> {
        match field {
            KIND => Value::Text(self.kind.name()),
            ID => self.stable_id_value(),
            MTYPE => number_if(self.is_about_frame(), self.mtype),
            CONFIRMED => flag_if(self.is_about_frame(), matches!(self.mtype, CONFIRMED_UP | CONFIRMED_DOWN)),
            ADR => flag_if(self.kind == Kind::Uplink, self.adr),
            TIME => Value::Time(self.at.0),
            DEV_EUI => eui(self.dev_eui),
            JOIN_EUI if self.dev_eui == Eui64::default() => Value::Absent,
            // An ABP device may well have the JoinEUI 0, so only a device decides whether there is one.
            JOIN_EUI => octets(self.join_eui.0),
            DEV_ADDR if self.has_session() || self.dev_addr != 0 => dev_addr(self.dev_addr),
            FPORT => self.fport.map_or(Value::Absent, |fport| Value::Unsigned(fport.into())),
            FCNT => number_if(self.has_counter(), self.fcnt),
            PAYLOAD if self.kind != Kind::GatewayStatus && self.is_heard() => Value::Bytes(self.payload),
            FREQUENCY_HZ => number_if(self.frequency_hz != 0, self.frequency_hz),
            FREQUENCY_MHZ if self.frequency_hz != 0 => Value::Decimal { digits: self.frequency_hz.into(), scale: 6 },
            DATA_RATE if self.frequency_hz != 0 => data_rate(self.data_rate),
            SPREADING_FACTOR | BANDWIDTH_KHZ => match self.data_rate {
                DataRate::Lora { sf, .. } if field == SPREADING_FACTOR => number_if(self.frequency_hz != 0, sf),
                DataRate::Lora { bw_khz, .. } => number_if(self.frequency_hz != 0, bw_khz),
                DataRate::Fsk { .. } | DataRate::LrFhss { .. } => Value::Absent,
            },
            GATEWAY => eui(self.best_gateway()),
            RSSI => self.receptions.get(0).map_or(Value::Absent, |best| deci(best.rssi_deci)),
            SNR => self.receptions.get(0).map_or(Value::Absent, |best| deci(best.snr_deci)),
            DOWNLINK_ID => number_if(self.is_about_downlink(), self.downlink),
            FAILURE => self.failure.map_or(Value::Absent, |failure| Value::Text(failure.name())),
            DEV_NONCE => number_if(matches!(self.kind, Kind::JoinRequest | Kind::Joined), self.dev_nonce),
            SESSION => number_if(self.has_session(), self.session),
            COPY => number_if(self.kind == Kind::Uplink, self.copy_number()),
            STATUS if self.kind == Kind::GatewayStatus => json::object(self.payload).map_or(Value::Absent, Value::Json),
            BEST => Value::Flag(self.copy == Copy::Best),
            RECEPTIONS => Value::List(self.receptions.len()),
            _ => Value::Absent,
        }
    }

    fn item(&self, list: Field, index: usize, field: Field) -> Value<'_> {
        match self.receptions.get(index) {
            Some(reception) if list == RECEPTIONS => reception_value(&reception, field),
            _ => Value::Absent,
        }
    }
}

fn reception_value(reception: &Reception, field: Field) -> Value<'static> {
    match field {
        RECEPTION_GATEWAY => octets(reception.gateway.0),
        RECEPTION_RSSI => deci(reception.rssi_deci),
        RECEPTION_SNR => deci(reception.snr_deci),
        RECEPTION_TMST => Value::Unsigned(reception.tmst.into()),
        RECEPTION_TIME if reception.time.0 != 0 => Value::Time(reception.time.0),
        RECEPTION_CHANNEL => Value::Unsigned(reception.channel.into()),
        RECEPTION_RF_CHAIN => Value::Unsigned(reception.rf_chain.into()),
        RECEPTION_ANTENNA => Value::Unsigned(reception.antenna.into()),
        _ => Value::Absent,
    }
}

impl Event<'_> {
    /// The stable id: the same whenever the same message is delivered again. See the module's picture for its forms.
    #[must_use]
    pub fn stable_id(&self) -> Inline {
        let mut out = Inline::new();
        self.write_stable_id(&mut out).expect("the longest id is 42 bytes");
        out
    }

    /// Apart, so that fields that spell nothing need no room for a text.
    #[inline(never)]
    fn stable_id_value(&self) -> Value<'static> {
        Value::spelt(|out| self.write_stable_id(out))
    }

    fn write_stable_id(&self, out: &mut Inline) -> Result<(), NoRoom> {
        match self.kind {
            Kind::Uplink => {
                self.write_session(out)?;
                out.push_number(self.fcnt.into(), 0)?;
                out.push_text("-")?;
                out.push_number(self.copy_number().into(), 0)
            }
            Kind::Joined => {
                self.write_session(out)?;
                out.push_text("join")
            }
            Kind::DownlinkSent => self.write_downlink("-sent", out),
            Kind::DownlinkAcknowledged => self.write_downlink("-acknowledged", out),
            Kind::DownlinkFailed => self.write_downlink("-failed", out),
            Kind::JoinRequest
            | Kind::UnknownFrame
            | Kind::GatewayStatus
            | Kind::GatewayOnline
            | Kind::GatewayOffline => {
                out.push_hex(&self.best_gateway().0)?;
                out.push_text("-")?;
                out.push_number(self.at.0, 0)
            }
        }
    }

    fn write_session(&self, out: &mut Inline) -> Result<(), NoRoom> {
        out.push_hex(&self.dev_eui.0)?;
        out.push_text("-")?;
        out.push_number(self.session.into(), 0)?;
        out.push_text("-")
    }

    fn write_downlink(&self, end: &str, out: &mut Inline) -> Result<(), NoRoom> {
        out.push_text("d")?;
        out.push_number(self.downlink, 0)?;
        out.push_text(end)
    }

    /// The best reception's gateway, or else the one whose event this is.
    #[must_use]
    pub fn best_gateway(&self) -> Eui64 {
        self.receptions.get(0).map_or(self.gateway, |best| best.gateway)
    }

    /// The copy as its id says it: the record of all copies stands for the first.
    const fn copy_number(&self) -> u8 {
        match self.copy {
            Copy::Best => 0,
            Copy::First | Copy::Later => self.copy_index,
        }
    }

    const fn is_heard(&self) -> bool {
        matches!(self.kind, Kind::Uplink | Kind::JoinRequest | Kind::UnknownFrame)
    }

    const fn is_about_downlink(&self) -> bool {
        matches!(self.kind, Kind::DownlinkSent | Kind::DownlinkAcknowledged | Kind::DownlinkFailed)
    }

    const fn is_about_frame(&self) -> bool {
        self.is_heard() || self.is_about_downlink()
    }

    /// A downlink that was never sent has no counter yet.
    fn has_counter(&self) -> bool {
        match self.kind {
            Kind::Uplink | Kind::DownlinkSent | Kind::DownlinkAcknowledged => true,
            Kind::DownlinkFailed | Kind::UnknownFrame => self.fcnt != 0,
            _ => false,
        }
    }

    const fn has_session(&self) -> bool {
        matches!(self.kind, Kind::Uplink | Kind::Joined) || self.is_about_downlink()
    }
}

/// As [`DataRate`] displays itself. Apart for the same reason as [`Event::stable_id_value`].
#[inline(never)]
fn data_rate(rate: DataRate) -> Value<'static> {
    Value::spelt(|out| write_data_rate(rate, out))
}

fn write_data_rate(rate: DataRate, out: &mut Inline) -> Result<(), NoRoom> {
    match rate {
        DataRate::Lora { sf, bw_khz } => {
            out.push_text("SF")?;
            out.push_number(sf.into(), 0)?;
            out.push_text("BW")?;
            out.push_number(bw_khz.into(), 0)
        }
        DataRate::Fsk { bps } => out.push_number(bps.into(), 0),
        DataRate::LrFhss { ocw_khz } => {
            out.push_text("M0CW")?;
            out.push_number(ocw_khz.into(), 0)
        }
    }
}

fn number_if(there: bool, number: impl Into<u64>) -> Value<'static> {
    if there { Value::Unsigned(number.into()) } else { Value::Absent }
}

const fn flag_if(there: bool, flag: bool) -> Value<'static> {
    if there { Value::Flag(flag) } else { Value::Absent }
}

/// Tenths of a unit.
fn deci(tenths: i16) -> Value<'static> {
    Value::Decimal { digits: tenths.into(), scale: 1 }
}

fn eui(eui: Eui64) -> Value<'static> {
    if eui == Eui64::default() { Value::Absent } else { octets(eui.0) }
}

const fn octets(octets: [u8; 8]) -> Value<'static> {
    Value::Octets { octets, count: 8 }
}

fn dev_addr(address: u32) -> Value<'static> {
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&address.to_be_bytes());
    Value::Octets { octets, count: 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::UnixMicros;
    use base::mix::SplitMix64;

    /// The forms of the module's picture, by the formatter.
    fn formatted(event: &Event<'_>) -> String {
        let (device, session, downlink) = (event.dev_eui, event.session, event.downlink);
        match event.kind {
            Kind::Uplink if event.copy == Copy::Best => format!("{device}-{session}-{}-0", event.fcnt),
            Kind::Uplink => format!("{device}-{session}-{}-{}", event.fcnt, event.copy_index),
            Kind::Joined => format!("{device}-{session}-join"),
            Kind::DownlinkSent => format!("d{downlink}-sent"),
            Kind::DownlinkAcknowledged => format!("d{downlink}-acknowledged"),
            Kind::DownlinkFailed => format!("d{downlink}-failed"),
            _ => format!("{}-{}", event.gateway, event.at.0),
        }
    }

    fn check(random: &mut SplitMix64, any: fn(&mut SplitMix64) -> u64) {
        let rates = [
            DataRate::Lora { sf: any(random) as u8, bw_khz: any(random) as u16 },
            DataRate::Fsk { bps: any(random) as u32 },
            DataRate::LrFhss { ocw_khz: any(random) as u16 },
        ];
        for rate in rates {
            let spelt = Inline::of(&rate).expect("short");
            assert_eq!(data_rate(rate), Value::Inline(spelt));
        }
        for kind in Kind::ALL {
            let event = Event {
                copy: [Copy::First, Copy::Later, Copy::Best][random.below(3) as usize],
                copy_index: any(random) as u8,
                dev_eui: Eui64::new(any(random)),
                session: any(random) as u32,
                fcnt: any(random) as u32,
                downlink: any(random),
                gateway: Eui64::new(any(random)),
                ..Event::new(kind, UnixMicros(any(random)))
            };
            assert_eq!(event.stable_id().as_str(), formatted(&event));
            assert_eq!(event.value(ID), Value::Inline(event.stable_id()));
        }
    }

    #[test]
    fn texts_are_those_of_the_formatter() {
        let mut random = SplitMix64::new(41);
        check(&mut random, |_| 0);
        check(&mut random, |_| u64::MAX);
        for _ in 0..2000 {
            check(&mut random, |random| random.next() >> random.below(64));
        }
    }
}
