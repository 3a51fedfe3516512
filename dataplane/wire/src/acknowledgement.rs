//! What a durable stream's client says of the messages that it was sent.
//!
//! ```text
//!   {"Ack":"70B3D57ED0000001-1-17-0"}     it is done with the message of this Id
//!   {"Ack":17}                            or with the 17th message of this connection, in formats without an Id
//!   {"AckThrough":17}                     with that one and all before it, by number or by Id
//!   {"Refuse":17}                         it cannot take it now: it shall come again later
//! ```
//! Keys are case-insensitive, unknown ones are ignored.

use crate::downlink::Refusal;
use crate::json::{Error, Kind, Reader};

/// The longest Id of a message.
pub const MESSAGE_ID_BYTES_MAX: usize = 64;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Done with it.
    Done,
    /// Done with it and all before it.
    DoneThrough,
    /// Not done: again, later.
    Refused,
}

/// Of which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// By its place among the messages of this connection, from 1 on.
    Number(u64),
    /// By its Id.
    Id(&'a str),
}

/// A client's word on messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement<'a> {
    /// What.
    pub verb: Verb,
    /// Of which.
    pub which: Which<'a>,
}

const VERBS: [(&str, Verb); 3] = [("Ack", Verb::Done), ("AckThrough", Verb::DoneThrough), ("Refuse", Verb::Refused)];

impl<'a> Acknowledgement<'a> {
    /// Reads an acknowledgement; nothing if the message has none of its keys, and so is something else.
    ///
    /// # Errors
    /// What is wrong with its value.
    pub fn parse(json: &[u8], room: &'a mut [u8; MESSAGE_ID_BYTES_MAX]) -> Option<Result<Self, Refusal>> {
        // What is no JSON is for whoever reads it next to say.
        Self::read(json, room).unwrap_or_default()
    }

    fn read(json: &[u8], room: &'a mut [u8; MESSAGE_ID_BYTES_MAX]) -> Result<Option<Result<Self, Refusal>>, Error> {
        let mut found = None;
        let mut count = 0;
        let mut reader = Reader::new(json)?;
        reader.object()?;
        while let Some(key) = reader.key()? {
            let Some((field, verb)) = VERBS.into_iter().find(|(name, _)| key.is_ignoring_case(name)) else {
                reader.skip()?;
                continue;
            };
            let refusal = Refusal { field, problem: "must be a message's Id, or its number on this connection" };
            let which = match reader.peek()? {
                Kind::Number => reader.number()?.to_u64().filter(|number| *number > 0).ok_or(refusal).map(Some),
                Kind::String => {
                    let mut scratch = [0; MESSAGE_ID_BYTES_MAX];
                    let text = reader.string()?.unescape(&mut scratch).ok();
                    match text.filter(|text| (1..=room.len()).contains(&text.len())) {
                        Some(text) => {
                            count = text.len();
                            room[..count].copy_from_slice(text.as_bytes());
                            Ok(None)
                        }
                        None => Err(refusal),
                    }
                }
                _ => {
                    reader.skip()?;
                    Err(refusal)
                }
            };
            found = Some(which.map(|number| (verb, number)));
        }
        reader.finish()?;
        let Some(found) = found else { return Ok(None) };
        let (verb, number) = match found {
            Ok(said) => said,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        let which = match number {
            Some(number) => Which::Number(number),
            None => Which::Id(core::str::from_utf8(&room[..count]).expect("decoded text")),
        };
        Ok(Some(Ok(Self { verb, which })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<Result<(Verb, Which<'_>), &str>>) {
        let mut room = [0; MESSAGE_ID_BYTES_MAX];
        let parsed = Acknowledgement::parse(json.as_bytes(), &mut room);
        let parsed = parsed.map(|found| found.map(|it| (it.verb, it.which)).map_err(|refusal| refusal.field));
        assert_eq!(parsed, expected, "{json}");
    }

    #[test]
    fn reads_what_is_said_of_a_message() {
        check(r#"{"Ack":"ab-1-2-0"}"#, Some(Ok((Verb::Done, Which::Id("ab-1-2-0")))));
        check(r#"{"ack":17,"Note":{"x":[1]}}"#, Some(Ok((Verb::Done, Which::Number(17)))));
        check(r#"{"AckThrough":1}"#, Some(Ok((Verb::DoneThrough, Which::Number(1)))));
        check(r#"{"REFUSE":"\u0041"}"#, Some(Ok((Verb::Refused, Which::Id("A")))));
        check(r#"{"Ack":1,"Refuse":2}"#, Some(Ok((Verb::Refused, Which::Number(2)))));
        for bad in ["0", "-1", "1.5", "null", "\"\"", "[]", "true"] {
            check(&format!(r#"{{"Ack":{bad}}}"#), Some(Err("Ack")));
        }
        check(&format!(r#"{{"AckThrough":"{}"}}"#, "x".repeat(65)), Some(Err("AckThrough")));
        for other in ["", "[]", "{", "{}", r#"{"Type":3}"#, r#"{"Ack":1"#, r#"{"Acknowledge":1}"#] {
            check(other, None);
        }
    }
}
