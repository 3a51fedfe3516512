//! The fleet against a small network server made here with the `lorawan` crate, in virtual time.

use crate::{
    Activation, Concentrator, DeviceConfig, DeviceEvent, Fleet, Gateway, GatewayConfig, GatewayOutput, Heard, Input,
    Link, Message, Output, Refusal, Socket, Traffic, base64_decode, base64_encode,
};
use base::{DataRate, Eui64, Monotonic, UnixMicros};
use core::time::Duration;
use lorawan::mac::{DownlinkCommand, LinkAdrReq, UplinkCommand, Uplinks};
use lorawan::region::Window;
use lorawan::{
    AesKey, DataFrame, DevAddr, Direction, DlSettings, FCnt, FCtrl, JoinAccept, NetId, Phy, Profile, Region,
    SessionKeys, fcnt_extend,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EPOCH: UnixMicros = UnixMicros(1_700_000_000_000_000);
const APP_KEY: AesKey = AesKey([0x2B; 16]);
const GATEWAY: Eui64 = Eui64::new(0x0016_C001_FF10_0001);
const DEVICE: Eui64 = Eui64::new(0x70B3_D57E_D000_0001);

/// A message as the server read it.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    fcnt: u32,
    fport: Option<u8>,
    payload: Vec<u8>,
    ack: bool,
    commands: Vec<UplinkCommand>,
    frequency_hz: u32,
    data_rate: DataRate,
}

#[derive(Clone, Debug, Default)]
struct Reply {
    confirmed: bool,
    fport: Option<u8>,
    payload: Vec<u8>,
    commands: Vec<DownlinkCommand>,
    fpending: bool,
}

struct Server {
    profile: Profile,
    keys: SessionKeys,
    dev_addr: DevAddr,
    fcnt_up: Option<u32>,
    fcnt_down: u32,
    join_nonce: u32,
    /// Answers nothing at all: neither joins nor confirmed uplinks.
    mute: bool,
    second_window: bool,
    replies: Vec<Reply>,
    read: Vec<Read>,
    repeats: Vec<u32>,
    joins: u32,
    tx_acks: Vec<String>,
    stats: Vec<Value>,
    rxpk_counts: Vec<usize>,
    /// How PULL_RESP are spoilt, if they are.
    spoil: fn(&mut Value),
}

impl Server {
    fn new(region: Region) -> Self {
        Self {
            profile: Profile { sub_bands: if region == Region::Us915 { 2 } else { 0 }, ..Profile::from(region) },
            keys: SessionKeys { nwk_s_key: AesKey([1; 16]), app_s_key: AesKey([2; 16]) },
            dev_addr: DevAddr(0x2601_1BDA),
            fcnt_up: None,
            fcnt_down: 0,
            join_nonce: 0,
            mute: false,
            second_window: false,
            replies: Vec::new(),
            read: Vec::new(),
            repeats: Vec::new(),
            joins: 0,
            tx_acks: Vec::new(),
            stats: Vec::new(),
            rxpk_counts: Vec::new(),
            spoil: |_| {},
        }
    }

    /// Answers a datagram with datagrams to the same gateway.
    fn receive(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let ack = |kind: u8| vec![bytes[0], bytes[1], bytes[2], kind];
        match bytes[3] {
            0 => {
                let body: Value = serde_json::from_slice(&bytes[12..]).expect("a forwarder writes JSON");
                self.stats.extend(body.get("stat").cloned());
                let rxpk = body["rxpk"].as_array().cloned().unwrap_or_default();
                self.rxpk_counts.push(rxpk.len());
                let mut out = vec![ack(1)];
                out.extend(rxpk.iter().filter_map(|rxpk| self.uplink(rxpk)).map(|txpk| {
                    let mut resp = vec![bytes[0], 0xAB, 0xCD, 3];
                    resp.extend(json!({ "txpk": txpk }).to_string().into_bytes());
                    resp
                }));
                out
            }
            2 => vec![ack(4)],
            5 => {
                assert_eq!(
                    (bytes[0], &bytes[1..3]),
                    (2, &[0xAB, 0xCD][..]),
                    "TX_ACK echoes the token, in version 2 only"
                );
                self.tx_acks.push(String::from_utf8(bytes[12..].to_vec()).expect("text"));
                Vec::new()
            }
            other => panic!("a gateway sent {other}"),
        }
    }

