//! What consumers send: TLS, the upgrade request, WebSocket messages, downlinks.
//!
//! Works in the shard's rooms; a connection keeps only the rest that is not yet a whole record, head or message. What a
//! peer does wrong is answered as its protocol says, counted by reason, and ends that connection alone.
//!
//! ```text
//!   received -> (kept ciphertext +) TLS -> plaintext -> head -> 101 / 4xx
//!                                                  \-> messages -> downlink -> Command
//! ```

use crate::broking::Talk;
use crate::client::{Phase, Reading};
use crate::clients::{Clients, Context, PAUSE_ABOVE_BYTES, Rooms, WORK_BYTES};
use crate::commands::{Asked, Refused};
use crate::control::FromShard;
use crate::group::{Begin, From, Group, MessageId};
use crate::hop::{ReplyHop, ReplyTo};
use crate::metrics::Drop;
use crate::streams::NONE;
use crate::tls::Outlet;
use base::UnixMicros;
use base::blocks::{Pool, Queue};
use driver::{Connection, Driver, Lease};
use plan::Delivery;
use sha2::{Digest, Sha256};
use wire::downlink::{self, Downlink};
use wire::http::{Head, Status, Upgrade, write_response};
use wire::websocket::{
    Assembler, CONTROL_FRAME_BYTES_MAX, CloseCode, Event, Failure, FrameHead, HEAD_BYTES_MAX, Lent, Limits, Message,
    MessageKind, Opcode, Reader, Role, write_control,
};

/// The longest token, decoded.
const TOKEN_BYTES_MAX: usize = 512;

/// The longest message that `/echo` sends back uncompressed.
const ECHO_BYTES_MAX: u64 = 64 << 20;

/// The subprotocol of MQTT over WebSocket (v5 6.0).
const MQTT: &str = "mqtt";

/// What a frame and a message may bring then: they mean nothing, packets do.
const MQTT_BYTES_MAX: u64 = 1 << 32;

/// Ciphertext that may wait for the rest of its record or handshake message.
const INCOMING_BYTES_MAX: usize = 48 << 10;

/// Where plaintext and handshake bytes of one batch go.
struct Batch<'a> {
    plain: &'a mut [u8],
    plain_count: usize,
    pool: &'a mut Pool,
    cipher: &'a mut Queue,
    /// A record's plaintext or an answer found no room.
    overflow: bool,
}

impl Outlet for Batch<'_> {
    fn plain(&mut self, bytes: &[u8]) {
        match self.plain.get_mut(self.plain_count..self.plain_count + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.plain_count += bytes.len();
            }
            None => self.overflow = true,
        }
    }

    fn cipher(&mut self, bytes: &[u8]) {
        self.overflow |= self.pool.push(self.cipher, &[bytes]).is_err();
    }
}

impl Clients {
    pub(crate) fn received<D: Driver>(
        &mut self,
        driver: &mut D,
        connection: Connection,
        lease: Lease,
        context: &mut Context<'_>,
    ) {
        let Some(index) = self.find(connection) else {
            driver.release(lease);
            return;
        };
        if self.table[index].phase == Phase::Moving {
            let kept = self.received_moving(index, driver.bytes(&lease), context);
            driver.release(lease);
            if !kept {
                self.abort(driver, index, context);
            }
            return;
        }
        if !matches!(self.table[index].phase, Phase::Head | Phase::Open | Phase::Leaving) {
            driver.release(lease);
            return;
        }
        let mut rooms = self.rooms.take().expect("the rooms come back after every use");
        let count = if self.table[index].tls.is_some() {
            let held = self.table[index].incoming.len();
            self.pool.pull(&mut self.table[index].incoming, &mut rooms.cipher[..held]);
            let bytes = driver.bytes(&lease);
            rooms.cipher[held..held + bytes.len()].copy_from_slice(bytes);
            let total = held + bytes.len();
            driver.release(lease);
            self.decrypt(index, total, &mut rooms, context)
        } else {
            let bytes = driver.bytes(&lease);
            let count = bytes.len();
            rooms.plain[..count].copy_from_slice(bytes);
            driver.release(lease);
            Some(count)
        };
        if let Some(count) = count {
            self.plaintext(driver, index, count, &mut rooms, context);
            // What came before its close_notify counts; WebSocket has no use for a connection that is half closed.
            if self.table[index].peer_closed && self.reads(index) {
                self.drain(index, context);
            }
        }
        self.rooms = Some(rooms);
    }

