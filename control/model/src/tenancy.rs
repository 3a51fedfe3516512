//! Who owns what, and who may do what.

use crate::{Bounded, Name, TenantId};

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// For people.
    pub name: Name,
}

/// A set of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its owner.
    pub tenant: TenantId,
    /// For people.
    pub name: Name,
    /// How long copies of one uplink are gathered; the dataplane's default if absent. The answer must still meet RX1.
    pub dedup_window_ms: Option<Bounded<20, 700>>,
}

/// What the holder of an API key is, and may therefore do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything, of everyone.
    Operator,
    /// Everything of one tenant.
    TenantAdmin(TenantId),
    /// Sees one tenant's things, no secrets.
    TenantViewer(TenantId),
}

impl Role {
    /// The role with this name.
    ///
    /// # Errors
    /// The reason, when there is no such role or the tenant does not fit it.
    pub fn parse(name: &str, tenant: Option<TenantId>) -> Result<Self, String> {
        match (name, tenant) {
            ("operator", None) => Ok(Self::Operator),
            ("operator", Some(_)) => Err("an operator's key belongs to no tenant".into()),
            ("tenant_admin", Some(tenant)) => Ok(Self::TenantAdmin(tenant)),
            ("tenant_viewer", Some(tenant)) => Ok(Self::TenantViewer(tenant)),
            ("tenant_admin" | "tenant_viewer", None) => Err("needs a tenant".into()),
            _ => Err("must be operator, tenant_admin or tenant_viewer".into()),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::TenantAdmin(_) => "tenant_admin",
            Self::TenantViewer(_) => "tenant_viewer",
        }
    }

    /// The tenant it is confined to.
    #[must_use]
    pub const fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Operator => None,
            Self::TenantAdmin(tenant) | Self::TenantViewer(tenant) => Some(tenant),
        }
    }

    /// Whether it may change things and see secrets.
    #[must_use]
    pub const fn may_write(self) -> bool {
        !matches!(self, Self::TenantViewer(_))
    }
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// For people.
    pub name: Name,
    /// What its holder may do.
    pub role: Role,
    /// The beginning of the secret.
    pub hint: String,
}