    fn uplink(&mut self, rxpk: &Value) -> Option<Value> {
        let phy = base64_decode(rxpk["data"].as_str()?)?;
        assert_eq!(rxpk["size"], phy.len());
        let frequency_hz = (rxpk["freq"].as_f64()? * 1e6).round() as u32;
        let data_rate = DataRate::parse(rxpk["datr"].as_str()?.as_bytes())?;
        let (answer, windows) = match Phy::parse(&phy).expect("a device sends good frames") {
            Phy::JoinRequest(request) => {
                assert!(request.mic_is_valid(&APP_KEY));
                if self.mute {
                    return None;
                }
                self.joins += 1;
                self.join_nonce += 1;
                let accept = JoinAccept {
                    join_nonce: self.join_nonce,
                    net_id: NetId(0x13),
                    dev_addr: self.dev_addr,
                    dl_settings: self.profile.dl_settings(),
                    rx_delay_s: self.profile.rx1_delay_s(),
                    cf_list: self.profile.cf_list(),
                };
                self.keys = accept.session_keys(&APP_KEY, request.dev_nonce());
                (self.fcnt_up, self.fcnt_down) = (None, 0);
                let mut out = [0; 33];
                let count = accept.write(&APP_KEY, &mut out).expect("room");
                let (rx1, rx2) = self.profile.join_windows(frequency_hz, data_rate);
                (out[..count].to_vec(), (rx1, rx2))
            }
            Phy::Data(data) => {
                let (fcnt, repeat) = match fcnt_extend(self.fcnt_up, data.fcnt16(), 16_384) {
                    FCnt::New(fcnt) => (fcnt, false),
                    FCnt::Repeat(fcnt) => (fcnt, true),
                    FCnt::Refused => panic!("a device never goes back"),
                };
                let verified = data.verify(&self.keys.nwk_s_key, fcnt).expect("a device signs");
                if repeat {
                    self.repeats.push(fcnt);
                } else {
                    self.fcnt_up = Some(fcnt);
                    let mut room = [0; 255];
                    let payload = verified.decrypt_into(&self.keys, &mut room).expect("room").to_vec();
                    let commands = if data.fport() == Some(0) { &payload[..] } else { data.fopts() };
                    let mut commands = Uplinks::new(commands);
                    let list = commands.by_ref().collect();
                    assert!(commands.unread().is_empty(), "a device writes commands that can be read");
                    let (fport, ack) = (data.fport(), data.fctrl().ack());
                    self.read.push(Read { fcnt, fport, payload, ack, commands: list, frequency_hz, data_rate });
                }
                if self.mute || !data.confirmed() && self.replies.is_empty() {
                    return None;
                }
                let reply = if self.replies.is_empty() { Reply::default() } else { self.replies.remove(0) };
                let windows = (self.profile.rx1(frequency_hz, data_rate), self.profile.rx2());
                (self.downlink(&reply, data.confirmed()), windows)
            }
            other => panic!("a device sent {other:?}"),
        };
        let (rx1, rx2) = windows;
        let window = if self.second_window { rx2 } else { rx1.expect("an uplink of the region") };
        let mut txpk = txpk(&self.profile, window, &answer, rxpk["tmst"].as_u64()? as u32);
        (self.spoil)(&mut txpk);
        Some(txpk)
    }

