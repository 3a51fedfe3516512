//! EUI-64: the identifier of gateways, devices and join servers, kept in the order in which people write it.

use core::fmt;
use core::str::FromStr;

/// An EUI-64, most significant byte first. Written as 16 upper-case hexadecimal digits.
///
/// LoRaWAN frames carry EUIs least significant byte first; the frame codecs do that turn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Eui64(pub [u8; 8]);

impl Eui64 {
    /// The EUI whose digits are those of `value`.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value.to_be_bytes())
    }

    /// The EUI as a number, for hashing and tables.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// The sixteen upper-case digits, without allocating.
    #[must_use]
    pub fn digits(self) -> [u8; 16] {
        let mut out = [0; 16];
        crate::hex::encode_eight(&self.0, &mut out);
        out
    }
}

impl fmt::Display for Eui64 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016X}", self.to_u64())
    }
}

impl fmt::Debug for Eui64 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not an EUI-64: 16 hexadecimal digits, optionally in pairs set apart by `-` or `:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EuiError;

impl fmt::Display for EuiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an EUI-64 is 16 hexadecimal digits, optionally in pairs set apart by '-' or ':'")
    }
}

impl std::error::Error for EuiError {}

impl FromStr for Eui64 {
    type Err = EuiError;

    fn from_str(text: &str) -> Result<Self, EuiError> {
        let bytes = text.as_bytes();
        let mut out = [0u8; 8];
        match bytes.len() {
            16 => crate::hex::decode(bytes, &mut out).map_err(|_| EuiError)?,
            23 => {
                let separator = bytes[2];
                if separator != b'-' && separator != b':' {
                    return Err(EuiError);
                }
                for (index, byte) in out.iter_mut().enumerate() {
                    let at = index * 3;
                    if index > 0 && bytes[at - 1] != separator {
                        return Err(EuiError);
                    }
                    crate::hex::decode(&bytes[at..at + 2], core::slice::from_mut(byte)).map_err(|_| EuiError)?;
                }
                8
            }
            _ => return Err(EuiError),
        };
        Ok(Self(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(text.parse::<Eui64>().ok(), expected.map(Eui64::new), "{text}");
    }

    #[test]
    fn reads_every_usual_spelling() {
        check("0102030405060708", Some(0x0102_0304_0506_0708));
        check("aa-bb-cc-dd-ee-ff-00-11", Some(0xAABB_CCDD_EEFF_0011));
        check("AA:BB:CC:DD:EE:FF:00:11", Some(0xAABB_CCDD_EEFF_0011));
        check("AA:BB-CC:DD:EE:FF:00:11", None);
        check("AA:BB:CC:DD:EE:FF:00:1", None);
        check("010203040506070", None);
        check("01020304050607080", None);
        check("010203040506070g", None);
        check("", None);
        check("é123456789012345", None);
    }

    #[test]
    fn writes_upper_case() {
        let eui = Eui64::new(0xab);
        assert_eq!(eui.to_string(), "00000000000000AB");
        assert_eq!(&eui.digits(), b"00000000000000AB");
    }
}
