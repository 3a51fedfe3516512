//! Links to the Semtech UDP gateways of one shard: who may speak, where downlinks go, what is under way.
//!
//! Owns a table of links by EUI, the rate limits per gateway and per source address, and for each link the few
//! PULL_RESPs whose TX_ACK is awaited. Never parses a datagram; the shard does that and calls here. Reserves everything
//! in [`Gateways::new`]. The protocol authenticates nobody, so the return path moves by PULL_DATA alone.
//!
//! ```text
//!   PUSH_DATA, TX_ACK -> heard      PULL_DATA -> pull (return path)      silence -> offline
//!   transmit(reference) -> token -> PULL_RESP ... TX_ACK -> tx_ack(token) -> reference
//! ```

use crate::index::Index;
use crate::slab::Slab;
use crate::timers::Timers;
use base::counters::Counters;
use base::mix::mix64;
use base::{Eui64, Monotonic, UnixMicros};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Bytes of a gateway's last report that are kept.
pub const STATUS_BYTES_MAX: usize = 512;

/// PULL_RESPs of one gateway whose TX_ACK is awaited; an older one is forgotten for a newer one, and its owner's own
/// timeout resolves it.
const PENDING_COUNT_MAX: usize = 16;

/// Source addresses whose rate is watched at once. A new one takes the place of another with the same hash.
const ADDRESS_COUNT: usize = 4096;

base::counted! {
    /// Why a gateway's datagram, or a transmission through it, was refused.
    pub enum Refused {
        Unknown = "unknown_gateway": "Nobody registered a gateway with that EUI.",
        GatewayRate = "gateway_rate": "The gateway sent more datagrams per second than permitted.",
        AddressRate = "address_rate": "The source address sent more datagrams per second than permitted.",
        TableFull = "table_full": "An unregistered gateway found the table full.",
        NoReturnPath = "no_return_path": "A transmission for a gateway that has sent no PULL_DATA, or is silent.",
        TokenUnknown = "token_unknown": "A TX_ACK with a token that no awaited PULL_RESP has.",
    }
}

/// Sizes, fixed at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Gateways, registered or not.
    pub gateway_count_max: usize,
}

/// What the operator permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whether a gateway that nobody registered may speak.
    pub accept_unknown: bool,
    /// Datagrams per second of one gateway.
    pub gateway_rate_max: u32,
    /// Datagrams per second of one source address.
    pub address_rate_max: u32,
    /// Silence after which a gateway is offline.
    pub silence: Duration,
}

/// One gateway. What every datagram of it touches comes first, and is one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Link {
    /// Its EUI.
    pub eui: Eui64,
    /// When it last said anything; 0 is never.
    pub last_seen: UnixMicros,
    heard_at: Monotonic,
    bucket: Bucket,
    /// Frames it reported.
    pub uplinks: u64,
    /// Its owner; 0 is the operator's, or nobody's.
    pub tenant: u32,
    /// Transmit ceiling, dBm EIRP.
    pub eirp_max_dbm: Option<u8>,
    /// Whether it has a return path and is not silent.
    pub online: bool,
    registered: bool,
    path: Option<Path>,
    /// PULL_RESPs it was sent.
    pub downlinks: u64,
    token: u16,
    pending: [Option<Pending>; PENDING_COUNT_MAX],
    status_bytes: u16,
    status: [u8; STATUS_BYTES_MAX],
}

const _: () = assert!(core::mem::offset_of!(Link, registered) < 64, "what every datagram touches is one cache line");

/// Where a gateway's PULL_RESPs go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// Source of its last PULL_DATA.
    pub address: SocketAddr,
    /// The gateway slot that received it.
    pub socket: u16,
    /// Whether it answers by TX_ACK (protocol version 2).
    pub acknowledges: bool,
}

/// A PULL_RESP to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sending {
    /// Where to.
    pub path: Path,
    /// Its token.
    pub token: [u8; 2],
    /// The gateway's ceiling, dBm EIRP.
    pub eirp_max_dbm: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    token: u16,
    reference: u64,
}

/// Tokens that flow in at a rate and are spent one per datagram; it holds one second's worth.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When it would be full again, as nanoseconds of the monotonic clock.
    full_at: u64,
}

