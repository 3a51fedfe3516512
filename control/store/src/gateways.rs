//! Gateways as rows, by EUI.

use crate::error::{Error, is_duplicate, is_referred_to};
use crate::kept::Scope;
use crate::rows::{bounded_at, id_at, maybe, name_at, number};
use crate::store::{Reader, Writer, eui_key, key_eui};
use base::Eui64;
use model::change::{self, Removed};
use model::{Change, Fault, Gateway, Place, Stored};
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

const COLUMNS: &str =
    "eui, revision, created_us, updated_us, tenant, name, eirp_max_dbm, latitude, longitude, altitude_m";

impl Reader<'_> {
    /// The gateway with this EUI.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gateway(&self, eui: Eui64) -> Result<Option<Stored<Eui64, Gateway>>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM gateways WHERE eui = ?1");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([eui_key(eui)])?;
        rows.next()?.map(record).transpose()
    }

    /// Gateways in the order of their EUIs, after one of them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gateways(
        &self,
        scope: Scope,
        after: Option<Eui64>,
        limit: usize,
    ) -> Result<Vec<Stored<Eui64, Gateway>>, Error> {
        let mut sql = format!("SELECT {COLUMNS} FROM gateways WHERE TRUE");
        let mut values = Vec::new();
        if let Some(after) = after {
            values.push(Value::Integer(eui_key(after)));
            sql += &format!(" AND eui > ?{}", values.len());
        }
        if let Some(tenant) = scope.tenant {
            values.push(number(tenant));
            let shared = if scope.with_shared { " OR tenant IS NULL" } else { "" };
            sql += &format!(" AND (tenant = ?{}{shared})", values.len());
        }
        sql += &format!(" ORDER BY eui LIMIT {limit}");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(record(row)?);
        }
        Ok(out)
    }

    /// How many gateways there are.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gateway_count(&self) -> Result<u64, Error> {
        Ok(self.conn.prepare_cached("SELECT count(*) FROM gateways")?.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }

    pub(crate) fn gateways_changed(&self, revision: u64, out: &mut Vec<(u64, Change)>) -> Result<(), Error> {
        let sql = format!("SELECT {COLUMNS} FROM gateways WHERE revision > ?1");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([revision as i64])?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            out.push((record.revision, change::gateway(record.id, &record.value)));
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Adds a gateway.
    ///
    /// # Errors
    /// [`Error::Conflict`] if its EUI is taken.
    pub fn insert_gateway(&mut self, eui: Eui64, value: &Gateway) -> Result<(), Error> {
        let now = Value::Integer(self.now_us as i64);
        let mut values = vec![Value::Integer(eui_key(eui)), Value::Integer(self.revision as i64), now.clone(), now];
        values.extend(bind(value));
        let sql = format!("INSERT INTO gateways ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        self.conn.prepare_cached(&sql)?.execute(params_from_iter(values)).map_err(|error| {
            if is_duplicate(&error) {
                return Error::Conflict(Fault::new("eui", "there is a gateway with this EUI already"));
            }
            error.into()
        })?;
        self.conn.prepare_cached("DELETE FROM removed WHERE kind = 5 AND key = ?1")?.execute([eui_key(eui)])?;
        self.changes.push(change::gateway(eui, value));
        Ok(())
    }

    /// Replaces a gateway.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Conflict`] if it would leave streams behind that belong to its former owner.
    pub fn update_gateway(&mut self, eui: Eui64, value: &Gateway) -> Result<(), Error> {
        let before = self.gateway(eui)?.ok_or(Error::Absent)?;
        if before.value.tenant != value.tenant && self.is_tapped("gateway", eui)? {
            return Err(Error::Conflict(Fault::new(
                "tenant",
                "streams of its present owner tap it; remove them first",
            )));
        }
        let mut values = vec![Value::Integer(self.revision as i64), Value::Integer(self.now_us as i64)];
        values.extend(bind(value));
        values.push(Value::Integer(eui_key(eui)));
        self.conn
            .prepare_cached(
                "UPDATE gateways SET revision = ?, updated_us = ?, tenant = ?, name = ?, eirp_max_dbm = ?,
                 latitude = ?, longitude = ?, altitude_m = ? WHERE eui = ?",
            )?
            .execute(params_from_iter(values))?;
        self.changes.push(change::gateway(eui, value));
        Ok(())
    }

    /// Removes a gateway.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Conflict`] while streams tap it.
    pub fn remove_gateway(&mut self, eui: Eui64) -> Result<(), Error> {
        let count = self.conn.prepare_cached("DELETE FROM gateways WHERE eui = ?1")?.execute([eui_key(eui)]).map_err(
            |error| {
                if is_referred_to(&error) {
                    return Error::Conflict(Fault::new("eui", "streams still tap it; remove them first"));
                }
                error.into()
            },
        )?;
        if count == 0 {
            return Err(Error::Absent);
        }
        self.log_removed(Removed::Gateway(eui))
    }
}

impl Reader<'_> {
    /// Whether a stream taps this device or gateway.
    pub(crate) fn is_tapped(&self, column: &str, eui: Eui64) -> Result<bool, Error> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM streams WHERE {column} = ?1)");
        Ok(self.conn.prepare_cached(&sql)?.query_row([eui_key(eui)], |row| row.get(0))?)
    }
}

fn bind(value: &Gateway) -> [Value; 6] {
    let place = |read: fn(&Place) -> Option<f64>| maybe(value.place.as_ref().and_then(read), Value::Real);
    [
        maybe(value.tenant, number),
        maybe(value.name.as_ref(), |name| Value::Text(name.to_string())),
        maybe(value.eirp_max_dbm, |eirp| number(eirp.value())),
        place(|place| Some(place.latitude)),
        place(|place| Some(place.longitude)),
        place(|place| place.altitude_m),
    ]
}

fn record(row: &Row<'_>) -> Result<Stored<Eui64, Gateway>, Error> {
    let place = match (row.get::<_, Option<f64>>(7)?, row.get::<_, Option<f64>>(8)?) {
        (Some(latitude), Some(longitude)) => Some(Place { latitude, longitude, altitude_m: row.get(9)? }),
        _ => None,
    };
    let has_name = row.get_ref(5)? != rusqlite::types::ValueRef::Null;
    Ok(Stored {
        id: key_eui(row.get(0)?),
        revision: row.get::<_, i64>(1)? as u64,
        created_us: row.get::<_, i64>(2)? as u64,
        updated_us: row.get::<_, i64>(3)? as u64,
        value: Gateway {
            tenant: id_at(row, 4)?,
            name: if has_name { Some(name_at(row, 5)?) } else { None },
            eirp_max_dbm: bounded_at(row, 6)?,
            place,
        },
    })
}
