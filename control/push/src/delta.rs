//! From what the store logged to one delta that the dataplane can take.
//!
//! The log names each thing once, at the revision that changed it last, with the value it has now. A delta that reaches
//! the newest revision is the state itself and always loads. One that stops earlier, because it would not fit a frame,
//! mixes revisions, and loads only if what it names exists: so everything but devices is in it, whatever its revision,
//! and the cut falls between two revisions of devices. A removal of anything but a device must not come before the
//! devices that leave it, so a gap with such a removal is sent whole or not at all.

use contract::v1::{Change, change::Body};
use prost::Message;

/// A device's change and the revision that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The revision that last changed the device.
    pub revision: u64,
    /// Its value now, or its removal.
    pub change: Change,
}

/// Changes that take the dataplane to a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// The revision that is in force afterwards.
    pub through: u64,
    /// What changes, in the order of who names whom.
    pub changes: Vec<Change>,
}

/// What lies between the dataplane's revision and the store's.
#[derive(Clone, Debug, PartialEq)]
pub enum Gap {
    /// Changes that can be sent.
    Delta(Delta),
    /// Too much, or the log does not reach back so far: a snapshot is needed.
    TooFar,
}

/// What a reader of the store's log found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The store's newest revision, at which everything here was read.
    pub latest: u64,
    /// All changes of anything but devices.
    pub others: Vec<Change>,
    /// Changes of devices in order of revision.
    pub devices: Vec<Logged>,
    /// Whether those are all. If not, the last revision among them may lack some.
    pub complete: bool,
}

/// Makes a delta of at most `bytes_max` of what was logged.
#[must_use]
pub fn delta(log: Log, bytes_max: usize) -> Gap {
    let Log { latest, others, devices, complete } = log;
    debug_assert!(devices.is_sorted_by_key(|logged| logged.revision));
    let others_bytes: usize = others.iter().map(bytes_of).sum();
    let devices_bytes: usize = devices.iter().map(|logged| bytes_of(&logged.change)).sum();
    if complete && others_bytes + devices_bytes <= bytes_max {
        return whole(latest, others, devices);
    }
    if others.iter().any(|change| rank(change) >= REMOVALS) {
        return Gap::TooFar;
    }
    let mut bytes = others_bytes;
    let mut taken = 0;
    for (index, pair) in devices.windows(2).enumerate() {
        bytes += bytes_of(&pair[0].change);
        if bytes > bytes_max {
            break;
        }
        if pair[0].revision < pair[1].revision {
            taken = index + 1;
        }
    }
    match devices[..taken].last().map(|logged| logged.revision) {
        Some(through) => whole(through, others, devices.into_iter().take(taken)),
        None => Gap::TooFar,
    }
}

fn whole(through: u64, mut changes: Vec<Change>, devices: impl IntoIterator<Item = Logged>) -> Gap {
    changes.extend(devices.into_iter().map(|logged| logged.change));
    changes.sort_by_key(rank);
    Gap::Delta(Delta { through, changes })
}

/// The size of a change inside an `Apply`: its tag and its length take up to six bytes.
#[must_use]
pub fn bytes_of(change: &Change) -> usize {
    change.encoded_len() + 6
}

const REMOVALS: u32 = 7;

/// Who must be there before whom, and must leave after whom.
fn rank(change: &Change) -> u32 {
    match &change.body {
        None | Some(Body::Settings(_)) => 0,
        Some(Body::Tenant(_)) => 1,
        Some(Body::Application(_)) => 2,
        Some(Body::Profile(_)) => 3,
        Some(Body::Gateway(_)) => 4,
        Some(Body::Device(_)) => 5,
        Some(Body::Stream(_)) => 6,
        Some(Body::RemoveStream(_)) => REMOVALS,
        Some(Body::RemoveDevice(_)) => 8,
        Some(Body::RemoveGateway(_)) => 9,
        Some(Body::RemoveProfile(_)) => 10,
        Some(Body::RemoveApplication(_)) => 11,
        Some(Body::RemoveTenant(_)) => 12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::v1::{Application, Device};

    fn device(dev_eui: u64) -> Change {
        Change { body: Some(Body::Device(Device { dev_eui, ..Default::default() })) }
    }

    fn application(id: u32) -> Change {
        Change { body: Some(Body::Application(Application { id, ..Default::default() })) }
    }

    fn log(others: Vec<Change>, revisions: &[u64], complete: bool) -> Log {
        let devices = revisions.iter().map(|&revision| Logged { revision, change: device(revision) }).collect();
        Log { latest: 100, others, devices, complete }
    }

    #[test]
    fn cuts_fall_between_revisions() {
        let one = bytes_of(&device(1));
        let remove = Change { body: Some(Body::RemoveApplication(3)) };
        // (others, device revisions, complete, room in devices) -> (through, count), or a snapshot
        type Case = (Vec<Change>, &'static [u64], bool, usize, Option<(u64, usize)>);
        let cases: [Case; 9] = [
            (vec![], &[], true, 0, Some((100, 0))),
            (vec![], &[5, 6, 7], true, 3, Some((100, 3))),
            (vec![], &[5, 6, 7], true, 2, Some((6, 2))),
            (vec![], &[5, 5, 7, 7, 9], true, 3, Some((5, 2))),
            (vec![], &[5, 5, 5, 7], true, 2, None),
            (vec![], &[5, 6, 6], false, 9, Some((5, 1))),
            (vec![], &[6, 6, 6], false, 9, None),
            (vec![remove.clone()], &[5, 6, 7], true, 5, Some((100, 4))),
            (vec![remove], &[5, 6, 7], true, 2, None),
        ];
        for (others, revisions, complete, room, expected) in cases {
            let got = match delta(log(others, revisions, complete), room * one) {
                Gap::Delta(delta) => Some((delta.through, delta.changes.len())),
                Gap::TooFar => None,
            };
            assert_eq!(got, expected, "{revisions:?} complete {complete} room {room}");
        }
    }

    #[test]
    fn those_who_are_named_come_first_and_leave_last() {
        let remove = |body| Change { body: Some(body) };
        let others = vec![remove(Body::RemoveTenant(1)), remove(Body::RemoveStream(1)), application(2)];
        let Gap::Delta(delta) = delta(log(others, &[3], true), 1000) else { panic!("it fits") };
        let ranks: Vec<_> = delta.changes.iter().map(rank).collect();
        assert_eq!(ranks, [2, 5, 7, 12]);
    }
}
