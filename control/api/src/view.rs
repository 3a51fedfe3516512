//! Shapes that all resources share: what is said of a stored thing beside its value, and pages of things.

use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What is said of every stored thing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Meta {
    /// The revision that changed it last; also its ETag.
    pub(crate) revision: u64,
    /// Whether that revision is in force on every shard of the dataplane. If not it is stored and pending.
    pub(crate) applied: bool,
    /// RFC 3339.
    pub(crate) created_at: String,
    /// RFC 3339.
    pub(crate) updated_at: String,
}

impl Meta {
    pub(crate) fn of<I, T>(stored: &model::Stored<I, T>, in_force: u64) -> Self {
        Self {
            revision: stored.revision,
            applied: stored.revision <= in_force,
            created_at: rfc3339(stored.created_us),
            updated_at: rfc3339(stored.updated_us),
        }
    }
}

/// A stored thing with its value.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct View<T> {
    /// A UUID of version 7.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) value: T,
    #[serde(flatten)]
    pub(crate) meta: Meta,
}

/// A part of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The things.
    pub(crate) items: Vec<T>,
    /// To be given as `after` for the next part; null after the last.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// A page of what was read with one item more than `limit`, if there was one.
    pub(crate) fn cut<R>(mut rows: Vec<R>, limit: usize, cursor: impl Fn(&R) -> String) -> (Vec<R>, Option<String>) {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(cursor) } else { None };
        (rows, next)
    }
}

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Things in one answer, 1 to 1000; 100 if absent.
    #[serde(default)]
    limit: Option<usize>,
    /// The `next` of the answer before.
    #[serde(default)]
    pub(crate) after: Option<String>,
    /// Only things of this tenant (operators).
    #[serde(default)]
    pub(crate) tenant: Option<String>,
}

impl ListParams {
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        limit(self.limit)
    }

    /// The number after which the list goes on.
    pub(crate) fn after_number(&self) -> Result<u32, Problem> {
        self.after.as_deref().map_or(Ok(0), |text| text.parse().map_err(|_| bad_cursor()))
    }

    /// The EUI after which the list goes on.
    pub(crate) fn after_eui(&self) -> Result<Option<base::Eui64>, Problem> {
        after_eui(self.after.as_deref())
    }
}

pub(crate) fn after_eui(after: Option<&str>) -> Result<Option<base::Eui64>, Problem> {
    after.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
}

pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(100),
        Some(limit) if (1..=1000).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::field("limit", "must be 1 to 1000")),
    }
}

/// The longest cursor of the dataplane that is given back to it, in bytes.
const PAGE_BYTES_MAX: usize = 1024;

/// A cursor of the dataplane, which means nothing to anyone else, as text.
pub(crate) fn cursor(page: &[u8]) -> String {
    page.iter().flat_map(|byte| base::hex::upper(*byte)).map(char::from).collect()
}

/// The dataplane's cursor again.
pub(crate) fn page_of_cursor(text: &str) -> Result<Vec<u8>, String> {
    let mut page = vec![0; PAGE_BYTES_MAX.min(text.len() / 2 + 1)];
    let count = base::hex::decode(text.as_bytes(), &mut page).map_err(|_| "must be of another answer".to_owned())?;
    page.truncate(count);
    Ok(page)
}

fn bad_cursor() -> Problem {
    Problem::field("after", "must be the `next` of another answer")
}

/// Unix microseconds as RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(us: u64) -> String {
    base::UnixMicros(us).rfc3339()
}

/// As [`rfc3339`]; 0 is never.
pub(crate) fn seen(us: u64) -> Option<String> {
    (us != 0).then(|| rfc3339(us))
}
