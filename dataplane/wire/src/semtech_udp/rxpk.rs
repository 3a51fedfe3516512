//! `rxpk`: frames that a gateway heard, read from JSON that was checked before.
//!
//! Keys come in any order, unknown ones are ignored, of repeated ones the last counts (none may be wrong). An entry that cannot be used is
//! refused with a reason and leaves its neighbours alone. An entry with `rsig` was heard by several antennas and yields
//! one [`Rxpk`] for each.

use super::time;
use crate::base64::{self, Base64Error};
use crate::json::{Error, Kind, Number, Reader, Text};
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
    fn parse(text: Text<'_>) -> Option<Self> {
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

/// The frames of a datagram, in its order.
#[derive(Clone, Debug)]
pub struct Rxpks<'a> {
    entries: Option<Reader<'a>>,
    /// The entry at hand and the antennas of it that are left.
    antennas: Option<(Entry<'a>, Reader<'a>)>,
}

impl<'a> Rxpks<'a> {
    /// The entries of an array whose JSON was checked.
    pub(super) fn new(array: Option<&'a str>) -> Self {
        let entries = array.and_then(|array| {
            let mut reader = Reader::over(array);
            reader.array().is_ok().then_some(reader)
        });
        Self { entries, antennas: None }
    }

    fn entry(reader: &mut Reader<'a>) -> Result<Result<Entry<'a>, Refusal>, Error> {
        if reader.peek()? != Kind::Object {
            reader.skip()?;
            return Ok(Err(Refusal::NotObject));
        }
        let mut entry = Entry::default();
        let refused = entry.read(reader)?;
        Ok(refused.map_or(Ok(entry), Err))
    }

    fn antenna(entry: &Entry<'a>, reader: &mut Reader<'a>) -> Result<Result<Rxpk<'a>, Refusal>, Error> {
        if reader.peek()? != Kind::Object {
            reader.skip()?;
            return Ok(Err(Refusal::Antenna));
        }
        let mut heard = entry.clone();
        let refused = heard.read(reader)?;
        Ok(match refused {
            Some(refusal) => Err(refusal),
            None => heard.finish(),
        })
    }
}

impl<'a> Iterator for Rxpks<'a> {
    type Item = Result<Rxpk<'a>, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
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
        let entry = match Self::entry(entries).ok()? {
            Ok(entry) => entry,
            Err(refusal) => return Some(Err(refusal)),
        };
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

/// What has been read of an entry.
#[derive(Clone, Debug, Default)]
struct Entry<'a> {
    tmst: Option<u32>,
    time: Option<UnixMicros>,
    tmms: Option<u64>,
    ftime: Option<u32>,
    chan: u8,
    rfch: u8,
    mid: u8,
    ant: u8,
    freq_hz: Option<u32>,
    crc: Crc,
    modulation: Option<Modulation>,
    data_rate: Option<DataRate>,
    codr: Option<CodingRate>,
    rssi_deci: Option<i16>,
    snr_deci: i16,
    size: Option<u8>,
    data: Option<Text<'a>>,
    rsig: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modulation {
    Lora,
    Fsk,
    LrFhss,
}

impl<'a> Entry<'a> {
    /// Takes an object's members. The first that cannot be used is returned once the object has been passed.
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<Option<Refusal>, Error> {
        reader.object()?;
        let mut refused = None;
        while let Some(key) = reader.key()? {
            let outcome = match key.plain() {
                Some(name) => self.member(name, reader)?,
                None => match NAMES.iter().find(|name| key.is(name)) {
                    Some(name) => self.member(name, reader)?,
                    None => reader.skip().map(|_| Ok(()))?,
                },
            };
            if let Err(refusal) = outcome {
                refused = refused.or(Some(refusal));
            }
        }
        Ok(refused)
    }

