//! Values as the dataplane is told of them.

use crate::{
    Accept, Activation, Application, ApplicationId, Bounded, Change, Copies, Delivery, Device, Fault, Format, Gateway,
    Level, MacVersion, Profile, ProfileId, Region, RetentionBytes, Settings, Stream, StreamId, Tenant, TenantId,
    WhenFull,
};
use base::Eui64;
use contract::v1::{self, change::Body};

/// The compiler that the dataplane uses, asked before anything is stored.
///
/// It follows the store: what it accepts is kept when the transaction commits and forgotten when it does not.
pub trait Checker: Send {
    /// Judges `changes` on top of everything that was kept, and remembers the outcome.
    ///
    /// # Errors
    /// The field that is wrong, relative to the changed object.
    fn check(&mut self, changes: &[Change]) -> Result<(), Fault>;

    /// Keeps the outcome of the last [`Checker::check`].
    fn keep(&mut self);
}

fn of(body: Body) -> Change {
    Change { body: Some(body) }
}

fn or_zero<const MIN: u32, const MAX: u32>(value: Option<Bounded<MIN, MAX>>) -> u32 {
    value.map_or(0, Bounded::value)
}

/// What holds for the whole.
#[must_use]
pub fn settings(value: &Settings) -> Change {
    of(Body::Settings(v1::Settings {
        net_id: value.net_id.value(),
        accept_unknown_gateways: value.accept_unknown_gateways,
        gateway_rate_max: or_zero(value.gateway_rate_max),
        address_rate_max: or_zero(value.address_rate_max),
        gateway_silence_s: or_zero(value.gateway_silence_s),
    }))
}

/// A tenant is as given.
#[must_use]
pub fn tenant(id: TenantId, value: &Tenant) -> Change {
    of(Body::Tenant(v1::Tenant { id: id.0, name: value.name.to_string() }))
}

/// An application is as given.
#[must_use]
pub fn application(id: ApplicationId, value: &Application) -> Change {
    of(Body::Application(v1::Application {
        id: id.0,
        tenant: value.tenant.0,
        name: value.name.to_string(),
        dedup_window_ms: or_zero(value.dedup_window_ms),
    }))
}

/// A profile is as given.
#[must_use]
pub fn profile(id: ProfileId, value: &Profile) -> Change {
    let region = match value.region {
        Region::EU868 => v1::Region::Eu868,
        Region::US915 => v1::Region::Us915,
    };
    let mac_version = match value.mac_version {
        MacVersion::V1_0_0 => v1::MacVersion::Lorawan100,
        MacVersion::V1_0_1 => v1::MacVersion::Lorawan101,
        MacVersion::V1_0_2 => v1::MacVersion::Lorawan102,
        MacVersion::V1_0_3 => v1::MacVersion::Lorawan103,
        MacVersion::V1_0_4 => v1::MacVersion::Lorawan104,
    };
    of(Body::Profile(v1::Profile {
        id: id.0,
        tenant: value.tenant.map_or(0, |tenant| tenant.0),
        name: value.name.to_string(),
        region: region.into(),
        mac_version: mac_version.into(),
        rx1_delay_s: or_zero(value.rx1_delay_s),
        rx1_dr_offset: value.rx1_dr_offset.value(),
        rx2_data_rate: value.rx2_data_rate.map(Bounded::value),
        rx2_frequency_hz: value.rx2_frequency_hz.map(Bounded::value),
        sub_bands: u32::from(value.sub_bands.0),
        confirmed_attempts_max: or_zero(value.confirmed_attempts_max),
        fcnt_gap_max: or_zero(value.fcnt_gap_max),
        queue_count_max: or_zero(value.queue_count_max),
    }))
}

