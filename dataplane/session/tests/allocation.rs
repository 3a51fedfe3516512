//! Serving allocates nothing: a counting allocator watches joins, uplinks, downlinks, errors and changes of devices.

use base::{DataRate, Eui64, Monotonic, UnixMicros};
use event::{Event, Reception};
use lorawan::mac::UplinkCommand;
use lorawan::{
    AesKey, DataFrame, DevAddr, Direction, FCtrl, JoinRequestFrame, NetId, Phy, Profile, Region, SessionKeys,
};
use session::gateways::{Gateways, Path, Policy};
use session::{
    Activation, Change, Command, DeviceSpec, Heard, Lanes, Limits, Network, NotKept, Outcome, Owner, Rules,
    SessionRecord, Sink, Ticket, Transmit, TransmitError,
};

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

struct Plan(Profile);

impl Rules for Plan {
    fn profile(&self, _: u32) -> Option<&Profile> {
        Some(&self.0)
    }

    fn net_id(&self) -> NetId {
        NetId(0x13)
    }
}

/// Keeps what the test needs, on the stack.
#[derive(Default)]
struct Output {
    event_count: u32,
    record_count: u32,
    kept: u64,
    event_bytes: usize,
    asked: Option<u32>,
    accept: Option<([u8; 33], usize)>,
}

impl Sink for Output {
    fn event(&mut self, event: &Event<'_>) {
        let mut bytes = [0; event::EVENT_BYTES_MAX];
        self.event_count += 1;
        self.event_bytes += event.write(&mut bytes).expect("room");
    }

    fn transmit(&mut self, transmit: &Transmit<'_>) {
        self.asked = Some(transmit.transmission);
        if let Ok(Phy::JoinAccept(_)) = Phy::parse(transmit.phy) {
            let mut bytes = [0; 33];
            bytes[..transmit.phy.len()].copy_from_slice(transmit.phy);
            self.accept = Some((bytes, transmit.phy.len()));
        }
    }

    fn keep(&mut self, _: Owner, change: Change<'_>) -> Result<Ticket, NotKept> {
        self.record_count += 1;
        if let Change::Device(record) = change {
            assert_eq!(SessionRecord::from_wire(&record.to_wire()).as_ref(), Ok(record));
        }
        Ok(Ticket(u64::from(self.record_count)))
    }

    fn is_kept(&mut self, ticket: Ticket) -> bool {
        ticket.0 <= self.kept
    }
}

struct World {
    network: Network,
    plan: Plan,
    out: Output,
    now: Monotonic,
    unix: UnixMicros,
}

impl World {
    fn pass(&mut self, millis: u64) {
        self.now.0 += millis * 1_000_000;
        self.unix.0 += millis * 1000;
        self.network.expire(&self.plan, &mut self.out, self.now, self.unix);
        self.out.kept = u64::from(self.out.record_count);
        self.network.kept(&self.plan, &mut self.out, self.now, self.unix);
    }

    fn heard(&mut self, phy: &[u8]) {
        for number in 0..3 {
            let reception = Reception { gateway: Eui64::new(number), snr_deci: 50, ..Reception::default() };
            let data_rate = DataRate::Lora { sf: 7, bw_khz: 125 };
            let heard = Heard { phy, reception, frequency_hz: 868_100_000, data_rate };
            self.network.receive(&heard, &self.plan, &mut self.out, self.now, self.unix);
        }
        self.pass(250);
    }

    fn outcome(&mut self, outcome: Outcome) {
        let transmission = self.out.asked.take().expect("asked");
        self.network.transmitted(transmission, outcome, &self.plan, &mut self.out, self.now, self.unix);
    }
}

fn spec(number: u64, activation: Activation) -> DeviceSpec {
    let (dev_eui, join_eui) = (Eui64::new(number), Eui64::new(1));
    DeviceSpec { dev_eui, join_eui, tenant: 1, application: 1, profile: 1, enabled: true, activation }
}

fn uplink(keys: &SessionKeys, dev_addr: DevAddr, fcnt: u32, ack: bool) -> ([u8; 64], usize) {
    let mut fopts = [0; 2];
    UplinkCommand::LinkCheckReq.write(&mut fopts).expect("room");
    UplinkCommand::DeviceTimeReq.write(&mut fopts[1..]).expect("room");
    let frame = DataFrame {
        direction: Direction::Up,
        confirmed: true,
        dev_addr,
        fctrl: FCtrl::default().with_ack(ack),
        fcnt,
        fopts: &fopts,
        fport: Some(1),
        payload: b"twenty bytes of data",
    };
    let mut phy = [0; 64];
    let count = frame.write(keys, &mut phy).expect("room");
    (phy, count)
}

