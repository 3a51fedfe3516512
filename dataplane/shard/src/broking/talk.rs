//! What MQTT clients send: bytes gathered into packets, the first of which says whose they are.
//!
//! Works where the bytes lie; only the rest of an unfinished packet is put away, and looked at again once enough has come.

use super::{Brokering, OPEN_SPACE, Talk, broker_now, shard_of};
use crate::client::{Phase, Reading};
use crate::clients::{Clients, Context, Rooms};
use crate::metrics::Drop;
use base::Monotonic;
use broker::{Count, Identity, Link, Next};
use driver::Driver;
use mqtt::{Connect, Decoded, Decoder, Packet, Refusal, Role};
use wire::websocket::{CloseCode, Event, Message, MessageKind, Reader};

/// Room for what comes while a connection is not read any more: buffers that were filled already.
pub(crate) const LATE_BYTES: usize = 512 << 10;

/// The longest answer to a client that is not let in.
const CONNACK_BYTES_MAX: usize = 64;

/// What became of the bytes of one packet.
enum Step {
    /// So many bytes are done with.
    Done(usize),
    /// They stay, for later.
    Stays,
    /// Nothing more is read of this connection.
    Over,
}

impl Clients {
    /// Takes `rooms.plain[start..count]`.
    pub(crate) fn talk<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        (start, count): (usize, usize),
        talk: &mut Talk,
        rooms: &mut Rooms,
        context: &mut Context<'_>,
    ) {
        let Rooms { plain, message, packet, .. } = rooms;
        let fresh = match &mut talk.reader {
            None => &plain[start..count],
            Some(reader) => {
                let bytes = self.unframe(index, &mut plain[start..count], reader, message, context);
                &message[..bytes]
            }
        };
        let held = self.table[index].partial.len();
        if self.table[index].paused || held + fresh.len() < talk.needed as usize {
            return self.put_away(driver, index, fresh, context);
        }
        let bytes = if held == 0 {
            fresh
        } else if let Some(room) = packet.get_mut(..held + fresh.len()) {
            self.pool.pull(&mut self.table[index].partial, &mut room[..held]);
            room[held..].copy_from_slice(fresh);
            &*room
        } else {
            context.counters.drops.count(Drop::MessageTooLong);
            return self.abort(driver, index, context);
        };
        let done = self.packets(driver, index, bytes, talk, context);
        self.put_away(driver, index, &bytes[done..], context);
    }

    /// Reads what was put away, and what is not decrypted yet, after a pause or a move.
    pub(crate) fn go_on_reading<D: Driver>(&mut self, driver: &mut D, index: usize, context: &mut Context<'_>) {
        if !self.reads(index) || self.table[index].paused {
            return;
        }
        let mut rooms = self.rooms.take().expect("the rooms come back after every use");
        let held = self.table[index].incoming.len();
        let count = if held > 0 {
            self.pool.pull(&mut self.table[index].incoming, &mut rooms.cipher[..held]);
            self.decrypt(index, held, &mut rooms, context)
        } else {
            Some(0)
        };
        if let Some(count) = count {
            self.plaintext(driver, index, count, &mut rooms, context);
        }
        self.rooms = Some(rooms);
    }

    /// Takes frames of WebSocket apart; their payloads lie end to end in `out`, whatever frames they came in (v5 6.0).
    fn unframe(
        &mut self,
        index: usize,
        mut input: &mut [u8],
        reader: &mut Reader,
        out: &mut [u8],
        context: &mut Context<'_>,
    ) -> usize {
        let mut count = 0;
        while self.reads(index) {
            match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Start { kind: MessageKind::Binary, .. } | Event::End)) => {}
                Ok(Some(Event::Start { .. })) => {
                    context.counters.drops.count(Drop::FrameMalformed);
                    self.shut(index, CloseCode::UNSUPPORTED, "MQTT is binary", context);
                    self.drain(index, context);
                }
                Ok(Some(Event::Chunk(bytes))) => {
                    out[count..count + bytes.len()].copy_from_slice(bytes);
                    count += bytes.len();
                }
                Ok(Some(Event::Ping(payload))) => self.message(index, &Message::Ping(payload), context),
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(code, reason))) => self.message(index, &Message::Close(code, reason), context),
                Err(failure) => self.fail(index, failure, context),
            }
        }
        count
    }

    fn put_away<D: Driver>(&mut self, driver: &mut D, index: usize, rest: &[u8], context: &mut Context<'_>) {
        let client = &mut self.table[index];
        if matches!(client.phase, Phase::Open | Phase::Moving) && self.pool.push(&mut client.partial, &[rest]).is_err()
        {
            context.counters.drops.count(Drop::PoolExhausted);
            self.abort(driver, index, context);
        }
    }

    /// Takes packets off the front. Returns the count of bytes that are done with.
    fn packets<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        bytes: &[u8],
        talk: &mut Talk,
        context: &mut Context<'_>,
    ) -> usize {
        let mut at = 0;
        let (phase, paused) = (Phase::Open, false);
        talk.needed = 0;
        while at < bytes.len() && (self.table[index].phase, self.table[index].paused) == (phase, paused) {
            match self.step(driver, index, &bytes[at..], talk, context) {
                Step::Done(count) => at += count,
                Step::Stays => break,
                Step::Over => return bytes.len(),
            }
        }
        at
    }

    fn step<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        bytes: &[u8],
        talk: &mut Talk,
        context: &mut Context<'_>,
    ) -> Step {
        let now = broker_now(context);
        let (Some(slot), Some(version)) = (self.table[index].session, talk.version) else {
            return self.first(driver, index, bytes, talk, context);
        };
        let stepped = self.with_broker(driver, context, |brokering, host| {
            let packet_bytes_max = brokering.packet_bytes_max;
            match (Decoder { receiver: Role::Server, version, packet_bytes_max }).decode(bytes) {
                Ok(Decoded::Incomplete { needed }) => {
                    talk.needed = needed as u32;
                    Step::Stays
                }
                Ok(Decoded::Packet(packet, count)) => match brokering.broker.packet(host, slot, &packet, now) {
                    Next::Packet => Step::Done(count),
                    Next::Again => Step::Stays,
                    Next::Closed => Step::Over,
                },
                Err(failure) => {
                    brokering.broker.failed(host, slot, failure, now);
                    Step::Over
                }
            }
        });
        stepped.unwrap_or(Step::Over)
    }

    /// The packet that says who it is.
    fn first<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        bytes: &[u8],
        talk: &mut Talk,
        context: &mut Context<'_>,
    ) -> Step {
        let Some(Brokering { packet_bytes_max, key, .. }) = context.brokering.as_deref() else { return Step::Over };
        match mqtt::first(bytes, *packet_bytes_max) {
            Ok(Decoded::Incomplete { needed }) => {
                talk.needed = needed as u32;
                Step::Stays
            }
            Err(refusal) => {
                self.refused(index, &refusal, context);
                Step::Over
            }
            Ok(Decoded::Packet(connect, count)) => {
                let client_id = connect.client_id.as_str().as_bytes();
                let home = shard_of(key, OPEN_SPACE, client_id, self.shard_count);
                if home != self.own && !client_id.is_empty() {
                    if self.table[index].arrived {
                        // Both ends reckon alike: a connection that moves on and on is a defect of ours.
                        context.counters.drops.count(Drop::MoveRefused);
                        self.abort(driver, index, context);
                        return Step::Over;
                    }
                    self.move_away(index, home);
                    return Step::Stays;
                }
                self.let_in(driver, index, &connect, talk, context);
                Step::Done(count)
            }
        }
    }

    fn let_in<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        connect: &Connect<'_>,
        talk: &mut Talk,
        context: &mut Context<'_>,
    ) {
        let now = broker_now(context);
        talk.version = Some(connect.version);
        let identity = Identity { space: OPEN_SPACE, principal: 0, owner: 0, authentication_data: None };
        let slot = self.with_broker(driver, context, |brokering, host| {
            brokering.broker.connect(host, Link(index as u32), connect, identity, now)
        });
        let client = &mut self.table[index];
        client.session = slot.flatten().filter(|_| client.phase == Phase::Open);
        // From here on the broker's keep alive counts.
        client.deadline = if client.session.is_some() { Monotonic::NEVER } else { client.deadline };
    }

    /// It did not begin as it must.
    fn refused(&mut self, index: usize, refusal: &Refusal, context: &mut Context<'_>) {
        context.counters.broker.count(Count::Malformed);
        if let Some((version, connack)) = refusal.answer() {
            let mut out = [0; CONNACK_BYTES_MAX];
            let count =
                Packet::Connack(connack).write(version, &mut out).expect("room for a CONNACK without properties");
            self.answer_packet(index, &out[..count], context);
        }
        if self.table[index].web {
            self.queue_close(index, Some(CloseCode::NORMAL), "");
        }
        self.drain(index, context);
        self.table[index].linger = true;
    }

    fn answer_packet(&mut self, index: usize, packet: &[u8], context: &mut Context<'_>) {
        if self.table[index].web {
            self.answer_frame(index, wire::websocket::Opcode::Binary, true, packet, context);
        } else {
            self.answer(index, &[packet], context);
        }
    }

    /// Whether a listener of MQTT was sent something that is no HTTP: a CONNECT begins with 16, `GET` with a letter.
    pub(crate) fn is_mqtt(&self, index: usize, fresh: &[u8]) -> bool {
        let client = &self.table[index];
        let first = self.pool.front(&client.partial).first().or(fresh.first());
        client.broker && first.is_some_and(|byte| !byte.is_ascii_alphabetic())
    }

    /// It talks MQTT without WebSocket.
    pub(crate) fn begin_mqtt(&mut self, index: usize) {
        let client = &mut self.table[index];
        client.phase = Phase::Open;
        client.reading = Some(Reading::Mqtt(Talk::new(None)));
    }
}