/// A stream is as given, opened by tokens with these hashes.
#[must_use]
pub fn stream(id: StreamId, value: &Stream, token_hashes: Vec<Vec<u8>>) -> Change {
    let mut message = v1::Stream {
        id: id.0,
        tenant: value.tenant.map_or(0, |tenant| tenant.0),
        name: value.name.to_string(),
        copies: match value.copies {
            Copies::All => v1::Copies::All,
            Copies::Best => v1::Copies::Best,
            Copies::First => v1::Copies::First,
        }
        .into(),
        kinds: value.kinds.clone(),
        token_hashes,
        enabled: value.enabled,
        downlinks: value.downlinks,
        deflate: value.deflate,
        queue_bytes_max: or_zero(value.queue_bytes_max),
        when_full: match value.when_full {
            WhenFull::DropNewest => v1::WhenFull::DropNewest,
            WhenFull::Disconnect => v1::WhenFull::Disconnect,
        }
        .into(),
        ping_interval_s: or_zero(value.ping_interval_s),
        connection_count_max: or_zero(value.connection_count_max),
        ..v1::Stream::default()
    };
    let level = match value.level {
        Level::Device(eui) => {
            message.device = eui.to_u64();
            v1::Level::Device
        }
        Level::Application(id) => {
            message.application = id.0;
            v1::Level::Application
        }
        Level::Gateway(eui) => {
            message.gateway = eui.to_u64();
            v1::Level::Gateway
        }
        Level::Tenant => v1::Level::Tenant,
        Level::Operator => v1::Level::Operator,
    };
    message.level = level.into();
    message.delivery = match value.delivery {
        Delivery::Live => v1::Delivery::Live,
        Delivery::Durable(durable) => {
            message.accept = match durable.accept {
                Accept::Disk => v1::Accept::Disk,
                Accept::Memory => v1::Accept::Memory,
            }
            .into();
            message.retention_s = or_zero(durable.retention_s);
            message.retention_bytes = durable.retention_bytes.map_or(0, RetentionBytes::value);
            message.in_flight_max = or_zero(durable.in_flight_max);
            message.attempts_max = or_zero(durable.attempts_max);
            message.retry_s = durable.retry_s.map(Bounded::value);
            message.ack_timeout_s = or_zero(durable.ack_timeout_s);
            v1::Delivery::Durable
        }
    }
    .into();
    match &value.format {
        Format::Shipped(name) => message.format.clone_from(name),
        Format::Own(templates) => {
            message.templates = templates.iter().map(|(kind, text)| (kind.clone(), text.clone())).collect();
        }
    }
    of(Body::Stream(message))
}

/// A gateway is as given.
#[must_use]
pub fn gateway(eui: Eui64, value: &Gateway) -> Change {
    of(Body::Gateway(v1::Gateway {
        eui: eui.to_u64(),
        tenant: value.tenant.map_or(0, |tenant| tenant.0),
        name: value.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        eirp_max_dbm: or_zero(value.eirp_max_dbm),
    }))
}

/// A device is as given.
#[must_use]
pub fn device(dev_eui: Eui64, value: &Device) -> Change {
    let activation = match &value.activation {
        Activation::Otaa { app_key } => v1::device::Activation::Otaa(v1::Otaa { app_key: app_key.bytes().to_vec() }),
        Activation::Abp { dev_addr, nwk_s_key, app_s_key, fcnt_up, fcnt_down } => {
            v1::device::Activation::Abp(v1::Abp {
                dev_addr: dev_addr.0,
                nwk_s_key: nwk_s_key.bytes().to_vec(),
                app_s_key: app_s_key.bytes().to_vec(),
                fcnt_up: *fcnt_up,
                fcnt_down: *fcnt_down,
            })
        }
    };
    of(Body::Device(v1::Device {
        dev_eui: dev_eui.to_u64(),
        join_eui: value.join_eui.to_u64(),
        tenant: value.tenant.0,
        application: value.application.0,
        profile: value.profile.0,
        enabled: value.enabled,
        activation: Some(activation),
    }))
}

/// Something is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A tenant.
    Tenant(TenantId),
    /// An application.
    Application(ApplicationId),
    /// A profile.
    Profile(ProfileId),
    /// A stream.
    Stream(StreamId),
    /// A gateway.
    Gateway(Eui64),
    /// A device.
    Device(Eui64),
}

/// Says that something is gone.
#[must_use]
pub fn removed(what: Removed) -> Change {
    of(match what {
        Removed::Tenant(id) => Body::RemoveTenant(id.0),
        Removed::Application(id) => Body::RemoveApplication(id.0),
        Removed::Profile(id) => Body::RemoveProfile(id.0),
        Removed::Stream(id) => Body::RemoveStream(id.0),
        Removed::Gateway(eui) => Body::RemoveGateway(eui.to_u64()),
        Removed::Device(eui) => Body::RemoveDevice(eui.to_u64()),
    })
}
