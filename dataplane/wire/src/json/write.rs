//! A small JSON writer into a caller's buffer: commas by itself, escapes where they are due, no formatting machinery.
//!
//! Running out of room is remembered and told once, at [`Writer::finish`]; it never writes past the end.

use crate::NoRoom;
use crate::put::Put;

/// Writes one JSON text.
#[derive(Debug)]
pub struct Writer<'a> {
    out: Put<'a>,
    /// A member came before, at this level: a comma is due.
    comma: bool,
}

impl<'a> Writer<'a> {
    /// A writer into the front of `out`.
    #[must_use]
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out: Put::new(out), comma: false }
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
        self.out.with(|out| crate::base64::encode(bytes, out));
        self.put(b"\"");
        self
    }

    /// A whole number.
    pub fn integer(&mut self, value: i64) -> &mut Self {
        self.start();
        self.sign(value);
        self.out.decimal(value.unsigned_abs());
        self
    }

    /// A whole number that is not negative.
    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.start();
        self.out.decimal(value);
        self
    }

    /// `digits` x 10^-`places`, with all its places: `fixed(868_100_000, 6)` is `868.100000`.
    pub fn fixed(&mut self, digits: i64, places: u32) -> &mut Self {
        self.start();
        self.sign(digits);
        let unit = 10u64.pow(places.min(18));
        let value = digits.unsigned_abs();
        self.out.decimal(value / unit);
        if places > 0 {
            self.put(b".");
            self.out.padded(value % unit, places.min(18) as usize);
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
        self.out.finish()
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

    fn put(&mut self, bytes: &[u8]) {
        self.out.bytes(bytes);
    }
}
