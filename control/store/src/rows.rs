//! Tenants, applications, profiles, streams and settings as rows.

use crate::error::Error;
use crate::kept::Kept;
use crate::store::{Reader, Writer, eui_key, key_eui};
use model::change::{self, Removed};
use model::{
    Application, ApplicationId, Bounded, Change, Copies, Delivery, Durable, Format, Level, Name, Profile, ProfileId,
    Settings, Stored, Stream, StreamId, Tenant, TenantId, WhenFull,
};
use rusqlite::types::{FromSql, Value};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A column that can only hold what the model accepted, unless somebody wrote to the file.
pub(crate) fn stored<T>(parsed: Result<T, String>) -> Result<T, Error> {
    parsed.map_err(|reason| Error::Broken(format!("a stored value is not what it should be: {reason}")))
}

pub(crate) fn name_at(row: &Row<'_>, at: usize) -> Result<Name, Error> {
    stored(Name::parse(row.get::<_, String>(at)?))
}

pub(crate) fn bounded_at<const MIN: u32, const MAX: u32>(
    row: &Row<'_>,
    at: usize,
) -> Result<Option<Bounded<MIN, MAX>>, Error> {
    row.get::<_, Option<u32>>(at)?.map(|value| stored(Bounded::new(value))).transpose()
}

pub(crate) fn id_at<I: From<u32>>(row: &Row<'_>, at: usize) -> Result<Option<I>, Error> {
    Ok(row.get::<_, Option<u32>>(at)?.map(I::from))
}

fn known<T: FromSql>(row: &Row<'_>, at: usize, what: &str) -> Result<T, Error> {
    row.get::<_, Option<T>>(at)?.ok_or_else(|| Error::Broken(format!("a stream without its {what}")))
}

pub(crate) fn number(id: impl Into<u32>) -> Value {
    Value::Integer(i64::from(id.into()))
}

pub(crate) fn maybe<T>(value: Option<T>, bind: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, bind)
}

fn json<T: Serialize>(value: &T) -> Result<Value, Error> {
    serde_json::to_string(value).map(Value::Text).map_err(|error| Error::Broken(error.to_string()))
}

fn from_json<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, Error> {
    stored(serde_json::from_str(text).map_err(|error| error.to_string()))
}

impl Kept for Tenant {
    type Id = TenantId;
    const TABLE: &'static str = "tenants";
    const COLUMNS: &'static [&'static str] = &["name"];
    const OWNER: &'static str = "id";
    const REFERRERS: &'static str = "applications, profiles, gateways, devices, streams or API keys";

    fn bind(&self) -> Result<Vec<Value>, Error> {
        Ok(vec![Value::Text(self.name.to_string())])
    }

    fn read(row: &Row<'_>, at: usize) -> Result<Self, Error> {
        Ok(Self { name: name_at(row, at)? })
    }

    fn change(&self, id: TenantId, _: &Reader<'_>) -> Result<Option<Change>, Error> {
        Ok(Some(change::tenant(id, self)))
    }

    fn removed(id: TenantId) -> Option<Removed> {
        Some(Removed::Tenant(id))
    }
}

impl Kept for Application {
    type Id = ApplicationId;
    const TABLE: &'static str = "applications";
    const COLUMNS: &'static [&'static str] = &["tenant", "name", "dedup_window_ms"];
    const REFERRERS: &'static str = "devices or streams";

    fn bind(&self) -> Result<Vec<Value>, Error> {
        Ok(vec![
            number(self.tenant),
            Value::Text(self.name.to_string()),
            maybe(self.dedup_window_ms, |window| number(window.value())),
        ])
    }

    fn read(row: &Row<'_>, at: usize) -> Result<Self, Error> {
        Ok(Self {
            tenant: TenantId(row.get(at)?),
            name: name_at(row, at + 1)?,
            dedup_window_ms: bounded_at(row, at + 2)?,
        })
    }

    fn change(&self, id: ApplicationId, _: &Reader<'_>) -> Result<Option<Change>, Error> {
        Ok(Some(change::application(id, self)))
    }

    fn removed(id: ApplicationId) -> Option<Removed> {
        Some(Removed::Application(id))
    }
}

impl Kept for Profile {
    type Id = ProfileId;
    const TABLE: &'static str = "profiles";
    const COLUMNS: &'static [&'static str] = &["tenant", "name", "body"];
    const REFERRERS: &'static str = "devices";

    fn bind(&self) -> Result<Vec<Value>, Error> {
        Ok(vec![maybe(self.tenant, number), Value::Text(self.name.to_string()), json(self)?])
    }

    fn read(row: &Row<'_>, at: usize) -> Result<Self, Error> {
        from_json(&row.get::<_, String>(at + 2)?)
    }

    fn change(&self, id: ProfileId, _: &Reader<'_>) -> Result<Option<Change>, Error> {
        Ok(Some(change::profile(id, self)))
    }

    fn removed(id: ProfileId) -> Option<Removed> {
        Some(Removed::Profile(id))
    }
}

