//! A small JSON writer into a caller's buffer: commas by itself, escapes where they are due, no formatting machinery.
//!
//! Running out of room is remembered and told once, at [`Writer::finish`]; it never writes past the end.

use crate::NoRoom;

/// Writes one JSON text.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    full: bool,
    /// A member came before, at this level: a comma is due.
    comma: bool,
}

impl<'a> Writer<'a> {
    /// A writer into the front of `out`.
    #[must_use]
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0, full: false, comma: false }
    }

    /// Opens an object.
    pub fn object(&mut self) -> &mut Self {
        self.open(b'{')
    }

    /// Closes an object.
    pub fn end_object(&mut self) -> &mut Self {
        self.close(b'}')
    }

    /// Opens an array.
    pub fn array(&mut self) -> &mut Self {
        self.open(b'[')
    }

    /// Closes an array.
    pub fn end_array(&mut self) -> &mut Self {
        self.close(b']')
    }

    /// A key; its value must follow.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.string(name);
        self.put(b":");
        self.comma = false;
        self
    }

    /// A string.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.start();
        self.put(b"\"");
        let bytes = text.as_bytes();
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let short = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0C => b'f',
                0..=0x1F => b'u',
                _ => continue,
            };
            self.put(&bytes[from..at]);
            self.put(&[b'\\', short]);
            if short == b'u' {
                self.put(b"00");
                self.put(&base::hex::upper(*byte));
            }
            from = at + 1;
        }
        self.put(&bytes[from..]);
        self.put(b"\"");
        self
    }

    /// A string of upper-case hexadecimal digits.
    pub fn hex(&mut self, bytes: &[u8]) -> &mut Self {
        self.start();
        self.put(b"\"");
        for byte in bytes {
            self.put(&base::hex::upper(*byte));
        }
        self.put(b"\"");
        self
    }

    /// A string of base64 digits.
    pub fn base64(&mut self, bytes: &[u8]) -> &mut Self {
        self.start();
        self.put(b"\"");
        match crate::base64::encode(bytes, &mut self.out[self.at..]) {
            Ok(count) => self.at += count,
            Err(NoRoom) => self.full = true,
        }
        self.put(b"\"");
        self
    }

    /// A whole number.
    pub fn integer(&mut self, value: i64) -> &mut Self {
        self.start();
        self.sign(value);
        self.digits(value.unsigned_abs(), 1);
        self
    }

    /// A whole number that is not negative.
    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.start();
        self.digits(value, 1);
        self
    }

    /// `digits` x 10^-`places`, with all its places: `fixed(868_100_000, 6)` is `868.100000`.
    pub fn fixed(&mut self, digits: i64, places: u32) -> &mut Self {
        self.start();
        self.sign(digits);
        let unit = 10u64.pow(places.min(18));
        let value = digits.unsigned_abs();
        self.digits(value / unit, 1);
        if places > 0 {
            self.put(b".");
            self.digits(value % unit, places.min(18) as usize);
        }
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.start();
        self.put(if value { b"true" } else { b"false" });
        self
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.start();
        self.put(b"null");
        self
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.start();
        self.put(json.as_bytes());
        self
    }

    /// Bytes written.
    ///
    /// # Errors
    /// [`NoRoom`] if the text did not fit.
    pub const fn finish(&self) -> Result<usize, NoRoom> {
        if self.full { Err(NoRoom) } else { Ok(self.at) }
    }

    fn open(&mut self, mark: u8) -> &mut Self {
        self.start();
        self.put(&[mark]);
        self.comma = false;
        self
    }

    fn close(&mut self, mark: u8) -> &mut Self {
        self.put(&[mark]);
        self.comma = true;
        self
    }

    fn start(&mut self) {
        if self.comma {
            self.put(b",");
        }
        self.comma = true;
    }

    fn sign(&mut self, value: i64) {
        if value < 0 {
            self.put(b"-");
        }
    }

    /// Decimal digits with leading zeros up to `width`.
    fn digits(&mut self, mut value: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut from = digits.len();
        while value > 0 {
            from -= 1;
            digits[from] = b'0' + (value % 10) as u8;
            value /= 10;
        }
        let from = from.min(digits.len() - width);
        self.put(&digits[from..]);
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.at..self.at + bytes.len()) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            _ => self.full = true,
        }
    }
}
