//! Laws that hold for every input, for the fuzz targets and the tests.

use crate::{Escape, Field, Inline, NoRoom, Record, Schema, Template, Value};

/// Bytes of output that the laws look at.
const OUT_BYTES: usize = 64 * 1024;

/// Any text: compiling ends in a template or in an error whose place lies within the text.
pub fn compiles_or_explains(text: &str, schema: &Schema, escape: Escape) -> Option<Template> {
    match Template::parse_as(text, schema, escape) {
        Ok(template) => Some(template),
        Err(error) => {
            let line = text.split('\n').nth(error.line - 1).expect("the line is one of the text's");
            assert!(error.column <= line.chars().count() + 1, "the column is one of the line's: {error}");
            assert!(!error.message.is_empty(), "an error has a message");
            None
        }
    }
}

/// Any template over any record: the output is the same each time, fits exactly what it says, and nothing shorter.
pub fn fills_exactly<R: Record + ?Sized>(template: &Template, record: &R) {
    let mut out = vec![0; OUT_BYTES];
    let Ok(count) = template.run(record, &mut out) else {
        return;
    };
    let mut exact = vec![0xAA; count];
    assert_eq!(template.run(record, &mut exact), Ok(count), "what it says is enough");
    assert!(exact == out[..count], "the same output each time");
    if let Some(short) = count.checked_sub(1) {
        assert_eq!(template.run(record, &mut exact[..short]), Err(NoRoom), "one byte less is not");
    }
}

/// Any bytes: a text (up to the first NUL, as UTF-8) and a record of values made of the rest.
pub fn template(data: &[u8], schema: &Schema) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (Ok(text), seeds) = (core::str::from_utf8(&data[..at]), &data[at..]) else {
        return;
    };
    for escape in Escape::ALL {
        if let Some(template) = compiles_or_explains(text, schema, escape) {
            fills_exactly(&template, &Arbitrary { schema, seeds });
        }
    }
}

/// A record whose every value is made of a few bytes.
#[derive(Debug)]
pub struct Arbitrary<'a> {
    /// Whose fields it has.
    pub schema: &'a Schema,
    /// What its values are made of.
    pub seeds: &'a [u8],
}

impl Arbitrary<'_> {
    fn make(&self, field: Field, salt: usize) -> Value<'_> {
        let Some(entry) = self.schema.fields.iter().find(|entry| entry.field == field) else {
            return Value::Absent;
        };
        if self.seeds.is_empty() {
            return Value::Absent;
        }
        let start = (usize::from(field.0) * 7 + salt * 31) % self.seeds.len();
        let part = &self.seeds[start..];
        if part[0] % 5 == 4 {
            return Value::Absent;
        }
        let number = part.iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let text = core::str::from_utf8(&part[..part.len().min(40)]).unwrap_or("\"\\\u{1}<&>é,\u{FFFF}\n");
        match entry.shape {
            crate::Shape::Flag => Value::Flag(number % 2 == 1),
            crate::Shape::Number if number % 3 == 0 => Value::Unsigned(number),
            crate::Shape::Number if number % 3 == 1 => Value::Signed(number as i64),
            crate::Shape::Number => Value::Decimal { digits: number as i64, scale: part[0] },
            crate::Shape::Text if number % 2 == 1 => Value::Inline(Inline::of(&number).expect("twenty digits fit")),
            crate::Shape::Text => Value::Text(text),
            crate::Shape::Json => Value::Json("{\"a\":[1,\"\\\"\"]}"),
            crate::Shape::Bytes if number % 2 == 1 => {
                Value::Octets { octets: number.to_be_bytes(), count: part[0] % 9 }
            }
            crate::Shape::Bytes => Value::Bytes(part),
            crate::Shape::Time => Value::Time(number),
            crate::Shape::List => Value::List(usize::from(part[0] % 4)),
        }
    }
}

impl Record for Arbitrary<'_> {
    fn value(&self, field: Field) -> Value<'_> {
        self.make(field, 0)
    }

    fn item(&self, list: Field, index: usize, field: Field) -> Value<'_> {
        self.make(field, 1 + index * 3 + usize::from(list.0))
    }
}
