//! Refusals: a status, what the status obliges to say, and one line for people. The connection ends after it.

use crate::NoRoom;
use crate::put::Put;

/// Room that any refusal fits in.
pub const RESPONSE_BYTES_MAX: usize = 512;

/// How a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u16)]
pub enum Status {
    /// Not a request that can be understood.
    BadRequest = 400,
    /// No token, or an unknown one.
    Unauthorized = 401,
    /// A token that may not do this.
    Forbidden = 403,
    /// No such path.
    NotFound = 404,
    /// A method other than GET.
    MethodNotAllowed = 405,
    /// The head did not arrive in time.
    RequestTimeout = 408,
    /// Not an upgrade to WebSocket version 13.
    UpgradeRequired = 426,
    /// The head is too long.
    HeadTooLarge = 431,
    /// No room for another connection.
    Unavailable = 503,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::UpgradeRequired,
        Self::HeadTooLarge,
        Self::Unavailable,
    ];

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Its phrase.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::UpgradeRequired => "Upgrade Required",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::Unavailable => "Service Unavailable",
        }
    }

    /// Fields that the status needs.
    const fn fields(self) -> &'static str {
        match self {
            // RFC 6750 §3
            Self::Unauthorized => "WWW-Authenticate: Bearer\r\n",
            // RFC 9110 §15.5.6
            Self::MethodNotAllowed => "Allow: GET\r\n",
            // RFC 9110 §15.5.22, RFC 6455 §4.4; the connection option of Upgrade goes with Connection: close below.
            Self::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::Unavailable => "Retry-After: 5\r\n",
            _ => "",
        }
    }

    const fn body(self) -> &'static str {
        match self {
            Self::BadRequest => "This is not a request that can be understood.\n",
            Self::Unauthorized => "A valid token is needed: ?token=TOKEN, or Authorization: Bearer TOKEN.\n",
            Self::Forbidden => "This token does not permit that.\n",
            Self::NotFound => "There is nothing here.\n",
            Self::MethodNotAllowed => "Only GET is served here.\n",
            Self::RequestTimeout => "The request did not arrive in time.\n",
            Self::UpgradeRequired => "A WebSocket handshake of version 13 is needed.\n",
            Self::HeadTooLarge => "The request's head is too large.\n",
            Self::Unavailable => "No room for another connection now; try again later.\n",
        }
    }
}

/// Writes a refusal, after which the connection is to be closed. Returns the count of bytes.
///
/// # Errors
/// [`NoRoom`] if it does not fit; [`RESPONSE_BYTES_MAX`] always does.
pub fn write_response(status: Status, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut out = Put::new(out);
    out.bytes(b"HTTP/1.1 ");
    out.decimal(u64::from(status.code()));
    out.bytes(b" ");
    out.bytes(status.reason().as_bytes());
    out.bytes(b"\r\n");
    out.bytes(status.fields().as_bytes());
    let upgrade = status == Status::UpgradeRequired;
    out.bytes(if upgrade { b"Connection: Upgrade, close\r\n" } else { b"Connection: close\r\n" });
    out.bytes(b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: ");
    out.decimal(status.body().len() as u64);
    out.bytes(b"\r\n\r\n");
    out.bytes(status.body().as_bytes());
    out.finish()
}
