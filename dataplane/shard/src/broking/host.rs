//! What the broker asks of its shard, done with the shard's connections, rings and counters.

use super::Brokering;
use crate::client::{Phase, Reading};
use crate::clients::{Clients, Context};
use crate::metrics::Drop;
use broker::{Action, Count, Forwarded, Full, Happened, Link, Word};
use driver::Driver;
use mqtt::{Auth, ReasonCode};
use wire::websocket::{CloseCode, FrameHead, HEAD_BYTES_MAX, Opcode};

/// Room in a connection's queue for acknowledgements, beyond what messages may fill.
const ANSWERS_BYTES_MAX: usize = 256 << 10;

/// The shard, while a broker's call is under way.
pub(crate) struct Host<'h, 'c, D: Driver> {
    clients: &'h mut Clients,
    driver: &'h mut D,
    context: &'h mut Context<'c>,
    queue_bytes_max: usize,
    key: [u8; 16],
}

impl<'h, 'c, D: Driver> Host<'h, 'c, D> {
    pub(crate) const fn new(
        clients: &'h mut Clients,
        driver: &'h mut D,
        context: &'h mut Context<'c>,
        brokering: &Brokering,
    ) -> Self {
        let queue_bytes_max = brokering.output_bytes_max + ANSWERS_BYTES_MAX;
        Self { clients, driver, context, queue_bytes_max, key: brokering.key }
    }

    /// Bytes that wait of a peer.
    pub(crate) fn waiting_bytes(&self, source: usize) -> usize {
        self.context.outgoing.ports.peers.as_ref().map_or(0, |peers| peers.waiting_bytes(source))
    }

    /// The oldest record of a peer.
    pub(crate) fn receive(&mut self, source: usize, target: &mut [u8]) -> Option<usize> {
        self.context.outgoing.ports.peers.as_mut()?.receive(source, target)
    }

    pub(crate) fn drops(&self, what: Drop) {
        self.context.counters.drops.count(what);
    }
}

impl<D: Driver> broker::Host for Host<'_, '_, D> {
    fn send(&mut self, link: Link, pieces: &[&[u8]]) -> Result<(), Full> {
        let index = link.0 as usize;
        let client = &mut self.clients.table[index];
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = self.queue_bytes_max.saturating_sub(client.plain.len());
        if client.phase != Phase::Open || bytes + HEAD_BYTES_MAX > room {
            return Err(Full);
        }
        let pool = &mut self.clients.pool;
        if client.web {
            let mut head = [0; HEAD_BYTES_MAX];
            let count = FrameHead::message(Opcode::Binary, bytes).write(&mut head).expect("room for any head");
            // A head without its payload would end the connection: both have room, or neither is put.
            if !pool.has_room(&client.plain, count + bytes) {
                self.context.counters.drops.count(Drop::PoolExhausted);
                return Err(Full);
            }
            pool.push(&mut client.plain, &[&head[..count]]).map_err(|_| Full)?;
        }
        if pool.push(&mut client.plain, pieces).is_err() {
            self.context.counters.drops.count(Drop::PoolExhausted);
            return Err(Full);
        }
        self.clients.mark(index);
        Ok(())
    }

    fn waiting(&self, link: Link) -> usize {
        self.clients.table[link.0 as usize].plain.len()
    }

    fn close(&mut self, link: Link, code: ReasonCode) {
        let index = link.0 as usize;
        let client = &mut self.clients.table[index];
        client.session = None;
        // Who is told why reads that before a reset can eat it.
        client.linger = code.is_failure();
        if client.web {
            self.clients.queue_close(index, Some(CloseCode::NORMAL), "");
        }
        self.clients.drain(index, self.context);
    }

    fn pause(&mut self, link: Link) {
        let client = &mut self.clients.table[link.0 as usize];
        if client.phase == Phase::Open && !client.paused {
            client.paused = true;
            self.driver.pause(client.connection);
        }
    }

    fn resume(&mut self, link: Link) {
        let client = &mut self.clients.table[link.0 as usize];
        if client.phase == Phase::Open && client.paused {
            client.paused = false;
            self.driver.resume(client.connection);
            if let Some(Reading::Mqtt(talk)) = &mut client.reading {
                talk.needed = 0;
            }
            self.clients.resumed.push(link.0);
        }
    }

    fn forward(&mut self, shards: u64, message: &Forwarded<'_>) -> u64 {
        self.context.outgoing.ports.forward(shards, message)
    }

    fn tell(&mut self, shards: u64, word: &Word<'_>) -> u64 {
        self.context.outgoing.ports.tell(shards, word)
    }

    fn may(&self, _: u32, action: Action, topic: &[u8]) -> Result<(), ReasonCode> {
        // Listeners are open so far; what the broker says itself is not said by others.
        let reserved = action == Action::Publish && topic.first() == Some(&b'$');
        if reserved { Err(ReasonCode::NotAuthorized) } else { Ok(()) }
    }

    fn owns(&self, space: u32, client_id: &[u8]) -> bool {
        super::shard_of(&self.key, space, client_id, self.clients.shard_count) == self.clients.own
    }

    fn authenticate(&mut self, _: Link, _: u32, _: &Auth<'_>) -> Result<(), ReasonCode> {
        Err(ReasonCode::BadAuthenticationMethod)
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.driver.entropy(bytes);
    }

    fn count(&mut self, what: Count) {
        self.context.counters.broker.count(what);
    }

    /// Nobody listens to presence: it is of devices, and a client of an open listener is none. The broker counts it.
    fn happened(&mut self, _: Happened<'_>) {}
}
