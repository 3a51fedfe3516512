//! Compiled templates: a typed record into a caller's buffer.
//!
//! Owns the template language, its compiler and its engine. Knows no event: what can be written is described by a
//! [`Schema`], and a [`Record`] supplies the values. Running a template never allocates.
//!
//! ```text
//!   text --Template::parse--> flat operations --run(record, &mut [u8])--> count of bytes
//! ```
//!
//! The language is described at [`Template`]; [`mod@reference`] renders its tables for people.

mod compile;
mod escape;
pub mod fuzzing;
mod inline;
pub mod reference;
mod run;
mod sink;
mod spell;
mod syntax;

pub use compile::{DEPTH_MAX, OPERATION_COUNT_MAX, TEMPLATE_BYTES_MAX, Template, TemplateError};
pub use escape::Escape;
pub use inline::{INLINE_BYTES_MAX, Inline};
pub use run::NoRoom;

/// A field of a schema. Dense and small, so that a record finds it by `match`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Field(pub u16);

/// What a field holds, before any spelling.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    /// The record has no such thing (a template may test for it).
    Absent,
    /// True or false.
    Flag(bool),
    /// A count, an index, a port.
    Unsigned(u64),
    /// A number that may be negative.
    Signed(i64),
    /// `digits / 10^scale`, exact: 868.1 is `(8681, 1)`.
    Decimal {
        /// The number without its point.
        digits: i64,
        /// Digits after the point.
        scale: u8,
    },
    /// UTF-8, to be escaped as the surrounding format demands.
    Text(&'a str),
    /// Text that was spelt on the fly.
    Inline(Inline),
    /// Text that is one valid JSON value: a JSON template takes it as it is, any other as text.
    Json(&'a str),
    /// Raw bytes, to be spelt as hex or base64.
    Bytes(&'a [u8]),
    /// The first `count` of these bytes, for values that are computed rather than lent.
    Octets {
        /// The bytes, from the front.
        octets: [u8; 8],
        /// How many of them, at most 8.
        count: u8,
    },
    /// Microseconds since the Unix epoch, UTC.
    Time(u64),
    /// A list with this many items (see [`Record::item`]).
    List(usize),
}

impl Value<'_> {
    /// The text that `write` spells, or [`Value::Absent`] if it is too long for an [`Inline`].
    #[inline]
    pub fn spelt(write: impl FnOnce(&mut Inline) -> Result<(), NoRoom>) -> Self {
        let mut value = Value::Inline(Inline::new());
        if let Value::Inline(text) = &mut value
            && write(text).is_err()
        {
            return Value::Absent;
        }
        value
    }
}

/// Which values a field may have besides [`Value::Absent`]; decides which filters it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Shape {
    /// [`Value::Flag`].
    Flag,
    /// [`Value::Unsigned`], [`Value::Signed`] or [`Value::Decimal`].
    Number,
    /// [`Value::Text`] or [`Value::Inline`].
    Text,
    /// [`Value::Json`].
    Json,
    /// [`Value::Bytes`] or [`Value::Octets`].
    Bytes,
    /// [`Value::Time`].
    Time,
    /// [`Value::List`].
    List,
}

impl Shape {
    /// Its name in the reference.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Number => "number",
            Self::Text => "text",
            Self::Json => "json",
            Self::Bytes => "bytes",
            Self::Time => "time",
            Self::List => "list",
        }
    }
}

/// Something with fields.
pub trait Record {
    /// The value of a field that stands in no list.
    fn value(&self, field: Field) -> Value<'_>;
    /// The value of a list's item's field.
    fn item(&self, list: Field, index: usize, field: Field) -> Value<'_>;
}

/// One field's name in templates.
#[derive(Clone, Copy, Debug)]
pub struct FieldName {
    /// As written in a template.
    pub name: &'static str,
    /// Which field.
    pub field: Field,
    /// What it holds.
    pub shape: Shape,
    /// The list it stands in, if any.
    pub list: Option<Field>,
    /// One sentence for the reference.
    pub help: &'static str,
}

/// Every field that a kind of record can have.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// In the order of the reference.
    pub fields: &'static [FieldName],
}

impl Schema {
    /// The field that `name` means inside `list`: the list's own field, or else one that stands in no list.
    #[must_use]
    pub fn find(&self, name: &str, list: Option<Field>) -> Option<&'static FieldName> {
        let among = |list| self.fields.iter().find(move |entry| entry.list == list && entry.name == name);
        list.and_then(|list| among(Some(list))).or_else(|| among(None))
    }
}
