//! The channels that a simulated device may use, and how the network changes them.

use base::DataRate;
use base::mix::SplitMix64;
use lorawan::mac::LinkAdrReq;
use lorawan::region::{ChannelMask, Channels as Layout, RegionPlan};
use lorawan::{CfList, Direction};

/// One channel of a dynamic plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    up_hz: u32,
    down_hz: u32,
    data_rate_min: u8,
    data_rate_max: u8,
}

/// Channels defined and enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    /// Up to sixteen, of which the region defines the first few.
    Dynamic { list: Vec<Option<Channel>>, mask: u16 },
    /// All defined; the mask says which are enabled.
    Fixed { mask: ChannelMask },
}

/// Where one uplink goes and where its RX1 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) up_hz: u32,
    pub(crate) down_hz: u32,
    pub(crate) data_rate: DataRate,
}

impl Channels {
    /// What a device knows before it joins. `sub_bands` is how its owner provisioned it.
    pub(crate) fn new(plan: &RegionPlan, sub_bands: u8) -> Self {
        match plan.channels {
            Layout::Fixed { .. } => Self::Fixed { mask: ChannelMask::of_sub_bands(sub_bands) },
            Layout::Dynamic => {
                let mut list = vec![None; 16];
                for grid in plan.uplink {
                    for nth in 0..grid.count {
                        let hz = grid.frequency_hz(nth);
                        list[usize::from(grid.index + nth)] = Some(Channel {
                            up_hz: hz,
                            down_hz: hz,
                            data_rate_min: grid.data_rate_min,
                            data_rate_max: grid.data_rate_max,
                        });
                    }
                }
                let mask = list.iter().enumerate().fold(0, |mask, (at, slot)| mask | u16::from(slot.is_some()) << at);
                Self::Dynamic { list, mask }
            }
        }
    }

    /// Takes up the CFList of a join-accept.
    pub(crate) fn apply_cf_list(&mut self, plan: &RegionPlan, cf_list: &CfList) {
        match self {
            Self::Dynamic { list, mask } if cf_list.kind() == 0 => {
                let first = default_count(plan);
                for (nth, hz) in cf_list.frequencies_hz().into_iter().enumerate().filter(|(_, hz)| plan.holds(*hz)) {
                    list[first + nth] = Some(Channel { up_hz: hz, down_hz: hz, data_rate_min: 0, data_rate_max: 5 });
                    *mask |= 1 << (first + nth);
                }
            }
            Self::Fixed { mask } if cf_list.kind() == 1 => {
                let [a, b, c, d, e, ..] = cf_list.masks();
                *mask = ChannelMask([a, b, c, d, e & 0xFF]);
            }
            // A list of the other region's kind says nothing to this device.
            _ => {}
        }
    }

    /// Picks an enabled channel for this data rate at random, or `None` if none allows it.
    pub(crate) fn pick(&self, plan: &RegionPlan, data_rate: u8, random: &mut SplitMix64) -> Option<Choice> {
        let rate = plan.data_rate(data_rate, Direction::Up)?;
        match self {
            Self::Dynamic { list, mask } => {
                let allowed = |(at, slot): (usize, &Option<Channel>)| {
                    slot.filter(|channel| {
                        mask >> at & 1 == 1 && (channel.data_rate_min..=channel.data_rate_max).contains(&data_rate)
                    })
                };
                let count = list.iter().enumerate().filter_map(allowed).count();
                let channel = list.iter().enumerate().filter_map(allowed).nth(random.below(count as u64) as usize)?;
                Some(Choice { up_hz: channel.up_hz, down_hz: channel.down_hz, data_rate: rate })
            }
            Self::Fixed { mask } => {
                let allowed = |index: &u8| {
                    mask.has(*index)
                        && plan.uplink_frequency_hz(*index).is_some_and(|hz| plan.uplink_channel(hz, rate).is_some())
                };
                let count = (0..72).filter(allowed).count();
                let index = (0..72).filter(allowed).nth(random.below(count as u64) as usize)?;
                let up_hz = plan.uplink_frequency_hz(index)?;
                Some(Choice { up_hz, down_hz: plan.rx1_frequency_hz(up_hz, rate)?, data_rate: rate })
            }
        }
    }

    /// The channels after one LinkADRReq, or `None` if it asks for undefined ones.
    pub(crate) fn after(&self, request: &LinkAdrReq) -> Option<Self> {
        match self {
            Self::Fixed { mask } => mask.after(request.ch_mask_cntl, request.ch_mask).map(|mask| Self::Fixed { mask }),
            Self::Dynamic { list, .. } => {
                let defined = list.iter().enumerate().fold(0, |all, (at, slot)| all | u16::from(slot.is_some()) << at);
                let mask = match request.ch_mask_cntl {
                    0 => request.ch_mask,
                    6 => defined,
                    _ => return None,
                };
                (mask & !defined == 0).then(|| Self::Dynamic { list: list.clone(), mask })
            }
        }
    }

    /// Whether some enabled channel allows this data rate.
    pub(crate) fn allows(&self, plan: &RegionPlan, data_rate: u8) -> bool {
        self.pick(plan, data_rate, &mut SplitMix64::new(0)).is_some()
    }

    /// NewChannelReq. `None`: this region has none and the device is to stay silent; else (data rates, frequency) possible.
    pub(crate) fn define(&mut self, plan: &RegionPlan, index: u8, hz: u32, rates: (u8, u8)) -> Option<(bool, bool)> {
        let Self::Dynamic { list, mask } = self else { return None };
        let at = usize::from(index);
        let changeable = at < list.len() && at >= default_count(plan);
        let frequency_ok = changeable && (hz == 0 || plan.holds(hz));
        let rates_ok = rates.0 <= rates.1 && (rates.0..=rates.1).all(|rate| plan.rate(rate, Direction::Up).is_some());
        if frequency_ok && rates_ok {
            let channel = Channel { up_hz: hz, down_hz: hz, data_rate_min: rates.0, data_rate_max: rates.1 };
            list[at] = (hz != 0).then_some(channel);
            *mask = if hz == 0 { *mask & !(1 << at) } else { *mask | 1 << at };
        }
        Some((rates_ok, frequency_ok))
    }

    /// DlChannelReq. `None`: not in this region; else (uplink channel exists, frequency possible).
    pub(crate) fn move_downlink(&mut self, plan: &RegionPlan, index: u8, hz: u32) -> Option<(bool, bool)> {
        let Self::Dynamic { list, .. } = self else { return None };
        let slot = list.get_mut(usize::from(index)).and_then(Option::as_mut);
        let (exists, frequency_ok) = (slot.is_some(), plan.holds(hz));
        if let Some(channel) = slot.filter(|_| frequency_ok) {
            channel.down_hz = hz;
        }
        Some((exists, frequency_ok))
    }
}

fn default_count(plan: &RegionPlan) -> usize {
    plan.uplink.iter().map(|grid| usize::from(grid.count)).sum()
}
