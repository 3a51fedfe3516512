//! Compiled templates: a typed record into a caller's buffer.
//!
//! Owns the template language, its compiler and its engine. Knows no event: what can be written is described by a
//! [`Schema`], and a [`Record`] supplies the values. Running a template never allocates.

/// A field of a schema. Dense and small, so that a record finds it by `match`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
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
    /// Raw bytes, to be spelt as hex or base64.
    Bytes(&'a [u8]),
    /// Microseconds since the Unix epoch, UTC.
    Time(u64),
    /// A list with this many items (see [`Record::item`]).
    List(usize),
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
