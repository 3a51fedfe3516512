//! The manifest: which checkpoint counts, and which segments it stands for.
//!
//! Owns its bytes. Replaced whole, by rename, so that there is the old one or the new one. Little endian.
//!
//! ```text
//!   0 magic "TRKSTATE"   8 version u16   10 zeros 6   16 generation u64   24 segments u32   28 sections u32
//!   section   start u64, end u64                                                   in the checkpoint's file
//!   segment   epoch u16, log u8, 0, number u32, base u64, end u64, lanes u64, first u64, last u64, bytes u64,
//!             streams u32, then for each: stream u32, messages u64, bytes u64
//!   crc32 of all before it
//! ```

use crate::checkpoint::{SECTION_COUNT, Sections};
use crate::section::fill;
use crate::{Fault, Usage, Used};
use base::UnixMicros;
use files::Files;
use journal::{SegmentInfo, SegmentName};

/// The file's name.
pub(crate) const NAME: &str = "manifest";
pub(crate) const NEW_NAME: &str = "manifest.new";

const MAGIC: &[u8; 8] = b"TRKSTATE";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 32;

/// What a manifest says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) generation: u64,
    pub(crate) sections: Sections,
    pub(crate) segments: Vec<(SegmentInfo, Usage)>,
}

/// The manifest of a directory in which there are these files; an empty one if none was ever written.
///
/// # Errors
/// The host's; and if it is damaged, or of a later version.
pub(crate) fn read<F: Files>(files: &F, names: &[String]) -> Result<Manifest, Fault> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(Manifest::default());
    }
    let mut bytes = vec![0; files.len(NAME)? as usize];
    let count = fill(files, NAME, 0, &mut bytes)?;
    Manifest::parse(&bytes[..count])
}

impl Manifest {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + SECTION_COUNT * 16 + self.segments.len() * 64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        out.extend_from_slice(&(SECTION_COUNT as u32).to_le_bytes());
        for (start, end) in self.sections.0 {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
        }
        for (info, usage) in &self.segments {
            out.extend_from_slice(&info.name.epoch.to_le_bytes());
            out.extend_from_slice(&[info.name.log, 0]);
            out.extend_from_slice(&info.name.number.to_le_bytes());
            for value in [info.base, info.end, info.lanes, info.first_at.0, info.last_at.0, info.bytes] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            out.extend_from_slice(&(usage.len() as u32).to_le_bytes());
            for (stream, used) in usage {
                out.extend_from_slice(&stream.to_le_bytes());
                out.extend_from_slice(&used.messages.to_le_bytes());
                out.extend_from_slice(&used.bytes.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// If it is damaged, or of a later version.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let damaged = || Fault::Damaged { name: NAME.into() };
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if !body.starts_with(MAGIC) || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let mut from = Reader(&body[MAGIC.len()..]);
        let version = from.take().map_or(0, u16::from_le_bytes);
        if version > VERSION {
            return Err(Fault::Newer { name: NAME.into(), version });
        }
        from.manifest().ok_or_else(damaged)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn manifest(&mut self) -> Option<Manifest> {
        self.take::<6>()?;
        let generation = self.u64()?;
        let (segment_count, section_count) = (self.u32()?, self.u32()?);
        let mut sections = Sections::default();
        if section_count as usize != SECTION_COUNT {
            return None;
        }
        for section in &mut sections.0 {
            *section = (self.u64()?, self.u64()?);
        }
        let mut segments = Vec::new();
        for _ in 0..segment_count {
            let epoch = self.take().map(u16::from_le_bytes)?;
            let [log, _] = self.take()?;
            let name = SegmentName { epoch, log, number: self.u32()? };
            let info = SegmentInfo {
                name,
                base: self.u64()?,
                end: self.u64()?,
                lanes: self.u64()?,
                first_at: UnixMicros(self.u64()?),
                last_at: UnixMicros(self.u64()?),
                bytes: self.u64()?,
            };
            let mut usage = Usage::new();
            for _ in 0..self.u32()? {
                usage.insert(self.u32()?, Used { messages: self.u64()?, bytes: self.u64()? });
            }
            segments.push((info, usage));
        }
        self.0.is_empty().then_some(Manifest { generation, sections, segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        let info = SegmentInfo {
            name: SegmentName { epoch: 1, log: 2, number: 3 },
            base: 8,
            end: 16,
            lanes: 5,
            first_at: UnixMicros(6),
            last_at: UnixMicros(7),
            bytes: 9,
        };
        let usage = Usage::from([(4, Used { bytes: 10, messages: 11 }), (5, Used::default())]);
        let mut sections = Sections::default();
        sections.0[3] = (12, 13);
        let manifest = Manifest { generation: 14, sections, segments: vec![(info, usage), (info, Usage::new())] };
        let bytes = manifest.write();
        assert_eq!(Manifest::parse(&bytes).expect("whole"), manifest);
        for cut in 0..bytes.len() {
            assert!(matches!(Manifest::parse(&bytes[..cut]), Err(Fault::Damaged { .. })), "cut to {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Manifest::parse(&bad), Err(Fault::Damaged { .. })), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let end = newer.len() - 4;
        let crc = crc32fast::hash(&newer[..end]);
        newer[end..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Manifest::parse(&newer), Err(Fault::Newer { version: 2, .. })));
    }
}
