//! The witness: where shards wrote which uplink, whatever the disk made of it.
//!
//! The naive model beside the journal's files: it sees what is handed to the disk, not what is stored, so that of an uplink
//! that is missing it can be said where it must have stood. Reads headers and records with the journal's own codecs; knows
//! nothing of segments that follow each other, of marks or of cursors.

use base::Eui64;
use journal::{HEADER_BYTES, Header, Kind, Record, SegmentName};
use session::body::UplinkBody;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The file's name in the journal's folder.
    pub file: String,
    /// The first byte.
    pub from: u64,
    /// Behind the last one.
    pub until: u64,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Witness {
    headers: BTreeMap<SegmentName, Header>,
    uplinks: BTreeMap<(Eui64, u32), Vec<Place>>,
}

impl Witness {
    /// Somebody has these bytes written to a file of the journal.
    pub(crate) fn wrote(&mut self, path: &str, offset: usize, bytes: &[u8]) {
        let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
        let Some(name) = SegmentName::parse(file) else { return };
        if offset == 0 {
            if let Ok(header) = Header::parse(name, bytes) {
                self.headers.insert(name, header);
            }
            return;
        }
        let Some(header) = self.headers.get(&name).copied() else { return };
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let position = name.position(header.base + (at - HEADER_BYTES) as u64);
            let Ok((record, count)) = Record::parse(position, rest) else { return };
            if record.kind == Kind::Uplink
                && let Some(UplinkBody { event: Some(event), .. }) = UplinkBody::parse(record.body)
            {
                let place = Place { file: file.into(), from: at as u64, until: (at + count) as u64 };
                self.uplinks.entry((event.dev_eui, event.fcnt)).or_default().push(place);
            }
            at += count;
            rest = &rest[count..];
        }
    }

    /// Where an uplink was written.
    #[must_use]
    pub fn places(&self, dev_eui: Eui64, fcnt: u32) -> &[Place] {
        self.uplinks.get(&(dev_eui, fcnt)).map_or(&[], Vec::as_slice)
    }

    /// The bytes of a file in which these offsets of its log stand.
    #[must_use]
    pub fn place(&self, name: SegmentName, offsets: Range<u64>) -> Option<Place> {
        let header = self.headers.get(&name)?;
        let (from, until) = (header.file_offset(offsets.start), header.file_offset(offsets.end));
        Some(Place { file: name.to_string(), from, until })
    }
}

impl Place {
    /// Whether both have a byte in common.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.file == other.file && self.from < other.until && other.from < self.until
    }
}
