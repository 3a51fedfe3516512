//! Units of the radio link: how a frame was, or is to be, modulated.

use core::fmt;

/// A LoRaWAN modulation with its rate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataRate {
    /// LoRa: spreading factor 5..=12 and bandwidth in kHz (125, 250, 500 ...).
    Lora {
        /// Spreading factor.
        sf: u8,
        /// Bandwidth, kHz.
        bw_khz: u16,
    },
    /// FSK with this many bits per second.
    Fsk {
        /// Bit rate.
        bps: u32,
    },
    /// LR-FHSS with this occupied channel width in kHz and coding rate numerator over 6 or 3.
    LrFhss {
        /// Occupied channel width, kHz.
        ocw_khz: u16,
    },
}

impl Default for DataRate {
    fn default() -> Self {
        Self::Lora { sf: 12, bw_khz: 125 }
    }
}

/// As Semtech's packet forwarder spells it: `SF7BW125`, `50000`, `M0CW137`.
impl fmt::Display for DataRate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Lora { sf, bw_khz } => write!(out, "SF{sf}BW{bw_khz}"),
            Self::Fsk { bps } => write!(out, "{bps}"),
            Self::LrFhss { ocw_khz } => write!(out, "M0CW{ocw_khz}"),
        }
    }
}

impl DataRate {
    /// Bytes of [`DataRate::to_wire`].
    pub const WIRE_BYTES: usize = 4;

    /// `kind << 28 | value`, little endian: 0 LoRa (`sf << 16 | bw`), 1 FSK (bits per second), 2 LR-FHSS (kHz).
    #[must_use]
    pub const fn to_wire(self) -> [u8; 4] {
        match self {
            Self::Lora { sf, bw_khz } => ((sf as u32) << 16 | bw_khz as u32).to_le_bytes(),
            Self::Fsk { bps } => (1 << 28 | (bps & 0x0FFF_FFFF)).to_le_bytes(),
            Self::LrFhss { ocw_khz } => (2 << 28 | ocw_khz as u32).to_le_bytes(),
        }
    }

    /// The inverse of [`DataRate::to_wire`]; an unknown kind reads as LR-FHSS.
    #[must_use]
    pub const fn from_wire(wire: [u8; 4]) -> Self {
        let value = u32::from_le_bytes(wire);
        match value >> 28 {
            0 => Self::Lora { sf: (value >> 16) as u8, bw_khz: value as u16 },
            1 => Self::Fsk { bps: value & 0x0FFF_FFFF },
            _ => Self::LrFhss { ocw_khz: value as u16 },
        }
    }

    /// Reads the spelling of [`fmt::Display`]; LR-FHSS with any modulation number.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(b"SF") {
            let (sf, bw) = split(rest, b"BW")?;
            let (sf, bw_khz) = (number(sf)?, number(bw)?);
            return (5..=12).contains(&sf).then_some(Self::Lora { sf: sf as u8, bw_khz: u16::try_from(bw_khz).ok()? });
        }
        if let Some(rest) = text.strip_prefix(b"M") {
            let (_, width) = split(rest, b"CW")?;
            return Some(Self::LrFhss { ocw_khz: u16::try_from(number(width)?).ok()? });
        }
        number(text).filter(|bps| *bps < 1 << 28).map(|bps| Self::Fsk { bps })
    }
}

fn split<'a>(text: &'a [u8], mark: &[u8; 2]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(2).position(|pair| pair == mark)?;
    Some((&text[..at], &text[at + 2..]))
}

fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<DataRate>) {
        let read = DataRate::parse(text.as_bytes());
        assert_eq!(read, expected, "{text}");
        if let Some(rate) = read {
            assert_eq!(rate.to_string(), text);
            assert_eq!(DataRate::from_wire(rate.to_wire()), rate);
        }
    }

    #[test]
    fn reads_and_writes_the_forwarders_spelling() {
        check("SF7BW125", Some(DataRate::Lora { sf: 7, bw_khz: 125 }));
        check("SF12BW500", Some(DataRate::Lora { sf: 12, bw_khz: 500 }));
        check("50000", Some(DataRate::Fsk { bps: 50_000 }));
        check("M0CW137", Some(DataRate::LrFhss { ocw_khz: 137 }));
        check("SF13BW125", None);
        check("SF7BW", None);
        check("SFBW125", None);
        check("", None);
        check("999999999", None);
    }
}
