//! A connection on its way to the shard that its client identifier belongs to.
//!
//! Owns what travels: the socket, TLS, and every byte that was received and not used. The CONNECT is among them, and is read
//! again where it belongs. Nothing is sent meanwhile: what was queued leaves before.
//!
//! ```text
//!   CONNECT of another shard -> Moving: what is queued leaves -> detach -> Detached -> Moved ...queue... -> adopt -> Open
//! ```

use crate::broking::Talk;
use crate::client::{Client, Phase, Reading};
use crate::clients::{Clients, Context};
use crate::metrics::{Done, Drop};
use crate::tls::Tls;
use base::blocks::Queue;
use base::{Monotonic, UnixMicros};
use core::fmt;
use driver::{Connection, Detached, Driver};
use std::net::SocketAddr;

/// Connections that are taken in at one turn.
const ARRIVALS_PER_TURN_MAX: usize = 256;

/// What travels.
pub(crate) struct Moved {
    socket: Detached,
    tls: Option<Tls>,
    talk: Talk,
    /// Received and not decrypted.
    incoming: Box<[u8]>,
    /// Decrypted and not read.
    partial: Box<[u8]>,
    peer: SocketAddr,
    since: UnixMicros,
    deadline: Monotonic,
}

impl fmt::Debug for Moved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a connection of {}", self.peer)
    }
}

impl Clients {
    /// Gives a connection up to another shard, once what is queued has left.
    pub(crate) fn move_away(&mut self, index: usize, target: usize) {
        let client = &mut self.table[index];
        client.phase = Phase::Moving;
        client.target = target as u8;
        self.mark(index);
    }

    /// Puts what still comes with the rest.
    pub(crate) fn received_moving(&mut self, index: usize, bytes: &[u8], context: &mut Context<'_>) -> bool {
        let client = &mut self.table[index];
        let queue = if client.tls.is_some() { &mut client.incoming } else { &mut client.partial };
        let kept = self.pool.push(queue, &[bytes]).is_ok();
        if !kept {
            context.counters.drops.count(Drop::PoolExhausted);
        }
        kept
    }

    /// The driver has let go of it.
    pub(crate) fn detached(&mut self, connection: Connection, socket: Detached, context: &mut Context<'_>) {
        let Some(index) = self.find(connection) else { return };
        let client = &mut self.table[index];
        let Some(Reading::Mqtt(talk)) = client.reading.take() else { unreachable!("what moves talks MQTT") };
        let mut all = |queue: &mut Queue| {
            let mut bytes = vec![0; queue.len()].into_boxed_slice();
            self.pool.pull(queue, &mut bytes);
            bytes
        };
        let moved = Moved {
            socket,
            tls: client.tls.take(),
            talk,
            incoming: all(&mut client.incoming),
            partial: all(&mut client.partial),
            peer: client.peer,
            since: client.since,
            deadline: client.deadline,
        };
        let target = usize::from(client.target);
        self.vacate(index);
        if context.outgoing.ports.move_to(target, moved) {
            context.counters.done.count(Done::ConnectionsMoved);
        } else {
            context.counters.drops.count(Drop::MoveRefused);
        }
    }

    /// Takes in those that have come.
    pub(crate) fn take_arrivals<D: Driver>(&mut self, driver: &mut D, context: &mut Context<'_>) {
        for _ in 0..ARRIVALS_PER_TURN_MAX {
            let arrived = context.outgoing.ports.peers.as_ref().and_then(|peers| peers.arrived(self.own));
            let Some(moved) = arrived else { return };
            self.arrive(driver, moved, context);
        }
    }

    fn arrive<D: Driver>(&mut self, driver: &mut D, moved: Moved, context: &mut Context<'_>) {
        let Moved { socket, tls, talk, incoming, partial, peer, since, deadline } = moved;
        let Ok(connection) = driver.adopt(socket) else {
            context.counters.drops.count(Drop::ConnectionRefused);
            return;
        };
        let index = self.occupy(connection, context.now);
        let web = talk.reader.is_some();
        let client = &mut self.table[index];
        *client = Client {
            connection,
            phase: Phase::Open,
            secure: true,
            notified: tls.is_none(),
            tls,
            reading: Some(Reading::Mqtt(talk)),
            broker: true,
            web,
            arrived: true,
            peer,
            since,
            deadline,
            dirty: client.dirty,
            ..Client::default()
        };
        let kept = self.pool.push(&mut client.incoming, &[&incoming]).is_ok()
            && self.pool.push(&mut client.partial, &[&partial]).is_ok();
        if !kept || self.stopping {
            context.counters.drops.count(if kept { Drop::ConnectionRefused } else { Drop::PoolExhausted });
            self.abort(driver, index, context);
            return;
        }
        self.go_on_reading(driver, index, context);
    }
}
