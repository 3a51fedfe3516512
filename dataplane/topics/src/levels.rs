//! Filters and topics cut into levels. Both are taken as valid (MQTT 5.0 §4.7); what is not valid matches something or
//! nothing, and never panics.

/// A filter: `$share/NAME/` before it is its group, `#` behind it says that it covers all below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filter<'a> {
    /// The name of the shared group (MQTT 5.0 §4.8.2).
    pub(crate) group: Option<&'a [u8]>,
    /// The levels before a last `#`; `None` if there are none.
    levels: Option<&'a [u8]>,
    /// Whether the last level is `#`.
    pub(crate) covers_below: bool,
}

impl<'a> Filter<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let (group, text) = match shared(text) {
            Some((name, rest)) => (Some(name), rest),
            None => (None, text),
        };
        let (levels, covers_below) = match text {
            [b'#'] => (None, true),
            [levels @ .., b'/', b'#'] => (Some(levels), true),
            levels => (Some(levels), false),
        };
        Self { group, levels, covers_below }
    }

    /// Its levels without the last `#`.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.levels.into_iter().flat_map(levels)
    }
}

/// `$share/NAME/FILTER`, taken apart.
fn shared(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_prefix(b"$share/")?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    Some((&rest[..slash], &rest[slash + 1..]))
}

/// The levels of a topic; an empty one counts.
pub(crate) fn levels(topic: &[u8]) -> impl Iterator<Item = &[u8]> {
    topic.split(|byte| *byte == b'/')
}

/// Whether a wildcard at the first level must not match it (MQTT 5.0 §4.7.2).
pub(crate) fn is_reserved(topic: &[u8]) -> bool {
    topic.first() == Some(&b'$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, group: Option<&str>, levels: &[&str], covers_below: bool) {
        let filter = Filter::parse(text.as_bytes());
        let expected: Vec<&[u8]> = levels.iter().map(|level| level.as_bytes()).collect();
        assert_eq!(filter.levels().collect::<Vec<_>>(), expected, "{text}");
        assert_eq!((filter.group, filter.covers_below), (group.map(str::as_bytes), covers_below), "{text}");
    }

    #[test]
    fn filters_are_taken_apart() {
        check("#", None, &[], true);
        check("/#", None, &[""], true);
        check("a/+/#", None, &["a", "+"], true);
        check("a//b", None, &["a", "", "b"], false);
        check("/", None, &["", ""], false);
        check("+", None, &["+"], false);
        check("$share/g/#", Some("g"), &[], true);
        check("$share/g//a", Some("g"), &["", "a"], false);
        check("$share/g/$SYS/+", Some("g"), &["$SYS", "+"], false);
        check("$shared/g/a", None, &["$shared", "g", "a"], false);
    }
}
