//! What is held against a world at every step, not only at its end: then the first thing that is wrong is what is said.
//!
//! Looks at what consumers are told as they are told it, at what gateways are given to transmit, at what shards hold after
//! each of their turns and at their counters as they are reported. Knows nothing of how a shard works.
//!
//! ```text
//!   told             every message is one that was sent, and in its device's order       (laws, by message)
//!   gateway_heard    no FCntDown, and no JoinNonce, is used for two different frames
//!   turned, held     whatever grows and shrinks keeps to its bound
//!   Counted          no counter goes back while its shard lives
//! ```

use crate::consumer::Consumer;
use crate::history::Sent;
use crate::laws::HELD_BYTES_MAX;
use crate::laws::messages::Messages;
use crate::machine::Machine;
use crate::story::Story;
use base::Eui64;
use fleet::Fleet;
use lorawan::{Data, Direction, Phy};
use serde_json::Value;
use shard::{Shard, descriptors};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    story: Story,
    messages: Vec<Messages>,
    /// By device and session: the PHYPayload of each FCntDown.
    down: BTreeMap<(usize, u32, u32), Vec<u8>>,
    /// By device: the bytes of each JoinAccept.
    accepts: BTreeMap<(Eui64, u32), Vec<u8>>,
    /// By device: sessions that it has begun.
    sessions: BTreeMap<usize, u32>,
    /// The node has begun anew so often.
    lives: u32,
    /// The most that was held of each.
    pub(crate) most: BTreeMap<&'static str, u64>,
}

impl Watch {
    pub(crate) fn new(story: Story) -> Self {
        Self {
            story,
            messages: Vec::new(),
            down: BTreeMap::new(),
            accepts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lives: 0,
            most: BTreeMap::new(),
        }
    }

    /// The node begins.
    pub(crate) fn began(&mut self) {
        self.lives += 1;
    }

    /// A device has begun a session.
    pub(crate) fn joined(&mut self, device: usize) {
        *self.sessions.entry(device).or_default() += 1;
    }

    /// A disk that lied, and an end: nobody knows what was promised before.
    fn is_forgiven(&self) -> bool {
        self.story.disk.may_lie() && self.lives > 1
    }

    /// Consumers were told more.
    pub(crate) fn told(&mut self, consumers: &[Consumer], sent: &BTreeMap<(Eui64, u32), Vec<Sent>>, devices: &[Eui64]) {
        while self.messages.len() < consumers.len() {
            let index = self.messages.len();
            self.messages.push(Messages::new(self.story.seed, index, &consumers[index]));
        }
        let is_forgiven = self.is_forgiven();
        for (messages, consumer) in self.messages.iter_mut().zip(consumers) {
            messages.hold(consumer, sent, devices, is_forgiven);
        }
    }

    /// A shard has taken a turn.
    pub(crate) fn turned(&mut self, host: usize, shard: &Shard<Machine>) {
        let (seed, most) = (self.story.seed, &mut self.most);
        shard.held(|held| {
            assert!(held.count <= held.bound, "seed {seed}, shard {host}: {held:?}");
            let most = most.entry(held.what).or_default();
            *most = held.count.max(*most);
        });
    }

    /// So many bytes are under way.
    pub(crate) fn held(&self, bytes: usize) {
        assert!(bytes < HELD_BYTES_MAX, "seed {}: {bytes} bytes wait", self.story.seed);
    }

    /// A gateway is given something. If it is a frame for a device, no other frame may have its number.
    pub(crate) fn gateway_heard(&mut self, datagram: &[u8], fleet: &Fleet) {
        const PULL_RESP: u8 = 3;
        if datagram.get(3) != Some(&PULL_RESP) {
            return;
        }
        let json: Value = serde_json::from_slice(&datagram[4..]).expect("a PULL_RESP is JSON");
        let phy = json["txpk"]["data"].as_str().and_then(fleet::base64_decode).expect("a frame in base64");
        match Phy::parse(&phy) {
            Ok(Phy::Data(data)) if data.direction() == Direction::Down => self.down(data, &phy, fleet),
            Ok(Phy::JoinAccept(sealed)) => {
                for device in 0..fleet.device_count() {
                    let config = fleet.device(device).config();
                    let fleet::Activation::Otaa { app_key } = config.activation else { continue };
                    let Some(accept) = sealed.open(&app_key) else { continue };
                    let known = self.accepts.entry((config.dev_eui, accept.join_nonce)).or_insert_with(|| phy.clone());
                    let (seed, same) = (self.story.seed, *known == phy);
                    assert!(same || self.story.disk.may_lie(), "seed {seed}: JoinNonce of {accept:?} was used before");
                }
            }
            other => panic!("seed {}: {other:?} is nothing for a device", self.story.seed),
        }
    }

    fn down(&mut self, data: Data<'_>, phy: &[u8], fleet: &Fleet) {
        for index in 0..fleet.device_count() {
            let device = fleet.device(index);
            let (Some(keys), true) = (device.keys(), device.dev_addr() == Some(data.dev_addr())) else { continue };
            // The counter's upper half is not on the air; no story is so long that it had one.
            let fcnt = u32::from(data.fcnt16());
            if data.verify(&keys.nwk_s_key, fcnt).is_none() {
                continue;
            }
            let session = self.sessions.get(&index).copied().unwrap_or(0);
            let is_forgiven = self.is_forgiven();
            let known = self.down.entry((index, session, fcnt)).or_insert_with(|| phy.to_vec());
            if known != phy {
                let (seed, eui) = (self.story.seed, device.config().dev_eui);
                assert!(is_forgiven, "seed {seed}: FCntDown {fcnt} of {eui} for two frames");
                *known = phy.to_vec();
            }
            return;
        }
    }
}

/// The counters of shards as they were reported last.
#[derive(Debug, Default)]
pub(crate) struct Counted(BTreeMap<usize, Vec<u64>>);

impl Counted {
    /// A shard reports.
    pub(crate) fn take(&mut self, shard: usize, values: &[u64]) {
        let before = self.0.insert(shard, values.to_vec()).unwrap_or_default();
        for ((before, now), descriptor) in before.iter().zip(values).zip(descriptors()) {
            let (family, label) = (descriptor.family, descriptor.label);
            assert!(before <= now, "shard {shard}: {family} {label} went back from {before} to {now}");
        }
    }
}
