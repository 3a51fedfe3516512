//! How connections and sessions end: by a word, without one, when their time is over (3.14, v5 4.1, v3 3.1.2.5).

use crate::broker::Broker;
use crate::session::{Pause, after_s};
use crate::{Count, End, Happened, Host, Next, Now, Slot, Word};
use base::Monotonic;
use mqtt::{Auth, Disconnect, ReasonCode};

/// Subscriptions that are ended at a time.
const STEP: usize = 1024;

impl Broker {
    /// DISCONNECT of a client.
    pub(crate) fn disconnect<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        disconnect: &Disconnect<'_>,
        now: Now,
    ) -> Next {
        let expiry_s_max = self.limits.session_expiry_s_max;
        let session = self.clients.get_mut(slot);
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval_s() {
            // v5 3.14.2.2.2.
            if session.connection().expiry_was_zero && expiry_s != 0 {
                return self.broken(host, slot, ReasonCode::ProtocolError, now);
            }
            session.expiry_s = expiry_s.min(expiry_s_max);
        }
        let link = session.connection().link;
        self.end(host, slot, End::Client(disconnect.code), now);
        host.close(link, ReasonCode::Success);
        Next::Closed
    }

    /// AUTH of a client: the method is the one of its CONNECT (v5 4.12).
    pub(crate) fn authenticate<H: Host>(&mut self, host: &mut H, slot: u32, auth: &Auth<'_>, now: Now) -> Next {
        let session = self.clients.get(slot);
        let connection = session.connection();
        let Some(method) = &connection.method else {
            return self.broken(host, slot, ReasonCode::BadAuthenticationMethod, now);
        };
        if auth.properties.authentication_method().is_none_or(|own| own.as_bytes() != &**method) {
            return self.broken(host, slot, ReasonCode::ProtocolError, now);
        }
        match host.authenticate(connection.link, session.principal, auth) {
            Ok(()) => Next::Packet,
            Err(code) => {
                self.cut(host, slot, code, now);
                Next::Closed
            }
        }
    }

    /// A connection is no more; its session may be.
    pub(crate) fn end<H: Host>(&mut self, host: &mut H, slot: u32, end: End, now: Now) {
        let session = self.clients.get_mut(slot);
        let mut connection = session.connection.take().expect("a connection that was neither closed nor lost");
        connection.incoming.clear(&mut self.store);
        let session = self.clients.get(slot);
        host.happened(Happened::Disconnected {
            slot: Slot(slot),
            space: session.space,
            principal: session.principal,
            client_id: &session.client_id,
            end,
        });
        self.close_walks(slot);
        let session = self.clients.get_mut(slot);
        if end == End::Client(ReasonCode::Success)
            && let Some(will) = session.will.take()
        {
            // v5 3.14.4, v3 3.14.4.
            self.store.release(will.message);
        }
        let session = self.clients.get_mut(slot);
        if session.expiry_s == 0 {
            self.forget(host, slot, now);
            return;
        }
        session.expires = after_s(now.monotonic, session.expiry_s);
        if let Some(will) = &session.will {
            session.will_at = after_s(now.monotonic, will.delay_s);
            if will.delay_s == 0 {
                self.will_is_due(slot, now);
            }
        }
        self.clients.arm(slot);
        self.say_online(host, slot, false);
    }

    /// Something of a session is due.
    pub(crate) fn expired<H: Host>(&mut self, host: &mut H, slot: u32, now: Now) {
        let session = self.clients.get_mut(slot);
        if let Some(connection) = &mut session.connection {
            if connection.pauses & (Pause::Ring as u8 | Pause::Memory as u8) != 0 {
                // Who is not read cannot be heard.
                connection.heard = now.monotonic;
                self.clients.arm(slot);
                return;
            }
            // v5 3.1.2.10, v3 3.1.2.10.
            host.count(Count::KeepAlive);
            self.cut(host, slot, ReasonCode::KeepAliveTimeout, now);
            return;
        }
        if session.expires <= now.monotonic {
            host.count(Count::SessionExpired);
            self.forget(host, slot, now);
            return;
        }
        self.will_is_due(slot, now);
        self.clients.arm(slot);
    }

    /// The will of a session is to be published; its message expires that long after now (v5 3.1.3.2.4).
    fn will_is_due(&mut self, slot: u32, now: Now) {
        let session = self.clients.get_mut(slot);
        session.will_at = Monotonic::NEVER;
        if let Some(will) = session.will.take() {
            if let Some(expiry_s) = will.expiry_s {
                self.store.set_expires(will.message, after_s(now.monotonic, expiry_s));
            }
            self.wills.push_back(will.message);
        }
    }

    /// Forgets a session: its subscriptions, what was on its way to it, and itself. A will that was kept is published: the
    /// session's end does not wait for its delay (v5 3.1.2.5).
    pub(crate) fn forget<H: Host>(&mut self, host: &mut H, slot: u32, now: Now) {
        self.will_is_due(slot, now);
        self.close_walks(slot);
        let Self { subscriptions, hops, .. } = self;
        let mut ended = |held: topics::Held<'_>| {
            if held.was_last {
                hops.not_interested(host, held.space, held.filter);
            }
        };
        while !subscriptions.remove_session(slot, STEP, &mut ended) {}
        self.leave_groups(host, slot);
        let session = self.clients.get(slot);
        if session.stands_for.is_none() {
            host.happened(Happened::Forgotten { space: session.space, client_id: &session.client_id });
        }
        self.clients.remove(slot);
    }

    /// Tells shards that keep groups of a session whether its client is there.
    pub(crate) fn say_online<H: Host>(&mut self, host: &mut H, slot: u32, online: bool) {
        let shards = self.shards_of_groups(slot);
        if shards != 0 {
            let member = self.member(slot);
            self.hops.say(host, shards, &Word::Online { member, online });
        }
    }
}
