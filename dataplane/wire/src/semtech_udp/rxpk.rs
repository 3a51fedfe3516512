//! `rxpk`: frames that a gateway heard, the first while its JSON is checked, the others from JSON that was.
//!
//! Keys come in any order, unknown ones are ignored, of repeated ones the last counts (none may be wrong). An entry that cannot be used is
//! refused with a reason and leaves its neighbours alone. An entry with `rsig` was heard by several antennas and yields
//! one [`Rxpk`] for each.

use super::Malformed;
use super::entry::Entry;
use crate::base64::{self, Base64Error};
use crate::json::{Error, Kind, Reader, Text};
use base::{DataRate, UnixMicros};

/// The longest PHYPayload that a concentrator passes on.
pub const PAYLOAD_BYTES_MAX: usize = 255;

/// Base64 digits of the longest payload, padding included.
const DIGIT_COUNT_MAX: usize = base64::encoded_len(PAYLOAD_BYTES_MAX);

base::counted! {
    /// Why a heard frame cannot be used.
    pub enum Refusal {
        NotObject = "not_object": "The entry is no object.",
        Tmst = "tmst": "The concentrator's counter is missing, or no 32-bit number.",
        Frequency = "freq": "The frequency is missing, or no number of MHz below 4294.",
        DataRate = "datr": "The data rate is missing, or unknown.",
        Modulation = "modu": "The modulation is unknown, or not that of the data rate.",
        Crc = "stat": "The CRC status is not 1, -1 or 0.",
        Rssi = "rssi": "The signal strength is missing, or out of range.",
        Snr = "lsnr": "The signal-to-noise ratio is out of range.",
        Number = "number": "A channel, chain, board or antenna is no 8-bit number.",
        Size = "size": "The size is missing, above 255, or not that of the data.",
        Data = "data": "The data is missing, or not base64.",
        Antenna = "rsig": "The list of antennas, or one of them, is not as it should be.",
    }
}

/// What the concentrator found of the payload's CRC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Crc {
    /// Right.
    #[default]
    Ok,
    /// Wrong.
    Bad,
    /// The frame had none.
    None,
}

/// A forward error correction rate: `4/5`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodingRate {
    /// Data bits.
    pub data: u8,
    /// Bits transmitted for them.
    pub total: u8,
}

impl CodingRate {
    /// The one LoRaWAN uses.
    pub const LORA_4_5: Self = Self { data: 4, total: 5 };

    /// Reads `4/5`; the long interleaver's mark (`4/5LI`) is passed over.
    pub(super) fn parse(text: Text<'_>) -> Option<Self> {
        if let Some([data @ b'0'..=b'9', b'/', total @ b'0'..=b'9', ..]) = text.plain().map(str::as_bytes) {
            return Some(Self { data: data - b'0', total: total - b'0' });
        }
        let mut characters = text.chars();
        let mut digit = || characters.next().flatten().and_then(|character| character.to_digit(10));
        let data = digit()?;
        let slash = text.chars().nth(1).flatten();
        digit();
        let total = text.chars().nth(2).flatten()?.to_digit(10)?;
        (slash == Some('/')).then_some(Self { data: data as u8, total: total as u8 })
    }
}

/// A frame as one antenna heard it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rxpk<'a> {
    /// The concentrator's counter at the end of the reception: microseconds, wraps.
    pub tmst: u32,
    /// The gateway's time of the reception.
    pub time: Option<UnixMicros>,
    /// GPS time of the reception, milliseconds since 1980-01-06.
    pub tmms: Option<u64>,
    /// Fine timestamp, nanoseconds since the last GPS second.
    pub ftime: Option<u32>,
    /// Concentrator channel.
    pub chan: u8,
    /// Concentrator RF chain.
    pub rfch: u8,
    /// Concentrator board or modem.
    pub mid: u8,
    /// Antenna.
    pub ant: u8,
    /// Carrier, Hz, exactly as its decimals say.
    pub freq_hz: u32,
    /// The payload's CRC.
    pub crc: Crc,
    /// Modulation.
    pub data_rate: DataRate,
    /// Error correction; none for FSK, or if it was not understood.
    pub codr: Option<CodingRate>,
    /// Signal strength of the channel, tenths of dBm.
    pub rssi_deci: i16,
    /// Signal-to-noise ratio, tenths of dB; 0 if the modulation has none.
    pub snr_deci: i16,
    /// Bytes of the payload.
    pub size: u8,
    /// The payload, base64; see [`Rxpk::payload`].
    pub data: Text<'a>,
}