    /// Decrypts `total` bytes of ciphertext. Returns the count of plaintext bytes, or `None` if the connection is over.
    pub(crate) fn decrypt(
        &mut self,
        index: usize,
        total: usize,
        rooms: &mut Rooms,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let client = &mut self.table[index];
        let mut batch = Batch {
            plain: &mut rooms.plain,
            plain_count: 0,
            pool: &mut self.pool,
            cipher: &mut client.cipher,
            overflow: false,
        };
        let tls = client.tls.as_mut().expect("it has TLS");
        let progress = tls.receive(&mut rooms.cipher[..total], &mut rooms.flight, &mut batch);
        let (count, overflow) = (batch.plain_count, batch.overflow);
        client.secure |= progress.ready;
        let rest = &rooms.cipher[progress.consumed..total];
        let kept = rest.len() <= INCOMING_BYTES_MAX && self.pool.push(&mut client.incoming, &[rest]).is_ok();
        if client.has_output() {
            self.mark(index);
        }
        if progress.failed || overflow || !kept {
            context.counters.drops.count(if progress.failed { Drop::TlsFailed } else { Drop::PoolExhausted });
            // After an alert nothing is encrypted any more; and rustls may hold on to bytes that are not kept.
            let client = &mut self.table[index];
            (client.secure, client.notified) = (false, true);
            self.drain(index, context);
            return None;
        }
        if progress.peer_closed && count == 0 {
            self.drain(index, context);
            return None;
        }
        self.table[index].peer_closed = progress.peer_closed;
        Some(count)
    }

    pub(crate) fn plaintext<D: Driver>(
        &mut self,
        driver: &mut D,
        index: usize,
        count: usize,
        rooms: &mut Rooms,
        context: &mut Context<'_>,
    ) {
        let mut start = 0;
        let mut count = count;
        if self.table[index].phase == Phase::Head && self.is_mqtt(index, &rooms.plain[..count]) {
            self.begin_mqtt(index);
        }
        if self.table[index].phase == Phase::Head {
            let held = self.table[index].partial.len();
            if held > 0 {
                rooms.plain.copy_within(..count, held);
                self.pool.pull(&mut self.table[index].partial, &mut rooms.plain[..held]);
                count += held;
            }
            match self.head(index, &rooms.plain[..count], context) {
                HeadStep::More => {
                    if self.pool.push(&mut self.table[index].partial, &[&rooms.plain[..count]]).is_err() {
                        context.counters.drops.count(Drop::PoolExhausted);
                        self.abort(driver, index, context);
                    }
                    return;
                }
                HeadStep::Refused => return,
                HeadStep::Opened(consumed) => start = consumed,
            }
        }
        if self.reads(index) {
            match self.table[index].reading.take().expect("an open client reads") {
                Reading::Messages(mut assembler) => {
                    self.messages(index, start, count, &mut assembler, rooms, context);
                    self.table[index].reading = Some(Reading::Messages(assembler));
                }
                Reading::Mqtt(mut talk) => {
                    self.talk(driver, index, (start, count), &mut talk, rooms, context);
                    self.table[index].reading = Some(Reading::Mqtt(talk));
                }
                Reading::Echo(mut reader, mut opcode) => {
                    self.echo_chunks(index, &mut rooms.plain[start..count], &mut reader, &mut opcode, context);
                    self.table[index].reading = Some(Reading::Echo(reader, opcode));
                }
            }
        }
        let client = &mut self.table[index];
        // A listener is read from however much waits for it: else a slow one could not say that it is alive.
        if client.echo && client.plain.len() > PAUSE_ABOVE_BYTES && !client.paused && self.reads(index) {
            self.table[index].paused = true;
            driver.pause(self.table[index].connection);
        }
    }