/// A life: added, joined, heard, commanded, repeated, refused, moved, removed.
fn live(world: &mut World, number: u64) {
    let app_key = AesKey([number as u8; 16]);
    let spec = spec(number, Activation::Otaa { app_key });
    world.network.upsert(&spec, &mut world.out, world.unix).expect("room");
    let request = JoinRequestFrame { join_eui: spec.join_eui, dev_eui: spec.dev_eui, dev_nonce: 7 };
    world.heard(&request.to_wire(&app_key));
    world.heard(&request.to_wire(&app_key));
    let (accept, count) = world.out.accept.take().expect("an accept");
    world.outcome(Outcome::Sent);
    let Ok(Phy::JoinAccept(sealed)) = Phy::parse(&accept[..count]) else { panic!("a JoinAccept") };
    let accept = sealed.open(&app_key).expect("under the root key");
    let keys = accept.session_keys(&app_key, 7);
    for fcnt in 0..20 {
        let expires = Some(UnixMicros(world.unix.0 + 60_000_000));
        let (dev_eui, payload) = (spec.dev_eui, &[fcnt as u8; 60]);
        let command = Command { dev_eui, fport: 5, confirmed: fcnt % 2 == 0, payload, expires };
        let now = world.now;
        world.network.enqueue(&command, &world.plan, &mut world.out, now, world.unix).expect("queued");
        let (phy, count) = uplink(&keys, accept.dev_addr, fcnt, fcnt % 3 == 0);
        world.heard(&phy[..count]);
        match fcnt % 4 {
            0 => world.outcome(Outcome::Sent),
            1 => {
                world.outcome(Outcome::Error(TransmitError::TooLate));
                world.outcome(Outcome::NoPath);
                world.outcome(Outcome::Sent);
            }
            _ => world.pass(5000),
        }
        world.heard(&phy[..count]);
        world.heard(&phy[..count - 1]);
        world.pass(3000);
    }
    let state = world.network.state(spec.dev_eui).expect("known");
    assert!(state.active && state.queue.iter().count() == state.queue.len());
    world.network.flush(spec.dev_eui, &mut world.out, world.unix).expect("known");
    let record = world.network.records().find(|record| record.dev_eui == spec.dev_eui).expect("kept");
    world.network.restore(&record).expect("its own record");
    assert!(world.network.remove(spec.dev_eui, &mut world.out, world.unix));
}

fn gateways(links: &mut Gateways, number: u64) {
    let policy = Policy {
        accept_unknown: true,
        gateway_rate_max: 1000,
        address_rate_max: 1000,
        silence: core::time::Duration::from_secs(1),
    };
    let eui = Eui64::new(number);
    let now = Monotonic(number * 10_000_000_000);
    let path = Path { address: ([127, 0, 0, 1], 1700).into(), socket: 1, acknowledges: true };
    assert!(links.upsert(eui, 1, None));
    links.pull(eui, path, &policy, now, UnixMicros(1)).expect("admitted");
    links.pull(Eui64::new(!number), path, &policy, now, UnixMicros(1)).expect("admitted");
    links.report(eui, b"{}");
    let sending = links.transmit(eui, 5).expect("a path");
    assert_eq!(links.tx_ack(eui, sending.token), Ok(5));
    while links.expire(&policy, Monotonic(now.0 + 5_000_000_000)).is_some() {}
    assert!(links.remove(eui));
}

#[test]
fn serving_allocates_nothing() {
    let mut world = World {
        network: Network::new(Limits::for_devices(64), Lanes::ALL, 1),
        plan: Plan(Profile::from(Region::Eu868)),
        out: Output::default(),
        now: Monotonic(1_000_000_000),
        unix: UnixMicros(1_700_000_000_000_000),
    };
    let mut links = Gateways::new(session::gateways::Limits { gateway_count_max: 8 }, 1);
    alloc_guard::serving(true);
    for number in 1..=50 {
        live(&mut world, number);
        gateways(&mut links, number);
    }
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays(), 0, "allocations and frees while serving");
    assert!(world.out.event_count > 4000 && world.out.record_count > 100);
}
