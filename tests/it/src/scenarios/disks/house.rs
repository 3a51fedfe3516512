//! A system whose dataplane has a disk of its own, devices that send through it, and what it owes them.
//!
//! Owns what was sent, what of it was accepted, and what the live stream brought.

use crate::harness::device::{Device, Say};
use crate::harness::disk::Disk;
use crate::harness::faulty::Ailment;
use crate::harness::fixture::{Stream, World};
use crate::harness::gateway::{Gateway, Heard};
use crate::harness::metrics::Metrics;
use crate::harness::process::{Process, binary};
use crate::harness::socket::Socket;
use crate::harness::system::System;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::time::{Duration, Instant};

pub(super) const DEVICE_COUNT: u8 = 4;

/// How long an answer may take, and how long its absence is waited for. The dedup window is 20 ms here.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// The keeper tries again each second.
const MENDED_WITHIN: Duration = Duration::from_secs(10);

/// Uplinks of 200 bytes, of which some 3 000 fill the segment that is written to.
const FLOOD_BYTES: usize = 200;
const FLOOD_COUNT_MAX: usize = 6_000;

/// Uplinks of a flood that are on their way at once.
const FLOOD_STEP: usize = 100;

/// Messages that a consumer acknowledges at once.
const SETTLED_AT_ONCE: u64 = 100;

/// How long nothing comes before everything has come.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// FCnt of messages, by DevEUI, in the order in which they came.
type Seen = BTreeMap<String, Vec<u64>>;

/// What befalls the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    Full,
    Ails(Ailment),
}

impl Trouble {
    pub(super) fn begin(self, disk: &Disk) {
        match self {
            Self::Full => disk.fill(),
            Self::Ails(ailment) => disk.switch().set(ailment),
        }
    }

    pub(super) fn end(self, disk: &Disk) {
        match self {
            Self::Full => disk.relieve(),
            Self::Ails(_) => disk.switch().set(Ailment::Nothing),
        }
    }

    /// As the API calls it.
    pub(super) const fn state(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Ails(Ailment::ReadOnly) => "read_only",
            Self::Ails(_) => "failing",
        }
    }
}

/// A system whose dataplane has a disk of its own, a gateway, devices, and a stream of each kind.
pub(super) struct House {
    pub(super) world: World,
    gateway: Gateway,
    devices: Vec<Device>,
    live: Stream,
    durable: Stream,
    /// What was sent, and what of it the devices were told that it was accepted.
    sent: Seen,
    pub(super) accepted: Seen,
    /// The last uplink of each device.
    last: Vec<Vec<u8>>,
    /// Of which device and which FCnt an uplink was that was heard at this time of the gateway: acknowledgements do not say.
    heard: HashMap<u32, (usize, u64)>,
    /// A session of the live stream, and what it was sent.
    pub(super) listener: Socket,
    listened: Seen,
}

impl House {
    pub(super) fn start(trouble: Trouble) -> Self {
        // Every shard has a device; so that a flood need fill one journal only, a full disk has one shard.
        let core_count = if trouble == Trouble::Full { 1 } else { 2 };
        let mut system = System::prepare(core_count, &["--journal-reserve-mib", "0"]);
        let folder = system.path("disk");
        system.disk = Some(match trouble {
            Trouble::Full => Disk::small(&folder, 16),
            Trouble::Ails(_) => Disk::faulty(&folder),
        });
        system.start_control();
        system.start_dataplane();
        let world = World::of(system);
        world.lift_rates();
        let application = format!("/api/v1/applications/{}", world.application.as_str().expect("an id"));
        let fast = json!({ "dedup_window_ms": 20 }).to_string();
        assert_eq!(world.api.send("PATCH", &application, &[], Some(&fast)).status, 200);
        let gateway = world.gateway(1);
        let devices: Vec<_> = (1..=DEVICE_COUNT).map(|number| world.abp(number)).collect();
        let live = world.stream(&json!({ "name": "live", "kinds": ["uplink"], "copies": "first" }));
        let durable =
            world.stream(&json!({ "name": "kept", "kinds": ["uplink"], "copies": "first", "delivery": "durable" }));
        let (last, listener) = (vec![Vec::new(); devices.len()], world.open(&live));
        let (sent, accepted, listened, heard) = (Seen::new(), Seen::new(), Seen::new(), HashMap::new());
        Self { world, gateway, devices, live, durable, sent, accepted, last, heard, listener, listened }
    }

    pub(super) fn disk(&self) -> &Disk {
        self.world.system.disk.as_ref().expect("a disk of its own")
    }

    /// Another uplink of this device.
    pub(super) fn uplink(&mut self, of: usize, payload: &[u8], confirmed: bool) {
        let device = &mut self.devices[of];
        self.sent.entry(device.eui()).or_default().push(device.fcnt_up.into());
        self.last[of] = device.uplink(1, payload, Say { confirmed, ..Say::default() });
        self.hear(of);
    }

    fn hear(&mut self, of: usize) {
        let tmst = self.gateway.hear(&self.last[of], Heard::default());
        self.heard.insert(tmst, (of, u64::from(self.devices[of].fcnt_up) - 1));
    }

