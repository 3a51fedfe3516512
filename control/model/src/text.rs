//! Names that people give, and that programs give.

use core::fmt;
use serde::{Deserialize, Serialize};

/// A name: 1 to 128 bytes of UTF-8 without control characters and without blanks at its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes; the dataplane has the same limit.
    pub const BYTES_MAX: usize = 128;

    /// The name, if it is one.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(format!("must have 1 to {} bytes, has {}", Self::BYTES_MAX, text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("must have no control characters".into());
        }
        if text.trim() != text {
            return Err("must not begin or end with a blank".into());
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// The name of a group of consumers: 1 to 32 letters, digits or any of `.` `_` `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName(String);

impl GroupName {
    /// The name, if it is one.
    ///
    /// # Errors
    /// The reason.
    pub fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if contract::is_group_name(&text) {
            return Ok(Self(text));
        }
        Err(format!("must have 1 to {} letters, digits or any of . _ -", contract::GROUP_BYTES_MAX))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
