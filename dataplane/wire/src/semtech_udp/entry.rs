//! What is read of one `rxpk` entry, member by member, in one pass over JSON that may be wrong.
//!
//! An entry's members come as numbers, strings or something else; which of them a member can have is said once for each of
//! the three. Machines write most keys as a comma, four letters and a colon, with nothing between: eight bytes that are
//! looked at together.

use super::time;
use super::{CodingRate, Crc, Refusal, Rxpk};
use crate::json::{Error, Key, Kind, Number, Reader, Text};
use base::{DataRate, UnixMicros};

/// What has been read of an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry<'a> {
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
    /// Its antennas, as written.
    pub(super) rsig: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modulation {
    Lora,
    Fsk,
    LrFhss,
}

impl<'a> Entry<'a> {
    /// Takes the next value, an object, and its members; what is no object is refused with that reason. The first member
    /// that cannot be used is returned once the object has been passed.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>, no_object: Refusal) -> Result<Option<Refusal>, Error> {
        if reader.peek()? != Kind::Object {
            reader.pass()?;
            return Ok(Some(no_object));
        }
        reader.object()?;
        let mut refused = None;
        loop {
            let member = if let Some(member) = reader.key_of_four().and_then(|key| Member::of(&key)) {
                reader.take_key_of_four();
                Some(member)
            } else {
                match reader.key_bytes()? {
                    Some(Key::Plain(name)) => Member::of(name),
                    Some(Key::Escaped(name)) => Member::of_escaped(name),
                    None => return Ok(refused),
                }
            };
            let Some(member) = member else {
                reader.pass()?;
                continue;
            };
            let outcome = match reader.peek()? {
                Kind::Number => self.number(member, reader.take_number()?),
                Kind::String => self.text(member, reader.take_string()?),
                Kind::Array if matches!(member, Member::Rsig) => {
                    self.rsig = Some(reader.skip()?);
                    Ok(())
                }
                _ => {
                    reader.pass()?;
                    self.unfit(member)
                }
            };
            if let Err(refusal) = outcome {
                refused = refused.or(Some(refusal));
            }
        }
    }

    fn number(&mut self, member: Member, number: Number<'a>) -> Result<(), Refusal> {
        match member {
            Member::Tmst => set(&mut self.tmst, whole(number), Refusal::Tmst),
            Member::Freq => set(&mut self.freq_hz, fixed(number, 6).filter(|hz| *hz > 0), Refusal::Frequency),
            Member::Datr => set(&mut self.data_rate, fsk(number), Refusal::DataRate),
            Member::Size => set(&mut self.size, whole(number), Refusal::Size),
            Member::Rssi => set(&mut self.rssi_deci, fixed(number, 1), Refusal::Rssi),
            Member::Lsnr => put(&mut self.snr_deci, fixed(number, 1), Refusal::Snr),
            Member::Stat => put(&mut self.crc, crc(number), Refusal::Crc),
            Member::Chan => put(&mut self.chan, whole(number), Refusal::Number),
            Member::Rfch => put(&mut self.rfch, whole(number), Refusal::Number),
            Member::Mid => put(&mut self.mid, whole(number), Refusal::Number),
            Member::Ant => put(&mut self.ant, whole(number), Refusal::Number),
            Member::Tmms => {
                self.tmms = whole(number);
                Ok(())
            }
            Member::Ftime => {
                self.ftime = whole(number);
                Ok(())
            }
            Member::Modu | Member::Data | Member::Rsig | Member::Time | Member::Codr => self.unfit(member),
        }
    }

    fn text(&mut self, member: Member, text: Text<'a>) -> Result<(), Refusal> {
        match member {
            Member::Datr => set(&mut self.data_rate, data_rate(text), Refusal::DataRate),
            Member::Modu => set(&mut self.modulation, modulation(text), Refusal::Modulation),
            Member::Data => {
                self.data = Some(text);
                Ok(())
            }
            Member::Time => {
                self.time = text.plain().and_then(|text| time::parse(text.as_bytes()));
                Ok(())
            }
            Member::Codr => {
                self.codr = CodingRate::parse(text);
                Ok(())
            }
            _ => self.unfit(member),
        }
    }

    /// A value of a type that the member cannot have.
    #[cold]
    fn unfit(&mut self, member: Member) -> Result<(), Refusal> {
        match member {
            Member::Tmst => return Err(Refusal::Tmst),
            Member::Freq => return Err(Refusal::Frequency),
            Member::Datr => return Err(Refusal::DataRate),
            Member::Modu => return Err(Refusal::Modulation),
            Member::Size => return Err(Refusal::Size),
            Member::Data => return Err(Refusal::Data),
            Member::Rssi => return Err(Refusal::Rssi),
            Member::Lsnr => return Err(Refusal::Snr),
            Member::Stat => return Err(Refusal::Crc),
            Member::Chan | Member::Rfch | Member::Mid | Member::Ant => return Err(Refusal::Number),
            Member::Rsig => return Err(Refusal::Antenna),
            // What a gateway may not have, and what it may have wrong without harm.
            Member::Time => self.time = None,
            Member::Tmms => self.tmms = None,
            Member::Ftime => self.ftime = None,
            Member::Codr => self.codr = None,
        }
        Ok(())
    }

    /// The frame, if nothing is missing.
    pub(super) fn finish(&self) -> Result<Rxpk<'a>, Refusal> {
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

