//! Laws of the frames, for fuzz targets and for the corpus that the tests replay.

use crate::frame::{Decoder, FrameError, encode};
use crate::v1::{FromDataplane, ToDataplane};
use crate::{FRAME_BYTES_MAX, LENGTH_BYTES};
use prost::Message;

/// Reads `bytes` as either side would, cut in ways the bytes themselves choose. Nothing panics; how the bytes are cut
/// changes nothing; what was read is written and read again as the same.
pub fn frames(bytes: &[u8]) {
    both_ways::<ToDataplane>(bytes);
    both_ways::<FromDataplane>(bytes);
}

fn both_ways<M: Message + Default + PartialEq>(bytes: &[u8]) {
    let step = 1 + bytes.first().map_or(0, |first| usize::from(*first));
    let (whole, end) = read::<M>(bytes, bytes.len().max(1));
    let (cut, cut_end) = read::<M>(bytes, step);
    assert!(whole == cut, "messages depend on how their bytes were cut");
    assert_eq!(end, cut_end);

    let mut written = Vec::new();
    for message in &whole {
        // Re-encoding may grow a message (packed fields, defaults of unknown ones), so it may stop fitting.
        if encode(message, &mut written).is_err() {
            return;
        }
    }
    let (again, end) = read::<M>(&written, written.len().max(1));
    assert!(whole == again, "a message changed by being written and read");
    assert_eq!(end, Ok(()));
}

fn read<M: Message + Default>(bytes: &[u8], step: usize) -> (Vec<M>, Result<(), FrameError>) {
    let mut decoder = Decoder::<M>::default();
    let mut messages = Vec::new();
    for part in bytes.chunks(step) {
        decoder.feed(part);
        while let Ok(Some(message)) = decoder.message() {
            messages.push(message);
        }
        assert!(decoder.held() < LENGTH_BYTES + FRAME_BYTES_MAX, "a whole frame was held back");
    }
    let end = decoder.finish();
    (messages, end)
}

#[cfg(test)]
mod tests {
    #[test]
    fn laws_hold_for_small_streams() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..round % 40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Small values make lengths and tags that parse.
                bytes.push(if state >> 63 == 0 { (state >> 40) as u8 % 20 } else { (state >> 40) as u8 });
            }
            if bytes.len() >= 4 {
                let length = (bytes.len() - 4) as u32 / (1 + round % 3);
                bytes[..4].copy_from_slice(&length.to_le_bytes());
            }
            super::frames(&bytes);
        }
    }
}