    /// A confirmed one of each device.
    pub(super) fn round(&mut self) {
        (0..self.devices.len()).for_each(|of| self.uplink(of, &[0xC0], true));
    }

    /// The live stream's session is sent everything that was sent, once and in order.
    #[track_caller]
    pub(super) fn live_goes_on(&mut self) {
        let count = |seen: &Seen| seen.values().map(Vec::len).sum::<usize>();
        for _ in count(&self.listened)..count(&self.sent) {
            note(&mut self.listened, &self.listener.next());
        }
        assert_eq!(self.listened, self.sent);
    }

    /// Uplinks that nobody is told to be accepted, until the disk's state is said: what was made ahead is used up first.
    #[track_caller]
    pub(super) fn flood_until(&mut self, state: &str) {
        for turn in 0..FLOOD_COUNT_MAX {
            self.uplink(turn % self.devices.len(), &[0xF1; FLOOD_BYTES], false);
            if turn % FLOOD_STEP == 0 {
                self.live_goes_on();
                if self.journals().iter().all(|journal| journal["disk"] == state) {
                    return;
                }
            }
        }
        panic!("never {state}: {:?}", self.journals());
    }

    /// Each device's last uplink again.
    pub(super) fn repeat(&mut self) {
        (0..self.devices.len()).for_each(|of| self.hear(of));
    }

