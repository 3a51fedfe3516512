//! A section of a checkpoint, record by record; and the devices of a lane, each as the checkpoint and what came since have it.
//!
//! Holds a piece of the file, one device, and what came since: memory does not grow with the devices. Needs no order among
//! them, only that what is said of a device stands together.

use crate::PIECE_BYTES;
use crate::damage::KNOWN_COUNT_MAX;
use crate::fold::{Delta, Deltas, place};
use base::Eui64;
use files::Files;
use journal::{ALIGN_BYTES, Kind, RECORD_BYTES_MAX, Record};
use session::{DeviceState, KeptDownlink, SessionRecord};
use std::io;

/// A reader of a section.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) file: String,
    /// Offset in the file of the next record.
    at: u64,
    end: u64,
    /// From `begin` on, the file's bytes from `at` on.
    buffer: Vec<u8>,
    begin: usize,
    /// The last record could not be read.
    passing: bool,
    /// Records that could not be read, or more.
    pub(crate) lost: u64,
    /// Where they stand, the first of them.
    pub(crate) stretches: Vec<(u64, u64)>,
}

impl Section {
    pub(crate) fn new(file: String, (start, end): (u64, u64)) -> Self {
        let (buffer, stretches) = (Vec::new(), Vec::new());
        Self { file, at: start, end, buffer, begin: 0, passing: false, lost: 0, stretches }
    }

    /// What `take` makes of the next record. A damaged one costs itself: behind it the next is found by its crc, which holds
    /// for its place alone.
    pub(crate) fn next<F: Files, R>(
        &mut self,
        files: &F,
        take: impl FnOnce(&Record<'_>) -> R,
    ) -> io::Result<Option<R>> {
        while self.at < self.end {
            self.fill(files)?;
            match Record::parse(place(self.at), &self.buffer[self.begin..]) {
                Ok((record, count)) => {
                    let taken = take(&record);
                    self.pass(count);
                    self.passing = false;
                    return Ok(Some(taken));
                }
                Err(_) => {
                    let begins = !std::mem::replace(&mut self.passing, true);
                    self.lost += u64::from(begins);
                    if begins && self.stretches.len() < KNOWN_COUNT_MAX {
                        self.stretches.push((self.at, self.at));
                    }
                    self.pass(ALIGN_BYTES.min(self.buffer.len() - self.begin));
                    if let Some((_, until)) = self.stretches.last_mut() {
                        *until = self.at;
                    }
                }
            }
        }
        Ok(None)
    }

    fn pass(&mut self, count: usize) {
        self.begin += count;
        self.at += count as u64;
    }

    /// Sees to it that any record, or all that is left, is in the buffer.
    fn fill<F: Files>(&mut self, files: &F) -> io::Result<()> {
        let left = self.end - self.at;
        let have = self.buffer.len() - self.begin;
        if have as u64 >= left.min(RECORD_BYTES_MAX as u64) {
            return Ok(());
        }
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let want = (left - have as u64).min(PIECE_BYTES as u64) as usize;
        self.buffer.resize(have + want, 0);
        let count = fill(files, &self.file, self.at + have as u64, &mut self.buffer[have..])?;
        self.buffer.truncate(have + count);
        if count < want {
            // The file ends before its section does.
            let end = self.at + (have + count) as u64;
            self.stretches.push((end, self.end));
            (self.end, self.lost) = (end, self.lost + 1);
        }
        Ok(())
    }
}

/// A reader of the devices of one lane.
#[derive(Debug)]
pub(crate) struct Lane {
    section: Section,
    /// The device whose records are being read.
    current: Option<Device>,
    deltas: Deltas,
    /// Devices that the checkpoint did not know, the first ones last.
    fresh: Vec<(Eui64, Delta)>,
}

/// A device, and what is known of it so far.
type Device = (Eui64, DeviceState);

impl Lane {
    /// The devices in a section, changed by `deltas`, and those that stand only there.
    pub(crate) const fn new(section: Section, deltas: Deltas) -> Self {
        Self { section, current: None, deltas, fresh: Vec::new() }
    }

    /// What it reads from.
    pub(crate) const fn section(&self) -> &Section {
        &self.section
    }

    /// The next device.
    pub(crate) fn next<F: Files>(&mut self, files: &F) -> io::Result<Option<DeviceState>> {
        loop {
            let current = &mut self.current;
            let done = match self.section.next(files, |record| take(record, current))? {
                Some(Ok(Some(next))) => self.current.replace(next),
                Some(Ok(None)) => None,
                Some(Err(BadBody)) => {
                    self.section.lost += 1;
                    None
                }
                None if self.current.is_some() => self.current.take(),
                None => return Ok(self.next_fresh()),
            };
            if let Some((dev_eui, mut state)) = done {
                if let Some(delta) = self.deltas.remove(&dev_eui) {
                    delta.onto(dev_eui, &mut state);
                }
                if !state.is_empty() {
                    return Ok(Some(state));
                }
            }
        }
    }

