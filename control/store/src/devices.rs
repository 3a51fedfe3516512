//! Devices as rows, by DevEUI; millions of them.

use crate::error::{Error, is_referred_to};
use crate::rows::{id_at, name_at, number};
use crate::seal::Sealer;
use crate::store::{Reader, Writer, eui_key, key_eui};
use base::Eui64;
use model::change::{self, Removed};
use model::{Activation, ApplicationId, Change, DevAddr, Device, Fault, Key128, ProfileId, Stored, TenantId};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, params, params_from_iter};

const COLUMNS: &str = "eui, revision, created_us, updated_us, tenant, application, profile, name, enabled, join_eui, \
                       dev_addr, fcnt_up, fcnt_down, sealed";

/// What a list of devices is confined to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Devices of this tenant.
    pub tenant: Option<TenantId>,
    /// Devices of this application.
    pub application: Option<ApplicationId>,
    /// Devices with this profile.
    pub profile: Option<ProfileId>,
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upserted {
    /// There was none.
    Created,
    /// It was different.
    Updated,
    /// It was the same; nothing was written.
    Unchanged,
}

impl Reader<'_> {
    /// The device with this DevEUI.
    ///
    /// # Errors
    /// When the database fails.
    pub fn device(&self, dev_eui: Eui64) -> Result<Option<Stored<Eui64, Device>>, Error> {
        let sql = const_select("eui = ?1");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([eui_key(dev_eui)])?;
        rows.next()?.map(|row| record(row, self.sealer)).transpose()
    }

    /// Devices in the order of their EUIs, after one of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn devices(
        &self,
        filter: DeviceFilter,
        after: Option<Eui64>,
        limit: usize,
    ) -> Result<Vec<Stored<Eui64, Device>>, Error> {
        let mut conditions = vec!["TRUE".to_owned()];
        let mut values = Vec::new();
        let mut confine = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                values.push(value);
                conditions.push(format!("{condition} ?{}", values.len()));
            }
        };
        confine("eui >", after.map(|eui| Value::Integer(eui_key(eui))));
        confine("tenant =", filter.tenant.map(number));
        confine("application =", filter.application.map(number));
        confine("profile =", filter.profile.map(number));
        let sql = const_select(&format!("{} ORDER BY eui LIMIT {limit}", conditions.join(" AND ")));
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(record(row, self.sealer)?);
        }
        Ok(out)
    }

    /// How many devices there are, as of the last commit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn device_count(&self) -> Result<u64, Error> {
        let sql = "SELECT device_count FROM meta";
        Ok(self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }

    /// The first `limit` devices that changed after `revision`, by revision.
    pub(crate) fn devices_changed(&self, revision: u64, limit: usize) -> Result<Vec<(u64, Change)>, Error> {
        let sql = const_select(&format!("revision > ?1 ORDER BY revision LIMIT {limit}"));
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([revision as i64])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let record = record(row, self.sealer)?;
            out.push((record.revision, change::device(record.id, &record.value)));
        }
        Ok(out)
    }
}