    /// Waits until each device's last uplink is acknowledged, or for so long, and notes whatever is. Says whose last one was.
    pub(super) fn acknowledged(&mut self, patience: Duration) -> Vec<bool> {
        let deadline = Instant::now() + patience;
        let mut told = vec![false; self.devices.len()];
        while told.contains(&false) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(transmission) = self.gateway.transmission(left) else { break };
            self.gateway.tx_ack(&transmission, "NONE");
            let tmst = transmission.txpk["tmst"].as_u64().expect("a time") as u32;
            // RX1 opens a second after the uplink, RX2 two.
            let mut uplinks = [1, 2].into_iter().filter_map(|s| self.heard.get(&tmst.wrapping_sub(s * 1_000_000)));
            let (of, fcnt) = *uplinks.next().expect("in a receive window");
            let device = &self.devices[of];
            if device.downlink(&transmission.phy).expect("for the device").ack {
                self.accepted.entry(device.eui()).or_default().push(fcnt);
                told[of] |= fcnt == u64::from(device.fcnt_up) - 1;
            }
        }
        told
    }

    #[track_caller]
    pub(super) fn all_acknowledged(&mut self) {
        let told = self.acknowledged(SOON);
        assert!(!told.contains(&false), "each is accepted: {told:?}");
    }

    #[track_caller]
    pub(super) fn none_acknowledged(&mut self) {
        let told = self.acknowledged(SOON / 2);
        assert!(!told.contains(&true), "nothing is accepted: {told:?}");
    }

    /// Repeats until each device was told that its last uplink is accepted.
    #[track_caller]
    pub(super) fn accepted_at_last(&mut self) {
        let deadline = Instant::now() + MENDED_WITHIN;
        let mut left = vec![true; self.devices.len()];
        while left.contains(&true) {
            assert!(Instant::now() < deadline, "never accepted: {left:?}");
            (0..left.len()).filter(|of| left[*of]).for_each(|of| self.hear(of));
            let told = self.acknowledged(SOON);
            left.iter_mut().zip(told).for_each(|(left, told)| *left &= !told);
        }
    }

    fn journals(&self) -> Vec<Value> {
        self.world.api.get("/api/v1/journal")["items"].as_array().expect("journals").clone()
    }

    /// Waits until every shard says so of its disk, and has the metrics of both sides say it too.
    #[track_caller]
    pub(super) fn every_disk_is(&self, state: &str) {
        let deadline = Instant::now() + MENDED_WITHIN;
        while self.journals().iter().any(|journal| journal["disk"] != state) {
            assert!(Instant::now() < deadline, "not {state}: {:?}", self.journals());
            std::thread::sleep(Duration::from_millis(50));
        }
        let count = u64::from(self.world.system.core_count);
        let system = &self.world.system;
        for (port, name) in [
            (system.rest_port, "trunkline_control_journal_disk"),
            (system.metrics_port, "trunkline_shard_journal_disk"),
        ] {
            let told = Metrics::read(port);
            let label = format!("state=\"{state}\"");
            let sums = (told.sum(name, &[&label]), told.sum(name, &[]));
            assert_eq!(sums, (count, count), "{}", told.text());
        }
        let is_well = state == "healthy";
        assert!(self.journals().iter().all(|journal| (journal["detail"] == "") == is_well), "{:?}", self.journals());
    }

    /// Of the durable stream, as its state and as the dataplane's metrics have it.
    #[track_caller]
    pub(super) fn not_stored(&self) -> u64 {
        let said = self.world.api.get(&self.durable.path)["state"]["not_stored"].as_u64().expect("a count");
        let metrics = self.world.system.metrics();
        assert_eq!(metrics.sum("trunkline_shard_drops_total", &["what=\"not_stored\""]), said);
        assert_eq!(metrics.sum("trunkline_shard_drops_total", &["what=\"journal_trouble\""]), said);
        said
    }

    /// A session of the durable stream that acknowledges nothing.
    pub(super) fn there(&self) -> Socket {
        let path = format!("/?token={}&group=there", self.durable.token);
        self.world.system.door().open(&path, &[]).expect("it opens")
    }

    /// Everything that a group has, each message acknowledged.
    fn everything(&self, group: &str) -> Seen {
        let path = format!("/?token={}&group={group}&from=earliest", self.durable.token);
        let mut socket = self.world.system.door().open(&path, &[]).expect("it opens");
        let (mut seen, mut count, mut settled) = (Seen::new(), 0_u64, 0);
        loop {
            let message = socket.next_within(QUIET);
            if let Some(message) = &message {
                note(&mut seen, message);
                count += 1;
            }
            if message.is_none() && settled == count {
                return seen;
            }
            if message.is_none() || count - settled == SETTLED_AT_ONCE {
                socket.send(&json!({ "AckThrough": count }));
                settled = count;
            }
        }
    }

    /// A group that begins anew has all that was accepted, nothing twice, and each device's in order.
    #[track_caller]
    pub(super) fn keeps_the_promise(&self, group: &str) {
        let seen = self.everything(group);
        for (device, fcnts) in &seen {
            assert!(fcnts.is_sorted_by(|one, next| one < next), "{device}: {fcnts:?}");
            assert!(fcnts.iter().all(|fcnt| self.sent[device].contains(fcnt)), "{device}: {fcnts:?}");
        }
        for (device, accepted) in &self.accepted {
            let lost: Vec<_> = accepted.iter().filter(|fcnt| !seen[device].contains(fcnt)).collect();
            assert!(lost.is_empty(), "{device}: accepted and never delivered: {lost:?}, of {:?}", seen[device]);
        }
    }

    /// A change is stored by control whatever the dataplane's disk does.
    #[track_caller]
    pub(super) fn change(&self, name: &str) {
        let patch = json!({ "name": name }).to_string();
        let answer = self.world.api.send("PATCH", &self.live.path, &[], Some(&patch));
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
        assert_eq!(self.world.api.get(&self.live.path)["name"], name);
    }

    /// All changes are in force, with the next one at the latest.
    #[track_caller]
    pub(super) fn changes_are_in_force(&self) {
        self.change("after");
        let deadline = Instant::now() + MENDED_WITHIN;
        loop {
            let status = self.world.api.get("/api/v1/status");
            if status["pending"] == 0 && status["dataplane"]["refused"].is_null() {
                return;
            }
            assert!(Instant::now() < deadline, "{status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A dataplane without a stored plan has nothing to serve: it says in one line what is wrong with the disk, and ends.
    #[track_caller]
    pub(super) fn a_newcomer_says_why_it_ends(&self) {
        let system = &self.world.system;
        let folder = system.path("disk/newcomer");
        let command = system.dataplane_command_on(&folder);
        let mut newcomer = Process::start("newcomer", &command, &system.directory.0);
        let status = newcomer.ended(Duration::from_secs(5));
        let said = newcomer.said();
        let complaints: Vec<_> = said.lines().filter(|line| !line.contains(" INFO ") && !line.is_empty()).collect();
        assert!(!status.success() && complaints.len() == 1, "{status}: {said}");
        assert!(complaints[0].contains(folder.to_str().expect("text")) && complaints[0].contains("os error"), "{said}");
    }

    /// The journal that is left has no damage.
    #[track_caller]
    pub(super) fn verifies(&self) {
        let mut command = Command::new(binary("trunkline-dataplane"));
        command.args(["journal", "verify", "--data-dir"]).arg(self.world.system.path("disk/dataplane"));
        let output = self.disk().enter(&command).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("no damage"), "{text}");
    }

    /// What began and ended is in the log as two lines, not as one for each attempt; what it kept from being done, as one.
    #[track_caller]
    pub(super) fn said_it_once(&self) {
        let said = self.world.system.dataplane.as_ref().expect("it runs").said();
        let count = |what: &str| said.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("the journal cannot grow"), count("takes segments again")), (1, 1), "{said}");
        assert!(count("no checkpoint can be made") <= 1 && count("cannot be removed") <= 1, "{said}");
    }

    pub(super) fn restart(&mut self) {
        assert!(self.world.system.dataplane.as_mut().expect("it was started").runs(), "it has never ended");
        self.world.system.kill_dataplane();
        self.world.system.start_dataplane();
        assert!(self.gateway.open());
        self.listener = self.world.open(&self.live);
    }
}

/// Notes what a message is about.
#[track_caller]
fn note(seen: &mut Seen, message: &Value) {
    let device = message["DeviceEUI"].as_str().unwrap_or_else(|| panic!("no uplink: {message}"));
    seen.entry(device.to_owned()).or_default().push(message["FCnt"].as_u64().expect("a counter"));
}