    fn next_fresh(&mut self) -> Option<DeviceState> {
        if !self.deltas.is_empty() {
            self.fresh = std::mem::take(&mut self.deltas).into_iter().collect();
            self.fresh.sort_unstable_by_key(|(dev_eui, _)| std::cmp::Reverse(*dev_eui));
        }
        loop {
            let (dev_eui, delta) = self.fresh.pop()?;
            let mut state = DeviceState::default();
            delta.onto(dev_eui, &mut state);
            if !state.is_empty() {
                return Some(state);
            }
        }
    }
}

/// A record's body cannot be understood.
struct BadBody;

/// Takes what a record says: of the current device, or of the one that it returns, which is the next.
fn take(record: &Record<'_>, current: &mut Option<Device>) -> Result<Option<Device>, BadBody> {
    match record.kind {
        Kind::Device => {
            let wire = record.body.try_into().map_err(|_| BadBody)?;
            let device = SessionRecord::from_wire(wire).map_err(|_| BadBody)?;
            Ok(change(current, device.dev_eui, |state| state.replace(device)))
        }
        Kind::Queued => {
            let downlink = KeptDownlink::parse(record.body).ok_or(BadBody)?;
            Ok(change(current, downlink.dev_eui, |state| state.queued(&downlink)))
        }
        _ => Err(BadBody),
    }
}

fn change(current: &mut Option<Device>, dev_eui: Eui64, change: impl FnOnce(&mut DeviceState)) -> Option<Device> {
    match current {
        Some((current, state)) if *current == dev_eui => {
            change(state);
            None
        }
        _ => {
            let mut state = DeviceState::default();
            change(&mut state);
            Some((dev_eui, state))
        }
    }
}

/// Reads as much as there is, up to all of `target`.
pub(crate) fn fill<F: Files>(files: &F, name: &str, offset: u64, target: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < target.len() {
        match files.read_at(name, offset + count as u64, &mut target[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::UnixMicros;
    use files::Directory;
    use session::DEV_NONCE_COUNT;

    const COUNT: u64 = 9000;

    fn device(number: u64) -> SessionRecord {
        SessionRecord {
            dev_eui: Eui64::new(number),
            root: 7,
            session_count: number as u32,
            join_nonce: 0,
            dev_nonce_count: 0,
            dev_nonces: [0; DEV_NONCE_COUNT],
            session: None,
            pending: None,
        }
    }

    /// A section of so many devices, and the length of one of them.
    fn section() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        for number in 0..COUNT {
            let wire = device(number).to_wire();
            let record = Record { kind: Kind::Device, lane: 1, key: 0, tenant: 0, at: UnixMicros(0), body: &wire };
            let start = bytes.len();
            bytes.resize(start + record.encoded_bytes(), 0);
            record.write(place(start as u64), &mut bytes[start..]).expect("room");
        }
        let each = bytes.len() / COUNT as usize;
        (bytes, each)
    }

    /// The devices that can be read of these bytes, of which there were `len`, and how many records cannot.
    fn read(bytes: &[u8], len: usize) -> (Vec<u64>, u64) {
        let home = tempfile::tempdir().expect("a directory");
        let mut files = Directory::open(home.path()).expect("it is there");
        files.write_at("state", 0, bytes).expect("room");
        let mut lane = Lane::new(Section::new("state".into(), (0, len as u64)), Deltas::new());
        let mut numbers = Vec::new();
        while let Some(state) = lane.next(&files).expect("readable") {
            let device = state.record.expect("a device");
            assert_eq!(device, self::device(device.dev_eui.to_u64()));
            numbers.push(device.dev_eui.to_u64());
        }
        (numbers, lane.section().lost)
    }

    #[test]
    fn a_damaged_record_costs_itself_wherever_it_stands() {
        let (whole, each) = section();
        assert!(whole.len() > 2 * PIECE_BYTES, "several pieces");
        let all: Vec<u64> = (0..COUNT).collect();
        assert_eq!(read(&whole, whole.len()), (all.clone(), 0));
        let border = PIECE_BYTES / each;
        for damaged in [0, border - 2, border - 1, border, border + 1, COUNT as usize - 1] {
            for at in [0, 5, 100] {
                let mut bytes = whole.clone();
                bytes[damaged * each + at] ^= 0x40;
                let mut left = all.clone();
                left.remove(damaged);
                assert_eq!(read(&bytes, whole.len()), (left, 1), "{damaged} at {at}");
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_gives_what_it_has() {
        let (whole, each) = section();
        for count in [0, 1, PIECE_BYTES / each, COUNT as usize - 1] {
            let (numbers, lost) = read(&whole[..count * each + 9], whole.len());
            assert_eq!(numbers, (0..count as u64).collect::<Vec<_>>());
            assert!(lost > 0);
        }
    }
}