impl Bucket {
    fn take(&mut self, rate: u32, now: Monotonic) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let cost = SECOND / u64::from(rate.max(1));
        let start = self.full_at.max(now.0);
        if start + cost > now.0 + SECOND {
            return false;
        }
        self.full_at = start + cost;
        true
    }
}

/// The links of one shard.
#[derive(Debug)]
pub struct Gateways {
    links: Slab<Link>,
    by_eui: Index,
    timers: Timers,
    addresses: Box<[(Option<u64>, Bucket)]>,
    counters: Counters<Refused>,
    online_count: usize,
    limits: Limits,
    seed: u64,
}

impl Link {
    /// The last report, JSON; empty if there was none, or it was too long to keep.
    #[must_use]
    pub fn status(&self) -> &[u8] {
        &self.status[..usize::from(self.status_bytes)]
    }

    /// Where downlinks go.
    #[must_use]
    pub const fn path(&self) -> Option<Path> {
        self.path
    }
}

impl Gateways {
    /// Reserves everything. `seed` should be random and secret; it only spreads hashes.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            links: Slab::new(limits.gateway_count_max),
            by_eui: Index::new(limits.gateway_count_max),
            timers: Timers::new(limits.gateway_count_max),
            addresses: vec![(None, Bucket::default()); ADDRESS_COUNT].into(),
            counters: Counters::default(),
            online_count: 0,
            limits,
            seed,
        }
    }

    /// What was refused.
    #[must_use]
    pub const fn counters(&self) -> &Counters<Refused> {
        &self.counters
    }

    /// Gateways known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Gateways online.
    #[must_use]
    pub const fn online_count(&self) -> usize {
        self.online_count
    }

    /// Registers a gateway, or changes it. Its link goes on. False if the table is full.
    #[must_use]
    pub fn upsert(&mut self, eui: Eui64, tenant: u32, eirp_max_dbm: Option<u8>) -> bool {
        let known = self.find(eui);
        if known.is_none() && self.links.room() == 0 {
            self.evict_unregistered();
        }
        let Some(place) = known.or_else(|| self.insert(eui)) else { return false };
        let link = &mut self.links[place];
        link.registered = true;
        link.tenant = tenant;
        link.eirp_max_dbm = eirp_max_dbm;
        true
    }

    /// Forgets a gateway. Says whether it was known.
    pub fn remove(&mut self, eui: Eui64) -> bool {
        let Some(place) = self.find(eui) else { return false };
        self.online_count -= usize::from(self.links[place].online);
        self.forget(place);
        true
    }

    /// The link of a gateway.
    #[must_use]
    pub fn link(&self, eui: Eui64) -> Option<&Link> {
        self.find(eui).map(|place| &self.links[place])
    }

    /// A PUSH_DATA or TX_ACK came: whether it may be taken.
    ///
    /// # Errors
    /// Why not; it was counted.
    pub fn heard(
        &mut self,
        eui: Eui64,
        source: SocketAddr,
        policy: &Policy,
        now: Monotonic,
        unix: UnixMicros,
    ) -> Result<&mut Link, Refused> {
        match self.admit(eui, source, policy, now, unix) {
            Ok(place) => Ok(&mut self.links[place]),
            Err(refused) => {
                self.counters.count(refused);
                Err(refused)
            }
        }
    }

    /// A PULL_DATA came: the return path is where it came from. True if the gateway was offline until now.
    ///
    /// # Errors
    /// Why it was not taken; it was counted.
    pub fn pull(
        &mut self,
        eui: Eui64,
        path: Path,
        policy: &Policy,
        now: Monotonic,
        unix: UnixMicros,
    ) -> Result<bool, Refused> {
        let link = self.heard(eui, path.address, policy, now, unix)?;
        link.path = Some(path);
        let news = !core::mem::replace(&mut link.online, true);
        if news {
            self.online_count += 1;
            let place = self.find(eui).expect("it was just heard");
            self.timers.set(place, now.after(policy.silence));
        }
        Ok(news)
    }

    /// Counts frames that a gateway reported.
    pub fn count_uplinks(&mut self, eui: Eui64, count: u64) {
        if let Some(place) = self.find(eui) {
            self.links[place].uplinks += count;
        }
    }

    /// Keeps a gateway's report, if it is short enough.
    pub fn report(&mut self, eui: Eui64, status: &[u8]) {
        if let Some(place) = self.find(eui) {
            let link = &mut self.links[place];
            link.status_bytes = 0;
            if let Some(room) = link.status.get_mut(..status.len()) {
                room.copy_from_slice(status);
                link.status_bytes = status.len() as u16;
            }
        }
    }

    /// Begins a PULL_RESP through a gateway. `reference` comes back by [`Gateways::tx_ack`] with the same token.
    ///
    /// # Errors
    /// [`Refused::NoReturnPath`]; it was counted.
    pub fn transmit(&mut self, eui: Eui64, reference: u64) -> Result<Sending, Refused> {
        let seed = self.seed;
        let link = self.find(eui).map(|place| &mut self.links[place]).filter(|link| link.online);
        let Some((link, path)) = link.and_then(|link| link.path.map(|path| (link, path))) else {
            self.counters.count(Refused::NoReturnPath);
            return Err(Refused::NoReturnPath);
        };
        link.downlinks += 1;
        // Not guessable from outside, so that a forged TX_ACK rarely hits; unique among those that are awaited.
        link.token = loop {
            let token = mix64(seed ^ u64::from(link.token) ^ link.downlinks << 16) as u16;
            if link.pending.iter().flatten().all(|pending| pending.token != token) {
                break token;
            }
            link.downlinks += 1;
        };
        if path.acknowledges {
            link.pending.rotate_right(1);
            link.pending[0] = Some(Pending { token: link.token, reference });
        }
        Ok(Sending { path, token: link.token.to_be_bytes(), eirp_max_dbm: link.eirp_max_dbm })
    }

    /// A TX_ACK came with this token: what was being sent. Each answer counts once.
    ///
    /// # Errors
    /// [`Refused::TokenUnknown`]; it was counted.
    pub fn tx_ack(&mut self, eui: Eui64, token: [u8; 2]) -> Result<u64, Refused> {
        let token = u16::from_be_bytes(token);
        let awaited = self.find(eui).and_then(|place| {
            let slot = self.links[place].pending.iter_mut().find(|slot| slot.is_some_and(|it| it.token == token))?;
            slot.take()
        });
        match awaited {
            Some(pending) => Ok(pending.reference),
            None => {
                self.counters.count(Refused::TokenUnknown);
                Err(Refused::TokenUnknown)
            }
        }
    }

    /// When [`Gateways::expire`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.timers.deadline()
    }

    /// The next gateway that has been silent for too long; it is offline now. `None` when there is no more.
    pub fn expire(&mut self, policy: &Policy, now: Monotonic) -> Option<&Link> {
        loop {
            let place = self.timers.pop(now)?;
            let link = &mut self.links[place];
            let due = link.heard_at.after(policy.silence);
            if due > now {
                self.timers.set(place, due);
                continue;
            }
            let news = core::mem::replace(&mut link.online, false);
            link.path = None;
            self.online_count -= usize::from(news);
            if !link.registered {
                // What nobody registered leaves its place to others once it is gone; the copy in the slab stays readable.
                self.forget(place);
            }
            if news {
                return Some(&self.links[place]);
            }
        }
    }

    fn admit(
        &mut self,
        eui: Eui64,
        source: SocketAddr,
        policy: &Policy,
        now: Monotonic,
        unix: UnixMicros,
    ) -> Result<u32, Refused> {
        if !self.address_may(source.ip(), policy.address_rate_max, now) {
            return Err(Refused::AddressRate);
        }
        let place = match self.find(eui) {
            Some(place) => place,
            None if policy.accept_unknown => {
                let place = self.insert(eui).ok_or(Refused::TableFull)?;
                // Without a PULL_DATA it never comes online, but its place is given back all the same.
                self.timers.set(place, now.after(policy.silence));
                place
            }
            None => return Err(Refused::Unknown),
        };
        let link = &mut self.links[place];
        if !link.registered && !policy.accept_unknown {
            return Err(Refused::Unknown);
        }
        if !link.bucket.take(policy.gateway_rate_max, now) {
            return Err(Refused::GatewayRate);
        }
        link.last_seen = unix;
        link.heard_at = now;
        Ok(place)
    }

    /// Gives a place back.
    fn forget(&mut self, place: u32) {
        self.timers.cancel(place);
        let (links, seed) = (&self.links, self.seed);
        self.by_eui.remove(hash(seed, links[place].eui), place, |other| hash(seed, links[other].eui));
        self.links.remove(place);
    }

    /// Strangers never keep out a gateway that the operator names. Looks through the whole table, which only a change of
    /// configuration may cost.
    fn evict_unregistered(&mut self) {
        let strangers = (0..self.links.used()).filter(|place| !self.links[*place].registered);
        // A freed place keeps its old link, which the index no longer finds.
        let stranger = strangers.into_iter().find(|place| self.find(self.links[*place].eui) == Some(*place));
        if let Some(place) = stranger {
            self.online_count -= usize::from(self.links[place].online);
            self.forget(place);
        }
    }

    fn address_may(&mut self, address: IpAddr, rate: u32, now: Monotonic) -> bool {
        let bits = match address {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            // A network of the usual size is one source: within it addresses cost nothing.
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ u64::from(v6.to_ipv4_mapped().map_or(0, |v4| v4.to_bits())),
        };
        let slot = mix64(self.seed ^ bits) as usize % ADDRESS_COUNT;
        let (holder, bucket) = &mut self.addresses[slot];
        if *holder != Some(bits) {
            *holder = Some(bits);
            *bucket = Bucket::default();
        }
        bucket.take(rate, now)
    }

    fn find(&self, eui: Eui64) -> Option<u32> {
        self.by_eui.find(hash(self.seed, eui)).find(|place| self.links[*place].eui == eui)
    }

    fn insert(&mut self, eui: Eui64) -> Option<u32> {
        if self.links.len() == self.limits.gateway_count_max {
            return None;
        }
        let place = self.links.insert(Link {
            eui,
            tenant: 0,
            eirp_max_dbm: None,
            online: false,
            last_seen: UnixMicros(0),
            uplinks: 0,
            downlinks: 0,
            registered: false,
            path: None,
            heard_at: Monotonic(0),
            bucket: Bucket::default(),
            token: 0,
            pending: [None; PENDING_COUNT_MAX],
            status: [0; STATUS_BYTES_MAX],
            status_bytes: 0,
        })?;
        self.by_eui.insert(hash(self.seed, eui), place);
        Some(place)
    }
}

