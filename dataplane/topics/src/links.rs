//! What hangs on a node of the index of subscriptions, and how its lists are numbered.

use crate::chunks::NONE;
use crate::lists::Handle;

/// What a node of this index leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    /// The child `+`.
    pub(crate) plus: u32,
    /// Subscribers of this node's filter.
    pub(crate) exact: Handle,
    /// Subscribers of this node's filter with `/#` behind it.
    pub(crate) below: Handle,
    /// The first of the groups of both.
    pub(crate) groups: u32,
    /// Children, the one of `+` not counted.
    pub(crate) child_count: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { plus: NONE, exact: Handle::EMPTY, below: Handle::EMPTY, groups: NONE, child_count: 0 }
    }
}

impl Links {
    /// Whether nothing hangs on it any more.
    pub(crate) fn is_unused(&self) -> bool {
        let Self { plus, exact, below, groups, child_count } = *self;
        plus == NONE && exact.is_empty() && below.is_empty() && groups == NONE && child_count == 0
    }
}

/// The number of a list of subscribers: what it is, and the node or group it hangs on.
///
/// ```text
///   | kind 2 | node or group 30 |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Exact(u32),
    Below(u32),
    Group(u32),
}

pub(crate) const TARGET_BITS: u32 = 30;

impl Target {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Exact(node) => node,
            Self::Below(node) => 1 << TARGET_BITS | node,
            Self::Group(group) => 2 << TARGET_BITS | group,
        }
    }

    pub(crate) const fn of(number: u32) -> Self {
        let place = number & ((1 << TARGET_BITS) - 1);
        match number >> TARGET_BITS {
            0 => Self::Exact(place),
            1 => Self::Below(place),
            _ => Self::Group(place),
        }
    }
}
