//! Who asks, and what they may.

use crate::problem::Problem;
use crate::state::Shared;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use model::{Faults, KeyId, Name, Role, Tenant, TenantId, Uid};
use store::{Named, Reader, Scope};

/// The holder of the API key that came with the request.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) key: Named<KeyId>,
    pub(crate) name: Name,
    pub(crate) role: Role,
}

impl FromRequestParts<Shared> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Problem> {
        let unknown = |detail| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim().to_owned())
            .ok_or_else(|| unknown("an API key is needed: Authorization: Bearer KEY"))?;
        let key = api.read(move |reader| Ok(reader.key_of_secret(&secret)?)).await?;
        let key = key.ok_or_else(|| unknown("there is no such API key"))?;
        Ok(Self { key: key.id, name: key.value.name, role: key.value.role })
    }
}

impl Who {
    /// That they may change things.
    pub(crate) fn writer(&self) -> Result<(), Problem> {
        if self.role.may_write() {
            return Ok(());
        }
        Err(Problem::forbidden("this API key may only look"))
    }

    /// That they are the operator.
    pub(crate) fn operator(&self) -> Result<(), Problem> {
        if self.role == Role::Operator {
            return Ok(());
        }
        Err(Problem::forbidden("only an operator's API key may do this"))
    }

    /// Whether things of this owner (nobody: the operator) exist for them.
    pub(crate) fn sees(&self, owner: Option<TenantId>) -> bool {
        self.role.tenant().is_none_or(|own| owner == Some(own))
    }

    /// What lists are confined to: their own tenant, or the one that an operator asks for.
    pub(crate) fn scope(&self, reader: &Reader<'_>, asked: Option<&str>) -> Result<Scope, Problem> {
        let asked = asked.map(|text| self.find_tenant(reader, "tenant", text)).transpose()?;
        Ok(Scope { tenant: self.role.tenant().or(asked), ..Scope::default() })
    }

    /// The tenant that a body names or, for a tenant's key, need not name.
    pub(crate) fn tenant(
        &self,
        reader: &Reader<'_>,
        asked: Option<&str>,
        faults: &mut Faults,
    ) -> Result<Option<TenantId>, Problem> {
        match (asked, self.role.tenant()) {
            (Some(text), _) => match self.find_tenant(reader, "tenant", text) {
                Ok(tenant) => Ok(Some(tenant)),
                Err(problem) if problem.status == 422 => {
                    faults.push("tenant", "there is no such tenant");
                    Ok(None)
                }
                Err(problem) => Err(problem),
            },
            (None, own) => Ok(own),
        }
    }

    fn find_tenant(&self, reader: &Reader<'_>, field: &str, text: &str) -> Result<TenantId, Problem> {
        let absent = || Problem::field(field, "there is no such tenant");
        let uid: Uid = text.parse().map_err(|_| absent())?;
        let found = reader.by_uid::<Tenant>(uid)?.ok_or_else(absent)?.id.number;
        if self.sees(Some(found)) { Ok(found) } else { Err(absent()) }
    }
}
