//! permessage-deflate as it is negotiated (RFC 7692 §5, §7.1): the client's offers in, the server's answer out.
//!
//! The server gives up its context after each message and asks the client to do the same, whatever was offered. It
//! inflates with the full window, so any window of the client's will do; the client may bound the server's.
//!
//! ```text
//!   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate
//! ```

use crate::NoRoom;

const NAME: &str = "permessage-deflate";

/// Room that any answer fits in.
pub const EXTENSION_BYTES_MAX: usize = 120;

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeflateParams {
    /// The window that we compress with, 8 to 15 bits; see [`Deflater::deflate`](super::Deflater::deflate).
    pub server_window_bits: u8,
    /// The client asked for that window, so the answer must name it (RFC 7692 §7.1.2.1).
    pub server_window_named: bool,
}

impl DeflateParams {
    /// Writes the answer: the value of `Sec-WebSocket-Extensions`. Returns the count of bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit; [`EXTENSION_BYTES_MAX`] always does.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let mut out = crate::put::Put::new(out);
        out.bytes(NAME.as_bytes());
        out.bytes(b"; server_no_context_takeover; client_no_context_takeover");
        if self.server_window_named {
            out.bytes(b"; server_max_window_bits=");
            out.decimal(u64::from(self.server_window_bits));
        }
        out.finish()
    }
}

/// The first offer in a header's value that can be honoured. `None`: there is none, and the connection goes without.
///
/// An offer with a parameter that is unknown, given twice or has a value that it cannot have is declined (RFC 7692 §7.1);
/// a value that is no list of extensions offers nothing.
#[must_use]
pub fn negotiate(header: &str) -> Option<DeflateParams> {
    split_unquoted(header, ',').find_map(offer)
}

fn offer(text: &str) -> Option<DeflateParams> {
    let mut parts = split_unquoted(text, ';').map(str::trim_ascii);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen = 0u8;
    let mut server_window = None;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_ascii_end(), Some(unquote(value.trim_ascii_start())?)),
            None => (part, None),
        };
        let bit = match (name, value) {
            ("server_no_context_takeover", None) => 1,
            ("client_no_context_takeover", None) => 2,
            ("server_max_window_bits", Some(value)) => {
                server_window = Some(window_bits(value)?);
                4
            }
            // Alone it is a hint that the answer may bound the client's window; ours need not (RFC 7692 §7.1.2.2).
            ("client_max_window_bits", None) => 8,
            ("client_max_window_bits", Some(value)) => {
                window_bits(value)?;
                8
            }
            _ => return None,
        };
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
    }
    Some(DeflateParams {
        server_window_bits: server_window.unwrap_or(15),
        server_window_named: server_window.is_some(),
    })
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// A parameter's value may be quoted (RFC 6455 §9.1); what needs escapes is no number of bits.
fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => (!value.contains('"')).then_some(value),
    }
}

/// Splits at `mark` outside quoted strings.
fn split_unquoted(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => escaped = true,
            _ => {}
        }
        !quoted && character == mark
    })
}
