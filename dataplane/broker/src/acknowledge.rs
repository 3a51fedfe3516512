//! PUBACK, PUBREC, PUBREL and PUBCOMP of a client: what is in flight moves on (v5 4.3, v3 4.3).

use crate::broker::Broker;
use crate::slab::NONE;
use crate::{Count, Host, Next, Now};
use mqtt::{Ack, AckKind, Qos, ReasonCode};

impl Broker {
    pub(crate) fn acknowledged<H: Host>(&mut self, host: &mut H, slot: u32, ack: &Ack<'_>, now: Now) -> Next {
        let id = ack.packet_id;
        if ack.kind == AckKind::Pubrel {
            self.released(host, slot, id);
            return Next::Packet;
        }
        let found = self.clients.deliveries.find(&self.clients.get(slot).flow, id);
        let Some(place) = found else {
            host.count(Count::AckUnknown);
            if ack.kind == AckKind::Pubrec && !ack.code.is_failure() {
                // So that the client can be done with it (v5 3.6.2.1).
                self.clients.acknowledge(host, slot, AckKind::Pubrel, id, ReasonCode::PacketIdentifierNotFound);
            }
            return Next::Packet;
        };
        let delivery = *self.clients.deliveries.get(place);
        match (ack.kind, delivery.qos) {
            (AckKind::Puback, Qos::AtLeastOnce) => self.done(host, slot, place, now),
            (AckKind::Pubrec, Qos::ExactlyOnce) if ack.code.is_failure() => self.done(host, slot, place, now),
            (AckKind::Pubrec, Qos::ExactlyOnce) => {
                let flow = &mut self.clients.get_mut(slot).flow;
                let mut own = *flow;
                if !delivery.is_released {
                    let message = self.clients.deliveries.release(&mut own, place);
                    self.clients.let_go.push(message);
                }
                if !delivery.is_sent {
                    self.clients.deliveries.set_sent(&mut own, place, id);
                }
                self.clients.get_mut(slot).flow = own;
                self.clients.acknowledge(host, slot, AckKind::Pubrel, id, ReasonCode::Success);
            }
            (AckKind::Pubcomp, Qos::ExactlyOnce) if delivery.is_released => self.done(host, slot, place, now),
            // Of another QoS, or out of turn.
            _ => return self.broken(host, slot, ReasonCode::ProtocolError, now),
        }
        Next::Packet
    }

    /// A delivery has come to its end, and another may begin.
    fn done<H: Host>(&mut self, host: &mut H, slot: u32, place: u32, now: Now) {
        let mut flow = self.clients.get(slot).flow;
        let message = self.clients.deliveries.remove(&mut flow, place);
        self.clients.get_mut(slot).flow = flow;
        if message != NONE {
            self.clients.let_go.push(message);
        }
        self.clients.pump(host, slot, &self.store, now);
    }
}
