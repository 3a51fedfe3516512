//! What befalls a world: power cuts, crashes between two operations, clocks that are set, a control plane that comes and
//! goes, disks that fill, freeze or fall silent, configurations that change, and downlinks that somebody asks for.
//!
//! Owns the agenda. When everything happens is drawn before the first of it does; what exactly, when it happens.

use super::{DISK_BYTES, World};
use crate::history::Asked;
use crate::story::{DEVICE, DURABLE_AT, GATEWAY, STREAMS, stream};
use base::Monotonic;
use contract::v1;
use contract::v1::change::Body;
use std::time::Duration;

/// What may befall it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Happening {
    /// The node ends: its power goes, or its process is killed.
    End,
    /// The same after a few more operations of its disk.
    EndAtOperation,
    /// Somebody sets the wall clock.
    SetClock,
    /// The control plane goes away.
    ControlGoes,
    /// It comes again, and says everything anew.
    ControlComes,
    /// The disk has no more room.
    DiskFills,
    /// It has.
    DiskEmpties,
    /// Nothing may be written.
    DiskFreezes,
    /// It may.
    DiskThaws,
    /// The disk answers nothing for a while.
    DiskStalls,
    /// The configuration changes, and will again.
    Change,
}

/// A crash comes within so many operations: of a checkpoint, of a start, of traffic.
const OPERATIONS_TO_END_MAX: u64 = 300;

impl World {
    /// Draws what will happen up to `end`.
    pub(super) fn foresee(&mut self, end: Monotonic) {
        let spells = self.story.spells;
        let mut all = Vec::new();
        let mut some = |count, happening| all.extend((0..count).map(|_| happening));
        some(self.story.power_cuts, Happening::End);
        some(spells.crashes, Happening::EndAtOperation);
        some(spells.clock_jumps, Happening::SetClock);
        some(spells.control_restarts, Happening::ControlGoes);
        some(spells.full_disks, Happening::DiskFills);
        some(spells.read_only_disks, Happening::DiskFreezes);
        some(spells.disk_stalls, Happening::DiskStalls);
        for happening in all {
            let at = self.moment(end);
            self.put(at, happening);
        }
        if self.story.plan_changes {
            self.put(self.now().after(Duration::from_secs(5)), Happening::Change);
        }
    }