    fn downlink(&mut self, reply: &Reply, ack: bool) -> Vec<u8> {
        let mut commands = Vec::new();
        for command in &reply.commands {
            let mut bytes = [0; 6];
            let count = command.write(&mut bytes).expect("room");
            commands.extend_from_slice(&bytes[..count]);
        }
        let alone = commands.len() > 15;
        let frame = DataFrame {
            direction: Direction::Down,
            confirmed: reply.confirmed,
            dev_addr: self.dev_addr,
            fctrl: FCtrl::default().with_ack(ack).with_fpending(reply.fpending),
            fcnt: self.fcnt_down,
            fopts: if alone { &[] } else { &commands },
            fport: if alone { Some(0) } else { reply.fport },
            payload: if alone { &commands } else { &reply.payload },
        };
        self.fcnt_down += 1;
        let mut out = [0; 255];
        let count = frame.write(&self.keys, &mut out).expect("a writable frame");
        out[..count].to_vec()
    }
}

fn txpk(profile: &Profile, window: Window, phy: &[u8], tmst: u32) -> Value {
    let rate = profile.plan().data_rate(window.data_rate, Direction::Down).expect("a downlink rate");
    json!({
        "imme": false, "tmst": tmst.wrapping_add(u32::from(window.delay_s) * 1_000_000),
        "freq": f64::from(window.frequency_hz) / 1e6, "rfch": 0, "powe": 14, "modu": "LORA", "datr": rate.to_string(),
        "codr": "4/5", "ipol": true, "size": phy.len(), "ncrc": true, "data": base64_encode(phy),
    })
}

/// Moves a downlink by so many microseconds of the concentrator's counter, which wraps.
fn later(txpk: &mut Value, by: i64) {
    txpk["tmst"] = json!((txpk["tmst"].as_u64().expect("u32") as i64 + by) as u32);
}

/// A fleet, its server and the wire between them, which takes 5 ms each way.
struct World {
    fleet: Fleet,
    server: Server,
    now: Monotonic,
    wire: BTreeMap<(Monotonic, u64), (bool, usize, Vec<u8>)>,
    count: u64,
    events: Vec<DeviceEvent>,
    refusals: Vec<Refusal>,
}

impl World {
    fn new(region: Region, activation: Activation, change: fn(&mut DeviceConfig)) -> Self {
        let now = Monotonic(1_000_000_000);
        let mut fleet = Fleet::new(7, EPOCH);
        let sub_bands = if region == Region::Us915 { 2 } else { 0 };
        fleet.add_gateway(GatewayConfig { sub_bands, ..GatewayConfig::new(GATEWAY, region) }, now);
        let mut config = DeviceConfig { sub_bands, ..DeviceConfig::new(DEVICE, Eui64::new(1), activation, region) };
        change(&mut config);
        let link = Link { gateway: 0, rssi_dbm: -70, snr_db: 7, loss_percent: 0 };
        fleet.add_device(config, vec![link], now);
        let server = Server::new(region);
        Self { fleet, server, now, wire: BTreeMap::new(), count: 0, events: Vec::new(), refusals: Vec::new() }
    }

    fn otaa(region: Region) -> Self {
        Self::new(region, Activation::Otaa { app_key: APP_KEY }, |_| {})
    }

    fn abp(region: Region) -> Self {
        let server = Server::new(region);
        Self::new(region, Activation::Abp { dev_addr: server.dev_addr, keys: server.keys }, |_| {})
    }

    fn send(&mut self, fport: u8, payload: &[u8], confirmed: bool) {
        let message = Message { fport, payload: payload.to_vec(), confirmed };
        self.fleet.handle(Input::Send { device: 0, message }, self.now);
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now.after(Duration::from_secs(seconds));
        loop {
            while let Some(output) = self.fleet.poll() {
                match output {
                    Output::Datagram { gateway, socket, bytes } => {
                        assert_eq!(bytes[4..12], self.fleet.gateway(gateway).config().eui.0);
                        assert_eq!(socket == Socket::Up, bytes[3] == 0, "each kind has its socket");
                        self.post(true, gateway, bytes);
                    }
                    Output::Device { event, .. } => self.events.push(event),
                    Output::Refused { refusal, .. } => self.refusals.push(refusal),
                }
            }
            let wire = self.wire.first_key_value().map_or(Monotonic::NEVER, |((at, _), _)| *at);
            let next = wire.min(self.fleet.deadline());
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            if wire == next {
                let (_, (to_server, gateway, bytes)) = self.wire.pop_first().expect("it was there");
                if to_server {
                    for answer in self.server.receive(&bytes) {
                        self.post(false, gateway, answer);
                    }
                } else {
                    self.fleet.handle(Input::Datagram { gateway, bytes: &bytes }, self.now);
                }
            } else {
                self.fleet.handle(Input::Due, self.now);
            }
        }
    }

