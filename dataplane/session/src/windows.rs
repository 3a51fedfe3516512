//! Dedup windows: where the copies of one PHYPayload meet, and what was learned from the first of them.
//!
//! A fixed number. Owns the receptions of each frame and its payload in the clear until the window ends.

use crate::NONE;
use crate::index::Index;
use crate::slab::Slab;
use base::{DataRate, Monotonic, UnixMicros};
use event::{RECEPTION_BYTES, RECEPTION_COUNT_MAX, Reception, Receptions};
use lorawan::PHY_BYTES_MAX;

/// What the frame of a window is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// A new data frame of a session.
    Uplink,
    /// The last data frame of a session again, because the device missed the answer.
    Repeat,
    /// A JoinRequest; answered if a device is named.
    Join,
    /// Nothing that anyone here explains.
    Unknown,
}

/// The device asks for an acknowledgement.
pub(crate) const ASKS_ACK: u8 = 1;
/// LinkCheckReq.
pub(crate) const ASKS_LINK: u8 = 2;
/// DeviceTimeReq.
pub(crate) const ASKS_TIME: u8 = 4;
/// ADRACKReq: any downlink will do.
pub(crate) const ASKS_LIFE: u8 = 8;

/// One frame whose copies are being gathered. Most are short and heard by few, so most of a window's lines are never touched.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Window {
    head: Head,
    pub(crate) payload: [u8; PHY_BYTES_MAX],
    receptions: [u8; RECEPTION_COUNT_MAX * RECEPTION_BYTES],
}

/// What is known of it, whatever its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) frame: Frame,
    pub(crate) opened: Monotonic,
    pub(crate) unix: UnixMicros,
    /// Place of the device, or none.
    pub(crate) device: u32,
    /// Number of the session, to tell a later one in the same place.
    pub(crate) session: u32,
    pub(crate) fcnt: u32,
    pub(crate) dev_nonce: u16,
    pub(crate) mtype: u8,
    pub(crate) fport: Option<u8>,
    pub(crate) adr: bool,
    pub(crate) asks: u8,
    pub(crate) frequency_hz: u32,
    pub(crate) data_rate: DataRate,
    /// Copies in all; saturates.
    pub(crate) copy_count: u8,
    reception_count: u8,
    payload_len: u8,
}

/// The windows, found by the hash of their PHYPayload.
#[derive(Debug)]
pub(crate) struct Windows {
    places: Slab<Window>,
    /// By place, and beside the windows: whoever looks for one touches no other.
    hashes: Box<[u64]>,
    by_hash: Index,
    /// Of unknown frames, which may hold only a quarter of the places: noise shall not keep out what is known.
    unknown_count: usize,
    unknown_count_max: usize,
}

impl Window {
    pub(crate) fn new(frame: Frame, opened: Monotonic, unix: UnixMicros) -> Self {
        let head = Head {
            frame,
            opened,
            unix,
            device: NONE,
            session: 0,
            fcnt: 0,
            dev_nonce: 0,
            mtype: 0,
            fport: None,
            adr: false,
            asks: 0,
            frequency_hz: 0,
            data_rate: DataRate::default(),
            copy_count: 0,
            reception_count: 0,
            payload_len: 0,
        };
        Self { head, payload: [0; PHY_BYTES_MAX], receptions: [0; RECEPTION_COUNT_MAX * RECEPTION_BYTES] }
    }

    /// Becomes another; of the old one stays what is beyond the lengths of the new one, where nobody looks.
    fn become_like(&mut self, other: &Self) {
        self.head = other.head;
        self.payload[..usize::from(other.payload_len)].copy_from_slice(other.payload());
        let listed = usize::from(other.reception_count) * RECEPTION_BYTES;
        self.receptions[..listed].copy_from_slice(&other.receptions[..listed]);
    }

    /// Adds a copy; says whether its reception could be listed.
    pub(crate) fn add(&mut self, reception: &Reception) -> bool {
        self.copy_count = self.copy_count.saturating_add(1);
        let at = usize::from(self.reception_count) * RECEPTION_BYTES;
        let Some(target) = self.receptions.get_mut(at..at + RECEPTION_BYTES) else { return false };
        target.copy_from_slice(&reception.to_wire());
        self.reception_count += 1;
        true
    }

