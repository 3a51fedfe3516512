//! A whole configuration that is consistent: every reference resolves, every limit holds.
//!
//! Changes compute a complete new value or a refusal; half-applied does not exist.

use crate::spec::{self, Application, Gateway, OwnedProfile, Refusal, Settings, Stream, Tenant};
use crate::{Level, Plan};
use base::Eui64;
use contract::v1;
use contract::v1::change::Body;
use session::DeviceSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Streams in all. Presence and counters are sized by it.
pub const STREAM_COUNT_MAX: usize = 65_536;

/// Everything of a configuration but devices and gateways. Cloning shares the objects.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) settings: Settings,
    pub(crate) tenants: BTreeMap<u32, Arc<Tenant>>,
    pub(crate) applications: BTreeMap<u32, Arc<Application>>,
    pub(crate) profiles: BTreeMap<u32, Arc<OwnedProfile>>,
    pub(crate) streams: BTreeMap<u32, Arc<Stream>>,
}

/// A change of a shard's state, to be carried to the shard that owns it.
#[derive(Clone, Debug)]
pub enum Upsert {
    /// A device is as given.
    Device(DeviceSpec),
    /// A device is gone.
    RemoveDevice(Eui64),
    /// A gateway is as given.
    Gateway(Gateway),
    /// A gateway is gone.
    RemoveGateway(Eui64),
}

impl Config {
    /// The configuration after `changes`, all of them, and what they mean for devices and gateways.
    ///
    /// `self` is left as it was; the caller replaces it when the new one is in force.
    ///
    /// # Errors
    /// [`Refusal`] naming the first field that is wrong, as `changes[3].stream.copies`.
    pub fn apply(&self, changes: &[v1::Change], upserts: &mut Vec<Upsert>) -> Result<Self, Refusal> {
        let mut next = self.clone();
        let mut structural = false;
        for (index, change) in changes.iter().enumerate() {
            let body = change.body.as_ref().ok_or_else(|| Refusal::new(format!("changes[{index}]"), "is empty"))?;
            structural |= next
                .apply_one(body, upserts)
                .map_err(|refusal| refusal.within(&format!("changes[{index}].{}", label(body))))?;
        }
        if structural {
            next.check_references()?;
        }
        Ok(next)
    }

    /// A stream, by its id.
    #[must_use]
    pub fn stream(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id).map(AsRef::as_ref)
    }

    /// Compiles the whole.
    ///
    /// # Errors
    /// [`Refusal`] when a template does not compile or a limit is passed.
    pub fn compile(&self, revision: u64) -> Result<Plan, Refusal> {
        Plan::compile(self, revision)
    }

    /// Whether changes from `before` to `self` leave every table as it was (only devices or gateways changed).
    #[must_use]
    pub fn same_tables(&self, before: &Self) -> bool {
        fn same<T>(left: &BTreeMap<u32, Arc<T>>, right: &BTreeMap<u32, Arc<T>>) -> bool {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| l.0 == r.0 && Arc::ptr_eq(l.1, r.1))
        }
        self.settings == before.settings
            && same(&self.tenants, &before.tenants)
            && same(&self.applications, &before.applications)
            && same(&self.profiles, &before.profiles)
            && same(&self.streams, &before.streams)
    }

    /// Whether the change touches more than a device or a gateway.
    fn apply_one(&mut self, body: &Body, upserts: &mut Vec<Upsert>) -> Result<bool, Refusal> {
        match body {
            Body::Settings(message) => self.settings = spec::settings(message)?,
            Body::Tenant(message) => {
                let tenant = spec::tenant(message)?;
                self.tenants.insert(tenant.id, Arc::new(tenant));
            }
            Body::Application(message) => {
                let application = spec::application(message)?;
                self.applications.insert(application.id, Arc::new(application));
            }
            Body::Profile(message) => {
                let profile = spec::profile(message)?;
                self.profiles.insert(profile.id, Arc::new(profile));
            }
            Body::Stream(message) => {
                let stream = spec::stream(message)?;
                self.streams.insert(stream.id, Arc::new(stream));
            }
            Body::RemoveTenant(id) => drop(self.tenants.remove(id)),
            Body::RemoveApplication(id) => drop(self.applications.remove(id)),
            Body::RemoveProfile(id) => drop(self.profiles.remove(id)),
            Body::RemoveStream(id) => drop(self.streams.remove(id)),
            Body::Gateway(message) => {
                let gateway = spec::gateway(message)?;
                if gateway.tenant != 0 && !self.tenants.contains_key(&gateway.tenant) {
                    return Err(unknown("tenant", gateway.tenant));
                }
                upserts.push(Upsert::Gateway(gateway));
                return Ok(false);
            }
            Body::Device(message) => {
                let device = spec::device(message)?;
                self.check_device(&device)?;
                upserts.push(Upsert::Device(device));
                return Ok(false);
            }
            Body::RemoveGateway(eui) => {
                upserts.push(Upsert::RemoveGateway(Eui64::new(*eui)));
                return Ok(false);
            }
            Body::RemoveDevice(eui) => {
                upserts.push(Upsert::RemoveDevice(Eui64::new(*eui)));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_device(&self, device: &DeviceSpec) -> Result<(), Refusal> {
        match self.applications.get(&device.application) {
            None => return Err(unknown("application", device.application)),
            Some(application) if application.tenant != device.tenant => {
                return Err(Refusal::new("application", "belongs to another tenant"));
            }
            Some(_) => {}
        }
        match self.profiles.get(&device.profile) {
            None => Err(unknown("profile", device.profile)),
            Some(profile) if profile.tenant != 0 && profile.tenant != device.tenant => {
                Err(Refusal::new("profile", "belongs to another tenant"))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_references(&self) -> Result<(), Refusal> {
        let tenant = |id: u32, path: String| {
            if id == 0 || self.tenants.contains_key(&id) { Ok(()) } else { Err(unknown("tenant", id).within(&path)) }
        };
        for application in self.applications.values() {
            tenant(application.tenant, format!("applications[{}]", application.id))?;
        }
        for profile in self.profiles.values() {
            tenant(profile.tenant, format!("profiles[{}]", profile.id))?;
        }
        for stream in self.streams.values() {
            let path = format!("streams[{}]", stream.id);
            tenant(stream.tenant, path.clone())?;
            if let Level::Application(id) = stream.level {
                match self.applications.get(&id) {
                    Some(application) if application.tenant == stream.tenant => {}
                    Some(_) => return Err(Refusal::new("application", "belongs to another tenant").within(&path)),
                    None => return Err(unknown("application", id).within(&path)),
                }
            }
        }
        if self.streams.len() > STREAM_COUNT_MAX {
            return Err(Refusal::new("streams", format!("at most {STREAM_COUNT_MAX} streams")));
        }
        Ok(())
    }
}

fn unknown(field: &'static str, id: u32) -> Refusal {
    Refusal::new(field, format!("there is no {field} {id}"))
}

fn label(body: &Body) -> &'static str {
    match body {
        Body::Settings(_) => "settings",
        Body::Tenant(_) => "tenant",
        Body::Application(_) => "application",
        Body::Profile(_) => "profile",
        Body::Stream(_) => "stream",
        Body::Gateway(_) => "gateway",
        Body::Device(_) => "device",
        Body::RemoveTenant(_) => "remove_tenant",
        Body::RemoveApplication(_) => "remove_application",
        Body::RemoveProfile(_) => "remove_profile",
        Body::RemoveStream(_) => "remove_stream",
        Body::RemoveGateway(_) => "remove_gateway",
        Body::RemoveDevice(_) => "remove_device",
    }
}
