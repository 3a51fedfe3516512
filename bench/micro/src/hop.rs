//! The hop between two shards: a record goes into a ring and comes out of it.
//!
//! Both ends are used by one thread, so that instructions can be counted; what the way of a cache line from core to core
//! costs beside it shows in time, between two threads (`benches/kernels.rs`).

use crate::{Kernel, Work, plain};
use base::ring::{Receiver, Record, Sender, ring};

pub(crate) const HOP: Kernel = Kernel {
    name: "hop",
    what: "a record of 70 bytes, a heard frame, into a ring and out of it",
    large: false,
    prepare: hop,
};

struct State {
    sender: Sender,
    receiver: Receiver,
    record: [u8; 70],
    out: Box<Record>,
    count: usize,
}

fn hop() -> Box<dyn Work> {
    let record: [u8; 70] = std::array::from_fn(|at| at as u8);
    // No multiple of the record's size: it wraps around the end at every place.
    let (sender, receiver) = ring(5003);
    let state = State { sender, receiver, record, out: Box::new([0; base::ring::RECORD_BYTES_MAX]), count: 0 };
    let operation = |state: &mut State| {
        state.out[0] = 0xFF;
        let pushed = state.sender.push(&state.record).is_ok();
        state.count = if pushed { state.receiver.pop(&mut state.out[..]).unwrap_or(0) } else { 0 };
    };
    plain(state, operation, |state| state.out[..state.count].to_vec(), record.to_vec())
}