    fn post(&mut self, to_server: bool, gateway: usize, bytes: Vec<u8>) {
        self.count += 1;
        self.wire.insert((self.now.after(Duration::from_millis(5)), self.count), (to_server, gateway, bytes));
    }

    fn received(&self) -> Vec<(u32, Option<u8>, &[u8])> {
        let received = |event| match event {
            &DeviceEvent::Received { fcnt, fport, ref payload, .. } => Some((fcnt, fport, &payload[..])),
            _ => None,
        };
        self.events.iter().filter_map(received).collect()
    }

    fn has(&self, wanted: &DeviceEvent) -> bool {
        self.events.contains(wanted)
    }
}

#[test]
fn joins_and_is_understood() {
    for region in Region::ALL {
        for second_window in [false, true] {
            let mut world = World::otaa(*region);
            world.server.second_window = second_window;
            world.run(30);
            assert_eq!(world.server.joins, 1, "{region}: one request was enough");
            assert!(world.has(&DeviceEvent::Joined { dev_addr: world.server.dev_addr }), "{region}");
            world.send(10, b"hello", false);
            world.send(11, b"confirmed", true);
            world.run(30);
            let read: Vec<_> =
                world.server.read.iter().map(|read| (read.fcnt, read.fport, &read.payload[..])).collect();
            assert_eq!(read, [(0, Some(10), &b"hello"[..]), (1, Some(11), b"confirmed")], "{region}");
            assert!(world.has(&DeviceEvent::Acknowledged { fcnt: 1 }), "{region}");
            assert_eq!((world.fleet.totals().unheard, world.fleet.totals().ignored), (0, 0), "{region}");
            assert_eq!(world.server.tx_acks, ["", ""], "an accepted downlink is acknowledged without JSON");
        }
    }
}

#[test]
fn joins_again_until_it_is_heard() {
    let mut world = World::otaa(Region::Us915);
    world.server.mute = true;
    world.run(120);
    let nonces: Vec<u16> = world
        .events
        .iter()
        .filter_map(|event| if let DeviceEvent::Joining { dev_nonce } = event { Some(*dev_nonce) } else { None })
        .collect();
    assert!(nonces.len() > 5, "it keeps trying");
    assert!(nonces.windows(2).all(|pair| pair[0] != pair[1]), "with a fresh nonce each time");
    world.server.mute = false;
    world.run(30);
    assert_eq!(world.fleet.totals().joins, 1);
}

#[test]
fn repeats_an_unacknowledged_uplink_unchanged() {
    let mut world = World::abp(Region::Eu868);
    world.server.mute = true;
    world.send(5, b"please", true);
    world.send(5, b"later", false);
    world.run(20);
    assert!(world.server.repeats.len() >= 3 && world.server.repeats.iter().all(|fcnt| *fcnt == 0));
    world.server.mute = false;
    world.run(10);
    assert!(world.has(&DeviceEvent::Acknowledged { fcnt: 0 }));
    assert_eq!(world.server.read.len(), 2, "one message each, however often it was sent");
    assert_eq!(world.server.read[1].payload, b"later");

    world.server.mute = true;
    world.send(5, b"in vain", true);
    world.run(60);
    assert!(world.has(&DeviceEvent::GaveUp { fcnt: 2 }));
    assert_eq!(world.server.repeats.iter().filter(|fcnt| **fcnt == 2).count(), 7, "eight transmissions in all");
}

