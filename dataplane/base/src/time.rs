//! The two clocks. Both arrive as arguments; nothing here reads one.

use core::time::Duration;

/// Nanoseconds of a clock that never goes back. Its zero is the driver's business.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// Later than any deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// This instant moved by `span`; stops at [`Monotonic::NEVER`].
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The time since `earlier`, or zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Whole seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }
}

const fn nanos(span: Duration) -> u64 {
    let whole = span.as_nanos();
    if whole > u64::MAX as u128 { u64::MAX } else { whole as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_at_both_ends() {
        assert_eq!(Monotonic(5).after(Duration::from_nanos(7)), Monotonic(12));
        assert_eq!(Monotonic(5).after(Duration::MAX), Monotonic::NEVER);
        assert_eq!(Monotonic(5).since(Monotonic(9)), Duration::ZERO);
        assert_eq!(Monotonic(9).since(Monotonic(5)), Duration::from_nanos(4));
    }
}
