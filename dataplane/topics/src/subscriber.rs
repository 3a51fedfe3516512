//! A subscriber of a filter, and what it asked for, in eight bytes.
//!
//! ```text
//!   | session 30, retain handling 2 | identifier 28, QoS 2, no local 1, retain as published 1 |      MQTT 5.0 §3.8.3.1
//! ```

use crate::chunks::{NONE, Value};
use crate::lists::Entry;

/// One more than the highest session there can be.
pub const SESSION_COUNT_MAX: usize = (1 << SESSION_BITS) - 1;

/// The highest subscription identifier (MQTT 5.0 §3.8.2.1.2).
pub const IDENTIFIER_MAX: u32 = (1 << IDENTIFIER_BITS) - 1;

const SESSION_BITS: u32 = 30;
const IDENTIFIER_BITS: u32 = 28;

/// In the place of the retain handling: nobody.
const NOBODY: u32 = 3;

/// What a subscriber asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Options {
    /// The maximum QoS, 0 to 2.
    pub qos: u8,
    /// Messages that the session published itself do not come back to it.
    pub no_local: bool,
    /// The retain flag stays as it was published.
    pub retain_as_published: bool,
    /// What of retained messages is sent at once, 0 to 2.
    pub retain_handling: u8,
    /// The subscription identifier, at most [`IDENTIFIER_MAX`]; 0 if there is none.
    pub identifier: u32,
}

/// A session with its options, packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Subscriber([u32; 2]);

impl Subscriber {
    pub(crate) fn new(session: u32, options: Options) -> Self {
        let Options { qos, no_local, retain_as_published, retain_handling, identifier } = options;
        assert!((session as usize) < SESSION_COUNT_MAX, "sessions are slots of a table");
        assert!(qos <= 2 && retain_handling <= 2 && identifier <= IDENTIFIER_MAX, "options were read by a codec");
        let flags = u32::from(qos) | u32::from(no_local) << 2 | u32::from(retain_as_published) << 3;
        Self([session | u32::from(retain_handling) << SESSION_BITS, identifier | flags << IDENTIFIER_BITS])
    }

    #[inline]
    pub(crate) const fn session(self) -> u32 {
        self.0[0] & ((1 << SESSION_BITS) - 1)
    }

    #[inline]
    pub(crate) const fn options(self) -> Options {
        let flags = self.0[1] >> IDENTIFIER_BITS;
        Options {
            qos: flags as u8 & 3,
            no_local: flags & 4 != 0,
            retain_as_published: flags & 8 != 0,
            retain_handling: (self.0[0] >> SESSION_BITS) as u8,
            identifier: self.0[1] & IDENTIFIER_MAX,
        }
    }
}

impl Value for Subscriber {
    fn free(next: u32) -> Self {
        Self([NOBODY << SESSION_BITS, next])
    }

    fn next_free(&self) -> u32 {
        self.0[1]
    }
}

impl Entry for Subscriber {
    #[inline]
    fn id(&self) -> u32 {
        if self.0[0] >> SESSION_BITS == NOBODY { NONE } else { self.session() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_options_come_back() {
        let bools = [false, true];
        for (qos, no_local, retain_as_published) in
            (0..3).flat_map(|qos| bools.map(|a| bools.map(|b| (qos, a, b))).concat())
        {
            for (retain_handling, identifier) in (0..3).flat_map(|how| [0, 1, IDENTIFIER_MAX].map(|id| (how, id))) {
                let options = Options { qos, no_local, retain_as_published, retain_handling, identifier };
                for session in [0, 1, SESSION_COUNT_MAX as u32 - 1] {
                    let subscriber = Subscriber::new(session, options);
                    assert_eq!((subscriber.session(), subscriber.options()), (session, options));
                    assert_eq!(subscriber.id(), session);
                }
            }
        }
        assert_eq!(Subscriber::free(7).id(), NONE);
        assert_eq!(Subscriber::free(7).next_free(), 7);
    }
}
