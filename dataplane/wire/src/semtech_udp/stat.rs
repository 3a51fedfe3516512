//! `stat`: what a gateway reports on itself, read from JSON that was checked before.
//!
//! Everything in it is optional and informative: a member that is not as it should be is as good as absent.

use super::time;
use crate::json::{Error, Kind, Number, Reader, Text};
use base::UnixMicros;

/// A gateway's status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat<'a> {
    /// The whole object, as sent.
    pub json: &'a str,
    /// The gateway's time.
    pub time: Option<UnixMicros>,
    /// Latitude, millionths of a degree, north positive.
    pub latitude_micro: Option<i32>,
    /// Longitude, millionths of a degree, east positive.
    pub longitude_micro: Option<i32>,
    /// Altitude, metres.
    pub altitude_m: Option<i32>,
    /// `rxnb`: frames received.
    pub received: Option<u32>,
    /// `rxok`: of these, with a right CRC.
    pub received_ok: Option<u32>,
    /// `rxfw`: of these, forwarded.
    pub forwarded: Option<u32>,
    /// `ackr`: datagrams acknowledged, tenths of a percent.
    pub acknowledged_permille: Option<u16>,
    /// `dwnb`: downlink datagrams received.
    pub downlinks: Option<u32>,
    /// `txnb`: frames transmitted.
    pub transmitted: Option<u32>,
    /// `temp`: tenths of a degree Celsius.
    pub temperature_deci: Option<i16>,
    /// `pfrm`: platform.
    pub platform: Option<Text<'a>>,
    /// `mail`: who to write to.
    pub mail: Option<Text<'a>>,
    /// `desc`: description.
    pub description: Option<Text<'a>>,
}

impl<'a> Stat<'a> {
    /// The status in an object whose JSON was checked.
    pub(super) fn new(json: &'a str) -> Self {
        let mut stat = Self {
            json,
            time: None,
            latitude_micro: None,
            longitude_micro: None,
            altitude_m: None,
            received: None,
            received_ok: None,
            forwarded: None,
            acknowledged_permille: None,
            downlinks: None,
            transmitted: None,
            temperature_deci: None,
            platform: None,
            mail: None,
            description: None,
        };
        // The text was checked: nothing is lost by stopping where a reader would.
        let _ = stat.read(&mut Reader::over(json));
        stat
    }

    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        reader.object()?;
        while let Some(key) = reader.key()? {
            let name = key.plain().unwrap_or("");
            match reader.peek()? {
                Kind::Number => self.number(name, reader.number()?),
                Kind::String => self.text(name, reader.string()?),
                _ => {
                    reader.skip()?;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, name: &str, number: Number<'_>) {
        match name {
            "lati" => self.latitude_micro = fixed(number, 6).filter(|angle: &i32| angle.abs() <= 90_000_000),
            "long" => self.longitude_micro = fixed(number, 6).filter(|angle: &i32| angle.abs() <= 180_000_000),
            "alti" => self.altitude_m = fixed(number, 0),
            "rxnb" => self.received = fixed(number, 0),
            "rxok" => self.received_ok = fixed(number, 0),
            "rxfw" => self.forwarded = fixed(number, 0),
            "ackr" => self.acknowledged_permille = fixed(number, 1),
            "dwnb" => self.downlinks = fixed(number, 0),
            "txnb" => self.transmitted = fixed(number, 0),
            "temp" => self.temperature_deci = fixed(number, 1),
            _ => {}
        }
    }

    fn text(&mut self, name: &str, text: Text<'a>) {
        match name {
            "time" => self.time = text.plain().and_then(|text| time::parse(text.as_bytes())),
            "pfrm" => self.platform = Some(text),
            "mail" => self.mail = Some(text),
            "desc" => self.description = Some(text),
            _ => {}
        }
    }
}

fn fixed<T: TryFrom<i64>>(number: Number<'_>, places: u32) -> Option<T> {
    number.fixed(places).and_then(|value| T::try_from(value).ok())
}
