//! Tenants: the operator's to make, theirs to read.

use crate::auth::Who;
use crate::problem::Problem;
use crate::resource::{Resource, handlers};
use crate::view::{Page, View};
use model::{Faults, Name, Tenant, TenantId};
use serde::{Deserialize, Serialize};
use store::Reader;
use utoipa::ToSchema;

/// An organisation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct TenantBody {
    /// 1 to 128 bytes.
    #[schema(example = "Acme")]
    name: String,
}

impl Resource for Tenant {
    type Body = TenantBody;
    const NAME: &'static str = "tenant";
    const PATH: &'static str = "tenants";

    fn is_visible(&self, id: TenantId, who: &Who) -> bool {
        who.sees(Some(id))
    }

    fn may_write(&self, who: &Who) -> Result<(), Problem> {
        who.operator()
    }

    fn check(body: TenantBody, _: &Who, _: &Reader<'_>, _: Option<&Self>) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let name = faults.keep("name", Name::parse(body.name));
        let Some(name) = name else { return Err(faults.into()) };
        Ok(Self { name })
    }

    fn body(&self, _: &Reader<'_>) -> Result<TenantBody, Problem> {
        Ok(TenantBody { name: self.name.to_string() })
    }
}

handlers!(Tenant, TenantBody, "tenants", "/api/v1/tenants", "/api/v1/tenants/{id}", "a tenant");
