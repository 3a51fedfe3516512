//! `txpk`: a frame for a gateway to transmit, written into a PULL_RESP.
//!
//! Frequencies are written from whole Hz with six decimals of MHz, so none passes through floating point.

use super::{ACK_BYTES, CodingRate, PULL_RESP, Version, header};
use crate::NoRoom;
use crate::json::Writer;
use base::DataRate;

/// Room that any PULL_RESP with a payload of 255 bytes fits in.
pub const PULL_RESP_BYTES_MAX: usize = 768;

/// When to transmit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At once (class C).
    Immediately,
    /// When the concentrator's counter is here, microseconds (class A).
    Tmst(u32),
    /// At this GPS time, milliseconds since 1980-01-06 (class B).
    Tmms(u64),
}

/// A frame to transmit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Txpk<'a> {
    /// When.
    pub when: When,
    /// Carrier, Hz.
    pub freq_hz: u32,
    /// Concentrator RF chain.
    pub rfch: u8,
    /// Power, dBm.
    pub powe: i8,
    /// Modulation.
    pub data_rate: DataRate,
    /// Error correction, for LoRa.
    pub codr: CodingRate,
    /// Inverted polarity: true for downlinks, so that gateways do not hear each other.
    pub ipol: bool,
    /// Preamble, symbols; the gateway's default if `None`.
    pub prea: Option<u16>,
    /// Frequency deviation for FSK, Hz; half the bit rate if `None`.
    pub fdev: Option<u32>,
    /// Without payload CRC: true for downlinks (L2 1.0.4 §4.1).
    pub ncrc: bool,
    /// The PHYPayload.
    pub payload: &'a [u8],
}

impl<'a> Txpk<'a> {
    /// A class A, B or C downlink as LoRaWAN has it: inverted, without CRC, coding rate 4/5, on RF chain 0.
    #[must_use]
    pub const fn downlink(when: When, freq_hz: u32, data_rate: DataRate, powe: i8, payload: &'a [u8]) -> Self {
        Self {
            when,
            freq_hz,
            rfch: 0,
            powe,
            data_rate,
            codr: CodingRate::LORA_4_5,
            ipol: true,
            prea: None,
            fdev: None,
            ncrc: true,
            payload,
        }
    }
}

/// Asks a gateway to transmit. The token comes back in a TX_ACK if the version is 2. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] if the datagram does not fit; [`PULL_RESP_BYTES_MAX`] always does.
pub fn write_pull_resp(version: Version, token: [u8; 2], txpk: &Txpk<'_>, out: &mut [u8]) -> Result<usize, NoRoom> {
    header(version, token, PULL_RESP, out)?;
    let mut json = Writer::new(&mut out[ACK_BYTES..]);
    json.object().key("txpk").object();
    json.key("imme").bool(txpk.when == When::Immediately);
    match txpk.when {
        When::Immediately => {}
        When::Tmst(tmst) => {
            json.key("tmst").unsigned(u64::from(tmst));
        }
        When::Tmms(tmms) => {
            json.key("tmms").unsigned(tmms);
        }
    }
    json.key("freq").fixed(i64::from(txpk.freq_hz), 6);
    json.key("rfch").unsigned(u64::from(txpk.rfch));
    json.key("powe").integer(i64::from(txpk.powe));
    let mut text = [0; 24];
    match txpk.data_rate {
        DataRate::Lora { .. } => {
            json.key("modu").string("LORA");
            json.key("datr").string(spell(&mut text, format_args!("{}", txpk.data_rate))?);
            let CodingRate { data, total } = txpk.codr;
            json.key("codr").string(spell(&mut text, format_args!("{data}/{total}"))?);
        }
        DataRate::Fsk { bps } => {
            json.key("modu").string("FSK");
            json.key("datr").unsigned(u64::from(bps));
            json.key("fdev").unsigned(u64::from(txpk.fdev.unwrap_or(bps / 2)));
        }
        DataRate::LrFhss { .. } => {
            json.key("modu").string("LR-FHSS");
            json.key("datr").string(spell(&mut text, format_args!("{}", txpk.data_rate))?);
        }
    }
    json.key("ipol").bool(txpk.ipol);
    if let Some(prea) = txpk.prea {
        json.key("prea").unsigned(u64::from(prea));
    }
    json.key("ncrc").bool(txpk.ncrc);
    json.key("size").unsigned(txpk.payload.len() as u64);
    json.key("data").base64(txpk.payload);
    json.end_object().end_object();
    Ok(ACK_BYTES + json.finish()?)
}

/// Formats into `out`: core's formatting of integers does not allocate.
fn spell<'b>(out: &'b mut [u8], arguments: core::fmt::Arguments<'_>) -> Result<&'b str, NoRoom> {
    use std::io::Write;
    let room = out.len();
    let mut rest = &mut *out;
    rest.write_fmt(arguments).map_err(|_| NoRoom)?;
    let count = room - rest.len();
    core::str::from_utf8(&out[..count]).map_err(|_| NoRoom)
}
