//! Downlinks that wait: one queue per device, out of one pool.
//!
//! Owns the places of the downlinks and of their payloads, in chunks. Knows no device: a queue is two places that its
//! owner keeps.
//!
//! ```text
//!   Queue { head, tail, count } -> Downlink -> Downlink -> ...      Downlink -> Chunk -> Chunk
//! ```

use crate::NONE;
use crate::slab::Slab;
use crate::spec::PAYLOAD_BYTES_MAX;
use base::UnixMicros;

const CHUNK_BYTES: usize = 60;

/// One downlink, without its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Downlink {
    pub(crate) id: u64,
    /// 0 is never.
    pub(crate) expires: UnixMicros,
    pub(crate) device: u32,
    next: u32,
    chunk: u32,
    pub(crate) fport: u8,
    pub(crate) len: u8,
    /// Frames that carried it.
    pub(crate) attempts: u8,
    pub(crate) confirmed: bool,
    /// A gateway took it, so that an acknowledgement may come.
    pub(crate) sent: bool,
    /// FCntDown of the last frame that carried it.
    pub(crate) fcnt: u32,
}

impl Downlink {
    pub(crate) fn has_expired(&self, unix: UnixMicros) -> bool {
        self.expires.0 != 0 && self.expires <= unix
    }
}

#[derive(Debug)]
struct Chunk {
    next: u32,
    bytes: [u8; CHUNK_BYTES],
}

/// One device's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    pub(crate) head: u32,
    tail: u32,
    pub(crate) count: u16,
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, count: 0 }
    }
}

/// The pool.
#[derive(Debug)]
pub(crate) struct Downlinks {
    places: Slab<Downlink>,
    chunks: Slab<Chunk>,
}

/// What a new downlink is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh<'a> {
    pub(crate) id: u64,
    pub(crate) expires: UnixMicros,
    pub(crate) device: u32,
    pub(crate) fport: u8,
    pub(crate) confirmed: bool,
    pub(crate) payload: &'a [u8],
}

impl Downlinks {
    pub(crate) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self { places: Slab::new(count_max), chunks: Slab::new(bytes_max / CHUNK_BYTES) }
    }

    /// Whether nothing waits and no chunk is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.len() == 0 && self.chunks.len() == 0
    }

    /// Appends, or says `None` when the pool is full.
    pub(crate) fn push(&mut self, queue: &mut Queue, fresh: &Fresh<'_>) -> Option<u32> {
        assert!(fresh.payload.len() <= PAYLOAD_BYTES_MAX, "a payload within the bound");
        let chunk_count = fresh.payload.len().div_ceil(CHUNK_BYTES);
        if self.places.room() == 0 || self.chunks.room() < chunk_count {
            return None;
        }
        let mut chunk = NONE;
        for part in fresh.payload.chunks(CHUNK_BYTES).rev() {
            let mut bytes = [0; CHUNK_BYTES];
            bytes[..part.len()].copy_from_slice(part);
            chunk = self.chunks.insert(Chunk { next: chunk, bytes }).expect("room was counted");
        }
        let downlink = Downlink {
            id: fresh.id,
            expires: fresh.expires,
            device: fresh.device,
            next: NONE,
            chunk,
            fport: fresh.fport,
            len: fresh.payload.len() as u8,
            attempts: 0,
            confirmed: fresh.confirmed,
            sent: false,
            fcnt: 0,
        };
        let place = self.places.insert(downlink).expect("room was counted");
        if queue.tail == NONE {
            queue.head = place;
        } else {
            self.places[queue.tail].next = place;
        }
        queue.tail = place;
        queue.count += 1;
        Some(place)
    }

    /// Takes one out of its queue, wherever it stands.
    pub(crate) fn remove(&mut self, queue: &mut Queue, place: u32) {
        let next = self.places[place].next;
        if queue.head == place {
            queue.head = next;
            if next == NONE {
                queue.tail = NONE;
            }
        } else {
            let before =
                self.iter(queue).find(|before| self.places[*before].next == place).expect("it is in its queue");
            self.places[before].next = next;
            if next == NONE {
                queue.tail = before;
            }
        }
        queue.count -= 1;
        let mut chunk = self.places[place].chunk;
        while chunk != NONE {
            let next = self.chunks[chunk].next;
            self.chunks.remove(chunk);
            chunk = next;
        }
        self.places.remove(place);
    }

    /// The places of a queue, in order.
    pub(crate) fn iter<'a>(&'a self, queue: &Queue) -> impl Iterator<Item = u32> + use<'a> {
        let mut place = queue.head;
        core::iter::from_fn(move || {
            let this = place;
            (this != NONE).then(|| {
                place = self.places[this].next;
                this
            })
        })
    }

    /// Copies a payload out; returns its length.
    pub(crate) fn payload(&self, place: u32, out: &mut [u8; PAYLOAD_BYTES_MAX]) -> usize {
        let downlink = &self.places[place];
        let mut chunk = downlink.chunk;
        for part in out[..usize::from(downlink.len)].chunks_mut(CHUNK_BYTES) {
            part.copy_from_slice(&self.chunks[chunk].bytes[..part.len()]);
            chunk = self.chunks[chunk].next;
        }
        usize::from(downlink.len)
    }
}

impl core::ops::Index<u32> for Downlinks {
    type Output = Downlink;
    fn index(&self, place: u32) -> &Downlink {
        &self.places[place]
    }
}

impl core::ops::IndexMut<u32> for Downlinks {
    fn index_mut(&mut self, place: u32) -> &mut Downlink {
        &mut self.places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::mix::SplitMix64;
    use std::collections::VecDeque;

    #[test]
    fn agrees_with_plain_queues() {
        let mut downlinks = Downlinks::new(20, 40 * CHUNK_BYTES);
        let mut queues = [Queue::default(); 3];
        let mut models: [VecDeque<(u32, Vec<u8>)>; 3] = Default::default();
        let mut random = SplitMix64::new(4);
        let mut refused = 0;
        for turn in 0..20_000u64 {
            let which = random.below(3) as usize;
            let (queue, model) = (&mut queues[which], &mut models[which]);
            if random.below(2) == 0 {
                let payload: Vec<u8> = (0..random.below(243)).map(|at| (at + turn) as u8).collect();
                let fresh = Fresh {
                    id: turn,
                    expires: UnixMicros(0),
                    device: 0,
                    fport: 1,
                    confirmed: false,
                    payload: &payload,
                };
                match downlinks.push(queue, &fresh) {
                    Some(place) => model.push_back((place, payload)),
                    None => refused += 1,
                }
            } else if !model.is_empty() {
                let (place, _) = model.remove(random.below(model.len() as u64) as usize).expect("within");
                downlinks.remove(queue, place);
            }
            assert_eq!(usize::from(queue.count), model.len());
            assert!(downlinks.iter(queue).eq(model.iter().map(|(place, _)| *place)));
            let mut out = [0; PAYLOAD_BYTES_MAX];
            for (place, payload) in model.iter() {
                let count = downlinks.payload(*place, &mut out);
                assert_eq!(&out[..count], &payload[..]);
            }
        }
        assert!(refused > 0, "the bound was met");
    }
}
