//! What shards say to each other, as records of a hop ring.
//!
//! Owns the records' layout and the fabric of rings. One ring for each ordered pair of shards, a shard and itself
//! included, so that "answer later" needs no second mechanism. Nothing allocates; a full ring refuses the record, and
//! the sender counts it by kind.
//!
//! ```text
//!   | tag 1 | fixed fields, little endian | bytes to the end |
//!   Heard        reception 28, frequency 4, data rate 4, PHYPayload       gateway's shard  -> lane's shard
//!   Event        sent 8, event (see `event::layout`)                              lane's shard     -> consumers' shards
//!   Transmit     origin 1, power 1, antenna 1, rf chain 1, transmission 4, gateway 8, tmst 4, frequency 4, rate 4, PHYPayload
//!   Transmitted  transmission 4, outcome 1                                gateway's shard  -> lane's shard
//!   Command      reply-to 9, stream 4, id length 1, flags 1, fport 1, dev_eui 8, expires 8, id, payload
//!   Reply        reply-to 9, outcome 1, downlink 8, dev_eui 8, id          lane's shard     -> connection's shard
//!   Presence     shard 1, stream 4, present 1                             to every shard
//!   Word         stream 4, session 9, what 1, from 1, at 8, room 2, group      consumer's shard -> every shard
//!   Message      session 9, feed 7, position 8, sent 8, event             lane's shard     -> consumer's shard
//!   Settled      feed 7, position 8, verdict 1                            consumer's shard -> lane's shard
//! ```

use crate::broking::Peers;
use crate::group::{FeedRef, From, Group, SessionIs, Settled, Verdict, Word};
use base::ring::{Receiver, Record, Sender, ring};
use base::{DataRate, Eui64, Monotonic, UnixMicros};
use crossbeam::utils::CachePadded;
use event::{Event, RECEPTION_BYTES, Reception};

/// The longest record that is made here.
pub(crate) const HOP_BYTES_MAX: usize = event::EVENT_BYTES_MAX + 64;
const _: () = assert!(HOP_BYTES_MAX <= base::ring::RECORD_BYTES_MAX);

/// Who waits for an answer: a connection of some shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    pub(crate) shard: u8,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A frame that a gateway heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeardHop<'a> {
    pub(crate) reception: Reception,
    pub(crate) frequency_hz: u32,
    pub(crate) data_rate: DataRate,
    pub(crate) phy: &'a [u8],
}

/// A frame that a gateway is to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TransmitHop<'a> {
    pub(crate) origin: u8,
    pub(crate) power_dbm: i8,
    pub(crate) transmission: u32,
    pub(crate) antenna: u8,
    pub(crate) rf_chain: u8,
    pub(crate) gateway: Eui64,
    pub(crate) tmst: u32,
    pub(crate) frequency_hz: u32,
    pub(crate) data_rate: DataRate,
    pub(crate) phy: &'a [u8],
}

