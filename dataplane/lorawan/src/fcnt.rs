//! Frame counters: 32 bits kept, 16 bits sent (L2 §4.3.1.5).
//! Owns nothing: the last counter and the greatest gap arrive as arguments, the MIC stays the judge.

/// What 16 received bits can mean after the last accepted counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FCnt {
    /// The next counter with these low bits; within the gap.
    New(u32),
    /// The last counter again: a retransmission, or a replay of it.
    Repeat(u32),
    /// Behind the last counter, further ahead than the gap, or past 2^32.
    Refused,
}

/// Completes the 16 bits of a frame to the counter they stand for.
///
/// `last` is the last accepted counter, `None` before the first frame of a session. The low 16 bits of `last` again
/// always read as [`FCnt::Repeat`], so a `gap_max` of 65 536 or more means 65 535.
#[must_use]
pub const fn fcnt_extend(last: Option<u32>, low16: u16, gap_max: u32) -> FCnt {
    let Some(last) = last else {
        return if low16 as u32 <= gap_max { FCnt::New(low16 as u32) } else { FCnt::Refused };
    };
    // Modulo 2^16 the distance is exact: it is the roll-over.
    let gap = low16.wrapping_sub(last as u16) as u32;
    if gap == 0 {
        return FCnt::Repeat(last);
    }
    match last.checked_add(gap) {
        Some(next) if gap <= gap_max => FCnt::New(next),
        _ => FCnt::Refused,
    }
}