/// What of a stream nothing else refers to.
#[derive(Serialize, Deserialize)]
struct StreamBody {
    copies: String,
    kinds: Vec<String>,
    format: Option<String>,
    templates: BTreeMap<String, String>,
    enabled: bool,
    downlinks: bool,
    deflate: bool,
    queue_bytes_max: Option<Bounded<16_384, 67_108_864>>,
    when_full: String,
    ping_interval_s: Option<Bounded<5, 3600>>,
    connection_count_max: Option<Bounded<1, 1_000_000>>,
    /// Of a durable stream; a live one has none.
    durable: Option<Durable>,
}

impl Kept for Stream {
    type Id = StreamId;
    const TABLE: &'static str = "streams";
    const COLUMNS: &'static [&'static str] = &["tenant", "name", "level", "application", "device", "gateway", "body"];
    const REFERRERS: &'static str = "tokens";

    fn bind(&self) -> Result<Vec<Value>, Error> {
        let (mut application, mut device, mut gateway) = (Value::Null, Value::Null, Value::Null);
        match self.level {
            Level::Application(id) => application = number(id),
            Level::Device(eui) => device = Value::Integer(eui_key(eui)),
            Level::Gateway(eui) => gateway = Value::Integer(eui_key(eui)),
            Level::Tenant | Level::Operator => {}
        }
        let (format, templates) = match &self.format {
            Format::Shipped(name) => (Some(name.clone()), BTreeMap::new()),
            Format::Own(templates) => (None, templates.clone()),
        };
        let body = StreamBody {
            copies: self.copies.name().into(),
            kinds: self.kinds.clone(),
            format,
            templates,
            enabled: self.enabled,
            downlinks: self.downlinks,
            deflate: self.deflate,
            queue_bytes_max: self.queue_bytes_max,
            when_full: self.when_full.name().into(),
            ping_interval_s: self.ping_interval_s,
            connection_count_max: self.connection_count_max,
            durable: self.delivery.durable().copied(),
        };
        Ok(vec![
            maybe(self.tenant, number),
            Value::Text(self.name.to_string()),
            Value::Text(self.level.name().into()),
            application,
            device,
            gateway,
            json(&body)?,
        ])
    }

    fn read(row: &Row<'_>, at: usize) -> Result<Self, Error> {
        let level = match row.get::<_, String>(at + 2)?.as_str() {
            "application" => Level::Application(ApplicationId(known(row, at + 3, "application")?)),
            "device" => Level::Device(key_eui(known(row, at + 4, "device")?)),
            "gateway" => Level::Gateway(key_eui(known(row, at + 5, "gateway")?)),
            "tenant" => Level::Tenant,
            "operator" => Level::Operator,
            other => return Err(Error::Broken(format!("a stream of unknown level {other}"))),
        };
        let body: StreamBody = from_json(&row.get::<_, String>(at + 6)?)?;
        Ok(Self {
            tenant: id_at(row, at)?,
            name: name_at(row, at + 1)?,
            level,
            copies: stored(Copies::parse(&body.copies))?,
            kinds: body.kinds,
            format: body.format.map_or(Format::Own(body.templates), Format::Shipped),
            enabled: body.enabled,
            downlinks: body.downlinks,
            deflate: body.deflate,
            queue_bytes_max: body.queue_bytes_max,
            when_full: stored(WhenFull::parse(&body.when_full))?,
            ping_interval_s: body.ping_interval_s,
            connection_count_max: body.connection_count_max,
            delivery: body.durable.map_or(Delivery::Live, Delivery::Durable),
        })
    }

    fn change(&self, id: StreamId, reader: &Reader<'_>) -> Result<Option<Change>, Error> {
        Ok(Some(change::stream(id, self, reader.token_hashes(id)?)))
    }

    fn removed(id: StreamId) -> Option<Removed> {
        Some(Removed::Stream(id))
    }
}

impl Reader<'_> {
    /// The bytes of all templates in the streams of a tenant, or of the operator.
    ///
    /// # Errors
    /// When the database fails.
    pub fn template_bytes(&self, owner: Option<TenantId>) -> Result<usize, Error> {
        let sql = "SELECT coalesce(sum(octet_length(template.value)), 0)
                   FROM streams, json_each(streams.body, '$.templates') AS template WHERE streams.tenant IS ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        Ok(statement.query_row([owner.map(|tenant| tenant.0)], |row| row.get::<_, i64>(0))? as usize)
    }

    /// What holds for the whole; the defaults until somebody changed them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn settings(&self) -> Result<Stored<(), Settings>, Error> {
        let row = self
            .conn
            .prepare_cached("SELECT revision, updated_us, body FROM settings")?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))
            .optional()?;
        let (revision, updated_us, value) = match row {
            Some((revision, updated_us, body)) => (revision as u64, updated_us as u64, from_json(&body)?),
            None => (1, 0, Settings::default()),
        };
        Ok(Stored { id: (), revision, created_us: 0, updated_us, value })
    }
}

impl Writer<'_> {
    /// Replaces what holds for the whole.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_settings(&mut self, value: &Settings) -> Result<(), Error> {
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO settings (only, revision, updated_us, body) VALUES (1, ?1, ?2, ?3)",
            )?
            .execute((self.revision as i64, self.now_us as i64, json(value)?))?;
        self.changes.push(change::settings(value));
        Ok(())
    }
}
