//! A message on its way into connections: what its receivers share is written once, the rest set right for each.
//!
//! Owns the buffers for that, and uses them again. What follows the head lies where the message lies and is not copied here.
//!
//! ```text
//!   | head: one for each version and QoS, or the receiver's own | properties (v5) | payload |
//! ```

use crate::session::Connection;
use crate::store::View;
use crate::{Host, Limits};
use mqtt::{Alias, Delivery, Layout, Outgoing, PacketId, Qos, SubscriptionId, Version};

/// How one receiver gets a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) qos: Qos,
    /// Above QoS 0.
    pub(crate) packet_id: PacketId,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// The output has no room.
    Full,
    /// The client takes no packet of that size (v5 3.1.2.11.4).
    TooLarge,
}

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    layout: Option<Layout>,
}

#[derive(Debug, Default)]
pub(crate) struct Out {
    /// One for each version and QoS of the message at hand.
    heads: [Head; 6],
    own: Vec<u8>,
    identifiers: Vec<SubscriptionId>,
}

/// Writes a head into a buffer, which grows as needed.
fn write(view: &View<'_>, version: Version, outgoing: &Outgoing<'_>, buffer: &mut Vec<u8>) -> Option<Layout> {
    let bytes = view.message.head_bytes(version, outgoing);
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    view.message.write_head(version, outgoing, buffer).ok()
}

impl Out {
    /// Another message begins, or the same one with another expiry.
    pub(crate) fn begin(&mut self) {
        for head in &mut self.heads {
            head.layout = None;
        }
    }

    /// Sends a message to one receiver; of the message that [`Self::begin`] was called for.
    pub(crate) fn send<H: Host>(
        &mut self,
        host: &mut H,
        limits: &Limits,
        connection: &mut Connection,
        (view, expiry_s): (&View<'_>, Option<u32>),
        how: How,
        identifiers: impl Iterator<Item = u32>,
    ) -> Sent {
        let version = connection.version;
        let is_v5 = version == Version::V5;
        self.identifiers.clear();
        if is_v5 {
            self.identifiers.extend(identifiers.filter_map(SubscriptionId::new));
        }
        let outgoing = Outgoing {
            delivery: Delivery::with(how.qos, how.packet_id),
            dup: how.dup,
            retain: how.retain,
            alias: match &mut connection.outgoing {
                Some(aliases) => aliases.find(view.message.topic().as_bytes()),
                None => Alias::Topic,
            },
            expiry_s,
            subscription_ids: &self.identifiers,
        };
        let is_common = outgoing.alias == Alias::Topic && outgoing.subscription_ids.is_empty();
        let head = if is_common {
            let head = &mut self.heads[3 * usize::from(is_v5) + how.qos as usize];
            if head.layout.is_none() {
                head.layout = write(view, version, &outgoing, &mut head.bytes);
            }
            let Some(layout) = head.layout else { return Sent::TooLarge };
            layout.set_packet_id(&mut head.bytes, how.packet_id);
            layout.set_flags(&mut head.bytes, how.dup, how.retain);
            &head.bytes[..layout.bytes]
        } else {
            let Some(layout) = write(view, version, &outgoing, &mut self.own) else { return Sent::TooLarge };
            &self.own[..layout.bytes]
        };
        let properties = if is_v5 { view.properties } else { &[] };
        let payload = view.message.payload();
        let bytes = head.len() + properties.len() + payload.len();
        if bytes > connection.packet_bytes_max as usize {
            return Sent::TooLarge;
        }
        let waiting = host.waiting(connection.link);
        if waiting > 0 && waiting + bytes > limits.output_bytes_max
            || host.send(connection.link, &[head, properties, payload]).is_err()
        {
            return Sent::Full;
        }
        if let Some(aliases) = &mut connection.outgoing {
            aliases.told(outgoing.alias);
        }
        Sent::Yes
    }
}