fn hash(seed: u64, eui: Eui64) -> u64 {
    mix64(seed ^ eui.to_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EUI: Eui64 = Eui64::new(0x0016_C001_FF00_0001);
    const POLICY: Policy = Policy {
        accept_unknown: false,
        gateway_rate_max: 10,
        address_rate_max: 1000,
        silence: Duration::from_secs(90),
    };

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn path(port: u16) -> Path {
        Path { address: address(port), socket: 3, acknowledges: true }
    }

    fn gateways() -> Gateways {
        let mut gateways = Gateways::new(Limits { gateway_count_max: 4 }, 1);
        assert!(gateways.upsert(EUI, 7, Some(14)));
        gateways
    }

    const fn second(at: u64) -> Monotonic {
        Monotonic(at * 1_000_000_000)
    }

    #[test]
    fn only_pull_data_moves_the_return_path() {
        let mut gateways = gateways();
        let unix = UnixMicros(5);
        assert_eq!(gateways.transmit(EUI, 1), Err(Refused::NoReturnPath));
        assert_eq!(gateways.pull(EUI, path(1), &POLICY, second(1), unix), Ok(true));
        gateways.heard(EUI, address(2), &POLICY, second(2), unix).expect("admitted");
        assert_eq!(gateways.transmit(EUI, 1).expect("a path").path, path(1));
        assert_eq!(gateways.pull(EUI, path(3), &POLICY, second(3), unix), Ok(false));
        assert_eq!(gateways.transmit(EUI, 1).expect("a path").path, path(3));
    }

    #[test]
    fn a_token_names_one_transmission_once() {
        let mut gateways = gateways();
        assert_eq!(gateways.pull(EUI, path(1), &POLICY, second(1), UnixMicros(5)), Ok(true));
        let tokens: Vec<_> = (0..20u64).map(|n| (n, gateways.transmit(EUI, n).expect("a path").token)).collect();
        for (reference, token) in &tokens {
            let expected = if *reference < 4 { Err(Refused::TokenUnknown) } else { Ok(*reference) };
            assert_eq!(gateways.tx_ack(EUI, *token), expected, "{reference}");
            assert_eq!(gateways.tx_ack(EUI, *token), Err(Refused::TokenUnknown));
        }
    }

    #[test]
    fn silence_takes_a_gateway_offline_and_registered_ones_stay() {
        let mut gateways = gateways();
        let open = Policy { accept_unknown: true, ..POLICY };
        let other = Eui64::new(9);
        assert_eq!(gateways.pull(EUI, path(1), &open, second(1), UnixMicros(5)), Ok(true));
        assert_eq!(gateways.pull(other, path(2), &open, second(1), UnixMicros(5)), Ok(true));
        gateways.heard(EUI, address(1), &open, second(60), UnixMicros(6)).expect("admitted");
        assert_eq!(gateways.expire(&open, second(91)).map(|link| link.eui), Some(other));
        assert!(gateways.expire(&open, second(91)).is_none());
        assert_eq!((gateways.count(), gateways.online_count()), (1, 1));
        assert_eq!(gateways.expire(&open, second(150)).map(|link| link.eui), Some(EUI));
        assert_eq!((gateways.count(), gateways.online_count(), gateways.deadline()), (1, 0, Monotonic::NEVER));
        assert_eq!(gateways.transmit(EUI, 1), Err(Refused::NoReturnPath));
        assert!(gateways.remove(EUI) && !gateways.remove(EUI));
    }

    #[test]
    fn strangers_do_not_keep_the_table() {
        let mut gateways = gateways();
        let open = Policy { accept_unknown: true, ..POLICY };
        for number in 1..=3 {
            gateways.heard(Eui64::new(number), address(1), &open, second(1), UnixMicros(0)).expect("room");
        }
        assert_eq!(gateways.pull(Eui64::new(2), path(1), &open, second(1), UnixMicros(0)), Ok(true));
        let named = Eui64::new(77);
        assert!(gateways.upsert(named, 1, None), "in a stranger's place");
        assert_eq!(gateways.count(), 4);
        // Those that only pushed leave without a word; the one that pulled is announced.
        assert_eq!(gateways.expire(&open, second(100)).map(|link| link.eui), Some(Eui64::new(2)));
        assert!(gateways.expire(&open, second(100)).is_none());
        assert_eq!((gateways.count(), gateways.online_count(), gateways.deadline()), (2, 0, Monotonic::NEVER));
        assert!(gateways.link(named).is_some() && gateways.link(EUI).is_some());
        for number in 80..82 {
            assert!(gateways.upsert(Eui64::new(number), 1, None));
        }
        assert!(!gateways.upsert(Eui64::new(99), 1, None), "no stranger is left");
    }

    #[test]
    fn every_refusal_is_counted() {
        use base::counters::Counted;
        let mut gateways = gateways();
        let unix = UnixMicros(0);
        let stranger = Eui64::new(1);
        assert_eq!(gateways.heard(stranger, address(1), &POLICY, second(1), unix).err(), Some(Refused::Unknown));
        let mut taken = 0;
        while gateways.heard(EUI, address(1), &POLICY, second(2), unix).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 10, "one second's worth");
        gateways.heard(EUI, address(1), &POLICY, second(3), unix).expect("a second later it may again");
        let narrow = Policy { address_rate_max: 1, ..POLICY };
        assert_eq!(gateways.heard(EUI, address(1), &narrow, second(3), unix).err(), Some(Refused::AddressRate));
        let open = Policy { accept_unknown: true, ..POLICY };
        let full = (2..9).find_map(|n| gateways.heard(Eui64::new(n), address(1), &open, second(9), unix).err());
        assert_eq!(full, Some(Refused::TableFull));
        assert_eq!(gateways.transmit(stranger, 0), Err(Refused::NoReturnPath));
        assert_eq!(gateways.tx_ack(stranger, [0, 0]), Err(Refused::TokenUnknown));
        for refused in Refused::ALL {
            assert!(gateways.counters().value(*refused) > 0, "{}", refused.name());
        }
    }

    #[test]
    fn keeps_a_report_that_fits() {
        let mut gateways = gateways();
        gateways.report(EUI, b"{\"rxnb\":2}");
        assert_eq!(gateways.link(EUI).expect("registered").status(), b"{\"rxnb\":2}");
        gateways.report(EUI, &[b' '; STATUS_BYTES_MAX + 1]);
        assert_eq!(gateways.link(EUI).expect("registered").status(), b"");
    }
}
