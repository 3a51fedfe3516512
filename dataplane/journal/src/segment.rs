//! Segments: the files of a log, by their names and their first 4096 bytes.
//!
//! Owns both layouts. Never opens a file. Little endian.
//!
//! ```text
//!   name     EEEEE-LL-NNNNNNNNNN.seg                       epoch, log, number, in decimal digits
//!   header     0 magic "TRKJRNL1"     8 version u16   10 epoch u16   12 log u8   13 zeros 3   16 number u32   20 zeros 4
//!             24 base u64            32 end u64       40 created u64   48 zeros ...   4092 crc32 of all before it u32
//!   file     | header 4096 | records from base on ... | zeros up to end |
//! ```
//! `base` and `end` are offsets of the log: the byte at offset `o` is the file's byte `4096 + o - base`. The ends lie on a
//! grid (log.rs), so that a record is never moved when its segment had to be given up for another. A header is written and
//! stored before the segment is used, so that one that cannot be read is damage, never a torn write.

use crate::position::{LOG_COUNT_MAX, OFFSET_END, Position};
use base::UnixMicros;
use core::fmt;

/// Bytes of a segment's file name.
pub const NAME_BYTES: usize = 23;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 4096;

/// The version of header and records that this room writes. It reads all up to it.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"TRKJRNL1";
const CRC_AT: usize = HEADER_BYTES - 4;

/// Which segment. Orders as segments are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentName {
    /// The run of the dataplane.
    pub epoch: u16,
    /// The log within that run.
    pub log: u8,
    /// Counts the log's segments.
    pub number: u32,
}

/// What the keeper is asked to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: SegmentName,
    /// Offset of its first byte behind the header.
    pub base: u64,
    /// Offset behind its last byte.
    pub end: u64,
}

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its name.
    pub name: SegmentName,
    /// Offset of its first byte behind the header.
    pub base: u64,
    /// Offset behind its last byte.
    pub end: u64,
    /// When it was made.
    pub created: UnixMicros,
}

/// Why a header is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    /// Too short, or of another program.
    NotOurs,
    /// Of a version that this one does not read.
    NewerVersion(u16),
    /// Damaged.
    Corrupt,
    /// Of another segment: the file was renamed.
    OtherName(SegmentName),
}

impl SegmentName {
    /// The file name, written into `out`.
    #[must_use]
    pub fn write<'a>(&self, out: &'a mut [u8; NAME_BYTES]) -> &'a str {
        digits(&mut out[..5], self.epoch.into());
        out[5] = b'-';
        digits(&mut out[6..8], self.log.into());
        out[8] = b'-';
        digits(&mut out[9..19], self.number);
        out[19..].copy_from_slice(b".seg");
        core::str::from_utf8(out).expect("digits and signs")
    }

    /// The segment of a file name; `None` for every other file.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let [name @ .., b'.', b's', b'e', b'g'] = name.as_bytes() else { return None };
        let mut parts = name.split(|byte| *byte == b'-');
        let (epoch, log, number) = (parts.next()?, parts.next()?, parts.next()?);
        let widths = (epoch.len(), log.len(), number.len(), parts.count());
        if widths != (5, 2, 10, 0) {
            return None;
        }
        let log = u8::try_from(value(log)?).ok().filter(|log| *log < LOG_COUNT_MAX)?;
        Some(Self { epoch: value(epoch)?.try_into().ok()?, log, number: value(number)?.try_into().ok()? })
    }

    /// The position of an offset of this segment's log.
    #[must_use]
    pub const fn position(&self, offset: u64) -> Position {
        Position::new(self.epoch, self.log, offset)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.write(&mut [0; NAME_BYTES]))
    }
}

impl Wanted {
    /// Bytes of the file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.end - self.base
    }
}

impl Header {
    /// The header of a segment that is made now.
    #[must_use]
    pub const fn new(wanted: Wanted, created: UnixMicros) -> Self {
        Self { name: wanted.name, base: wanted.base, end: wanted.end, created }
    }

