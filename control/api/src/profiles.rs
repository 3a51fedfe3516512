//! Device profiles: a tenant's own, and the operator's, which every tenant may use.

use crate::auth::Who;
use crate::problem::Problem;
use crate::resource::{Resource, handlers};
use crate::view::{ListParams, Page, View};
use model::{Bounded, Faults, MacVersion, Name, Profile, ProfileId, Region, SubBands, Tenant};
use serde::{Deserialize, Serialize};
use store::{Reader, Scope};
use utoipa::ToSchema;

/// What a kind of device can do, and how it is to be treated. What is absent is the region's or the dataplane's default.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProfileBody {
    /// Its tenant's id. May be left out with a tenant's API key; an operator who leaves it out shares it with every
    /// tenant. Never changes.
    #[serde(default)]
    tenant: Option<String>,
    /// 1 to 128 bytes.
    #[schema(example = "Class A, EU")]
    name: String,
    /// EU868 or US915.
    #[schema(example = "EU868")]
    region: String,
    /// 1.0.0 to 1.0.4.
    #[schema(example = "1.0.4")]
    mac_version: String,
    /// Seconds from an uplink to RX1, 1 to 15.
    #[serde(default)]
    rx1_delay_s: Option<u32>,
    /// How far the data rate of RX1 is below the uplink's, 0 to 7 by region.
    #[serde(default)]
    rx1_dr_offset: u32,
    /// Data rate of RX2, 0 to 15 by region.
    #[serde(default)]
    rx2_data_rate: Option<u32>,
    /// Frequency of RX2.
    #[serde(default)]
    rx2_frequency_hz: Option<u32>,
    /// US915: sub-bands 1 to 8 that are on; all if empty.
    #[serde(default)]
    sub_bands: Vec<u8>,
    /// Transmissions of one confirmed downlink before it fails; 8 if absent.
    #[serde(default)]
    confirmed_attempts_max: Option<u32>,
    /// The greatest accepted gap in FCntUp; 16384 if absent.
    #[serde(default)]
    fcnt_gap_max: Option<u32>,
    /// Downlinks that may wait for one device, 1 to 64; 16 if absent.
    #[serde(default)]
    queue_count_max: Option<u32>,
}

impl Resource for Profile {
    type Body = ProfileBody;
    const NAME: &'static str = "profile";
    const PATH: &'static str = "profiles";

    fn is_visible(&self, _: ProfileId, who: &Who) -> bool {
        self.tenant.is_none() || who.sees(self.tenant)
    }

    fn may_write(&self, who: &Who) -> Result<(), Problem> {
        if self.tenant.is_none() { who.operator() } else { Ok(()) }
    }

    fn check(body: ProfileBody, who: &Who, reader: &Reader<'_>, before: Option<&Self>) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mut tenant = who.tenant(reader, body.tenant.as_deref(), &mut faults)?;
        if let Some(before) = before {
            if body.tenant.is_some() && tenant != before.tenant && faults.0.is_empty() {
                faults.push("tenant", "cannot be changed");
            }
            tenant = before.tenant;
        }
        let name = faults.keep("name", Name::parse(body.name));
        let region = faults.keep("region", Region::parse(&body.region));
        let mac_version = faults.keep("mac_version", MacVersion::parse(&body.mac_version));
        let rx1_delay_s = faults.keep_if("rx1_delay_s", body.rx1_delay_s, Bounded::new);
        let rx1_dr_offset = faults.keep("rx1_dr_offset", Bounded::new(body.rx1_dr_offset));
        let rx2_data_rate = faults.keep_if("rx2_data_rate", body.rx2_data_rate, Bounded::new);
        let rx2_frequency_hz = faults.keep_if("rx2_frequency_hz", body.rx2_frequency_hz, Bounded::new);
        let sub_bands = faults.keep("sub_bands", SubBands::parse(&body.sub_bands));
        let confirmed_attempts_max =
            faults.keep_if("confirmed_attempts_max", body.confirmed_attempts_max, Bounded::new);
        let fcnt_gap_max = faults.keep_if("fcnt_gap_max", body.fcnt_gap_max, Bounded::new);
        let queue_count_max = faults.keep_if("queue_count_max", body.queue_count_max, Bounded::new);
        match (name, region, mac_version, rx1_dr_offset, sub_bands) {
            (Some(name), Some(region), Some(mac_version), Some(rx1_dr_offset), Some(sub_bands))
                if faults.0.is_empty() =>
            {
                Ok(Self {
                    tenant,
                    name,
                    region,
                    mac_version,
                    rx1_delay_s,
                    rx1_dr_offset,
                    rx2_data_rate,
                    rx2_frequency_hz,
                    sub_bands,
                    confirmed_attempts_max,
                    fcnt_gap_max,
                    queue_count_max,
                })
            }
            _ => Err(faults.into()),
        }
    }

    fn body(&self, reader: &Reader<'_>) -> Result<ProfileBody, Problem> {
        let tenant = self.tenant.map(|tenant| reader.uid_of::<Tenant>(tenant)).transpose()?.flatten();
        Ok(ProfileBody {
            tenant: tenant.map(|uid| uid.to_string()),
            name: self.name.to_string(),
            region: self.region.name().into(),
            mac_version: self.mac_version.name().into(),
            rx1_delay_s: self.rx1_delay_s.map(Bounded::value),
            rx1_dr_offset: self.rx1_dr_offset.value(),
            rx2_data_rate: self.rx2_data_rate.map(Bounded::value),
            rx2_frequency_hz: self.rx2_frequency_hz.map(Bounded::value),
            sub_bands: self.sub_bands.numbers(),
            confirmed_attempts_max: self.confirmed_attempts_max.map(Bounded::value),
            fcnt_gap_max: self.fcnt_gap_max.map(Bounded::value),
            queue_count_max: self.queue_count_max.map(Bounded::value),
        })
    }

    fn scope(who: &Who, reader: &Reader<'_>, params: &ListParams) -> Result<Scope, Problem> {
        Ok(Scope { with_shared: true, ..who.scope(reader, params.tenant.as_deref())? })
    }
}

handlers!(Profile, ProfileBody, "profiles", "/api/v1/profiles", "/api/v1/profiles/{id}", "a device profile");
