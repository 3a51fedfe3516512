//! What devices keep in flash, as a JSON file: nonces, sessions, counters.
//!
//! Written whole, to a temporary name that is then renamed. A file that was not written at the end of its run may lag
//! behind, so the counters read from it are moved ahead: a device never goes back.

use base::Eui64;
use fleet::{Fleet, Saved, SavedSession};
use lorawan::{AesKey, DevAddr, SessionKeys};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Counters may have advanced this far since a file that was not written at the end.
const LAG_MAX: u32 = 256;

#[derive(Serialize, Deserialize, Default)]
struct Form {
    /// Whether it was written at the end of a run.
    complete: bool,
    devices: BTreeMap<String, DeviceForm>,
}

#[derive(Serialize, Deserialize)]
struct DeviceForm {
    dev_nonce: u16,
    session: Option<SessionForm>,
}

#[derive(Serialize, Deserialize)]
struct SessionForm {
    dev_addr: String,
    nwk_s_key: String,
    app_s_key: String,
    fcnt_up: u32,
    fcnt_down: Option<u32>,
    rx1_delay_s: u8,
    rx1_dr_offset: u8,
    rx2_data_rate: u8,
    rx2_frequency_hz: u32,
}

/// The file and what it last held.
pub(crate) struct State {
    path: PathBuf,
    form: Form,
}

impl State {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let form = match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Form { complete: true, ..Form::default() },
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Ok(Self { path: path.to_owned(), form })
    }

    /// What the file knows of a device; `fresh` is how it would start otherwise. A personalised device whose address or
    /// keys were changed starts afresh.
    pub(crate) fn of(&self, dev_eui: Eui64, fresh: &Saved) -> Option<Saved> {
        let form = self.form.devices.get(&dev_eui.to_string())?;
        let lag = if self.form.complete { 0 } else { LAG_MAX };
        let mut session = form.session.as_ref().and_then(SessionForm::session);
        if let Some(session) = &mut session {
            session.fcnt_up = session.fcnt_up.saturating_add(lag);
        }
        if let Some(fresh) = fresh.session {
            session = session.filter(|old| old.dev_addr == fresh.dev_addr && old.keys == fresh.keys);
            session?;
        }
        Some(Saved { dev_nonce: form.dev_nonce.wrapping_add(lag.min(16) as u16), session })
    }

    /// Writes what the fleet's devices must keep.
    pub(crate) fn write(&mut self, fleet: &Fleet, complete: bool) -> Result<(), String> {
        self.form.complete = complete;
        for index in 0..fleet.device_count() {
            let device = fleet.device(index);
            self.form.devices.insert(device.config().dev_eui.to_string(), DeviceForm::of(&device.saved()));
        }
        let failed = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let mut part = self.path.clone().into_os_string();
        part.push(".part");
        // It holds keys, so it is its owner's alone.
        let mut options = std::fs::File::options();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&part).map_err(failed)?;
        let text = serde_json::to_string(&self.form).expect("plain data");
        file.write_all(text.as_bytes()).map_err(failed)?;
        std::fs::rename(&part, &self.path).map_err(failed)
    }
}

impl DeviceForm {
    fn of(saved: &Saved) -> Self {
        let session = saved.session.map(|session| SessionForm {
            dev_addr: session.dev_addr.to_string(),
            nwk_s_key: hex(&session.keys.nwk_s_key),
            app_s_key: hex(&session.keys.app_s_key),
            fcnt_up: session.fcnt_up,
            fcnt_down: session.fcnt_down,
            rx1_delay_s: session.rx1_delay_s,
            rx1_dr_offset: session.rx1_dr_offset,
            rx2_data_rate: session.rx2_data_rate,
            rx2_frequency_hz: session.rx2_frequency_hz,
        });
        Self { dev_nonce: saved.dev_nonce, session }
    }
}

impl SessionForm {
    fn session(&self) -> Option<SavedSession> {
        Some(SavedSession {
            dev_addr: DevAddr(u32::from_str_radix(&self.dev_addr, 16).ok()?),
            keys: SessionKeys {
                nwk_s_key: AesKey::from_hex(self.nwk_s_key.as_bytes())?,
                app_s_key: AesKey::from_hex(self.app_s_key.as_bytes())?,
            },
            fcnt_up: self.fcnt_up,
            fcnt_down: self.fcnt_down,
            rx1_delay_s: self.rx1_delay_s,
            rx1_dr_offset: self.rx1_dr_offset,
            rx2_data_rate: self.rx2_data_rate,
            rx2_frequency_hz: self.rx2_frequency_hz,
        })
    }
}

fn hex(key: &AesKey) -> String {
    key.0.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Monotonic, UnixMicros};
    use fleet::{Activation, DeviceConfig};
    use lorawan::Region;

    #[test]
    fn counters_never_go_back() {
        let eui = Eui64::new(5);
        let keys = SessionKeys { nwk_s_key: AesKey([3; 16]), app_s_key: AesKey([4; 16]) };
        let activation = Activation::Abp { dev_addr: DevAddr(0x0102_0304), keys };
        let config = DeviceConfig::new(eui, eui, activation, Region::Eu868);
        let mut fleet = Fleet::new(1, UnixMicros(0));
        fleet.add_device(config, Vec::new(), Monotonic(0));
        let mut expected = fleet.device(0).saved();
        expected.session.as_mut().expect("ABP").fcnt_up = 77;
        fleet.with_device(0, Monotonic(0), |device| device.restore(&expected));

        let path = std::env::temp_dir().join(format!("trunkline-fleet-state-{}.json", std::process::id()));
        let mut state = State::read(&path).expect("absent is empty");
        assert_eq!(state.of(eui, &expected), None);
        state.write(&fleet, true).expect("written");
        let read = |fresh: &Saved| State::read(&path).expect("readable").of(eui, fresh);
        assert_eq!(read(&expected), Some(expected));
        state.write(&fleet, false).expect("written");
        let after_crash = read(&expected).and_then(|saved| saved.session).expect("a session");
        assert_eq!(after_crash.fcnt_up, 77 + LAG_MAX);
        let mut changed = expected;
        changed.session.as_mut().expect("ABP").dev_addr = DevAddr(9);
        assert_eq!(read(&changed), None, "another address is another device");
        std::fs::write(&path, "{").expect("written");
        assert!(State::read(&path).is_err());
        std::fs::remove_file(&path).expect("removed");
    }
}
