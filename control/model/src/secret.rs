//! Secrets: never shown by `Debug`, gone from memory when dropped.

use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 128-bit key of LoRaWAN.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key128([u8; 16]);

impl Key128 {
    /// The key with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key written as 32 hexadecimal digits.
    ///
    /// # Errors
    /// The reason, which does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 16];
        match base::hex::decode(text.as_bytes(), &mut bytes) {
            Ok(16) => Ok(Self(bytes)),
            _ => Err("must be 32 hexadecimal digits".into()),
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its digits, for those who may see them.
    #[must_use]
    pub fn reveal(&self) -> String {
        digits(&self.0)
    }
}

impl fmt::Debug for Key128 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key128(..)")
    }
}

/// The secret half of an API key: `tlk_` and 64 hexadecimal digits of randomness.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ApiSecret(String);

impl ApiSecret {
    /// A secret from 256 random bits.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(format!("tlk_{}", digits(random).to_ascii_lowercase()))
    }

    /// The text, for those who may see it, once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The part that is kept in the clear, so that people can tell their keys apart.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Debug for ApiSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ApiSecret(..)")
    }
}

/// What opens a stream: 16 to 128 characters that need no escaping in a URL (RFC 3986 §2.3).
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Token(String);

impl Token {
    /// A token from 256 random bits.
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        Self(digits(random).to_ascii_lowercase())
    }

    /// A token typed by hand.
    ///
    /// # Errors
    /// The reason, which does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if (16..=128).contains(&text.len()) && text.bytes().all(unreserved) {
            return Ok(Self(text.to_owned()));
        }
        Err("must be 16 to 128 letters, digits or any of - . _ ~".into())
    }

    /// The text, for those who may see it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(..)")
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| base::hex::upper(*byte)).map(char::from).collect()
}
