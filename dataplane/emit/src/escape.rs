//! How a value's text is made safe for the format around it.

/// What surrounds a value, and so which characters must not pass as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Escape {
    /// Nothing is escaped.
    #[default]
    None,
    /// RFC 8259: inside quotation marks of the template the escaped text; elsewhere a whole value, quoted where it is text.
    Json,
    /// XML 1.0 §2.4: `&`, `<`, `>`, `"` and `'` as entities; characters that XML forbids become U+FFFD.
    Xml,
    /// RFC 4180: quoted if it holds a comma, a quotation mark or a line break.
    Csv,
    /// RFC 3986: everything but unreserved characters percent-encoded.
    Url,
    /// One line (headers, topics): control characters become spaces.
    Line,
}

impl Escape {
    /// Every escaping, in the order of the reference.
    pub const ALL: [Self; 6] = [Self::None, Self::Json, Self::Xml, Self::Csv, Self::Url, Self::Line];

    /// Its name in directives and filters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "raw",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Csv => "csv",
            Self::Url => "url",
            Self::Line => "line",
        }
    }

    /// The escaping with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|escape| escape.name() == name)
    }

    /// One sentence for the reference.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::None => "As it is, escaped for nothing.",
            Self::Json => {
                "JSON: escaped inside the template's quotation marks; a whole value (quoted where text) outside."
            }
            Self::Xml => "XML text or attribute.",
            Self::Csv => "CSV field, quoted where needed.",
            Self::Url => "Percent-encoded.",
            Self::Line => "Control characters become spaces, for headers and topics.",
        }
    }
}