    /// Bytes of the whole file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        Wanted { name: self.name, base: self.base, end: self.end }.file_bytes()
    }

    /// The file's byte for an offset of the log.
    #[must_use]
    pub const fn file_offset(&self, offset: u64) -> u64 {
        HEADER_BYTES as u64 + offset - self.base
    }

    /// The header's bytes.
    pub fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        out.fill(0);
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10..12].copy_from_slice(&self.name.epoch.to_le_bytes());
        out[12] = self.name.log;
        out[16..20].copy_from_slice(&self.name.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.base.to_le_bytes());
        out[32..40].copy_from_slice(&self.end.to_le_bytes());
        out[40..48].copy_from_slice(&self.created.0.to_le_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header of the segment that is called `name`, from the front of its file.
    ///
    /// # Errors
    /// [`BadHeader`].
    pub fn parse(name: SegmentName, bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(BadHeader::NotOurs)?;
        if &bytes[..8] != MAGIC {
            return Err(BadHeader::NotOurs);
        }
        // Every version has its crc here, so that damage is not taken for the future.
        if crc32fast::hash(&bytes[..CRC_AT]) != u32::from_le_bytes(take(bytes, CRC_AT)) {
            return Err(BadHeader::Corrupt);
        }
        let version = u16::from_le_bytes(take(bytes, 8));
        if version > VERSION {
            return Err(BadHeader::NewerVersion(version));
        }
        let written = SegmentName {
            epoch: u16::from_le_bytes(take(bytes, 10)),
            log: bytes[12],
            number: u32::from_le_bytes(take(bytes, 16)),
        };
        let (base, end) = (u64::from_le_bytes(take(bytes, 24)), u64::from_le_bytes(take(bytes, 32)));
        let aligned = base.is_multiple_of(8) && end.is_multiple_of(8);
        if !aligned || base >= end || end >= OFFSET_END || written.log >= LOG_COUNT_MAX {
            return Err(BadHeader::Corrupt);
        }
        if written != name {
            return Err(BadHeader::OtherName(written));
        }
        Ok(Self { name, base, end, created: UnixMicros(u64::from_le_bytes(take(bytes, 40))) })
    }
}

pub(crate) fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a fixed field within what was checked")
}

fn digits(out: &mut [u8], mut value: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Ten digits at most: the sum has room.
fn value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: SegmentName = SegmentName { epoch: 513, log: 7, number: 66_051 };
    const HEADER: Header = Header { name: NAME, base: 0x1000, end: 0x2000, created: UnixMicros(1_700_000_000_000_000) };

    fn written(header: &Header) -> [u8; HEADER_BYTES] {
        let mut out = [9; HEADER_BYTES];
        header.write(&mut out);
        out
    }

    fn check(name: &str, expected: Option<(u16, u8, u32)>) {
        let parsed = SegmentName::parse(name);
        assert_eq!(parsed, expected.map(|(epoch, log, number)| SegmentName { epoch, log, number }), "{name}");
        assert!(parsed.is_none_or(|parsed| parsed.to_string() == name));
    }

    #[test]
    fn names_are_of_one_form() {
        check("00513-07-0000066051.seg", Some((513, 7, 66_051)));
        check("65535-63-4294967295.seg", Some((u16::MAX, 63, u32::MAX)));
        check("00000-00-0000000000.seg", Some((0, 0, 0)));
        for other in [
            "",
            ".seg",
            "00513-07-0000066051",
            "00513-07-0000066051.seg.new",
            "0513-07-0000066051.seg",
            "00513-7-0000066051.seg",
            "00513-07-000066051.seg",
            "65536-00-0000000000.seg",
            "00000-64-0000000000.seg",
            "00000-00-4294967296.seg",
            "00000-00-0000000000-.seg",
            "+0513-07-0000066051.seg",
            "00513-07-000006605 .seg",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn a_header_is_these_bytes() {
        let bytes = written(&HEADER);
        let golden = b"TRKJRNL1\x01\0\x01\x02\x07\0\0\0\x03\x02\x01\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\
            \0\x40\x1e\x18\x24\x0a\x06\0";
        assert_eq!(bytes[..48], golden[..]);
        assert!(bytes[48..CRC_AT].iter().all(|byte| *byte == 0));
        // As zlib computes it.
        assert_eq!(bytes[CRC_AT..], *b"\x1e\xa8\x83\xf5");
        assert_eq!(Header::parse(NAME, &bytes), Ok(HEADER));
        assert_eq!((HEADER.file_bytes(), HEADER.file_offset(0x1008)), (0x2000, 0x1008));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_found() {
        let mut bytes = written(&HEADER);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 { BadHeader::NotOurs } else { BadHeader::Corrupt };
            assert_eq!(Header::parse(NAME, &bytes), Err(expected), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..HEADER_BYTES {
            assert_eq!(Header::parse(NAME, &bytes[..cut]), Err(BadHeader::NotOurs), "cut to {cut}");
        }
    }

    #[test]
    fn whole_headers_that_are_not_taken() {
        let other = SegmentName { number: 1, ..NAME };
        assert_eq!(Header::parse(other, &written(&HEADER)), Err(BadHeader::OtherName(NAME)));
        for (base, end) in [(0x1000, 0x1000), (0x1004, 0x2000), (0x1000, 0x2004), (0, OFFSET_END)] {
            let header = Header { base, end, ..HEADER };
            assert_eq!(Header::parse(NAME, &written(&header)), Err(BadHeader::Corrupt), "{header:?}");
        }
        let mut bytes = written(&HEADER);
        bytes[8..10].copy_from_slice(&[2, 3]);
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::parse(NAME, &bytes), Err(BadHeader::NewerVersion(0x0302)));
    }
}