#[test]
fn acknowledges_a_confirmed_downlink_once_it_can() {
    let mut world = World::abp(Region::Us915);
    let reply = Reply { confirmed: true, fport: Some(42), payload: b"command".to_vec(), ..Reply::default() };
    world.server.replies = vec![reply];
    world.send(1, b"up", false);
    world.run(10);
    assert_eq!(world.received(), [(0, Some(42), &b"command"[..])]);
    let acks: Vec<bool> = world.server.read.iter().map(|read| read.ack).collect();
    assert_eq!(acks, [false, true], "an empty uplink carries the acknowledgement by itself");
    assert_eq!(world.server.read[1].fport, None);
}

#[test]
fn obeys_mac_commands() {
    let mut world = World::abp(Region::Eu868);
    let dl_settings = DlSettings { rx1_dr_offset: 2, rx2_data_rate: 3 };
    let adr = LinkAdrReq { data_rate: 3, tx_power: 2, ch_mask: 0b1100, ch_mask_cntl: 0, nb_trans: 2 };
    let commands = vec![
        DownlinkCommand::NewChannelReq { index: 3, frequency_hz: 867_100_000, data_rate_max: 5, data_rate_min: 0 },
        DownlinkCommand::LinkAdrReq(LinkAdrReq { ch_mask: 0b1111, ..adr }),
        DownlinkCommand::LinkAdrReq(adr),
        DownlinkCommand::RxParamSetupReq { dl_settings, frequency_hz: 869_525_000 },
        DownlinkCommand::RxTimingSetupReq { delay_s: 4 },
        DownlinkCommand::DevStatusReq,
        DownlinkCommand::DutyCycleReq { max_duty_cycle: 0 },
        DownlinkCommand::DlChannelReq { index: 9, frequency_hz: 867_100_000 },
        DownlinkCommand::LinkCheckAns { margin_db: 20, gateway_count: 3 },
        DownlinkCommand::DeviceTimeAns { gps_seconds: 1_384_000_000, fraction: 0 },
    ];
    world.server.replies = vec![Reply { commands, ..Reply::default() }];
    world.send(1, b"up", false);
    world.run(10);
    assert!(world.has(&DeviceEvent::LinkChecked { margin_db: 20, gateway_count: 3 }));
    assert!(world.has(&DeviceEvent::TimeTold { gps_seconds: 1_384_000_000 }));
    let yes = UplinkCommand::LinkAdrAns { power_ok: true, data_rate_ok: true, channel_mask_ok: true };
    let sticky = [
        UplinkCommand::RxParamSetupAns { rx1_dr_offset_ok: true, rx2_data_rate_ok: true, channel_ok: true },
        UplinkCommand::RxTimingSetupAns,
        UplinkCommand::DlChannelAns { uplink_frequency_exists: false, frequency_ok: true },
    ];
    let once = [
        UplinkCommand::NewChannelAns { data_rate_range_ok: true, frequency_ok: true },
        yes,
        yes,
        UplinkCommand::DevStatusAns { battery: 203, margin_db: 7 },
        UplinkCommand::DutyCycleAns,
    ];
    assert_eq!(world.server.read[1].commands, [&sticky[..], &once].concat());
    assert_eq!(world.server.repeats, [1], "NbTrans is two now");
    world.send(1, b"again", false);
    world.run(10);
    assert_eq!(world.server.read[2].commands, sticky, "repeated until a downlink is heard");
    for read in &world.server.read[1..] {
        assert!([868_500_000, 867_100_000].contains(&read.frequency_hz), "only the enabled channels");
        assert_eq!(read.data_rate, DataRate::Lora { sf: 9, bw_khz: 125 });
    }

    // The new windows are the ones that it opens.
    let replies = vec![Reply { fport: Some(1), payload: vec![1], ..Reply::default() }; 2];
    world.server.replies = replies;
    world.server.profile = Profile { rx1_dr_offset: 2, rx2_data_rate: Some(3), rx1_delay_s: 4, ..world.server.profile };
    world.send(1, b"rx1", false);
    world.run(10);
    world.server.second_window = true;
    world.send(1, b"rx2", false);
    world.run(10);
    assert_eq!(world.received().len(), 3);
    assert_eq!(world.server.read.last().expect("one").commands, [], "the downlink ended the repetition");
}

