//! One message compressed, or decompressed: raw DEFLATE without its empty last block (RFC 7692 §7.2).
//!
//! Both ends give up their context after each message, so that a state serves any number of connections: it is allocated
//! once, here, and reset per message. Compression keeps to a window by leaving longer messages as they are, which the
//! protocol permits for every message (RFC 7692 §6).

use core::fmt;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a sync flush ends with, which is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Compresses messages.
pub struct Deflater(Compress);

/// Decompresses messages.
pub struct Inflater(Decompress);

/// Why a message could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is not DEFLATE.
    Data,
    /// It is longer than the caller's buffer.
    TooBig,
}

impl Deflater {
    /// A state for messages; `level` 0 to 9, from none over fast to small.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self(Compress::new(Compression::new(u32::from(level.min(9))), false))
    }

    /// Compresses a message into the front of `out`. Returns the count of bytes, or `None` if it is to be sent as it is:
    /// it exceeds the window of `window_bits`, or gains nothing, or `out` is too small.
    pub fn deflate(&mut self, message: &[u8], window_bits: u8, out: &mut [u8]) -> Option<usize> {
        // A distance is less than the message's length, so that a message of a window's length stays within it.
        if message.len() > 1usize << window_bits.min(15) || message.is_empty() {
            return None;
        }
        self.0.reset();
        // Longer than the message is never wanted; the tail will be cut off.
        let room = out.len().min(message.len() + TAIL.len());
        let out = &mut out[..room];
        loop {
            let (taken, written) = (self.0.total_in() as usize, self.0.total_out() as usize);
            let status = self.0.compress(&message[taken..], &mut out[written..], FlushCompress::Sync).ok()?;
            let done = self.0.total_out() as usize;
            let all_in = self.0.total_in() as usize == message.len();
            // A flush is complete when it leaves room; a full buffer may have more to come.
            if all_in && done < room {
                return out[..done].ends_with(&TAIL).then(|| done - TAIL.len()).filter(|count| *count < message.len());
            }
            if done == room || status == Status::BufError || done == written {
                return None;
            }
        }
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Decompresses a whole message into the front of `out`. Returns the count of bytes.
    ///
    /// # Errors
    /// If it is not DEFLATE, or longer than `out`.
    pub fn inflate(&mut self, message: &[u8], out: &mut [u8]) -> Result<usize, InflateError> {
        self.0.reset(false);
        let mut written = 0;
        self.part(message, out, &mut written)?;
        self.part(&TAIL, out, &mut written)?;
        Ok(written)
    }

    fn part(&mut self, mut input: &[u8], out: &mut [u8], written: &mut usize) -> Result<(), InflateError> {
        loop {
            // Beyond the caller's room one byte more tells a message that fits from one that does not.
            let mut beyond = [0];
            let full = *written == out.len();
            let target = if full { &mut beyond[..] } else { &mut out[*written..] };
            let (taken_before, written_before) = (self.0.total_in(), self.0.total_out());
            let status = self.0.decompress(input, target, FlushDecompress::Sync).map_err(|_| InflateError::Data)?;
            let taken = (self.0.total_in() - taken_before) as usize;
            let gained = (self.0.total_out() - written_before) as usize;
            input = &input[taken..];
            if full && gained > 0 {
                return Err(InflateError::TooBig);
            }
            *written += gained;
            if status == Status::StreamEnd {
                // A block that calls itself the last may be followed by others (RFC 7692 §7.2.3.4).
                self.0.reset(false);
                if input.is_empty() {
                    return Ok(());
                }
                continue;
            }
            if taken == 0 && gained == 0 {
                return if input.is_empty() { Ok(()) } else { Err(InflateError::Data) };
            }
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Deflater")
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Inflater")
    }
}
