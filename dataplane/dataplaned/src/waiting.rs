//! Devices and gateways that are configured and found their shard's table full.
//!
//! Owns what is needed to try them again when a shard gets room, of at most [`COUNT_MAX`]; more wait for a snapshot or
//! a restart. Nothing is tried but when something of the same table was removed, one for one.

use plan::Upsert;
use std::collections::BTreeMap;

/// Those that can be tried again.
const COUNT_MAX: usize = 65_536;

/// Which table of a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Table {
    Devices,
    Gateways,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    /// By shard, so that the next for a shard is found at once.
    by_shard: BTreeMap<(usize, Table, u64), Upsert>,
    shards: BTreeMap<(Table, u64), usize>,
}

impl Waiting {
    /// One found no room.
    pub(crate) fn push(&mut self, shard: usize, upsert: Upsert) {
        let (table, eui) = match &upsert {
            Upsert::Device(device) => (Table::Devices, device.dev_eui.to_u64()),
            Upsert::Gateway(gateway) => (Table::Gateways, gateway.eui.to_u64()),
            Upsert::RemoveDevice(_) | Upsert::RemoveGateway(_) => return,
        };
        self.forget(table, eui);
        if self.shards.len() < COUNT_MAX {
            self.shards.insert((table, eui), shard);
            self.by_shard.insert((shard, table, eui), upsert);
        }
    }

    /// It is gone, or is being tried again. Whether it waited.
    pub(crate) fn forget(&mut self, table: Table, eui: u64) -> bool {
        let shard = self.shards.remove(&(table, eui));
        shard.is_some_and(|shard| self.by_shard.remove(&(shard, table, eui)).is_some())
    }

    /// The shard that it waits for.
    pub(crate) fn shard(&self, table: Table, eui: u64) -> Option<usize> {
        self.shards.get(&(table, eui)).copied()
    }

    /// One that may be tried, now that `shard` has room.
    pub(crate) fn take(&mut self, shard: usize, table: Table) -> Option<Upsert> {
        let next = self.by_shard.range((shard, table, 0)..=(shard, table, u64::MAX)).next().map(|(key, _)| *key)?;
        self.shards.remove(&(table, next.2));
        self.by_shard.remove(&next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Eui64;

    fn gateway(eui: u64) -> Upsert {
        Upsert::Gateway(plan::Gateway { eui: Eui64::new(eui), tenant: 0, eirp_max_dbm: None })
    }

    #[test]
    fn one_waits_for_one_shard() {
        let mut waiting = Waiting::default();
        waiting.push(0, gateway(7));
        waiting.push(1, gateway(7));
        waiting.push(1, gateway(8));
        assert_eq!(waiting.shard(Table::Gateways, 7), Some(1));
        assert!(waiting.take(0, Table::Gateways).is_none() && waiting.take(1, Table::Devices).is_none());
        assert!(waiting.forget(Table::Gateways, 8) && !waiting.forget(Table::Gateways, 8));
        assert!(
            matches!(waiting.take(1, Table::Gateways), Some(Upsert::Gateway(gateway)) if gateway.eui.to_u64() == 7)
        );
        assert_eq!((waiting.shards.len(), waiting.by_shard.len()), (0, 0));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting::default();
        (0..COUNT_MAX as u64 + 5).for_each(|eui| waiting.push(0, gateway(eui)));
        assert_eq!((waiting.shards.len(), waiting.by_shard.len()), (COUNT_MAX, COUNT_MAX));
    }
}