#[test]
fn refuses_impossible_link_adr_whole() {
    let mut world = World::abp(Region::Us915);
    let request = LinkAdrReq { data_rate: 2, tx_power: 0, ch_mask: 0x0F, ch_mask_cntl: 4, nb_trans: 1 };
    let off = LinkAdrReq { ch_mask: 0, ch_mask_cntl: 7, ..request };
    let commands = vec![DownlinkCommand::LinkAdrReq(request), DownlinkCommand::LinkAdrReq(off)];
    world.server.replies = vec![Reply { commands, ..Reply::default() }];
    world.send(1, b"up", false);
    world.run(10);
    let no = UplinkCommand::LinkAdrAns { power_ok: true, data_rate_ok: false, channel_mask_ok: true };
    assert_eq!(world.server.read[1].commands, [no, no]);
    assert_eq!(world.fleet.device(0).data_rate(), Some(3), "nothing changed");

    let plan = Region::Us915.plan();
    let commands = plan.sub_band_requests(1, LinkAdrReq { nb_trans: 1, ..request }).map(DownlinkCommand::LinkAdrReq);
    world.server.replies = vec![Reply { commands: commands.collect(), ..Reply::default() }];
    world.send(1, b"up", false);
    world.run(3);
    assert_eq!(world.fleet.device(0).data_rate(), Some(2), "the whole block was accepted");
    let heard = world.server.read.len();
    world.send(1, b"elsewhere", false);
    world.run(10);
    assert_eq!(world.server.read.len(), heard, "a gateway of sub-band 2 does not hear sub-band 1");
}

#[test]
fn hears_only_what_is_meant_for_it() {
    let check = |name: &str, spoil: fn(&mut Value), unheard: u64, ignored: u64| {
        let mut world = World::abp(Region::Eu868);
        world.server.spoil = spoil;
        world.send(1, b"up", true);
        world.run(4);
        let totals = world.fleet.totals();
        assert_eq!((totals.unheard, totals.ignored), (unheard, ignored), "{name}");
        assert_eq!(totals.acknowledged, u64::from(unheard + ignored == 0), "{name}");
    };
    check("nothing wrong", |_| {}, 0, 0);
    check("10 ms late", |txpk| later(txpk, 10_000), 1, 0);
    check("another frequency", |txpk| txpk["freq"] = json!(869.525), 1, 0);
    check("another data rate", |txpk| txpk["datr"] = json!("SF9BW125"), 1, 0);
    check("polarisation not inverted", |txpk| txpk["ipol"] = json!(false), 1, 0);
    let forge = |txpk: &mut Value| {
        let mut phy = base64_decode(txpk["data"].as_str().expect("text")).expect("base64");
        *phy.last_mut().expect("a byte") ^= 1;
        txpk["data"] = json!(base64_encode(&phy));
    };
    check("wrong MIC", forge, 0, 1);
}

#[test]
fn delivers_a_repeated_downlink_once() {
    let mut world = World::abp(Region::Eu868);
    let reply = Reply { confirmed: true, fport: Some(3), payload: b"once".to_vec(), ..Reply::default() };
    world.server.replies = vec![reply.clone(), reply];
    world.send(1, b"a", false);
    world.run(2);
    world.server.fcnt_down = 0;
    world.run(8);
    assert_eq!(world.received().len(), 1);
    assert!(world.server.read.iter().filter(|read| read.ack).count() >= 2, "but acknowledged each time");
}

