//! Downlinks as stream clients write them, and what they are told.
//!
//! ```text
//!   {"Type":3,"DeviceEUI":"70B3D57ED0000001","Port":10,"Data":"0102","Id":"mine","Expires":1700000000}
//!   {"Event":"accepted","DownlinkId":12,"DeviceEUI":"70B3D57ED0000001","Id":"mine"}
//!   {"Event":"error","Field":"Port","Error":"must be 1 to 223","Id":"mine"}
//! ```
//!
//! Keys are case-insensitive, unknown ones are ignored, of repeated ones the last counts. What is refused names its field.

use crate::NoRoom;
use crate::json::{Error, Kind, Number, Reader, Text, Writer};
use base::Eui64;

/// The longest payload that LoRaWAN carries (RP002 §2).
pub const DATA_BYTES_MAX: usize = 242;

/// The longest `Id`.
pub const ID_BYTES_MAX: usize = 64;

/// Room that any answer fits in.
pub const ANSWER_BYTES_MAX: usize = 640;

/// A downlink that someone asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downlink<'a> {
    /// The device is asked to acknowledge it (Type 5).
    pub confirmed: bool,
    /// The device.
    pub dev_eui: Eui64,
    /// FPort, 1 to 223.
    pub port: u8,
    /// FRMPayload.
    pub data: &'a [u8],
    /// The asker's own name for it, which every answer and event repeats.
    pub id: Option<&'a str>,
    /// When it is no longer wanted, Unix seconds.
    pub expires: Option<u64>,
}

/// Why a downlink was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field at fault; empty if it is the whole.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Where a downlink is decoded into.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    data: [u8; DATA_BYTES_MAX],
    id: [u8; ID_BYTES_MAX],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { data: [0; DATA_BYTES_MAX], id: [0; ID_BYTES_MAX] }
    }
}

const NOT_JSON: Refusal = Refusal { field: "", problem: "must be a JSON object" };
const TYPE: Refusal = Refusal { field: "Type", problem: "must be 3 (unconfirmed) or 5 (confirmed)" };
const PORT: Refusal = Refusal { field: "Port", problem: "must be 1 to 223" };
const DEVICE: Refusal = Refusal { field: "DeviceEUI", problem: "must be 16 hexadecimal digits" };
const DATA_TYPE: Refusal = Refusal { field: "Data", problem: "must be a string of hexadecimal digits" };
const DATA_LENGTH: Refusal = Refusal { field: "Data", problem: "must be at most 242 bytes" };
const ID: Refusal = Refusal { field: "Id", problem: "must be a string of at most 64 bytes" };
const EXPIRES: Refusal = Refusal { field: "Expires", problem: "must be Unix seconds" };

impl<'a> Downlink<'a> {
    /// Reads a downlink; its data and id are decoded into `scratch`.
    ///
    /// # Errors
    /// The first field at fault, in the order of the fields above.
    pub fn parse(json: &[u8], scratch: &'a mut Scratch) -> Result<Self, Refusal> {
        let members = Members::read(json).map_err(|_| NOT_JSON)?;
        let confirmed = match members.mtype {
            Member::Number(number) => match number.to_i64() {
                Some(3) => false,
                Some(5) => true,
                _ => return Err(TYPE),
            },
            _ => return Err(TYPE),
        };
        let dev_eui = eui(members.device).ok_or(DEVICE)?;
        let port = match members.port {
            Member::Number(number) => number.to_u64().filter(|port| (1..=223).contains(port)).ok_or(PORT)? as u8,
            _ => return Err(PORT),
        };
        let data = match members.data {
            Member::Text(text) => data(text, &mut scratch.data)?,
            _ => return Err(DATA_TYPE),
        };
        let id = match members.id {
            Member::Absent => None,
            Member::Text(text) => Some(id(text, &mut scratch.id)?),
            _ => return Err(ID),
        };
        let expires = match members.expires {
            Member::Absent => None,
            Member::Number(number) => Some(number.fixed(0).and_then(|at| u64::try_from(at).ok()).ok_or(EXPIRES)?),
            _ => return Err(EXPIRES),
        };
        Ok(Self { confirmed, dev_eui, port, data, id, expires })
    }
}

