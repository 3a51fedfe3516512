//! What a submission carries so that its completion finds home.
//!
//! `| operation 8 | index 24 | generation 32 |`: a late completion of an earlier holder does not match the present one.

/// Which operation completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Operation {
    /// The eventfd was read.
    Wake = 1,
    /// A listener's multishot accept.
    Accept = 2,
    /// A socket's multishot recvmsg.
    ReceiveFrom = 3,
    /// A datagram's sendmsg; the index is its slot.
    SendTo = 4,
    /// A connection's multishot receive.
    Receive = 5,
    /// A connection's send.
    Send = 6,
    /// A cancellation that found nothing to cancel; its target tells its own end.
    Cancel = 7,
    /// A file's openat.
    Open = 8,
    /// A file's write, up to its end or less.
    Write = 9,
    /// A file's fdatasync, linked to a write or alone.
    Sync = 10,
    /// A read of a file; the index is its buffer.
    Read = 11,
    /// A file's close.
    CloseFile = 12,
}

/// Places that fit a tag.
pub(crate) const INDEX_COUNT_MAX: usize = 1 << 24;

pub(crate) const fn encode(operation: Operation, index: u32, generation: u32) -> u64 {
    debug_assert!((index as usize) < INDEX_COUNT_MAX, "index fits its tag");
    (operation as u64) << 56 | (index as u64) << 32 | generation as u64
}

pub(crate) const fn decode(tag: u64) -> Option<(Operation, u32, u32)> {
    let operation = match tag >> 56 {
        1 => Operation::Wake,
        2 => Operation::Accept,
        3 => Operation::ReceiveFrom,
        4 => Operation::SendTo,
        5 => Operation::Receive,
        6 => Operation::Send,
        7 => Operation::Cancel,
        8 => Operation::Open,
        9 => Operation::Write,
        10 => Operation::Sync,
        11 => Operation::Read,
        12 => Operation::CloseFile,
        _ => return None,
    };
    Some((operation, (tag >> 32) as u32 & 0x00FF_FFFF, tag as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        for (operation, index, generation) in [
            (Operation::Wake, 0, 0),
            (Operation::Receive, 0x00FF_FFFF, u32::MAX),
            (Operation::Cancel, 77, 1),
            (Operation::Open, 3, 65_535),
            (Operation::Write, 1, 2),
            (Operation::Sync, 1, 2),
            (Operation::Read, 15, 0),
            (Operation::CloseFile, 63, 9),
        ] {
            assert_eq!(decode(encode(operation, index, generation)), Some((operation, index, generation)));
        }
        assert_eq!(decode(0), None);
        assert_eq!(decode(u64::MAX), None);
    }
}