#[test]
fn counts_past_sixteen_bits_and_survives_a_power_cycle() {
    let mut world = World::abp(Region::Eu868);
    world.send(1, b"first", false);
    world.run(5);
    let mut saved = world.fleet.device(0).saved();
    let session = saved.session.as_mut().expect("ABP always has one");
    assert_eq!(session.fcnt_up, 1);
    session.fcnt_up = 65_534;
    world.server.fcnt_up = Some(65_533);
    world.fleet.with_device(0, Monotonic(6_000_000_000), |device| device.restore(&saved));
    for _ in 0..4 {
        world.send(1, b"x", true);
        world.run(5);
    }
    let counters: Vec<u32> = world.server.read.iter().map(|read| read.fcnt).collect();
    assert_eq!(counters, [0, 65_534, 65_535, 65_536, 65_537]);
    assert_eq!(world.fleet.totals().acknowledged, 4);
}

#[test]
fn speaks_by_itself_and_the_same_way_twice() {
    let traffic = Traffic {
        interval: Duration::from_secs(20),
        confirmed_percent: 30,
        request_percent: 30,
        payload_bytes: (0, 242),
    };
    let run = || {
        let now = Monotonic(0);
        let mut world = World::otaa(Region::Eu868);
        for nth in 1..=2u64 {
            let config = GatewayConfig::new(Eui64::new(GATEWAY.to_u64() + nth), Region::Eu868);
            world.fleet.add_gateway(GatewayConfig { version: 1, gps: true, ..config }, now);
        }
        world.fleet.set_links(0, vec![]);
        for nth in 1..=20u32 {
            let links = world.fleet.random_links(3, 5);
            let keys = world.server.keys;
            let activation = Activation::Abp { dev_addr: DevAddr(nth), keys };
            let eui = Eui64::new(u64::from(nth));
            let config = DeviceConfig::new(eui, eui, activation, Region::Eu868);
            world.fleet.add_device(DeviceConfig { traffic: Some(traffic), ..config }, links, now);
        }
        let mut datagrams = Vec::new();
        while world.fleet.deadline() < Monotonic(600_000_000_000) {
            world.fleet.handle(Input::Due, world.fleet.deadline());
            while let Some(output) = world.fleet.poll() {
                if let Output::Datagram { bytes, .. } = output {
                    datagrams.push(bytes);
                }
            }
        }
        (datagrams, world.fleet.totals())
    };
    let (datagrams, totals) = run();
    assert!(totals.uplinks > 300 && totals.repeats > 300 && totals.given_up > 20, "{totals:?}");
    assert_eq!((datagrams, totals), run());
}

#[test]
fn writes_json_as_the_forwarder_does() {
    let heard = Heard {
        phy: vec![0x40, 1, 2, 3, 4, 0x80, 0, 0, 1, 2, 3, 4, 5],
        frequency_hz: 868_300_000,
        data_rate: DataRate::Lora { sf: 7, bw_khz: 125 },
        rssi_deci: -354,
        snr_deci: 51,
        crc_ok: true,
    };
    let check = |change: fn(&mut GatewayConfig), count: usize, expected: &str| {
        let mut config = GatewayConfig::new(GATEWAY, Region::Eu868);
        change(&mut config);
        let mut gateway = Gateway::new(config, 1, EPOCH, Monotonic(0));
        let now = Monotonic(9_000_000);
        let tmst = gateway.counter(now).to_string();
        (0..count).for_each(|_| gateway.hear(heard.clone(), now));
        gateway.hear(Heard { crc_ok: false, ..heard.clone() }, now);
        gateway.tick(gateway.deadline());
        let pushed = core::iter::from_fn(|| gateway.poll()).find_map(|output| match output {
            GatewayOutput::Datagram { socket: Socket::Up, bytes } => Some(bytes),
            _ => None,
        });
        let text = String::from_utf8(pushed.expect("a PUSH_DATA")[12..].to_vec()).expect("text");
        assert_eq!(text.replace(&tmst, "TMST"), expected);
    };
    let one = r#"{"tmst":TMST,"chan":1,"rfch":0,"freq":868.300000,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","lsnr":5.1,"rssi":-35,"size":13,"data":"QAECAwSAAAABAgMEBQ=="}"#;
    check(|_| {}, 1, &format!("{{\"rxpk\":[{one}]}}"));
    check(|config| config.version = 1, 2, &format!("{{\"rxpk\":[{one},{one}]}}"));
    let newer = r#"{"rxpk":[{"jver":1,"tmst":TMST,"time":"2023-11-14T22:13:20.009000Z","tmms":1384035218009,"chan":1,"rfch":0,"freq":868.300000,"mid": 8,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","rssis":-35,"lsnr":5.1,"foff":-312,"rssi":-35,"size":13,"data":"QAECAwSAAAABAgMEBQ=="}]}"#;
    check(|config| (config.concentrator, config.gps) = (Concentrator::Sx1302, true), 1, newer);
}

