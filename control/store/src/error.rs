//! Why the store did not do it.

use core::fmt;
use model::Fault;

/// Why the store cannot be opened. One line, for the operator.
#[derive(Debug)]
pub struct OpenError(pub(crate) String);

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// Why a read or a write failed. Nothing of a failed write was kept.
#[derive(Debug)]
pub enum Error {
    /// There is no such thing.
    Absent,
    /// It collides with what is there: the field and the reason.
    Conflict(Fault),
    /// The dataplane's compiler would refuse it.
    Refused(Fault),
    /// The disk or the database failed, or holds what it should not.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("there is no such thing"),
            Self::Conflict(fault) | Self::Refused(fault) => fault.fmt(out),
            Self::Broken(reason) => write!(out, "the store failed: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Whether a statement failed on a foreign key: something else still refers to the row.
pub(crate) fn is_referred_to(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// Whether a statement failed because the row, or a value that must be unique, is there already.
pub(crate) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(
            error.extended_code,
            rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        )
    })
}