/// A downlink that a consumer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CommandHop<'a> {
    pub(crate) reply_to: ReplyTo,
    /// The stream's id, under which it was asked; 0 is the control plane.
    pub(crate) stream: u32,
    pub(crate) dev_eui: Eui64,
    pub(crate) fport: u8,
    pub(crate) confirmed: bool,
    /// It was sent on by the shard that its DevEUI's hash names.
    pub(crate) redirected: bool,
    pub(crate) expires: UnixMicros,
    /// The consumer's own id, at most 64 bytes.
    pub(crate) id: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReplyHop<'a> {
    pub(crate) reply_to: ReplyTo,
    /// 0 accepted, else a [`crate::commands::Refused`].
    pub(crate) outcome: u8,
    pub(crate) downlink: u64,
    pub(crate) dev_eui: Eui64,
    pub(crate) id: &'a [u8],
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Hop<'a> {
    Heard(HeardHop<'a>),
    /// An event, and when it was sent: the clock is the machine's, the same for every shard.
    Event(Monotonic, Event<'a>),
    Transmit(TransmitHop<'a>),
    Transmitted {
        transmission: u32,
        outcome: u8,
    },
    Command(CommandHop<'a>),
    Reply(ReplyHop<'a>),
    Presence {
        shard: u8,
        stream: u32,
        present: bool,
    },
    /// A session of a durable stream is there, or gone.
    Word(Word),
    Message(MessageHop<'a>),
    Settled(Settled),
}

/// A message of a durable stream, for one session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MessageHop<'a> {
    pub(crate) session: ReplyTo,
    pub(crate) feed: FeedRef,
    pub(crate) position: u64,
    pub(crate) sent: Monotonic,
    pub(crate) event: Event<'a>,
}

/// Appends fixed fields to a buffer that is known to be long enough.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Takes fixed fields off a record; `None` past its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn eui(&mut self) -> Option<Eui64> {
        self.take().map(Eui64)
    }

    fn slice(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn feed(&mut self) -> Option<FeedRef> {
        let [shard] = self.take()?;
        Some(FeedRef { shard, index: self.take().map(u16::from_le_bytes)?, generation: self.u32()? })
    }

    fn reply_to(&mut self) -> Option<ReplyTo> {
        Some(ReplyTo { shard: self.byte()?, index: self.u32()?, generation: self.u32()? })
    }
}

const COMMAND_CONFIRMED: u8 = 1;
const COMMAND_REDIRECTED: u8 = 2;

impl<'a> Hop<'a> {
    /// Encodes into `out`, which holds [`HOP_BYTES_MAX`]. Returns the count of bytes.
    pub(crate) fn write(&self, out: &mut [u8; HOP_BYTES_MAX]) -> usize {
        let mut to = Writer { out, at: 0 };
        match self {
            Self::Heard(heard) => {
                to.put(&[1]);
                to.put(&heard.reception.to_wire());
                to.put(&heard.frequency_hz.to_le_bytes());
                to.put(&heard.data_rate.to_wire());
                to.put(heard.phy);
            }
            Self::Event(sent, event) => {
                to.put(&[2]);
                to.put(&sent.0.to_le_bytes());
                let at = to.at;
                to.at += event.write(&mut to.out[at..]).expect("an event fits a hop");
            }
            Self::Transmit(transmit) => {
                to.put(&[3, transmit.origin, transmit.power_dbm as u8, transmit.antenna, transmit.rf_chain]);
                to.put(&transmit.transmission.to_le_bytes());
                to.put(&transmit.gateway.0);
                to.put(&transmit.tmst.to_le_bytes());
                to.put(&transmit.frequency_hz.to_le_bytes());
                to.put(&transmit.data_rate.to_wire());
                to.put(transmit.phy);
            }
            Self::Transmitted { transmission, outcome } => {
                to.put(&[4]);
                to.put(&transmission.to_le_bytes());
                to.put(&[*outcome]);
            }
            Self::Command(command) => {
                to.put(&[5]);
                put_reply_to(&mut to, command.reply_to);
                to.put(&command.stream.to_le_bytes());
                to.put(&command.dev_eui.0);
                to.put(&command.expires.0.to_le_bytes());
                let mut flags = 0;
                flags |= if command.confirmed { COMMAND_CONFIRMED } else { 0 };
                flags |= if command.redirected { COMMAND_REDIRECTED } else { 0 };
                to.put(&[flags, command.fport, command.id.len() as u8]);
                to.put(command.id);
                to.put(command.payload);
            }
            Self::Reply(reply) => {
                to.put(&[6]);
                put_reply_to(&mut to, reply.reply_to);
                to.put(&[reply.outcome]);
                to.put(&reply.downlink.to_le_bytes());
                to.put(&reply.dev_eui.0);
                to.put(reply.id);
            }
            Self::Presence { shard, stream, present } => {
                to.put(&[7, *shard, u8::from(*present)]);
                to.put(&stream.to_le_bytes());
            }
            Self::Word(word) => {
                to.put(&[8]);
                to.put(&word.stream.to_le_bytes());
                put_reply_to(&mut to, word.session);
                let (here, (kind, value)) = match word.what {
                    SessionIs::Here(from) => (1, from.to_wire()),
                    SessionIs::Gone => (0, (0, 0)),
                };
                to.put(&[here, kind]);
                to.put(&value.to_le_bytes());
                to.put(&word.in_flight_max.to_le_bytes());
                to.put(word.group.bytes());
            }
            Self::Message(message) => {
                to.put(&[9]);
                put_reply_to(&mut to, message.session);
                put_feed(&mut to, message.feed);
                to.put(&message.position.to_le_bytes());
                to.put(&message.sent.0.to_le_bytes());
                let at = to.at;
                to.at += message.event.write(&mut to.out[at..]).expect("an event fits a hop");
            }
            Self::Settled(settled) => {
                to.put(&[10]);
                put_feed(&mut to, settled.feed);
                to.put(&settled.position.to_le_bytes());
                to.put(&[settled.verdict as u8]);
            }
        }
        to.at
    }

    /// Reads a record; `None` if it was not written by this module.
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        let mut from = Reader(record);
        Some(match from.byte()? {
            1 => Self::Heard(HeardHop {
                reception: Reception::from_wire(&from.take::<RECEPTION_BYTES>()?),
                frequency_hz: from.u32()?,
                data_rate: DataRate::from_wire(from.take()?),
                phy: from.0,
            }),
            2 => Self::Event(Monotonic(from.u64()?), Event::parse(from.0).ok()?),
            3 => Self::Transmit(TransmitHop {
                origin: from.byte()?,
                power_dbm: from.byte()? as i8,
                antenna: from.byte()?,
                rf_chain: from.byte()?,
                transmission: from.u32()?,
                gateway: from.eui()?,
                tmst: from.u32()?,
                frequency_hz: from.u32()?,
                data_rate: DataRate::from_wire(from.take()?),
                phy: from.0,
            }),
            4 => Self::Transmitted { transmission: from.u32()?, outcome: from.byte()? },
            5 => {
                let reply_to = from.reply_to()?;
                let (stream, dev_eui, expires) = (from.u32()?, from.eui()?, UnixMicros(from.u64()?));
                let [flags, fport, id_bytes] = from.take()?;
                Self::Command(CommandHop {
                    reply_to,
                    stream,
                    dev_eui,
                    fport,
                    confirmed: flags & COMMAND_CONFIRMED != 0,
                    redirected: flags & COMMAND_REDIRECTED != 0,
                    expires,
                    id: from.slice(usize::from(id_bytes))?,
                    payload: from.0,
                })
            }
            6 => Self::Reply(ReplyHop {
                reply_to: from.reply_to()?,
                outcome: from.byte()?,
                downlink: from.u64()?,
                dev_eui: from.eui()?,
                id: from.0,
            }),
            7 => {
                let [shard, present] = from.take()?;
                Self::Presence { shard, present: present != 0, stream: from.u32()? }
            }
            8 => {
                let (stream, session) = (from.u32()?, from.reply_to()?);
                let ([here, kind], value) = (from.take()?, from.u64()?);
                let what = match here {
                    0 => SessionIs::Gone,
                    _ => SessionIs::Here(From::from_wire(kind, value)?),
                };
                let in_flight_max = u16::from_le_bytes(from.take()?);
                Self::Word(Word { stream, group: Group::from_bytes(from.0)?, session, in_flight_max, what })
            }
            9 => Self::Message(MessageHop {
                session: from.reply_to()?,
                feed: from.feed()?,
                position: from.u64()?,
                sent: Monotonic(from.u64()?),
                event: Event::parse(from.0).ok()?,
            }),
            10 => Self::Settled(Settled {
                feed: from.feed()?,
                position: from.u64()?,
                verdict: Verdict::from_wire(from.byte()?)?,
            }),
            _ => return None,
        })
    }
}

fn put_feed(to: &mut Writer<'_>, feed: FeedRef) {
    to.put(&[feed.shard]);
    to.put(&feed.index.to_le_bytes());
    to.put(&feed.generation.to_le_bytes());
}

fn put_reply_to(to: &mut Writer<'_>, reply_to: ReplyTo) {
    to.put(&[reply_to.shard]);
    to.put(&reply_to.index.to_le_bytes());
    to.put(&reply_to.generation.to_le_bytes());
}

/// One shard's ends of every ring that touches it.
#[derive(Debug)]
pub struct Ports {
    /// To each shard, itself included.
    senders: Vec<Sender>,
    /// From each shard, itself included.
    receivers: Vec<Receiver>,
    /// Shards that were written to since the last wake.
    pub(crate) touched: u64,
    own: usize,
    /// What its broker has to reach others by.
    pub(crate) peers: Option<Box<Peers>>,
    /// On cache lines of its own, for the ports of all shards are made side by side.
    out: Box<CachePadded<[u8; HOP_BYTES_MAX]>>,
}

/// The ring to that shard is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// The rings among `count` shards, each of `capacity_bytes`.
///
/// # Panics
/// If there are more than 64 shards.
#[must_use]
pub fn fabric(count: usize, capacity_bytes: usize) -> Vec<Ports> {
    assert!((1..=64).contains(&count), "1 to 64 shards");
    let mut ports: Vec<Ports> = (0..count)
        .map(|own| Ports {
            senders: Vec::new(),
            receivers: Vec::new(),
            touched: 0,
            own,
            peers: None,
            out: Box::new(CachePadded::new([0; HOP_BYTES_MAX])),
        })
        .collect();
    for source in 0..count {
        for target in 0..count {
            let (sender, receiver) = ring(capacity_bytes);
            ports[source].senders.push(sender);
            ports[target].receivers.push(receiver);
        }
    }
    ports
}

impl Ports {
    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.senders.len()
    }

    /// Puts one record on the way to `target`.
    pub(crate) fn send(&mut self, target: usize, hop: &Hop<'_>) -> Result<(), Full> {
        let count = hop.write(&mut self.out);
        self.senders[target].push(&self.out[..count]).map_err(|_| Full)?;
        self.touched |= 1 << target;
        Ok(())
    }

    /// Puts one record on the way to every shard of the set `targets`. Returns how many had no room.
    pub(crate) fn send_each(&mut self, targets: u64, hop: &Hop<'_>) -> u64 {
        let count = hop.write(&mut self.out);
        let mut refused = 0;
        let mut rest = targets;
        while rest != 0 {
            let target = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            match self.senders[target].push(&self.out[..count]) {
                Ok(()) => self.touched |= 1 << target,
                Err(base::ring::Full) => refused += 1,
            }
        }
        refused
    }

    /// Puts bytes on the way that this module did not write: nothing else can make a record that cannot be read.
    #[cfg(test)]
    pub(crate) fn send_foreign(&mut self, target: usize, bytes: &[u8]) {
        self.senders[target].push(bytes).expect("room");
    }

    /// The set of other shards that got something since the last call.
    pub(crate) fn take_touched(&mut self) -> u64 {
        core::mem::take(&mut self.touched) & !(1 << self.own)
    }

    /// What this shard writes while it serves, as addresses, for those who see that no other does.
    #[cfg(test)]
    pub(crate) fn written(&self) -> [core::ops::Range<usize>; 3] {
        let of = |start: usize, end: usize| start..end;
        let (senders, receivers, out) =
            (self.senders.as_ptr_range(), self.receivers.as_ptr_range(), self.out.as_ptr_range());
        [
            of(senders.start.addr(), senders.end.addr()),
            of(receivers.start.addr(), receivers.end.addr()),
            of(out.start.addr(), out.end.addr()),
        ]
    }

    /// Whether nothing waits for this shard.
    pub(crate) fn quiet(&self) -> bool {
        self.receivers.iter().all(Receiver::is_empty) && self.peers.as_ref().is_none_or(|peers| peers.quiet(self.own))
    }

    /// Moves the oldest record from `source` into `target`. Returns its length.
    pub(crate) fn receive(&mut self, source: usize, target: &mut Record) -> Option<usize> {
        self.receivers[source].pop(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Kind;

    #[test]
    fn reads_what_it_wrote() {
        let reply_to = ReplyTo { shard: 3, index: 7, generation: 9 };
        let feed = FeedRef { shard: 1, index: 0x0203, generation: 0x0405_0607 };
        let hops = [
            Hop::Heard(HeardHop {
                reception: Reception { gateway: Eui64::new(1), snr_deci: -7, ..Reception::default() },
                frequency_hz: 868_100_000,
                data_rate: DataRate::Fsk { bps: 50_000 },
                phy: &[1, 2, 3],
            }),
            Hop::Event(
                Monotonic(6),
                Event { dev_eui: Eui64::new(5), payload: b"abc", ..Event::new(Kind::Joined, UnixMicros(4)) },
            ),
            Hop::Transmit(TransmitHop {
                origin: 2,
                power_dbm: -3,
                transmission: 8,
                antenna: 1,
                rf_chain: 2,
                gateway: Eui64::new(9),
                tmst: 11,
                frequency_hz: 12,
                data_rate: DataRate::Lora { sf: 9, bw_khz: 500 },
                phy: &[4; 255],
            }),
            Hop::Transmitted { transmission: 4, outcome: 2 },
            Hop::Command(CommandHop {
                reply_to,
                stream: 6,
                dev_eui: Eui64::new(5),
                fport: 10,
                confirmed: true,
                redirected: true,
                expires: UnixMicros(77),
                id: b"mine",
                payload: &[0xFF; 242],
            }),
            Hop::Reply(ReplyHop { reply_to, outcome: 1, downlink: 2, dev_eui: Eui64::new(3), id: b"" }),
            Hop::Presence { shard: 1, stream: 2, present: true },
            Hop::Word(Word {
                stream: 3,
                group: Group::new("thirty-two_letters_of_a_group.00").expect("a name"),
                session: reply_to,
                in_flight_max: 258,
                what: SessionIs::Here(From::Time(UnixMicros(9))),
            }),
            Hop::Word(Word {
                stream: 3,
                group: Group::default(),
                session: reply_to,
                in_flight_max: 0,
                what: SessionIs::Gone,
            }),
            Hop::Message(MessageHop {
                session: reply_to,
                feed,
                position: u64::MAX,
                sent: Monotonic(4),
                event: Event { payload: &[9; 1024], ..Event::new(Kind::Uplink, UnixMicros(4)) },
            }),
            Hop::Settled(Settled { feed, position: 1, verdict: Verdict::Refused }),
        ];
        let mut out = [0; HOP_BYTES_MAX];
        for hop in hops {
            let count = hop.write(&mut out);
            assert_eq!(Hop::parse(&out[..count]), Some(hop));
        }
        assert_eq!(Hop::parse(&[]), None);
        assert_eq!(Hop::parse(&[99]), None);
        assert_eq!(Hop::parse(&[4, 0]), None);
    }

    #[test]
    fn every_pair_has_its_ring() {
        let mut ports = fabric(3, 8192);
        for source in 0..3u8 {
            for target in 0..3 {
                let hop = Hop::Presence { shard: source, stream: target as u32, present: true };
                ports[usize::from(source)].send(target, &hop).expect("room");
            }
            assert_eq!(ports[usize::from(source)].take_touched(), 0b111 & !(1 << source));
        }
        let mut record = [0; base::ring::RECORD_BYTES_MAX];
        for (target, ports) in ports.iter_mut().enumerate() {
            for source in 0..3u8 {
                let count = ports.receive(usize::from(source), &mut record).expect("one record");
                let expected = Hop::Presence { shard: source, stream: target as u32, present: true };
                assert_eq!(Hop::parse(&record[..count]), Some(expected));
            }
            assert!(ports.quiet());
        }
    }

    #[test]
    fn a_full_ring_is_said() {
        let mut ports = fabric(2, 4100);
        let hop = Hop::Transmitted { transmission: 1, outcome: 0 };
        while ports[0].send(1, &hop).is_ok() {}
        assert_eq!(ports[0].send_each(0b11, &hop), 1);
    }
}