    pub(crate) fn receptions(&self) -> Receptions<'_> {
        Receptions::new(&self.receptions[..usize::from(self.reception_count) * RECEPTION_BYTES])
    }

    /// Puts the best reception first: by SNR, then by RSSI, since above the noise the SNR of LoRa saturates.
    pub(crate) fn sort(&mut self) {
        let count = usize::from(self.reception_count);
        let receptions = &mut self.receptions.as_chunks_mut::<RECEPTION_BYTES>().0[..count];
        // Few and nearly always sorted: an insertion sort, which keeps the order of arrival among equals.
        for end in 1..count {
            let mut at = end;
            while at > 0 && quality(&receptions[at]) > quality(&receptions[at - 1]) {
                receptions.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    pub(crate) fn set_payload_len(&mut self, len: usize) {
        assert!(len <= PHY_BYTES_MAX, "a payload within its frame");
        self.payload_len = len as u8;
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload[..usize::from(self.payload_len)]
    }
}

impl core::ops::Deref for Window {
    type Target = Head;
    fn deref(&self) -> &Head {
        &self.head
    }
}

impl core::ops::DerefMut for Window {
    fn deref_mut(&mut self) -> &mut Head {
        &mut self.head
    }
}

fn quality(wire: &[u8; RECEPTION_BYTES]) -> (i16, i16) {
    let reception = Reception::from_wire(wire);
    (reception.snr_deci, reception.rssi_deci)
}

impl Windows {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            places: Slab::new(count_max),
            hashes: vec![0; count_max].into(),
            by_hash: Index::new(count_max),
            unknown_count: 0,
            unknown_count_max: count_max / 4,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn find(&self, hash: u64) -> Option<u32> {
        self.by_hash.find(hash).find(|place| self.hashes[*place as usize] == hash)
    }

    /// Opens a window, if there is room for one of its kind.
    pub(crate) fn open(&mut self, hash: u64, window: &Window) -> Option<u32> {
        let unknown = window.frame == Frame::Unknown;
        if unknown && self.unknown_count == self.unknown_count_max {
            return None;
        }
        let place = self.places.claim(|| Window::new(window.frame, window.opened, window.unix))?;
        self.places[place].become_like(window);
        self.hashes[place as usize] = hash;
        self.by_hash.insert(hash, place);
        self.unknown_count += usize::from(unknown);
        Some(place)
    }

    pub(crate) fn close(&mut self, place: u32) {
        let hashes = &self.hashes;
        self.by_hash.remove(hashes[place as usize], place, |other| hashes[other as usize]);
        self.unknown_count -= usize::from(self.places[place].frame == Frame::Unknown);
        self.places.remove(place);
    }
}

impl core::ops::Index<u32> for Windows {
    type Output = Window;
    fn index(&self, place: u32) -> &Window {
        &self.places[place]
    }
}

impl core::ops::IndexMut<u32> for Windows {
    fn index_mut(&mut self, place: u32) -> &mut Window {
        &mut self.places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_reception_comes_first() {
        let mut window = Window::new(Frame::Uplink, Monotonic(0), UnixMicros(0));
        let heard = [(50, -900), (95, -800), (-20, -1200), (95, -700), (50, -900)];
        for (index, (snr_deci, rssi_deci)) in heard.into_iter().enumerate() {
            assert!(window.add(&Reception { snr_deci, rssi_deci, tmst: index as u32, ..Reception::default() }));
        }
        window.sort();
        assert_eq!(window.receptions().iter().map(|reception| reception.tmst).collect::<Vec<_>>(), [3, 1, 0, 4, 2]);
        for _ in heard.len()..RECEPTION_COUNT_MAX {
            assert!(window.add(&Reception::default()));
        }
        assert!(!window.add(&Reception::default()), "counted, not listed");
        assert_eq!((window.copy_count, window.receptions().len()), (17, 16));
    }

    #[test]
    fn unknown_frames_hold_a_quarter() {
        let mut windows = Windows::new(8);
        let window = |frame| Window::new(frame, Monotonic(0), UnixMicros(0));
        let first = windows.open(1, &window(Frame::Unknown)).expect("room");
        assert!(windows.open(2, &window(Frame::Unknown)).is_some());
        assert!(windows.open(3, &window(Frame::Unknown)).is_none());
        assert!(windows.open(3, &window(Frame::Uplink)).is_some());
        windows.close(first);
        assert!(windows.find(1).is_none() && windows.find(2).is_some());
        assert!(windows.open(4, &window(Frame::Unknown)).is_some());
    }

    #[test]
    fn nothing_of_an_earlier_window_is_told() {
        let mut windows = Windows::new(2);
        let window = |payload: &[u8], tmsts: &[u32]| {
            let mut window = Window::new(Frame::Uplink, Monotonic(0), UnixMicros(0));
            window.payload[..payload.len()].copy_from_slice(payload);
            window.set_payload_len(payload.len());
            for tmst in tmsts {
                window.add(&Reception { tmst: *tmst, ..Reception::default() });
            }
            window
        };
        for (hash, (payload, tmsts)) in
            [(&b"long payload"[..], &[1, 2, 3][..]), (b"short", &[4]), (b"", &[]), (b"again", &[5, 6])]
                .into_iter()
                .enumerate()
        {
            let place = windows.open(hash as u64, &window(payload, tmsts)).expect("room");
            let told: Vec<u32> = windows[place].receptions().iter().map(|reception| reception.tmst).collect();
            assert_eq!((windows[place].payload(), &told[..]), (payload, tmsts));
            windows[place].add(&Reception { tmst: 9, ..Reception::default() });
            assert_eq!(windows[place].receptions().iter().last().map(|reception| reception.tmst), Some(9));
            assert_eq!(usize::from(windows[place].copy_count), tmsts.len() + 1);
            windows.close(place);
            assert_eq!(windows.find(hash as u64), None);
        }
    }
}
