//! SUBSCRIBE and UNSUBSCRIBE: each filter has its answer, and retained messages follow the answer (3.8 to 3.11).

use crate::broker::Broker;
use crate::{Action, Count, Host, Next, Now};
use mqtt::{
    Codes, Packet, Place, ReasonCode, RetainHandling, Role, Suback, Subscribe, Subscription, Unsuback, Unsubscribe,
    Version,
};
use topics::{Options, Refused};

/// What a subscription did.
struct Granted {
    code: ReasonCode,
    /// Retained messages follow.
    is_retained_wanted: bool,
}

impl Broker {
    pub(crate) fn subscribe<H: Host>(&mut self, host: &mut H, slot: u32, subscribe: &Subscribe<'_>, now: Now) -> Next {
        let identifier = subscribe.properties.subscription_identifier().map_or(0, |id| id.get());
        let mut codes = core::mem::take(&mut self.codes);
        codes.clear();
        let mut walk_count = 0;
        for subscription in subscribe.subscriptions.iter() {
            let options = Options {
                qos: subscription.qos as u8,
                no_local: subscription.no_local,
                retain_as_published: subscription.retain_as_published,
                retain_handling: subscription.retain_handling as u8,
                identifier,
            };
            match self.subscribe_one(host, slot, &subscription, options) {
                Ok(Granted { code, is_retained_wanted }) => {
                    codes.push(code);
                    if is_retained_wanted {
                        walk_count += 1;
                        self.begin_walk(slot, subscription.filter.as_bytes(), options);
                    }
                }
                Err(code) => {
                    host.count(Count::SubscribeRefused);
                    let fits = code.is_failure() && code.fits(Place::Suback, Role::Client);
                    codes.push(if fits { code } else { ReasonCode::NotAuthorized });
                }
            }
        }
        let suback = Suback::new(subscribe.packet_id, Codes::listed(&codes));
        self.clients.answer(host, slot, &Packet::Suback(suback));
        self.codes = codes;
        if walk_count > 0 {
            self.clients.pump(host, slot, &self.store, now);
            self.walk(host, now);
        }
        Next::Packet
    }

    fn subscribe_one<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        subscription: &Subscription<'_>,
        options: Options,
    ) -> Result<Granted, ReasonCode> {
        let session = self.clients.get(slot);
        let (space, version) = (session.space, session.connection().version);
        let filter = subscription.filter.as_bytes();
        // To 3.1.1 it is a topic like others, which nobody can publish to by right; both speak of the same groups here.
        let shared = subscription.filter.shared().map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let allowed = shared.map_or(subscription.filter, |shared| shared.filter);
        host.may(session.principal, Action::Subscribe, allowed.as_bytes())?;
        let filter_count = self.subscriptions.filter_count(slot) + session.away.len();
        let code = ReasonCode::granted(subscription.qos);
        debug_assert!(version == Version::V5 || options.identifier == 0, "3.1.1 has no identifiers");
        if shared.is_some() {
            let home = self.hops.home(space, filter);
            if home != self.hops.shard {
                if filter_count >= self.limits.filter_count_max
                    && !session.away.iter().any(|away| *away.filter == *filter)
                {
                    return Err(ReasonCode::QuotaExceeded);
                }
                self.join(host, slot, home, filter, options)?;
                return Ok(Granted { code, is_retained_wanted: false });
            }
        }
        if filter_count >= self.limits.filter_count_max || !self.hops.has_room() {
            return Err(ReasonCode::QuotaExceeded);
        }
        let subscribed =
            self.subscriptions.subscribe(space, slot, filter, options).map_err(|refused| match refused {
                Refused::TooDeep => ReasonCode::TopicFilterInvalid,
                Refused::LevelsFull | Refused::SubscriptionsFull => ReasonCode::QuotaExceeded,
            })?;
        if subscribed.is_first {
            self.hops.interested(host, space, filter);
        }
        let is_retained_wanted = shared.is_none()
            && match subscription.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => subscribed.replaced.is_none(),
                RetainHandling::DoNotSend => false,
            };
        Ok(Granted { code, is_retained_wanted })
    }

    pub(crate) fn unsubscribe<H: Host>(&mut self, host: &mut H, slot: u32, unsubscribe: &Unsubscribe<'_>) -> Next {
        let space = self.clients.get(slot).space;
        let mut codes = core::mem::take(&mut self.codes);
        codes.clear();
        for filter in unsubscribe.filters.iter() {
            let filter = filter.as_bytes();
            let existed = match self.subscriptions.unsubscribe(space, slot, filter) {
                Some(ended) => {
                    if ended.was_last {
                        self.hops.not_interested(host, space, filter);
                    }
                    true
                }
                None => self.leave(host, slot, filter),
            };
            codes.push(if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
        }
        let unsuback = Unsuback::new(unsubscribe.packet_id, Codes::listed(&codes));
        self.clients.answer(host, slot, &Packet::Unsuback(unsuback));
        self.codes = codes;
        Next::Packet
    }
}