impl Rxpk<'_> {
    /// Decodes the payload into the front of `out`, which should hold [`PAYLOAD_BYTES_MAX`].
    ///
    /// # Errors
    /// [`Refusal::Data`] if it is not base64, [`Refusal::Size`] if it is not as long as the entry says, or as `out`.
    pub fn payload<'b>(&self, out: &'b mut [u8]) -> Result<&'b mut [u8], Refusal> {
        let mut unescaped = [0; DIGIT_COUNT_MAX];
        let digits = self.data.unescape(&mut unescaped).map_err(|_| Refusal::Data)?;
        let count = base64::decode(digits.as_bytes(), out).map_err(|error| match error {
            Base64Error::TooLong => Refusal::Size,
            _ => Refusal::Data,
        })?;
        if count == usize::from(self.size) { Ok(&mut out[..count]) } else { Err(Refusal::Size) }
    }
}

/// The array of a body, all of its JSON checked. Most have one entry, so the first is read while it is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array<'a> {
    text: &'a str,
    /// The first entry, unless antennas of it are to be told apart, and where in the text it ends.
    first: Option<(Result<Rxpk<'a>, Refusal>, usize)>,
}

impl<'a> Array<'a> {
    /// Takes the next value: an array, or `null`, which stands for none.
    ///
    /// # Errors
    /// If it is another, or outside the grammar.
    pub(super) fn read(reader: &mut Reader<'a>, array: &mut Option<Self>) -> Result<(), Malformed> {
        match reader.peek()? {
            Kind::Array => {}
            Kind::Null => {
                *array = None;
                return Ok(reader.null()?);
            }
            _ => {
                reader.pass()?;
                return Err(Malformed::Shape);
            }
        }
        let start = reader.offset();
        reader.array()?;
        let array = array.insert(Array { text: "", first: None });
        if reader.item()? {
            let mut entry = Entry::default();
            let refused = entry.read(reader, Refusal::NotObject)?;
            let end = reader.offset() - start;
            if let Some(refusal) = refused {
                array.first = Some((Err(refusal), end));
            } else if entry.rsig.is_none() {
                array.first = Some((entry.finish(), end));
            }
            while reader.item()? {
                reader.pass()?;
            }
        }
        array.text = reader.since(start);
        Ok(())
    }
}

/// The frames of a datagram, in its order.
#[derive(Clone, Debug)]
pub struct Rxpks<'a> {
    /// What was read already.
    first: Option<Result<Rxpk<'a>, Refusal>>,
    entries: Option<Reader<'a>>,
    /// The entry at hand and the antennas of it that are left.
    antennas: Option<(Entry<'a>, Reader<'a>)>,
}

impl<'a> Rxpks<'a> {
    /// The entries of an array.
    pub(super) fn new(array: Option<Array<'a>>) -> Self {
        let mut heard = Self { first: None, entries: None, antennas: None };
        match array {
            None => {}
            Some(Array { text, first: Some((first, end)) }) => {
                heard.first = Some(first);
                heard.entries = Some(Reader::behind_item(text, end));
            }
            Some(Array { text, first: None }) => {
                let mut reader = Reader::over(text);
                heard.entries = reader.array().is_ok().then_some(reader);
            }
        }
        heard
    }

    fn antenna(entry: &Entry<'a>, reader: &mut Reader<'a>) -> Result<Result<Rxpk<'a>, Refusal>, Error> {
        let mut heard = entry.clone();
        let refused = heard.read(reader, Refusal::Antenna)?;
        Ok(match refused {
            Some(refusal) => Err(refusal),
            None => heard.finish(),
        })
    }
}

impl<'a> Iterator for Rxpks<'a> {
    type Item = Result<Rxpk<'a>, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        // The JSON was checked, so a reader's error is the end: there is nothing it could stand for.
        if let Some((entry, antennas)) = &mut self.antennas {
            if antennas.item().unwrap_or(false) {
                return Self::antenna(entry, antennas).ok();
            }
            self.antennas = None;
        }
        let entries = self.entries.as_mut()?;
        if !entries.item().unwrap_or(false) {
            self.entries = None;
            return None;
        }
        let mut entry = Entry::default();
        if let Some(refusal) = entry.read(entries, Refusal::NotObject).ok()? {
            return Some(Err(refusal));
        }
        let Some(array) = entry.rsig else {
            return Some(entry.finish());
        };
        let mut antennas = Reader::over(array);
        // An empty list says nothing of antennas: the entry speaks for itself.
        match antennas.array().and_then(|()| antennas.item()) {
            Ok(true) => {
                let first = Self::antenna(&entry, &mut antennas).ok()?;
                self.antennas = Some((entry, antennas));
                Some(first)
            }
            _ => Some(entry.finish()),
        }
    }
}
