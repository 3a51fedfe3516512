//! What is wrong with a value: the field's path and what is allowed.

use core::fmt;

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A path such as `otaa.app_key`.
    pub field: String,
    /// What is allowed.
    pub reason: String,
}

impl Fault {
    /// A fault of `field`.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for Fault {}

/// Everything that is wrong with one value, gathered so that it can be said at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// The value, or a note of why there is none.
    pub fn keep<T>(&mut self, field: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|reason| self.0.push(Fault::new(field, reason))).ok()
    }

    /// As [`Faults::keep`] for a value that may be absent.
    pub fn keep_if<T, U>(
        &mut self,
        field: &str,
        value: Option<T>,
        parse: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U> {
        value.and_then(|value| self.keep(field, parse(value)))
    }

    /// Notes a fault.
    pub fn push(&mut self, field: &str, reason: impl Into<String>) {
        self.0.push(Fault::new(field, reason));
    }

    /// `Ok` if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was.
    pub fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            write!(out, "{}{fault}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
