//! A small schema and a record over it, for every test binary here.

use emit::{Field, FieldName, Record, Schema, Shape, Value};

const LIST: Option<Field> = Some(Field(7));

const fn entry(name: &'static str, number: u16, shape: Shape, list: Option<Field>) -> FieldName {
    FieldName { name, field: Field(number), shape, list, help: "As the test says." }
}

/// One field of each shape, and a list with a field that hides one of the record's.
pub(crate) const SCHEMA: Schema = Schema {
    fields: &[
        entry("name", 0, Shape::Text, None),
        entry("flag", 1, Shape::Flag, None),
        entry("number", 2, Shape::Number, None),
        entry("other", 3, Shape::Number, None),
        entry("raw", 4, Shape::Bytes, None),
        entry("when", 5, Shape::Time, None),
        entry("doc", 6, Shape::Json, None),
        entry("items", 7, Shape::List, None),
        entry("name", 8, Shape::Text, LIST),
        entry("size", 9, Shape::Number, LIST),
        entry("key", 10, Shape::Bytes, LIST),
        entry("at", 11, Shape::Time, LIST),
    ],
};

/// Values by field; a list's item takes its fields from `items`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// By number; what is missing is absent.
    pub(crate) values: Vec<Held>,
    /// The list's items, each by number from 8.
    pub(crate) items: Vec<Vec<Held>>,
}

/// An owned value.
#[derive(Clone, Debug, Default)]
pub(crate) enum Held {
    #[default]
    Absent,
    Flag(bool),
    Unsigned(u64),
    Signed(i64),
    Decimal(i64, u8),
    Text(String),
    Json(String),
    Bytes(Vec<u8>),
    Time(u64),
}

impl Held {
    fn lend(&self) -> Value<'_> {
        match self {
            Self::Absent => Value::Absent,
            Self::Flag(flag) => Value::Flag(*flag),
            Self::Unsigned(number) => Value::Unsigned(*number),
            Self::Signed(number) => Value::Signed(*number),
            Self::Decimal(digits, scale) => Value::Decimal { digits: *digits, scale: *scale },
            // Short texts and bytes by value, so that both forms are met.
            Self::Text(text) if text.len() % 2 == 0 => emit::Inline::of(text).map_or(Value::Text(text), Value::Inline),
            Self::Text(text) => Value::Text(text),
            Self::Json(text) => Value::Json(text),
            Self::Bytes(bytes) if bytes.len() <= 8 => {
                let mut octets = [0; 8];
                octets[..bytes.len()].copy_from_slice(bytes);
                Value::Octets { octets, count: bytes.len() as u8 }
            }
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Time(micros) => Value::Time(*micros),
        }
    }
}

impl Record for Sample {
    fn value(&self, field: Field) -> Value<'_> {
        match field.0 {
            7 => Value::List(self.items.len()),
            number => self.values.get(usize::from(number)).map_or(Value::Absent, Held::lend),
        }
    }

    fn item(&self, list: Field, index: usize, field: Field) -> Value<'_> {
        assert_eq!(list, Field(7), "the only list");
        self.items[index].get(usize::from(field.0) - 8).map_or(Value::Absent, Held::lend)
    }
}