    fn put(&mut self, at: Monotonic, happening: Happening) {
        self.agenda.insert((at, self.agenda.len()), happening);
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.random.below(most - least))
    }

    pub(super) fn step_happenings(&mut self, now: Monotonic) {
        if self.downlink_due <= now {
            self.ask_for_downlink();
            self.downlink_due = now.after(Duration::from_millis(300 + self.random.below(2500)));
        }
        if self.power_back <= now {
            self.power_up();
        }
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let happening = entry.remove();
            self.happen(happening, now);
        }
    }

    fn happen(&mut self, happening: Happening, now: Monotonic) {
        match happening {
            Happening::End if self.power_back == Monotonic::NEVER => self.end(),
            Happening::End => {}
            Happening::EndAtOperation => {
                let operations = 2 + self.random.below(OPERATIONS_TO_END_MAX);
                self.disk.borrow_mut().end_after(operations);
            }
            Happening::SetClock => {
                let most: i64 = if self.random.below(2) == 0 { 3_600_000_000 } else { 3_000_000 };
                let by = self.random.below(2 * most as u64) as i64 - most;
                self.network.borrow_mut().set_clock(by);
            }
            Happening::ControlGoes => {
                self.control.is_away = true;
                let at = now.after(self.millis(200, 6000));
                self.put(at, Happening::ControlComes);
            }
            Happening::ControlComes => {
                self.control.is_away = false;
                self.befell.control_restarts += 1;
                self.control.say_everything();
            }
            Happening::DiskFills => {
                let left = self.random.below(4) * (50 << 10);
                let mut disk = self.disk.borrow_mut();
                disk.capacity_bytes = disk.used_bytes() + left;
                disk.is_contended = self.random.below(2) == 0;
                drop(disk);
                let at = now.after(self.millis(100, 8000));
                self.put(at, Happening::DiskEmpties);
            }
            Happening::DiskEmpties => {
                let mut disk = self.disk.borrow_mut();
                (disk.capacity_bytes, disk.is_contended) = (DISK_BYTES, false);
            }
            Happening::DiskFreezes => {
                self.disk.borrow_mut().read_only = true;
                let at = now.after(self.millis(50, 4000));
                self.put(at, Happening::DiskThaws);
            }
            Happening::DiskThaws => self.disk.borrow_mut().read_only = false,
            Happening::DiskStalls => {
                let until = now.after(self.millis(50, 3000));
                self.disk.borrow_mut().stall(until);
            }
            Happening::Change => {
                if !self.control.is_away {
                    self.change();
                }
                let at = now.after(Duration::from_secs(1 + self.random.below(8)));
                self.put(at, Happening::Change);
            }
        }
    }

    /// The power goes, or only the process: then the kernel keeps what was written.
    fn end(&mut self) {
        for host in 0..self.shards.len() {
            self.network.borrow_mut().kill(host);
        }
        self.shards.clear();
        let mut disk = self.disk.borrow_mut();
        if self.random.below(2) == 0 {
            self.befell.power_cuts += 1;
            disk.power_cut();
        } else {
            self.befell.kills += 1;
            (0..self.story.shards).for_each(|host| disk.kill(host));
        }
        disk.begin_anew();
        drop(disk);
        self.power_back = self.now().after(self.millis(50, 3050));
    }

    /// The disk has done its last operation.
    pub(super) fn end_at_operation(&mut self) {
        self.befell.crashes_at_operations += 1;
        self.end();
    }

    /// Nothing befalls it any more, and what has passes.
    pub(super) fn settle_troubles(&mut self) {
        self.agenda.clear();
        let mut disk = self.disk.borrow_mut();
        (disk.capacity_bytes, disk.read_only, disk.is_contended) = (DISK_BYTES, false, false);
        disk.begin_anew();
        drop(disk);
        if core::mem::take(&mut self.control.is_away) {
            self.befell.control_restarts += 1;
            self.control.say_everything();
        }
        if self.shards.is_empty() {
            self.power_up();
        }
    }

    /// One thing of the configuration is not as it was, or as it was at first.
    fn change(&mut self) {
        let calm = self.story.is_calm();
        let body = match self.random.below(if calm { 4 } else { 5 }) {
            0 if self.toggle(DEVICE) => Body::RemoveStream(DEVICE as u32 + 1),
            0 => Body::Stream(stream(DEVICE)),
            1 => Body::Stream(v1::Stream { enabled: !self.toggle(GATEWAY), ..stream(GATEWAY) }),
            2 => {
                let index = STREAMS.iter().position(|stream| stream.token == "tenant").expect("there is one");
                let queue_bytes_max = if self.toggle(index) { 64 << 10 } else { 16 << 10 };
                Body::Stream(v1::Stream { queue_bytes_max, ..stream(index) })
            }
            3 => {
                let in_flight_max = if self.toggle(DURABLE_AT) { 12 } else { 16 };
                Body::Stream(v1::Stream { in_flight_max, ..stream(DURABLE_AT) })
            }
            _ => {
                let place = self.disabled.take();
                let device = place.unwrap_or_else(|| self.random.below(self.told.len() as u64) as usize);
                if place.is_none() {
                    self.disabled = Some(device);
                }
                Body::Device(v1::Device { enabled: place.is_some(), ..self.told[device].clone() })
            }
        };
        self.befell.plan_changes += 1;
        self.control.apply(&[v1::Change { body: Some(body) }]);
    }

    fn toggle(&mut self, stream: usize) -> bool {
        self.changed[stream] = !self.changed[stream];
        self.changed[stream]
    }

    /// Someone whose stream is open asks for a downlink, now and then a bad one.
    pub(super) fn ask_for_downlink(&mut self) {
        let index = self.random.below(self.consumers.len() as u64) as usize;
        let device = self.random.below(self.devices.len() as u64) as usize;
        let (dev_eui, confirmed) = (self.devices[device], self.random.below(2) == 0);
        let number = self.asked.len() as u32;
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(4 + self.random.below(30) as usize, 0xA5);
        let id = format!("ask{number}");
        let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let kind = if confirmed { 5 } else { 3 };
        let text = match self.random.below(8) {
            0 => r#"{"Type":3,"Port":0}"#.to_string(),
            1 => "no JSON at all".to_string(),
            _ => format!(r#"{{"type":{kind},"DEVICEEUI":"{dev_eui}","Port":7,"Data":"{digits}","Id":"{id}"}}"#),
        };
        let consumer = &mut self.consumers[index];
        if consumer.is_open() {
            if text.contains("DEVICEEUI") {
                self.asked.insert(id, Asked { dev_eui, payload, confirmed });
            }
            consumer.say(&text, &mut self.random);
        }
    }
}
