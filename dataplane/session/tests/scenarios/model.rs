//! A naive network server beside the real one: trees for windows and counters, random frames, copies, delays and repeats.

use crate::world::{Device, EU, Says, World};
use base::Monotonic;
use base::mix::SplitMix64;
use core::time::Duration;
use event::{Copy, Kind};
use std::collections::BTreeMap;

const GAP_MAX: u32 = 16_384;

/// What a frame did, as the model sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    First,
    Later(u8),
    /// Not delivered; the device repeats itself.
    Repeat,
    Refused,
}

#[derive(Default)]
struct Model {
    /// End and count of copies of each open window, and whether its copies are delivered.
    windows: BTreeMap<Vec<u8>, (Monotonic, u8, bool)>,
    sessions: BTreeMap<u64, Session>,
}

#[derive(Default)]
struct Session {
    last: Option<(u32, Vec<u8>, Monotonic)>,
    copies: u8,
    repeats: u32,
    repeat_at: Option<Monotonic>,
}

impl Model {
    fn expire(&mut self, now: Monotonic) {
        self.windows.retain(|_, (end, ..)| *end > now);
    }

    fn heard(&mut self, device: u64, fcnt: u32, phy: &[u8], now: Monotonic) -> Fate {
        let session = self.sessions.entry(device).or_default();
        if let Some((_, copies, delivered)) = self.windows.get_mut(phy) {
            *copies += 1;
            if session.last.as_ref().is_some_and(|(_, last, _)| last == phy) && *delivered {
                session.copies = *copies;
            }
            return if *delivered { Fate::Later(*copies - 1) } else { Fate::Repeat };
        }
        let end = now.after(session::DEDUP_WINDOW);
        if let Some((last, bytes, at)) = &session.last {
            if bytes == phy {
                if now.since(*at) < Duration::from_secs(2) {
                    session.copies += 1;
                    return Fate::Later(session.copies - 1);
                }
                let soon = session.repeat_at.is_some_and(|at| now.since(at) < Duration::from_secs(1));
                if session.repeats < 15 && !soon {
                    (session.repeats, session.repeat_at) = (session.repeats + 1, Some(now));
                    self.windows.insert(phy.to_vec(), (end, 1, false));
                }
                return Fate::Repeat;
            }
            if fcnt <= *last || fcnt - last > GAP_MAX {
                return Fate::Refused;
            }
        } else if fcnt > GAP_MAX {
            return Fate::Refused;
        }
        *session = Session { last: Some((fcnt, phy.to_vec(), now)), copies: 1, ..Session::default() };
        self.windows.insert(phy.to_vec(), (end, 1, true));
        Fate::First
    }
}

fn run(seed: u64) -> [u32; 4] {
    let mut random = SplitMix64::new(seed);
    let mut world = World::new();
    world.plan.unwanted = vec![(Kind::Uplink, Copy::Best)];
    let mut model = Model::default();
    // Three devices on one address, one on its own.
    let mut devices: Vec<_> =
        (1..=4).map(|n| Device::abp(n, EU, if n < 4 { 0x2600_0001 } else { 0x2600_0002 })).collect();
    devices.iter().for_each(|device| world.upsert(&device.abp_spec()));
    let mut sent: Vec<(usize, u32, Vec<u8>)> = Vec::new();
    let mut seen = [0; 4];
    for _ in 0..1500 {
        if random.below(3) == 0 {
            let spans = [1, 50, 150, 250, 900, 2100, 5000];
            world.millis(spans[random.below(spans.len() as u64) as usize]);
            world.out.asked.clear();
        }
        model.expire(world.now);
        let (index, fcnt, phy) = if sent.is_empty() || random.below(2) == 0 {
            let index = random.below(4) as usize;
            let device = &mut devices[index];
            // Frames are lost, sometimes many; the device may restart at zero, or jump too far and come back.
            let fcnt = match random.below(40) {
                0 => device.fcnt_up + 16_300 + random.below(200) as u32,
                1 => random.below(u64::from(device.fcnt_up) + 1) as u32,
                _ => device.fcnt_up + random.below(3) as u32,
            };
            let payload = [random.next() as u8; 4];
            let confirmed = random.below(2) == 0;
            let phy = device.frame(fcnt, Says { confirmed, fport: Some(1), payload: &payload, ..Says::default() });
            sent.push((index, fcnt, phy.clone()));
            (index, fcnt, phy)
        } else {
            let recent = sent.len().saturating_sub(6);
            sent[recent + random.below((sent.len() - recent) as u64) as usize].clone()
        };
        let fate = model.heard(devices[index].dev_eui.to_u64(), fcnt, &phy, world.now);
        if fate == Fate::First {
            devices[index].fcnt_up = fcnt + 1;
        }
        world.heard_by(random.below(4), 10, &phy);
        // A frame from before a roll-over fits no counter that its bits can mean now: it looks like a stranger's.
        let mut events = world.events();
        events.retain(|seen| seen.event().kind == Kind::Uplink || fate != Fate::Refused);
        let expected = match fate {
            Fate::First => vec![(Copy::First, 0)],
            Fate::Later(index) => vec![(Copy::Later, index)],
            Fate::Repeat | Fate::Refused => vec![],
        };
        let actual: Vec<_> = events.iter().map(|seen| (seen.event().copy, seen.event().copy_index)).collect();
        assert_eq!(actual, expected, "seed {seed}, {fate:?}, FCnt {fcnt}");
        for event in &events {
            let event = event.event();
            assert_eq!(
                (event.kind, event.fcnt, event.dev_eui),
                (Kind::Uplink, fcnt, devices[index].dev_eui),
                "seed {seed}"
            );
        }
        seen[match fate {
            Fate::First => 0,
            Fate::Later(_) => 1,
            Fate::Repeat => 2,
            Fate::Refused => 3,
        }] += 1;
    }
    seen
}

#[test]
fn agrees_with_trees() {
    let total = (0..40).map(run).fold([0; 4], |sum, seen| core::array::from_fn(|at| sum[at] + seen[at]));
    assert!(total.iter().all(|count| *count > 100), "every fate was met: {total:?}");
}
