//! The broker's doors: what a shard calls, each for one thing that has happened.

use crate::{End, Forwarded, Happened, Host, Identity, Limits, Link, Lost, Next, Now, Slot, Taken, Word};
use base::Monotonic;
use mqtt::{Connack, Connect, Failure, Packet, Properties, ReasonCode, Version};

#[derive(Clone, Copy, Debug)]
struct Session {
    link: Link,
    version: Version,
    identity: (u32, u32),
}

/// The broker of one shard.
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    sessions: Vec<Option<Session>>,
}

impl Broker {
    /// A broker without sessions, on shard `shard` of `shard_count`. `key` is of the hashes, told to nobody.
    ///
    /// # Panics
    /// If a limit is beyond what numbers hold, or there are more than 64 shards.
    #[must_use]
    pub fn new(limits: Limits, key: [u8; 16], shard: u8, shard_count: u8) -> Self {
        assert!(shard < shard_count && shard_count <= 64, "shards are a bit each");
        let _ = key;
        Self { limits, sessions: Vec::new() }
    }

    /// A client that the host let in: answers its CONNACK. `None`: it was refused, with the CONNACK that says why, and its
    /// connection closed.
    pub fn connect<H: Host>(
        &mut self,
        host: &mut H,
        link: Link,
        connect: &Connect<'_>,
        identity: Identity<'_>,
        now: Now,
    ) -> Option<Slot> {
        let _ = now;
        let slot = Slot(self.sessions.len() as u32);
        if self.sessions.len() >= self.limits.session_count_max {
            host.close(link, ReasonCode::QuotaExceeded);
            return None;
        }
        let version = connect.version;
        self.sessions.push(Some(Session { link, version, identity: (identity.space, identity.principal) }));
        let mut out = [0; 64];
        let bytes = Connack::accepted(false, Properties::NONE).write(version, &mut out).ok()?;
        host.send(link, &[&out[..bytes]]).ok()?;
        Some(slot)
    }

    /// A packet after CONNECT.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn packet<H: Host>(&mut self, host: &mut H, slot: Slot, packet: &Packet<'_>, now: Now) -> Next {
        let session = self.sessions[slot.0 as usize].expect("a session of the host");
        match packet {
            Packet::Pingreq => {
                let mut out = [0; 2];
                if Packet::Pingresp.write(session.version, &mut out).is_ok() && host.send(session.link, &[&out]).is_ok()
                {
                    return Next::Packet;
                }
                Next::Closed
            }
            Packet::Disconnect(disconnect) => {
                self.gone(host, slot, End::Client(disconnect.code), now);
                host.close(session.link, ReasonCode::Success);
                Next::Closed
            }
            _ => Next::Packet,
        }
    }

    /// A connection is gone.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn lost<H: Host>(&mut self, host: &mut H, slot: Slot, why: Lost, now: Now) {
        self.gone(host, slot, End::Lost(why), now);
    }

    /// What a client sent is no packet: it is told why, and its connection closed.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn failed<H: Host>(&mut self, host: &mut H, slot: Slot, failure: Failure, now: Now) {
        self.dismiss(host, slot, failure.reason_code(), now);
    }

    /// Ends a connection: with 5.0 a DISCONNECT says why.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn dismiss<H: Host>(&mut self, host: &mut H, slot: Slot, code: ReasonCode, now: Now) {
        let link = self.sessions[slot.0 as usize].expect("a session of the host").link;
        self.gone(host, slot, End::Broker(code), now);
        host.close(link, code);
    }

    /// The output of a connection has drained: goes on with what waits for it.
    ///
    /// # Panics
    /// If the slot is not the host's to name.
    pub fn writable<H: Host>(&mut self, host: &mut H, slot: Slot, now: Now) {
        let _ = (host, slot, now);
    }

    /// A message of another shard.
    pub fn forwarded<H: Host>(&mut self, host: &mut H, message: &Forwarded<'_>, now: Now) -> Taken {
        let _ = (host, message, now);
        Taken::Yes
    }

    /// A word of another shard.
    pub fn word<H: Host>(&mut self, host: &mut H, word: &Word<'_>, now: Now) {
        let _ = (host, word, now);
    }

    /// Whether something waits for a turn: a ring that was full, retained messages that are looked through.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        false
    }

    /// Goes on with what waits for a turn; once a turn while [`Self::is_waiting`].
    pub fn turn<H: Host>(&mut self, host: &mut H, now: Now) {
        let _ = (host, now);
    }

    /// When [`Self::expire`] is to be called next.
    #[must_use]
    pub const fn deadline(&self) -> Monotonic {
        Monotonic::NEVER
    }

    /// Does what is due: keep alive, wills, sessions, retained messages.
    pub fn expire<H: Host>(&mut self, host: &mut H, now: Now) {
        let _ = (host, now);
    }

    fn gone<H: Host>(&mut self, host: &mut H, slot: Slot, end: End, _now: Now) {
        let session = self.sessions[slot.0 as usize].take().expect("a session of the host");
        let (space, principal) = session.identity;
        host.happened(Happened::Disconnected { slot, space, principal, client_id: b"", end });
    }
}
