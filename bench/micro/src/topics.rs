//! Who subscribes to a message's topic, among very many who do not.

use crate::{Kernel, Work, fnv};
use std::hint::black_box;
use topics::{Fit, Key, Limits, Options, Subscriptions};

pub(crate) const MATCH_THOUSANDS: Kernel = Kernel {
    name: "match_2k",
    what: "the subscribers of a topic, among 2 000 subscriptions",
    large: false,
    prepare: || look_up(2_000),
};
pub(crate) const MATCH_MILLIONS: Kernel = Kernel {
    name: "match_2m",
    what: "the subscribers of a topic, among 2 million subscriptions",
    large: true,
    prepare: || look_up(2_000_000),
};

/// The space that all is in.
const SPACE: u32 = 7;

/// Subscriptions for each device.
const PER_DEVICE: u32 = 4;

/// Devices of a site.
const PER_SITE: u32 = 1000;

/// The lower half of the first device's EUI.
const FIRST: u32 = 0xD000_0000;

/// A device's topic, but for its site and its EUI.
const TOPIC: [u8; 47] = *b"site/000/device/70b3d57e--------/up/temperature";

struct Match {
    index: Subscriptions,
    device_count: u32,
    random: u64,
    asked: u64,
    found: u64,
}

/// Its owner has its commands, by two filters, and two applications its uplinks: three of the four have wildcards.
fn filters(device: u32) -> [String; PER_DEVICE as usize] {
    let (site, eui) = (device / PER_SITE, 0x70B3_D57E_0000_0000 | u64::from(FIRST + device));
    [
        format!("site/{site:03}/device/{eui:016x}/command/#"),
        format!("site/{site:03}/device/{eui:016x}/desired"),
        format!("site/+/device/{eui:016x}/up/+"),
        format!("site/{site:03}/+/{eui:016x}/up/#"),
    ]
}

fn look_up(count: u32) -> Box<dyn Work> {
    let device_count = count / PER_DEVICE;
    let limits = Limits {
        level_count_max: 16 * count as usize,
        subscription_count_max: count as usize,
        session_count_max: count as usize,
        depth_max: 16,
    };
    let mut index = Subscriptions::new(limits, Key([0x5E; 16]));
    for device in 0..device_count {
        for (session, filter) in (device * PER_DEVICE..).zip(filters(device)) {
            index.subscribe(SPACE, session, filter.as_bytes(), Options::default()).expect("room");
        }
    }
    Box::new(Match { index, device_count, random: 1, asked: 0, found: 0 })
}

/// The device's topic, in the bytes of another's.
fn write_topic(device: u32, topic: &mut [u8; TOPIC.len()]) {
    let site = device / PER_SITE;
    for (at, unit) in [100, 10, 1].into_iter().enumerate() {
        topic[5 + at] = b'0' + (site / unit % 10) as u8;
    }
    for at in 0..8 {
        topic[24 + at] = b"0123456789abcdef"[((FIRST + device) >> (28 - 4 * at) & 15) as usize];
    }
}

impl Work for Match {
    fn run(&mut self, count: u64) {
        let mut topic = TOPIC;
        for _ in 0..count {
            // Any device, so that what is looked at is in no cache if it does not fit: a step of Knuth's generator.
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let device = (((self.random >> 32) * u64::from(self.device_count)) >> 32) as u32;
            write_topic(device, &mut topic);
            let (found, theirs) = (&mut self.found, device * PER_DEVICE + 2);
            let told = |one: topics::Match| *found += u64::from(one.session.wrapping_sub(theirs) < 2);
            self.index.matches(SPACE, black_box(&topic), |_| Fit::Now, told);
        }
        self.asked += count;
    }

    fn check(&mut self) -> Result<u64, String> {
        let mut strangers = 0;
        self.index.matches(SPACE, b"site/000/device/none/up/temperature", |_| Fit::Now, |_| strangers += 1);
        if self.found == 2 * self.asked && strangers == 0 {
            Ok(fnv(&self.device_count.to_le_bytes()))
        } else {
            Err(format!("found {} for {} topics, and {strangers} for one that nobody wants", self.found, self.asked))
        }
    }
}