/// The members that are looked at.
#[derive(Clone, Copy, Debug)]
enum Member {
    Tmst,
    Freq,
    Datr,
    Modu,
    Size,
    Data,
    Rssi,
    Lsnr,
    Stat,
    Chan,
    Rfch,
    Mid,
    Ant,
    Rsig,
    Time,
    Tmms,
    Ftime,
    Codr,
}

impl Member {
    #[inline(always)]
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"tmst" => Self::Tmst,
            b"freq" => Self::Freq,
            b"datr" => Self::Datr,
            b"modu" => Self::Modu,
            b"size" => Self::Size,
            b"data" => Self::Data,
            // An antenna of `rsig` tells the channel's strength as `rssic`.
            b"rssi" | b"rssic" => Self::Rssi,
            b"lsnr" => Self::Lsnr,
            b"stat" => Self::Stat,
            b"chan" => Self::Chan,
            b"rfch" => Self::Rfch,
            b"mid" | b"brd" => Self::Mid,
            b"ant" => Self::Ant,
            b"rsig" => Self::Rsig,
            b"time" => Self::Time,
            b"tmms" => Self::Tmms,
            b"ftime" => Self::Ftime,
            b"codr" => Self::Codr,
            _ => return None,
        })
    }

    /// For the writer that escapes letters.
    fn of_escaped(name: Text<'_>) -> Option<Self> {
        let mut unescaped = [0; 8];
        Self::of(name.unescape(&mut unescaped).ok()?.as_bytes())
    }
}

fn set<T>(field: &mut Option<T>, value: Option<T>, refusal: Refusal) -> Result<(), Refusal> {
    *field = value;
    if field.is_some() { Ok(()) } else { Err(refusal) }
}

fn put<T>(field: &mut T, value: Option<T>, refusal: Refusal) -> Result<(), Refusal> {
    *field = value.ok_or(refusal)?;
    Ok(())
}

/// The number with so many decimal places, if it fits.
fn fixed<T: TryFrom<i64>>(number: Number<'_>, places: u32) -> Option<T> {
    number.fixed(places).and_then(|value| T::try_from(value).ok())
}

/// The number if it is whole and fits.
fn whole<T: TryFrom<i64>>(number: Number<'_>) -> Option<T> {
    number.to_i64().and_then(|value| T::try_from(value).ok())
}

fn crc(number: Number<'_>) -> Option<Crc> {
    match whole::<i8>(number)? {
        1 => Some(Crc::Ok),
        -1 => Some(Crc::Bad),
        0 => Some(Crc::None),
        _ => None,
    }
}

fn fsk(number: Number<'_>) -> Option<DataRate> {
    whole(number).filter(|bps| (1..1 << 28).contains(bps)).map(|bps| DataRate::Fsk { bps })
}

fn data_rate(text: Text<'_>) -> Option<DataRate> {
    let mut unescaped = [0; 16];
    let rate = text.unescape(&mut unescaped).ok().and_then(|text| DataRate::parse(text.as_bytes()));
    // FSK's rate is a number, not a text of digits.
    rate.filter(|rate| !matches!(rate, DataRate::Fsk { .. }))
}

fn modulation(text: Text<'_>) -> Option<Modulation> {
    [("LORA", Modulation::Lora), ("FSK", Modulation::Fsk), ("LR-FHSS", Modulation::LrFhss)]
        .into_iter()
        .find(|(name, _)| text.is(name))
        .map(|(_, modulation)| modulation)
}
