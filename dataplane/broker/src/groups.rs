//! Shared subscriptions over several shards (v5 4.8.2): one shard keeps a group, and sessions of others stand in it by a name.
//!
//! ```text
//!   SUBSCRIBE $share/g/a on shard 1 -- Join --> shard home(g, a): a session that stands in for it
//!   PUBLISH a anywhere -- Forwarded --> home: a member is chosen -- Forwarded, directed --> shard 1
//! ```

use crate::broker::Broker;
use crate::session::Away;
use crate::{Count, Host, Member, Word};
use mqtt::ReasonCode;
use topics::Options;

impl Broker {
    /// The name of a session for other shards.
    pub(crate) fn member(&self, slot: u32) -> Member {
        Member { shard: self.hops.shard, slot, generation: self.clients.get(slot).generation }
    }

    /// Shards that keep groups of a session.
    pub(crate) fn shards_of_groups(&self, slot: u32) -> u64 {
        self.clients.get(slot).away.iter().fold(0, |shards, away| shards | 1 << away.shard)
    }

    /// A session subscribes to a group that another shard keeps. Returns whether it did not before.
    pub(crate) fn join<H: Host>(
        &mut self,
        host: &mut H,
        slot: u32,
        shard: u8,
        filter: &[u8],
        options: Options,
    ) -> Result<bool, ReasonCode> {
        if !self.hops.has_room() {
            return Err(ReasonCode::QuotaExceeded);
        }
        let member = self.member(slot);
        let session = self.clients.get_mut(slot);
        let space = session.space;
        let known = session.away.iter_mut().find(|away| *away.filter == *filter);
        let is_new = known.is_none();
        match known {
            Some(away) => away.options = options,
            None => session.away.push(Away { shard, filter: filter.into(), options }),
        }
        self.hops.say(host, 1 << shard, &Word::Join { member, space, online: true, options, filter });
        Ok(is_new)
    }

    /// A session leaves a group that another shard keeps. Returns whether it was in it.
    pub(crate) fn leave<H: Host>(&mut self, host: &mut H, slot: u32, filter: &[u8]) -> bool {
        let member = self.member(slot);
        let session = self.clients.get_mut(slot);
        let space = session.space;
        let Some(at) = session.away.iter().position(|away| *away.filter == *filter) else { return false };
        let away = session.away.swap_remove(at);
        self.hops.say(host, 1 << away.shard, &Word::Leave { member, space, filter });
        true
    }

    /// A session leaves all of them: it ends.
    pub(crate) fn leave_groups<H: Host>(&mut self, host: &mut H, slot: u32) {
        let shards = self.shards_of_groups(slot);
        if shards != 0 {
            let member = self.member(slot);
            self.hops.say(host, shards, &Word::Gone { member });
        }
    }

    /// A word of another shard.
    pub(crate) fn heard<H: Host>(&mut self, host: &mut H, word: &Word<'_>, now: crate::Now) {
        match *word {
            Word::Interest { shard, delta } => self.hops.learn(shard, delta),
            Word::Join { member, space, online, options, filter } => {
                let Some(slot) = self.clients.stand_in(member, space) else {
                    host.count(Count::SubscribeRefused);
                    return;
                };
                self.clients.get_mut(slot).is_online = online;
                match self.subscriptions.subscribe(space, slot, filter, options) {
                    Ok(subscribed) if subscribed.is_first => self.hops.interested(host, space, filter),
                    Ok(_) => {}
                    Err(_) => {
                        host.count(Count::SubscribeRefused);
                        self.forget_if_idle(host, slot, now);
                    }
                }
            }
            Word::Leave { member, space, filter } => {
                if let Some(slot) = self.clients.stands_for(member) {
                    if self.subscriptions.unsubscribe(space, slot, filter).is_some_and(|ended| ended.was_last) {
                        self.hops.not_interested(host, space, filter);
                    }
                    self.forget_if_idle(host, slot, now);
                }
            }
            Word::Online { member, online } => {
                if let Some(slot) = self.clients.stands_for(member) {
                    self.clients.get_mut(slot).is_online = online;
                }
            }
            Word::Gone { member } => {
                if let Some(slot) = self.clients.stands_for(member) {
                    self.forget(host, slot, now);
                }
            }
        }
    }

    /// A session that stands in for another is forgotten with its last group.
    fn forget_if_idle<H: Host>(&mut self, host: &mut H, slot: u32, now: crate::Now) {
        if self.subscriptions.filter_count(slot) == 0 {
            self.forget(host, slot, now);
        }
    }
}