    fn member(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<Result<(), Refusal>, Error> {
        Ok(match name {
            "tmst" => set(&mut self.tmst, whole(reader)?, Refusal::Tmst),
            "freq" => set(&mut self.freq_hz, fixed(reader, 6)?.filter(|hz| *hz > 0), Refusal::Frequency),
            "datr" => set(&mut self.data_rate, data_rate(reader)?, Refusal::DataRate),
            "modu" => set(&mut self.modulation, modulation(reader)?, Refusal::Modulation),
            "size" => set(&mut self.size, whole(reader)?, Refusal::Size),
            "data" => set(&mut self.data, text(reader)?, Refusal::Data),
            // An antenna of `rsig` tells the channel's strength as `rssic`.
            "rssi" | "rssic" => set(&mut self.rssi_deci, fixed(reader, 1)?, Refusal::Rssi),
            "lsnr" => put(&mut self.snr_deci, fixed(reader, 1)?, Refusal::Snr),
            "stat" => put(&mut self.crc, crc(reader)?, Refusal::Crc),
            "chan" => put(&mut self.chan, whole(reader)?, Refusal::Number),
            "rfch" => put(&mut self.rfch, whole(reader)?, Refusal::Number),
            "mid" | "brd" => put(&mut self.mid, whole(reader)?, Refusal::Number),
            "ant" => put(&mut self.ant, whole(reader)?, Refusal::Number),
            "rsig" => {
                let is_array = reader.peek()? == Kind::Array;
                let array = reader.skip()?;
                set(&mut self.rsig, is_array.then_some(array), Refusal::Antenna)
            }
            // What a gateway may not have, and what it may have wrong without harm.
            "time" => {
                self.time = text(reader)?.and_then(Text::plain).and_then(|text| time::parse(text.as_bytes()));
                Ok(())
            }
            "tmms" => {
                self.tmms = whole(reader)?;
                Ok(())
            }
            "ftime" => {
                self.ftime = whole(reader)?;
                Ok(())
            }
            "codr" => {
                self.codr = text(reader)?.and_then(CodingRate::parse);
                Ok(())
            }
            _ => reader.skip().map(|_| Ok(()))?,
        })
    }

    fn finish(self) -> Result<Rxpk<'a>, Refusal> {
        let data_rate = self.data_rate.ok_or(Refusal::DataRate)?;
        let of_rate = match data_rate {
            DataRate::Lora { .. } => Modulation::Lora,
            DataRate::Fsk { .. } => Modulation::Fsk,
            DataRate::LrFhss { .. } => Modulation::LrFhss,
        };
        if self.modulation.is_some_and(|modulation| modulation != of_rate) {
            return Err(Refusal::Modulation);
        }
        Ok(Rxpk {
            tmst: self.tmst.ok_or(Refusal::Tmst)?,
            time: self.time,
            tmms: self.tmms,
            ftime: self.ftime,
            chan: self.chan,
            rfch: self.rfch,
            mid: self.mid,
            ant: self.ant,
            freq_hz: self.freq_hz.ok_or(Refusal::Frequency)?,
            crc: self.crc,
            data_rate,
            codr: self.codr,
            rssi_deci: self.rssi_deci.ok_or(Refusal::Rssi)?,
            snr_deci: self.snr_deci,
            size: self.size.ok_or(Refusal::Size)?,
            data: self.data.ok_or(Refusal::Data)?,
        })
    }
}

/// The keys that are looked at, for the writer that escapes letters.
const NAMES: [&str; 20] = [
    "tmst", "freq", "datr", "modu", "size", "data", "rssi", "rssic", "lsnr", "stat", "chan", "rfch", "mid", "brd",
    "ant", "rsig", "time", "tmms", "ftime", "codr",
];

fn set<T>(field: &mut Option<T>, value: Option<T>, refusal: Refusal) -> Result<(), Refusal> {
    *field = value;
    if field.is_some() { Ok(()) } else { Err(refusal) }
}

fn put<T>(field: &mut T, value: Option<T>, refusal: Refusal) -> Result<(), Refusal> {
    *field = value.ok_or(refusal)?;
    Ok(())
}

/// The next value if it is a number, else passed over.
fn number<'a>(reader: &mut Reader<'a>) -> Result<Option<Number<'a>>, Error> {
    if reader.peek()? == Kind::Number {
        return reader.number().map(Some);
    }
    reader.skip().map(|_| None)
}

/// The next value if it is a string, else passed over.
fn text<'a>(reader: &mut Reader<'a>) -> Result<Option<Text<'a>>, Error> {
    if reader.peek()? == Kind::String {
        return reader.string().map(Some);
    }
    reader.skip().map(|_| None)
}

/// The next value if it is a number of so many decimal places that fits.
fn fixed<T: TryFrom<i64>>(reader: &mut Reader<'_>, places: u32) -> Result<Option<T>, Error> {
    Ok(number(reader)?.and_then(|number| number.fixed(places)).and_then(|value| T::try_from(value).ok()))
}

/// The next value if it is a whole number that fits.
fn whole<T: TryFrom<i64>>(reader: &mut Reader<'_>) -> Result<Option<T>, Error> {
    Ok(number(reader)?.and_then(Number::to_i64).and_then(|value| T::try_from(value).ok()))
}

fn crc(reader: &mut Reader<'_>) -> Result<Option<Crc>, Error> {
    Ok(whole::<i8>(reader)?.and_then(|stat| match stat {
        1 => Some(Crc::Ok),
        -1 => Some(Crc::Bad),
        0 => Some(Crc::None),
        _ => None,
    }))
}

fn data_rate(reader: &mut Reader<'_>) -> Result<Option<DataRate>, Error> {
    if reader.peek()? == Kind::String {
        let text = reader.string()?;
        let mut unescaped = [0; 16];
        let rate = text.unescape(&mut unescaped).ok().and_then(|text| DataRate::parse(text.as_bytes()));
        // FSK's rate is a number, not a text of digits.
        return Ok(rate.filter(|rate| !matches!(rate, DataRate::Fsk { .. })));
    }
    Ok(whole::<u32>(reader)?.filter(|bps| (1..1 << 28).contains(bps)).map(|bps| DataRate::Fsk { bps }))
}

fn modulation(reader: &mut Reader<'_>) -> Result<Option<Modulation>, Error> {
    Ok(text(reader)?.and_then(|text| {
        [("LORA", Modulation::Lora), ("FSK", Modulation::Fsk), ("LR-FHSS", Modulation::LrFhss)]
            .into_iter()
            .find(|(name, _)| text.is(name))
            .map(|(_, modulation)| modulation)
    }))
}
