//! Applications: sets of devices.

use crate::auth::Who;
use crate::problem::Problem;
use crate::resource::{Resource, handlers};
use crate::view::{Page, View};
use model::{Application, ApplicationId, Bounded, Faults, Name, Tenant};
use serde::{Deserialize, Serialize};
use store::Reader;
use utoipa::ToSchema;

/// A set of devices.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ApplicationBody {
    /// Its tenant's id. May be left out with a tenant's API key. Never changes.
    #[serde(default)]
    tenant: Option<String>,
    /// 1 to 128 bytes.
    #[schema(example = "Water meters")]
    name: String,
    /// How long copies of one uplink are gathered, 20 to 700 ms; 200 if absent.
    #[serde(default)]
    dedup_window_ms: Option<u32>,
}

impl Resource for Application {
    type Body = ApplicationBody;
    const NAME: &'static str = "application";
    const PATH: &'static str = "applications";

    fn is_visible(&self, _: ApplicationId, who: &Who) -> bool {
        who.sees(Some(self.tenant))
    }

    fn may_write(&self, _: &Who) -> Result<(), Problem> {
        Ok(())
    }

    fn check(body: ApplicationBody, who: &Who, reader: &Reader<'_>, before: Option<&Self>) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let asked = who.tenant(reader, body.tenant.as_deref(), &mut faults)?;
        let tenant = asked.or(before.map(|before| before.tenant));
        if tenant.is_none() && faults.0.is_empty() {
            faults.push("tenant", "is missing");
        }
        if before.is_some_and(|before| tenant.is_some_and(|tenant| tenant != before.tenant)) {
            faults.push("tenant", "cannot be changed");
        }
        let name = faults.keep("name", Name::parse(body.name));
        let dedup_window_ms = faults.keep_if("dedup_window_ms", body.dedup_window_ms, Bounded::new);
        match (tenant, name) {
            (Some(tenant), Some(name)) if faults.0.is_empty() => Ok(Self { tenant, name, dedup_window_ms }),
            _ => Err(faults.into()),
        }
    }

    fn body(&self, reader: &Reader<'_>) -> Result<ApplicationBody, Problem> {
        Ok(ApplicationBody {
            tenant: reader.uid_of::<Tenant>(self.tenant)?.map(|uid| uid.to_string()),
            name: self.name.to_string(),
            dedup_window_ms: self.dedup_window_ms.map(Bounded::value),
        })
    }
}

handlers!(
    Application,
    ApplicationBody,
    "applications",
    "/api/v1/applications",
    "/api/v1/applications/{id}",
    "an application"
);