    fn head(&mut self, index: usize, bytes: &[u8], context: &mut Context<'_>) -> HeadStep {
        let (head, consumed) = match Head::parse(bytes) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return HeadStep::More,
            Err(error) => {
                let too_long = error.status() == Status::HeadTooLarge;
                let reason = if too_long { Drop::HeadTooLong } else { Drop::HeadMalformed };
                return self.refuse(index, error.status(), reason, context);
            }
        };
        let mqtt = self.table[index].broker;
        let echo = !mqtt && self.echo && head.path() == "/echo";
        if !mqtt && !echo && head.path() != "/" {
            return self.refuse(index, Status::NotFound, Drop::HeadMalformed, context);
        }
        let upgrade = match Upgrade::check(&head) {
            Ok(upgrade) => upgrade,
            Err(refused) => return self.refuse(index, refused.status(), Drop::HeadMalformed, context),
        };
        if mqtt && !upgrade.offers(MQTT) {
            return self.refuse(index, Status::BadRequest, Drop::HeadMalformed, context);
        }
        let mut stream = NONE;
        let mut joins = None;
        let mut offer_deflate = echo;
        if !echo && !mqtt {
            let mut room = [0; TOKEN_BYTES_MAX];
            let token = match head.query("token", &mut room) {
                Ok(Some(token)) if !token.is_empty() => Some(token),
                Ok(_) => head.bearer(),
                Err(_) => return self.refuse(index, Status::BadRequest, Drop::HeadMalformed, context),
            };
            let Some(token) = token else {
                return self.refuse(index, Status::Unauthorized, Drop::TokenMissing, context);
            };
            let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
            let Some(found) = context.load.plan.stream_of_token(&hash) else {
                return self.refuse(index, Status::Unauthorized, Drop::TokenUnknown, context);
            };
            let plan = &context.load.plan.streams[found as usize];
            if context.load.streams[found as usize].session_count >= plan.connection_count_max {
                return self.refuse(index, Status::Unavailable, Drop::ConnectionLimit, context);
            }
            offer_deflate = plan.deflate;
            if let Delivery::Durable(durable) = plan.delivery {
                let Some((group, begin)) = group_of(&head) else {
                    return self.refuse(index, Status::BadRequest, Drop::HeadMalformed, context);
                };
                joins = Some((plan.id, group, begin, durable.in_flight_max));
                if let Begin::Message(id) = begin {
                    let Connection { index: place, generation } = self.table[index].connection;
                    let session = ReplyTo { shard: self.own as u8, index: place, generation };
                    if context.mailbox.offer(FromShard::Find { session, stream: plan.id, id }).is_err() {
                        return self.refuse(index, Status::Unavailable, Drop::FindRefused, context);
                    }
                }
            }
            self.table[index].token = hash;
            stream = found;
        }
        let deflate = if offer_deflate { upgrade.deflate() } else { None };
        let mut answer = [0; 1024];
        let written = upgrade.write(&wire::http::Answer { protocol: mqtt.then_some(MQTT), deflate }, &mut answer);
        let written = written.expect("room for the answer to an upgrade");
        let client = &mut self.table[index];
        if self.pool.push(&mut client.plain, &[&answer[..written]]).is_err() {
            return self.refuse(index, Status::Unavailable, Drop::PoolExhausted, context);
        }
        client.phase = Phase::Open;
        client.echo = echo;
        client.deflate = deflate;
        client.web = mqtt;
        client.reading = Some(if mqtt {
            let limits = Limits { frame_bytes_max: MQTT_BYTES_MAX, message_bytes_max: MQTT_BYTES_MAX };
            Reading::Mqtt(Talk::new(Some(Reader::new(Role::Server, limits, false))))
        } else if echo && deflate.is_none() {
            let limits = Limits { frame_bytes_max: ECHO_BYTES_MAX, message_bytes_max: ECHO_BYTES_MAX };
            Reading::Echo(Reader::new(Role::Server, limits, false), Opcode::Text)
        } else {
            let bytes_max = self.packed.len() as u64;
            let limits = Limits { frame_bytes_max: bytes_max, message_bytes_max: bytes_max };
            Reading::Messages(Assembler::new(Role::Server, limits, deflate.is_some()))
        });
        client.since = context.now.unix;
        if stream != NONE {
            self.join(index, stream, context);
        }
        if let Some((id, group, begin, in_flight_max)) = joins {
            self.attach(index, id, group, begin, in_flight_max);
        }
        if !mqtt {
            self.table[index].deadline = context.now.monotonic.after(self.ping_interval(index, context.load));
        }
        self.mark(index);
        HeadStep::Opened(consumed)
    }

    fn refuse(&mut self, index: usize, status: Status, reason: Drop, context: &mut Context<'_>) -> HeadStep {
        context.counters.drops.count(reason);
        let mut out = [0; wire::http::RESPONSE_BYTES_MAX];
        let written = write_response(status, &mut out).expect("room for any response");
        // Without queue memory the connection closes unanswered.
        let _answered = self.pool.push(&mut self.table[index].plain, &[&out[..written]]);
        self.drain(index, context);
        HeadStep::Refused
    }

    fn messages(
        &mut self,
        index: usize,
        start: usize,
        count: usize,
        assembler: &mut Assembler,
        rooms: &mut Rooms,
        context: &mut Context<'_>,
    ) {
        let held = assembler.held();
        self.pool.pull(&mut self.table[index].partial, &mut rooms.message[..held]);
        let Rooms { plain, message, inflated, inflater, .. } = rooms;
        let mut input = &mut plain[start..count];
        let mut lent = Lent { message: &mut message[..], inflate: Some((inflater, &mut inflated[..])) };
        while self.reads(index) {
            match assembler.next(&mut input, &mut lent) {
                Ok(None) => break,
                Ok(Some(message)) => self.message(index, &message, context),
                Err(failure) => self.fail(index, failure, context),
            }
        }
        let held = assembler.held();
        if self.reads(index) && held > 0 {
            let rest = &lent.message[..held];
            if self.pool.push(&mut self.table[index].partial, &[rest]).is_err() {
                context.counters.drops.count(Drop::PoolExhausted);
                self.shut(index, CloseCode::TRY_AGAIN_LATER, "out of memory for messages", context);
            }
        }
    }

    /// Sends frames back as they come.
    fn echo_chunks(
        &mut self,
        index: usize,
        mut input: &mut [u8],
        reader: &mut Reader,
        opcode: &mut Opcode,
        context: &mut Context<'_>,
    ) {
        while self.reads(index) {
            match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Start { kind, .. })) => {
                    *opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
                }
                Ok(Some(Event::Chunk(bytes))) => {
                    self.answer_frame(index, *opcode, false, bytes, context);
                    *opcode = Opcode::Continuation;
                }
                Ok(Some(Event::End)) => self.answer_frame(index, *opcode, true, &[], context),
                Ok(Some(Event::Ping(payload))) => self.message(index, &Message::Ping(payload), context),
                Ok(Some(Event::Pong(payload))) => self.message(index, &Message::Pong(payload), context),
                Ok(Some(Event::Close(code, reason))) => self.message(index, &Message::Close(code, reason), context),
                Err(failure) => self.fail(index, failure, context),
            }
        }
    }

    /// The peer broke the protocol: it is told how, and not listened to any more.
    pub(crate) fn fail(&mut self, index: usize, failure: Failure, context: &mut Context<'_>) {
        let too_big = matches!(failure, Failure::FrameTooBig | Failure::MessageTooBig);
        context.counters.drops.count(if too_big { Drop::MessageTooLong } else { Drop::FrameMalformed });
        self.shut(index, failure.close_code(), base::counters::Counted::name(failure), context);
        self.drain(index, context);
        self.table[index].linger = true;
    }

    pub(crate) fn message(&mut self, index: usize, message: &Message<'_>, context: &mut Context<'_>) {
        // Whatever comes shows that the peer is alive.
        self.table[index].pings = 0;
        match *message {
            Message::Ping(payload) if self.table[index].phase == Phase::Open => {
                let mut out = [0; CONTROL_FRAME_BYTES_MAX];
                let count = write_control(Opcode::Pong, payload, None, &mut out).expect("room for a pong");
                self.answer(index, &[&out[..count]], context);
            }
            Message::Close(code, _) => {
                self.queue_close(index, code, "");
                self.drain(index, context);
            }
            // We have said goodbye; only the answer to that counts.
            _ if self.table[index].phase == Phase::Leaving => {}
            Message::Pong(_) => {}
            Message::Text(text) if self.table[index].echo => self.echo(index, Opcode::Text, text.as_bytes(), context),
            Message::Binary(bytes) if self.table[index].echo => self.echo(index, Opcode::Binary, bytes, context),
            Message::Text(text) => self.downlink(index, text.as_bytes(), context),
            Message::Binary(bytes) => self.downlink(index, bytes, context),
            Message::Ping(_) => {}
        }
    }

    /// Whether what the peer sends still matters.
    pub(crate) fn reads(&self, index: usize) -> bool {
        matches!(self.table[index].phase, Phase::Open | Phase::Leaving)
    }

    fn downlink(&mut self, index: usize, json: &[u8], context: &mut Context<'_>) {
        match self.acknowledgement(index, json, context.counters) {
            Some(Ok(())) => return,
            Some(Err(refusal)) => {
                return self.answer_json(index, context, |out| downlink::write_refused(refusal, None, out));
            }
            None => {}
        }
        let mut scratch = downlink::Scratch::default();
        match Downlink::parse(json, &mut scratch) {
            Err(refusal) => {
                context.counters.drops.count(Drop::DownlinkMalformed);
                let mut scratch = downlink::Scratch::default();
                let id = downlink::id_of(json, &mut scratch);
                self.answer_json(index, context, |out| downlink::write_refused(refusal, id, out));
            }
            Ok(downlink) => {
                let client = &self.table[index];
                let stream = context.load.streams[client.stream as usize].id;
                let asked = Asked {
                    index: client.connection.index,
                    generation: client.connection.generation,
                    stream,
                    dev_eui: downlink.dev_eui,
                    fport: downlink.port,
                    confirmed: downlink.confirmed,
                    expires: downlink.expires.map(|seconds| UnixMicros(seconds.saturating_mul(1_000_000))),
                    id: downlink.id.unwrap_or_default().as_bytes(),
                    payload: downlink.data,
                };
                let permitted = context.load.plan.streams[client.stream as usize].downlinks;
                let refused = if !permitted {
                    context.counters.drops.count(Drop::DownlinkNotPermitted);
                    Some(Refused::NotPermitted)
                } else if context.outgoing.send(&asked) {
                    None
                } else {
                    Some(Refused::Busy)
                };
                if let Some(refused) = refused {
                    self.answer_refused(index, refused, asked.id, context);
                }
            }
        }
    }

    /// The answer to a command has come back.
    pub(crate) fn reply(&mut self, reply: &ReplyHop<'_>, context: &mut Context<'_>) {
        let connection = Connection { index: reply.reply_to.index, generation: reply.reply_to.generation };
        let Some(index) = self.find(connection).filter(|index| self.table[*index].listens()) else { return };
        match Refused::from_wire(reply.outcome) {
            None => {
                let state = &mut context.load.streams[self.table[index].stream as usize];
                state.downlinks += 1;
                let id = core::str::from_utf8(reply.id).ok().filter(|id| !id.is_empty());
                self.answer_json(index, context, |out| {
                    downlink::write_accepted(reply.downlink, reply.dev_eui, id, out)
                });
            }
            Some(refused) => self.answer_refused(index, refused, reply.id, context),
        }
    }

    fn answer_refused(&mut self, index: usize, refused: Refused, id: &[u8], context: &mut Context<'_>) {
        let id = core::str::from_utf8(id).ok().filter(|id| !id.is_empty());
        let refusal = downlink::Refusal { field: refused.field(), problem: refused.name() };
        self.answer_json(index, context, |out| downlink::write_refused(refusal, id, out));
    }

    fn answer_json(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
        write: impl FnOnce(&mut [u8]) -> Result<usize, wire::NoRoom>,
    ) {
        let mut out = [0; downlink::ANSWER_BYTES_MAX];
        let count = write(&mut out).expect("room for any answer to a downlink");
        self.answer_frame(index, Opcode::Text, true, &out[..count], context);
    }

    pub(crate) fn answer_frame(
        &mut self,
        index: usize,
        opcode: Opcode,
        fin: bool,
        payload: &[u8],
        context: &mut Context<'_>,
    ) {
        let head = FrameHead { fin, ..FrameHead::message(opcode, payload.len()) };
        let mut head_bytes = [0; HEAD_BYTES_MAX];
        let head_count = head.write(&mut head_bytes).expect("room for any head");
        self.answer(index, &[&head_bytes[..head_count], payload], context);
    }

    /// Queues a whole frame that answers the peer. A peer that asks without reading is closed, not remembered.
    pub(crate) fn answer(&mut self, index: usize, frame: &[&[u8]], context: &mut Context<'_>) {
        const ANSWERS_BYTES_MAX: usize = 4 << 20;
        let client = &mut self.table[index];
        if client.phase != Phase::Open {
            // Nothing follows a close frame (RFC 6455 §5.5.1).
            return;
        }
        let bytes: usize = frame.iter().map(|part| part.len()).sum();
        let room = client.plain.len() + bytes <= ANSWERS_BYTES_MAX;
        if !room || self.pool.push(&mut client.plain, frame).is_err() {
            let reason = if room { Drop::PoolExhausted } else { Drop::QueueFull };
            context.counters.drops.count(reason);
            self.drain(index, context);
            return;
        }
        self.mark(index);
    }

    fn echo(&mut self, index: usize, opcode: Opcode, payload: &[u8], context: &mut Context<'_>) {
        let client = &mut self.table[index];
        let deflated = client.deflate.and_then(|deflate| {
            let count = self.deflater.deflate(payload, deflate.server_window_bits, &mut self.packed)?;
            Some(&self.packed[..count])
        });
        let body = deflated.unwrap_or(payload);
        let mut head = FrameHead::message(opcode, body.len());
        head.rsv1 = deflated.is_some();
        let mut head_bytes = [0; HEAD_BYTES_MAX];
        let head_count = head.write(&mut head_bytes).expect("room for any head");
        if self.pool.push(&mut client.plain, &[&head_bytes[..head_count], body]).is_err() {
            context.counters.drops.count(Drop::PoolExhausted);
            self.drain(index, context);
            return;
        }
        self.mark(index);
    }
}

/// Which group a request wants to join, and where it begins; nothing if that cannot be.
fn group_of(head: &Head<'_>) -> Option<(Group, Begin)> {
    let mut room = [0; TOKEN_BYTES_MAX];
    let group = match head.query("group", &mut room).ok()? {
        Some(name) => Group::new(name)?,
        None => Group::default(),
    };
    let begin = match head.query("from", &mut room).ok()? {
        None => Begin::At(From::Cursor),
        Some("earliest") => Begin::At(From::Earliest),
        Some("latest") => Begin::At(From::Latest),
        Some(text) => match MessageId::new(text) {
            Some(id) => Begin::Message(id),
            // Unix seconds, as messages say them.
            None => Begin::At(From::Time(UnixMicros(text.parse::<u64>().ok()?.checked_mul(1_000_000)?))),
        },
    };
    Some((group, begin))
}

/// What came of a request's bytes.
enum HeadStep {
    /// They are not a whole head yet.
    More,
    /// It was answered; the connection drains.
    Refused,
    /// The WebSocket is open; so many bytes were the head.
    Opened(usize),
}

const _: () = assert!(INCOMING_BYTES_MAX + (32 << 10) <= WORK_BYTES, "the rest and a buffer fit the room");
