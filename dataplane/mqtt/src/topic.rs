//! Topics: names, filters, shared subscriptions, and what matches what (4.7, v5 4.8.2).
//!
//! Levels are separated by `/` and compared byte by byte; nothing is normalised. [`matches()`] is the plain reading of the
//! clauses, one name against one filter: an index of many filters is checked against it.

use crate::text::{BYTES_MAX, Text, checked_str, scan};

/// What a message is published on: at least one character, no U+0000, no wildcard (4.7.1, 4.7.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a [u8]);

impl<'a> TopicName<'a> {
    /// `None` if it is no topic name.
    #[must_use]
    pub fn new(name: &'a str) -> Option<Self> {
        Self::parse(name.as_bytes())
    }

    /// `None` if these bytes are no topic name.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let marks = scan(bytes);
        let right = !bytes.is_empty() && bytes.len() <= BYTES_MAX && !marks.is_wild() && marks.is_text(bytes);
        right.then_some(Self(bytes))
    }

    /// The UTF-8 of it.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The same as a `str`, for which it is looked at again.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        checked_str(self.0)
    }

    /// Its levels, at least one; a level may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a [u8]> {
        levels(self.0)
    }

    /// Whether it begins with `$`, and so is hidden from filters that begin with a wildcard (4.7.2).
    #[must_use]
    pub const fn is_hidden(self) -> bool {
        matches!(self.0, [b'$', ..])
    }
}

impl core::fmt::Debug for TopicName<'_> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), out)
    }
}

/// What is subscribed to: a topic name, in which `+` may stand for a level and a last `#` for any number of levels (4.7.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a [u8]);

impl<'a> TopicFilter<'a> {
    /// `None` if it is no topic filter.
    #[must_use]
    pub fn new(filter: &'a str) -> Option<Self> {
        Self::parse(filter.as_bytes())
    }

    /// `None` if these bytes are no topic filter.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let marks = scan(bytes);
        let text = !bytes.is_empty() && bytes.len() <= BYTES_MAX && marks.is_text(bytes);
        (text && (!marks.is_wild() || wildcards_stand_alone(bytes))).then_some(Self(bytes))
    }

    /// Bytes that are known to be one.
    pub(crate) const fn checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The UTF-8 of it.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The same as a `str`, for which it is looked at again.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        checked_str(self.0)
    }

    /// Its levels, at least one; a level may be empty.
    pub fn levels(self) -> impl Iterator<Item = &'a [u8]> {
        levels(self.0)
    }

    /// Whether it has wildcards.
    #[must_use]
    pub fn is_wild(self) -> bool {
        scan(self.0).is_wild()
    }

    /// The shared subscription that it asks for, if it begins with `$share/`.
    ///
    /// # Errors
    /// [`NotShared`] if what follows is not `ShareName/filter` (v5 4.8.2).
    pub fn shared(self) -> Result<Option<Shared<'a>>, NotShared> {
        let Some(rest) = self.0.strip_prefix(b"$share/") else {
            return Ok(None);
        };
        let slash = rest.iter().position(|byte| *byte == b'/').ok_or(NotShared)?;
        let (name, filter) = (&rest[..slash], &rest[slash + 1..]);
        if name.is_empty() || filter.is_empty() || scan(name).is_wild() {
            return Err(NotShared);
        }
        // Parts of a filter between separators are texts, and its last levels are a filter.
        Ok(Some(Shared { name: Text::checked(name), filter: Self(filter) }))
    }
}

impl core::fmt::Debug for TopicFilter<'_> {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), out)
    }
}

/// `$share/name/filter`: a subscription whose messages go to one of those who share its name and filter (v5 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shared<'a> {
    /// The ShareName: at least one character, no wildcard, no `/`.
    pub name: Text<'a>,
    /// What is subscribed to.
    pub filter: TopicFilter<'a>,
}

/// A filter begins with `$share/` and does not go on as it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotShared;

impl core::fmt::Display for NotShared {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("not of the form $share/ShareName/filter")
    }
}

impl core::error::Error for NotShared {}

/// Whether a message on `name` goes to a subscription to `filter`, in time linear in both.
#[must_use]
pub fn matches(filter: TopicFilter<'_>, name: TopicName<'_>) -> bool {
    if name.is_hidden() && matches!(filter.0, [b'+' | b'#', ..]) {
        return false;
    }
    let mut names = name.levels();
    for level in filter.levels() {
        match (level, names.next()) {
            // Any number of levels, none included: `a/#` has `a` as well.
            (b"#", _) => return true,
            (_, None) => return false,
            (b"+", Some(_)) => {}
            (same, Some(named)) if same == named => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

fn levels(topic: &[u8]) -> impl Iterator<Item = &[u8]> {
    topic.split(|byte| *byte == b'/')
}

/// `+` is a whole level, and `#` is the whole last one.
fn wildcards_stand_alone(filter: &[u8]) -> bool {
    let mut levels = levels(filter).peekable();
    while let Some(level) = levels.next() {
        let right = match level {
            b"+" => true,
            b"#" => levels.peek().is_none(),
            plain => !scan(plain).is_wild(),
        };
        if !right {
            return false;
        }
    }
    true
}