#[test]
fn reports_status_and_keeps_the_return_path_open() {
    let mut world = World::abp(Region::Eu868);
    world.send(1, b"up", true);
    world.run(95);
    assert!(world.server.stats.len() >= 3);
    let sum = |name: &str| world.server.stats.iter().map(|stat| stat[name].as_u64().expect("a count")).sum::<u64>();
    assert_eq!((sum("rxnb"), sum("rxok"), sum("dwnb"), sum("txnb")), (1, 1, 1, 1));
    assert_eq!(world.server.stats[1]["ackr"], 100.0);
    let counts = world.fleet.gateway(0).counts();
    assert_eq!((counts.pull_acknowledged, counts.pushed - counts.acknowledged), (19, 0));
}

#[test]
fn refuses_downlinks_with_the_forwarders_words() {
    let check = |name: &str, spoil: fn(&mut Value), expected: &str| {
        let mut world = World::abp(Region::Eu868);
        world.server.spoil = spoil;
        world.send(1, b"up", true);
        world.run(2);
        assert_eq!(world.server.tx_acks, [format!("{{\"txpk_ack\":{{\"error\":\"{expected}\"}}}}")], "{name}");
        assert_eq!((world.refusals.len(), world.fleet.totals().refused), (1, 1), "{name}");
    };
    check("in the past", |txpk| later(txpk, -2_000_000), "TOO_LATE");
    check("in ten minutes", |txpk| later(txpk, 600_000_000), "TOO_EARLY");
    check("out of band", |txpk| txpk["freq"] = json!(915.0), "TX_FREQ");
    let by_gps = |txpk: &mut Value| {
        txpk.as_object_mut().expect("an object").remove("tmst");
        txpk["tmms"] = json!(1_384_035_218_009u64);
    };
    check("at a GPS time", by_gps, "GPS_UNLOCKED");
    let mut gateway = Gateway::new(GatewayConfig::new(GATEWAY, Region::Eu868), 1, EPOCH, Monotonic(0));
    let now = Monotonic(50_000_000);
    let phy = [0x60; 12];
    let at = gateway.counter(now).wrapping_add(1_000_000);
    let mut resp = vec![2, 1, 2, 3];
    let window = Window { delay_s: 0, frequency_hz: 868_100_000, data_rate: 5 };
    resp.extend(json!({ "txpk": txpk(&Profile::default(), window, &phy, at) }).to_string().into_bytes());
    gateway.receive(&resp, now);
    gateway.receive(&resp, now);
    gateway.receive(&[2, 1, 2, 3, b'{'], now);
    gateway.receive(&[1, 2], now);
    gateway.receive(&[2, 1, 2, 9], now);
    let outputs: Vec<GatewayOutput> = core::iter::from_fn(|| gateway.poll()).collect();
    let is = |wanted: fn(&GatewayOutput) -> bool| outputs.iter().filter(|output| wanted(output)).count();
    assert_eq!(is(|output| matches!(output, GatewayOutput::Transmit(_))), 1);
    assert_eq!(is(|output| *output == GatewayOutput::Refused(Refusal::CollisionPacket)), 1);
    assert_eq!(is(|output| *output == GatewayOutput::Malformed), 3);
}
