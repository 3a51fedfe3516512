//! The laws of single messages: each is true, and comes when it may.
//!
//! One value per consumer, which has seen all that this consumer was told and looks at what is new.

use crate::consumer::{Consumer, Temper};
use crate::history::Sent;
use crate::story::STREAMS;
use base::Eui64;
use contract::v1::Copies;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An uplink as a consumer was told of it.
pub(crate) struct Told<'a> {
    pub(crate) dev_eui: Eui64,
    pub(crate) session: u32,
    pub(crate) fcnt: u32,
    pub(crate) copy: u32,
    pub(crate) message: &'a Value,
}

/// The uplink of a message, if it is of one.
pub(crate) fn told(message: &Value) -> Option<Told<'_>> {
    message.get("Event").is_none().then(|| {
        let id = text(message, "Id");
        let parts: Vec<&str> = id.split('-').collect();
        let number = |part: usize| parts[part].parse().expect("a number in an id");
        Told {
            dev_eui: text(message, "DeviceEUI").parse().expect("a DeviceEUI"),
            session: number(1),
            fcnt: message["FCnt"].as_u64().expect("an FCnt") as u32,
            copy: number(3),
            message,
        }
    })
}

pub(crate) fn text<'a>(message: &'a Value, key: &str) -> &'a str {
    message[key].as_str().unwrap_or_else(|| panic!("{key} in {message}"))
}

/// What a consumer was told so far, as far as the laws go.
#[derive(Debug)]
pub(crate) struct Messages {
    who: String,
    copies: Copies,
    seen: usize,
    /// Ids, by connection.
    ids: BTreeSet<(u32, String)>,
    /// The last first copy, by connection and device.
    last: BTreeMap<(u32, Eui64), (u32, u32)>,
    /// The last first copy that came for the first time on any connection, by device and session.
    newest: BTreeMap<(Eui64, u32), u32>,
    known: BTreeSet<(Eui64, u32, u32)>,
    /// Downlinks that have had their end, by connection.
    ended: BTreeSet<(u32, String)>,
}

impl Messages {
    pub(crate) fn new(seed: u64, index: usize, consumer: &Consumer) -> Self {
        let stream = STREAMS.iter().find(|stream| stream.token == consumer.token);
        Self {
            who: format!("seed {seed}, consumer {index} ({}, {:?})", consumer.token, consumer.temper),
            copies: stream.map_or(Copies::Unspecified, |stream| stream.copies),
            seen: 0,
            ids: BTreeSet::new(),
            last: BTreeMap::new(),
            newest: BTreeMap::new(),
            known: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Looks at what is new. If the disk has lied and the node has ended since, sessions may have been forgotten, and
    /// with them their order, and that a downlink has had its end; what is told is true all the same.
    pub(crate) fn hold(
        &mut self,
        consumer: &Consumer,
        sent: &BTreeMap<(Eui64, u32), Vec<Sent>>,
        devices: &[Eui64],
        is_forgiven: bool,
    ) {
        for received in &consumer.received[self.seen..] {
            self.seen += 1;
            // What it refuses it gets again, whenever that is.
            let is_liar = consumer.temper == Temper::Liar;
            if !is_liar && !is_forgiven {
                self.downlink_ends_once(received.connection, &received.message);
            }
            let Some(uplink) = told(&received.message) else { continue };
            self.is_not_invented(consumer, &uplink, sent, devices);
            self.is_as_asked(&uplink);
            if !is_liar && !is_forgiven {
                self.is_in_order(received.connection, &uplink, consumer.is_relied_on());
            }
        }
    }

    /// Every uplink that anyone is told of was sent, with that payload and port, by that device.
    fn is_not_invented(
        &self,
        consumer: &Consumer,
        uplink: &Told<'_>,
        sent: &BTreeMap<(Eui64, u32), Vec<Sent>>,
        devices: &[Eui64],
    ) {
        let (who, message) = (&self.who, uplink.message);
        let sent = sent.get(&(uplink.dev_eui, uplink.fcnt));
        let sent = sent.unwrap_or_else(|| panic!("{who}: nobody sent {message}"));
        let known = sent.iter().any(|sent| {
            let digits: String = sent.payload.iter().map(|byte| format!("{byte:02X}")).collect();
            digits == text(message, "Data")
                && sent.fport.map(u64::from) == message.get("Port").and_then(Value::as_u64)
                && message["Type"] == if sent.confirmed { 4 } else { 2 }
        });
        assert!(known, "{who}: {message} was sent as {sent:?}");
        if consumer.token == "device" {
            assert_eq!(uplink.dev_eui, devices[0], "{who}: a device stream is of one device");
        }
    }

    /// Of `first` only first copies; of `best` with all receptions, the best one first.
    fn is_as_asked(&self, uplink: &Told<'_>) {
        let (who, message) = (&self.who, uplink.message);
        match self.copies {
            Copies::First => assert_eq!(uplink.copy, 0, "{who}: a later copy: {message}"),
            Copies::Best => {
                let gateways = message["Gateways"].as_array().unwrap_or_else(|| panic!("{who}: {message}"));
                assert!(!gateways.is_empty(), "{who}: {message}");
                assert_eq!(gateways[0]["Gateway"], message["Gateway"], "{who}: the best is the first: {message}");
                let strength = |gateway: &Value| gateway["SNR"].as_f64().expect("an SNR");
                assert!(gateways.iter().all(|gateway| gateway["RSSI"].is_number() && strength(gateway) > -40.0));
            }
            _ => {}
        }
    }

    /// On one connection: ids once, and of each device's frames the first copies in its order. After a power cut a frame
    /// may come again, on another connection; but of those that come for the first time, none after a later one of its
    /// session.
    fn is_in_order(&mut self, connection: u32, uplink: &Told<'_>, is_relied_on: bool) {
        let (who, message) = (&self.who, uplink.message);
        assert!(self.ids.insert((connection, text(message, "Id").to_owned())), "{who}: {message} came twice");
        if uplink.copy != 0 {
            return;
        }
        let now = (uplink.session, uplink.fcnt);
        let before = self.last.insert((connection, uplink.dev_eui), now);
        assert!(before.is_none_or(|before| before < now), "{who}: {message} came after {before:?}");
        if is_relied_on && self.known.insert((uplink.dev_eui, uplink.session, uplink.fcnt)) {
            let before = self.newest.insert((uplink.dev_eui, uplink.session), uplink.fcnt);
            assert!(before.is_none_or(|before| before < uplink.fcnt), "{who}: {message} came first after {before:?}");
        }
    }

    /// On one connection: nothing is told of a downlink after its end, and of each kind at most one end.
    fn downlink_ends_once(&mut self, connection: u32, message: &Value) {
        let who = &self.who;
        match message.get("Event").and_then(Value::as_str) {
            Some("downlink_acknowledged" | "downlink_failed") => {
                let id = message["DownlinkId"].to_string();
                assert!(self.ended.insert((connection, id)), "{who}: {message} is a second end");
            }
            Some("downlink_sent") => {
                let id = message["DownlinkId"].to_string();
                assert!(!self.ended.contains(&(connection, id)), "{who}: {message} comes after the end");
            }
            _ => {}
        }
    }
}