/// The `Id` of what may not be a downlink, so that a refusal can repeat it.
#[must_use]
pub fn id_of<'a>(json: &[u8], scratch: &'a mut Scratch) -> Option<&'a str> {
    match Members::read(json).ok()?.id {
        Member::Text(text) => id(text, &mut scratch.id).ok(),
        _ => None,
    }
}

/// Writes that a downlink was accepted, under the id that events will name. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] if it does not fit; [`ANSWER_BYTES_MAX`] always does.
pub fn write_accepted(downlink_id: u64, dev_eui: Eui64, id: Option<&str>, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut json = Writer::new(out);
    json.object().key("Event").string("accepted");
    json.key("DownlinkId").unsigned(downlink_id);
    json.key("DeviceEUI").hex(&dev_eui.0);
    if let Some(id) = id {
        json.key("Id").string(id);
    }
    json.end_object().finish()
}

/// Writes that a downlink was refused. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] if it does not fit; [`ANSWER_BYTES_MAX`] always does.
pub fn write_refused(refusal: Refusal, id: Option<&str>, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut json = Writer::new(out);
    json.object().key("Event").string("error");
    if !refusal.field.is_empty() {
        json.key("Field").string(refusal.field);
    }
    json.key("Error").string(refusal.problem);
    if let Some(id) = id {
        json.key("Id").string(id);
    }
    json.end_object().finish()
}

#[derive(Clone, Copy, Debug, Default)]
enum Member<'j> {
    /// Not given, or null.
    #[default]
    Absent,
    Number(Number<'j>),
    Text(Text<'j>),
    Other,
}

#[derive(Debug, Default)]
struct Members<'j> {
    mtype: Member<'j>,
    device: Member<'j>,
    port: Member<'j>,
    data: Member<'j>,
    id: Member<'j>,
    expires: Member<'j>,
}

impl<'j> Members<'j> {
    fn read(json: &'j [u8]) -> Result<Self, Error> {
        let mut members = Self::default();
        let mut reader = Reader::new(json)?;
        reader.object()?;
        while let Some(key) = reader.key()? {
            let value = match reader.peek()? {
                Kind::Number => Member::Number(reader.number()?),
                Kind::String => Member::Text(reader.string()?),
                Kind::Null => {
                    reader.null()?;
                    Member::Absent
                }
                _ => {
                    reader.skip()?;
                    Member::Other
                }
            };
            if let Some(member) = members.named(key) {
                *member = value;
            }
        }
        reader.finish()?;
        Ok(members)
    }

    fn named(&mut self, key: Text<'_>) -> Option<&mut Member<'j>> {
        let named = [
            ("Type", &mut self.mtype),
            ("DeviceEUI", &mut self.device),
            ("Port", &mut self.port),
            ("Data", &mut self.data),
            ("Id", &mut self.id),
            ("Expires", &mut self.expires),
        ];
        named.into_iter().find(|(name, _)| key.is_ignoring_case(name)).map(|(_, member)| member)
    }
}

fn eui(member: Member<'_>) -> Option<Eui64> {
    let Member::Text(text) = member else {
        return None;
    };
    // The longest spelling has 23 characters.
    let mut unescaped = [0; 24];
    text.unescape(&mut unescaped).ok()?.parse().ok()
}

fn data<'a>(text: Text<'_>, out: &'a mut [u8; DATA_BYTES_MAX]) -> Result<&'a [u8], Refusal> {
    let mut digits = [0; DATA_BYTES_MAX * 2];
    let digits = text.unescape(&mut digits).map_err(|_| DATA_LENGTH)?;
    match base::hex::decode(digits.as_bytes(), out) {
        Ok(count) => Ok(&out[..count]),
        Err(base::hex::HexError::TooLong) => Err(DATA_LENGTH),
        Err(_) => Err(DATA_TYPE),
    }
}

fn id<'a>(text: Text<'_>, out: &'a mut [u8; ID_BYTES_MAX]) -> Result<&'a str, Refusal> {
    let mut unescaped = [0; ID_BYTES_MAX];
    let id = text.unescape(&mut unescaped).map_err(|_| ID)?;
    let room = out.get_mut(..id.len()).ok_or(ID)?;
    room.copy_from_slice(id.as_bytes());
    core::str::from_utf8(room).map_err(|_| ID)
}

#[cfg(test)]
mod tests;
