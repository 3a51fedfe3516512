//! The engine: flat operations over a record, into a caller's buffer. One loop, one list at a time, no allocation.

use crate::sink::Sink;
use crate::spell::{self, Spelling};
use crate::{Field, Record, Template, Value};
use core::fmt;

/// The caller's buffer is too short for the output. What it holds by then is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the output does not fit the buffer")
    }
}

impl std::error::Error for NoRoom {}

/// A part of the template's constant bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A field of the record.
    Outer(Field),
    /// A field of the list's present item.
    Item(Field),
    /// How many items a list has.
    Count(Field),
    /// The present item's place, from 0.
    Index,
    /// Whether the present item is the first.
    First,
    /// Whether the present item is the last.
    Last,
}

/// A constant to compare with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operand {
    Text(Span),
    Octets(Span),
    /// `digits / 10^scale`, without trailing zeros.
    Number {
        digits: i128,
        scale: u8,
    },
    Flag(bool),
}

/// A question about a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Test {
    /// It is there; a flag is true; a list has items.
    Holds(Source),
    /// It is there and equal.
    Equals(Source, Operand),
}

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Operation {
    /// Copies constant bytes.
    Literal(Span),
    /// Copies the constant bytes in front, then writes a value, or `absent` if there is none.
    Write { before: Span, source: Source, spelling: Spelling, absent: Span },
    /// Goes on at `target` unless the test gives `wanted`.
    Branch { test: Test, wanted: bool, target: u32 },
    /// Goes on at `target`.
    Jump { target: u32 },
    /// Takes a list's first item, or goes on at `empty` if it has none.
    Each { list: Field, empty: u32 },
    /// Takes the next item, writes `separator` and goes on at `body`; after the last item goes on behind.
    Next { body: u32, separator: Span },
}

/// The list being gone through.
#[derive(Clone, Copy)]
struct Place {
    list: Field,
    index: usize,
    count: usize,
}

pub(crate) fn run<R: Record + ?Sized>(template: &Template, record: &R, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut sink = Sink::new(out);
    let mut place = Place { list: Field(0), index: 0, count: 0 };
    let mut at = 0;
    while let Some(operation) = template.operations.get(at) {
        at += 1;
        match *operation {
            Operation::Literal(span) => sink.put_of(template.constants(), span)?,
            Operation::Write { before, source, ref spelling, ref absent } => {
                sink.put_of(template.constants(), before)?;
                if !spell::value(&mut sink, &fetch(record, source, place), spelling)? {
                    sink.put_of(template.constants(), *absent)?;
                }
            }
            Operation::Branch { ref test, wanted, target } => {
                if ask(template, record, test, place) != wanted {
                    at = target as usize;
                }
            }
            Operation::Jump { target } => at = target as usize,
            Operation::Each { list, empty } => {
                place = Place { list, index: 0, count: length(&record.value(list)) };
                if place.count == 0 {
                    at = empty as usize;
                }
            }
            Operation::Next { body, separator } => {
                place.index += 1;
                if place.index < place.count {
                    sink.put_of(template.constants(), separator)?;
                    at = body as usize;
                }
            }
        }
    }
    Ok(sink.count())
}

#[inline]
fn fetch<R: Record + ?Sized>(record: &R, source: Source, place: Place) -> Value<'_> {
    // Nearly always.
    if let Source::Outer(field) = source {
        return record.value(field);
    }
    match source {
        Source::Outer(field) => record.value(field),
        Source::Item(field) => record.item(place.list, place.index, field),
        Source::Count(list) => Value::Unsigned(length(&record.value(list)) as u64),
        Source::Index => Value::Unsigned(place.index as u64),
        Source::First => Value::Flag(place.index == 0),
        Source::Last => Value::Flag(place.index + 1 == place.count),
    }
}

const fn length(value: &Value<'_>) -> usize {
    match *value {
        Value::List(count) => count,
        _ => 0,
    }
}

fn ask<R: Record + ?Sized>(template: &Template, record: &R, test: &Test, place: Place) -> bool {
    match *test {
        Test::Holds(source) => {
            !matches!(fetch(record, source, place), Value::Absent | Value::Flag(false) | Value::List(0))
        }
        Test::Equals(source, ref operand) => equal(template, &fetch(record, source, place), operand),
    }
}

fn equal(template: &Template, value: &Value<'_>, operand: &Operand) -> bool {
    match *operand {
        Operand::Flag(wanted) => matches!(*value, Value::Flag(flag) if flag == wanted),
        Operand::Text(span) => {
            let wanted = template.constant(span);
            match *value {
                Value::Text(text) | Value::Json(text) => text.as_bytes() == wanted,
                Value::Inline(ref text) => text.as_str().as_bytes() == wanted,
                _ => false,
            }
        }
        Operand::Octets(span) => {
            let wanted = template.constant(span);
            match *value {
                Value::Bytes(bytes) => bytes == wanted,
                Value::Octets { ref octets, count } => octets.get(..usize::from(count)) == Some(wanted),
                _ => false,
            }
        }
        Operand::Number { digits, scale } => {
            (digits, scale)
                == match *value {
                    Value::Unsigned(number) => (i128::from(number), 0),
                    Value::Signed(number) => (i128::from(number), 0),
                    Value::Decimal { digits, scale } => reduce(i128::from(digits), scale),
                    _ => return false,
                }
        }
    }
}

/// The same number with the fewest digits after the point, so that equal numbers are equal pairs.
pub(crate) const fn reduce(mut digits: i128, mut scale: u8) -> (i128, u8) {
    while scale > 0 && digits % 10 == 0 {
        digits /= 10;
        scale -= 1;
    }
    (digits, scale)
}