impl Writer<'_> {
    /// Adds a device.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its DevEUI is taken.
    pub fn insert_device(&mut self, dev_eui: Eui64, value: &Device) -> Result<(), Error> {
        if self.device(dev_eui)?.is_some() {
            return Err(Error::Conflict(Fault::new("dev_eui", "there is a device with this DevEUI already")));
        }
        self.put_device(dev_eui, value, self.now_us)?;
        self.devices_added += 1;
        Ok(())
    }

    /// Replaces a device.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Conflict`] if it would leave streams behind that belong to its former owner.
    pub fn update_device(&mut self, dev_eui: Eui64, value: &Device) -> Result<(), Error> {
        let before = self.device(dev_eui)?.ok_or(Error::Absent)?;
        self.check_owner(dev_eui, &before.value, value)?;
        self.put_device(dev_eui, value, before.created_us)
    }

    /// Adds or replaces a device; `before` is what [`Reader::device`] said of it in this transaction.
    ///
    /// # Errors
    /// As [`Writer::update_device`].
    pub fn upsert_device(
        &mut self,
        dev_eui: Eui64,
        value: &Device,
        before: Option<&Stored<Eui64, Device>>,
    ) -> Result<Upserted, Error> {
        let Some(before) = before else {
            self.put_device(dev_eui, value, self.now_us)?;
            self.devices_added += 1;
            return Ok(Upserted::Created);
        };
        if before.value == *value {
            return Ok(Upserted::Unchanged);
        }
        self.check_owner(dev_eui, &before.value, value)?;
        self.put_device(dev_eui, value, before.created_us)?;
        Ok(Upserted::Updated)
    }

    /// Removes a device.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Conflict`] while streams tap it.
    pub fn remove_device(&mut self, dev_eui: Eui64) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached("DELETE FROM devices WHERE eui = ?1")?;
        let count = statement.execute([eui_key(dev_eui)]).map_err(|error| {
            if is_referred_to(&error) {
                return Error::Conflict(Fault::new("dev_eui", "streams still tap it; remove them first"));
            }
            error.into()
        })?;
        drop(statement);
        if count == 0 {
            return Err(Error::Absent);
        }
        self.devices_added -= 1;
        self.log_removed(Removed::Device(dev_eui))
    }

    fn check_owner(&self, dev_eui: Eui64, before: &Device, after: &Device) -> Result<(), Error> {
        if before.tenant != after.tenant && self.is_tapped("device", dev_eui)? {
            let reason = "streams of its present owner tap the device; remove them first";
            return Err(Error::Conflict(Fault::new("application", reason)));
        }
        Ok(())
    }

    /// Writes the row by its key. Not `INSERT OR REPLACE`: that deletes first, which streams that tap it forbid.
    fn put_device(&mut self, dev_eui: Eui64, value: &Device, created_us: u64) -> Result<(), Error> {
        let key = eui_key(dev_eui);
        let (dev_addr, fcnt_up, fcnt_down, sealed) = match &value.activation {
            Activation::Otaa { app_key } => {
                (None, None, None, self.sealer.seal(&context(dev_eui, false), app_key.bytes()))
            }
            Activation::Abp { dev_addr, nwk_s_key, app_s_key, fcnt_up, fcnt_down } => {
                let mut keys = zeroize::Zeroizing::new([0; 32]);
                keys[..16].copy_from_slice(nwk_s_key.bytes());
                keys[16..].copy_from_slice(app_s_key.bytes());
                let sealed = self.sealer.seal(&context(dev_eui, true), &*keys);
                (Some(dev_addr.0), Some(*fcnt_up), Some(*fcnt_down), sealed)
            }
        };
        self.conn
            .prepare_cached(
                "INSERT INTO devices (eui, revision, created_us, updated_us, tenant, application, profile, name,
                 enabled, join_eui, dev_addr, fcnt_up, fcnt_down, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
                 ON CONFLICT (eui) DO UPDATE SET revision = ?2, updated_us = ?4, tenant = ?5, application = ?6,
                 profile = ?7, name = ?8, enabled = ?9, join_eui = ?10, dev_addr = ?11, fcnt_up = ?12,
                 fcnt_down = ?13, sealed = ?14",
            )?
            .execute(params![
                key,
                self.revision as i64,
                created_us as i64,
                self.now_us as i64,
                value.tenant.0,
                value.application.0,
                value.profile.0,
                value.name.as_ref().map(model::Name::as_str),
                value.enabled,
                eui_key(value.join_eui),
                dev_addr,
                fcnt_up,
                fcnt_down,
                sealed,
            ])?;
        self.conn.prepare_cached("DELETE FROM removed WHERE kind = 6 AND key = ?1")?.execute([key])?;
        self.changes.push(change::device(dev_eui, value));
        Ok(())
    }
}

/// The part of a query that never changes, with its condition.
pub(crate) fn const_select(condition: &str) -> String {
    format!("SELECT {COLUMNS} FROM devices WHERE {condition}")
}

pub(crate) fn record(row: &Row<'_>, sealer: &Sealer) -> Result<Stored<Eui64, Device>, Error> {
    let dev_eui = key_eui(row.get(0)?);
    let dev_addr: Option<u32> = row.get(10)?;
    let sealed = row.get_ref(13)?.as_blob().map_err(|_| Error::Broken("a device without keys".into()))?;
    let keys = sealer.open_sealed(&context(dev_eui, dev_addr.is_some()), sealed)?;
    let key = |at: usize| {
        let bytes = keys.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Key128::new).ok_or_else(|| Error::Broken("a device's keys are cut short".into()))
    };
    let activation = match dev_addr {
        None => Activation::Otaa { app_key: key(0)? },
        Some(dev_addr) => Activation::Abp {
            dev_addr: DevAddr(dev_addr),
            nwk_s_key: key(0)?,
            app_s_key: key(16)?,
            fcnt_up: row.get(11)?,
            fcnt_down: row.get(12)?,
        },
    };
    Ok(Stored {
        id: dev_eui,
        revision: row.get::<_, i64>(1)? as u64,
        created_us: row.get::<_, i64>(2)? as u64,
        updated_us: row.get::<_, i64>(3)? as u64,
        value: Device {
            join_eui: key_eui(row.get(9)?),
            tenant: TenantId(row.get(4)?),
            application: id_at(row, 5)?.ok_or_else(|| Error::Broken("a device without application".into()))?,
            profile: ProfileId(row.get(6)?),
            name: if row.get_ref(7)? == ValueRef::Null { None } else { Some(name_at(row, 7)?) },
            enabled: row.get(8)?,
            activation,
        },
    })
}

/// Keys open for their device and kind of activation only.
fn context(dev_eui: Eui64, is_abp: bool) -> [u8; 9] {
    let mut out = [0; 9];
    out[0] = if is_abp { b'a' } else { b'o' };
    out[1..].copy_from_slice(&dev_eui.0);
    out
}
