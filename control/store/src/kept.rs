//! Things with a number and a UUID: one way to read and write them all.

use crate::error::{Error, is_referred_to};
use crate::store::{Reader, Writer};
use model::change::{Removed, removed};
use model::{ApplicationId, Change, Fault, Stored, TenantId, Uid};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, params_from_iter};

/// The number of a thing, and its name for the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<I> {
    /// The number.
    pub number: I,
    /// The name for the outside.
    pub uid: Uid,
}

/// A table of numbered things. Its columns begin with `id, uid, revision, created_us, updated_us`.
pub trait Kept: Sized {
    /// Its number.
    type Id: Copy + From<u32> + Into<u32>;
    /// The table.
    const TABLE: &'static str;
    /// Further columns.
    const COLUMNS: &'static [&'static str];
    /// The column that says whose it is.
    const OWNER: &'static str = "tenant";
    /// What else may refer to it, for people.
    const REFERRERS: &'static str;

    /// Values of the further columns.
    ///
    /// # Errors
    /// When the value cannot be stored.
    fn bind(&self) -> Result<Vec<Value>, Error>;

    /// The value from the columns that begin at `at`.
    ///
    /// # Errors
    /// When the row holds what it should not.
    fn read(row: &Row<'_>, at: usize) -> Result<Self, Error>;

    /// What the dataplane is told, if it is.
    ///
    /// # Errors
    /// When the database fails.
    fn change(&self, id: Self::Id, reader: &Reader<'_>) -> Result<Option<Change>, Error>;

    /// What the dataplane is told when it is gone, if it is.
    fn removed(id: Self::Id) -> Option<Removed>;
}

/// What a list is confined to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Things of this tenant.
    pub tenant: Option<TenantId>,
    /// With it: also those of nobody.
    pub with_shared: bool,
    /// Things of this application.
    pub application: Option<ApplicationId>,
}

/// A row of a kept thing.
pub(crate) type Record<T> = Stored<Named<<T as Kept>::Id>, T>;

impl Reader<'_> {
    /// The thing with this name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn by_uid<T: Kept>(&self, uid: Uid) -> Result<Option<Record<T>>, Error> {
        self.one("uid = ?1", Value::Blob(uid.to_bytes().to_vec()))
    }

    /// The thing with this number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn by_number<T: Kept>(&self, id: T::Id) -> Result<Option<Record<T>>, Error> {
        self.one("id = ?1", Value::Integer(i64::from(id.into())))
    }

    /// The name of the thing with this number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn uid_of<T: Kept>(&self, id: T::Id) -> Result<Option<Uid>, Error> {
        let sql = format!("SELECT uid FROM {} WHERE id = ?1", T::TABLE);
        let uid = self.conn.prepare_cached(&sql)?.query_row([id.into()], |row| row.get::<_, [u8; 16]>(0)).optional()?;
        Ok(uid.map(Uid::from_bytes))
    }

    /// Things in the order of their making, after the number `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list<T: Kept>(&self, scope: Scope, after: u32, limit: usize) -> Result<Vec<Record<T>>, Error> {
        let mut sql = select::<T>("id > ?1");
        let mut values = vec![Value::Integer(i64::from(after))];
        if let Some(tenant) = scope.tenant {
            values.push(Value::Integer(i64::from(tenant.0)));
            let shared = if scope.with_shared { " OR tenant IS NULL" } else { "" };
            sql += &format!(" AND ({} = ?{}{shared})", T::OWNER, values.len());
        }
        if let Some(application) = scope.application {
            values.push(Value::Integer(i64::from(application.0)));
            sql += &format!(" AND application = ?{}", values.len());
        }
        sql += &format!(" ORDER BY id LIMIT {limit}");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(record(row)?);
        }
        Ok(out)
    }

    /// How many there are.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count<T: Kept>(&self) -> Result<u64, Error> {
        let sql = format!("SELECT count(*) FROM {}", T::TABLE);
        Ok(self.conn.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Those that changed after `revision`, with the revision and what the dataplane is told.
    pub(crate) fn changed<T: Kept>(&self, revision: u64, out: &mut Vec<(u64, Change)>) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached(&select::<T>("revision > ?1 ORDER BY id"))?;
        let mut rows = statement.query([revision as i64])?;
        while let Some(row) = rows.next()? {
            let record = record::<T>(row)?;
            if let Some(change) = record.value.change(record.id.number, self)? {
                out.push((record.revision, change));
            }
        }
        Ok(())
    }

    fn one<T: Kept>(&self, condition: &str, value: Value) -> Result<Option<Record<T>>, Error> {
        let mut statement = self.conn.prepare_cached(&select::<T>(condition))?;
        let mut rows = statement.query([value])?;
        rows.next()?.map(record).transpose()
    }
}

impl Writer<'_> {
    /// Adds a thing.
    ///
    /// # Errors
    /// When the database fails.
    pub fn insert<T: Kept>(&mut self, value: &T) -> Result<Named<T::Id>, Error> {
        self.insert_with(value, &[], &[])
    }

    /// Adds a thing with columns that are never read back as part of it.
    pub(crate) fn insert_with<T: Kept>(
        &mut self,
        value: &T,
        columns: &[&str],
        further: &[Value],
    ) -> Result<Named<T::Id>, Error> {
        let uid = Uid::now();
        let mut names = vec!["uid", "revision", "created_us", "updated_us"];
        names.extend(T::COLUMNS.iter().chain(columns));
        let mut values = vec![
            Value::Blob(uid.to_bytes().to_vec()),
            Value::Integer(self.revision as i64),
            Value::Integer(self.now_us as i64),
            Value::Integer(self.now_us as i64),
        ];
        values.extend(value.bind()?);
        values.extend_from_slice(further);
        let marks = vec!["?"; values.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", T::TABLE, names.join(", "));
        self.conn.prepare_cached(&sql)?.execute(params_from_iter(values))?;
        let number = u32::try_from(self.conn.last_insert_rowid())
            .map_err(|_| Error::Broken(format!("the numbers of {} are used up", T::TABLE)))?;
        self.log(T::Id::from(number), value)?;
        Ok(Named { number: number.into(), uid })
    }

    /// Replaces a thing.
    ///
    /// # Errors
    /// [`Error::Absent`], or when the database fails.
    pub fn update<T: Kept>(&mut self, id: T::Id, value: &T) -> Result<(), Error> {
        let assignments: Vec<_> = T::COLUMNS.iter().map(|name| format!("{name} = ?")).collect();
        let sql =
            format!("UPDATE {} SET revision = ?, updated_us = ?, {} WHERE id = ?", T::TABLE, assignments.join(", "));
        let mut values = vec![Value::Integer(self.revision as i64), Value::Integer(self.now_us as i64)];
        values.extend(value.bind()?);
        values.push(Value::Integer(i64::from(id.into())));
        if self.conn.prepare_cached(&sql)?.execute(params_from_iter(values))? == 0 {
            return Err(Error::Absent);
        }
        self.log(id, value)
    }

    /// Removes a thing.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::Conflict`] while others refer to it.
    pub fn remove<T: Kept>(&mut self, id: T::Id) -> Result<(), Error> {
        let sql = format!("DELETE FROM {} WHERE id = ?1", T::TABLE);
        let count = self.conn.prepare_cached(&sql)?.execute([id.into()]).map_err(|error| {
            if is_referred_to(&error) {
                return Error::Conflict(Fault::new(
                    "id",
                    format!("{} still refer to it; remove them first", T::REFERRERS),
                ));
            }
            error.into()
        })?;
        if count == 0 {
            return Err(Error::Absent);
        }
        T::removed(id).map_or(Ok(()), |what| self.log_removed(what))
    }

    /// Says again what the dataplane is to know of a thing whose parts changed, and gives it this revision.
    pub(crate) fn touch<T: Kept>(&mut self, id: T::Id) -> Result<(), Error> {
        let record = self.by_number::<T>(id)?.ok_or(Error::Absent)?;
        self.update(id, &record.value)
    }

    fn log<T: Kept>(&mut self, id: T::Id, value: &T) -> Result<(), Error> {
        let change = value.change(id, self)?;
        self.changes.extend(change);
        Ok(())
    }

    pub(crate) fn log_removed(&mut self, what: Removed) -> Result<(), Error> {
        let (kind, key) = removal_key(what);
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO removed (kind, key, revision) VALUES (?1, ?2, ?3)")?
            .execute((kind, key, self.revision as i64))?;
        self.changes.push(removed(what));
        Ok(())
    }
}

fn removal_key(what: Removed) -> (i64, i64) {
    match what {
        Removed::Tenant(id) => (1, i64::from(id.0)),
        Removed::Application(id) => (2, i64::from(id.0)),
        Removed::Profile(id) => (3, i64::from(id.0)),
        Removed::Stream(id) => (4, i64::from(id.0)),
        Removed::Gateway(eui) => (5, crate::store::eui_key(eui)),
        Removed::Device(eui) => (DEVICE_KIND, crate::store::eui_key(eui)),
    }
}

/// The kind of a removed device in `removed`; the greatest, so that `kind < ?` is everything else.
pub(crate) const DEVICE_KIND: i64 = 6;

/// The inverse of [`removal_key`].
pub(crate) fn removal(kind: i64, key: i64) -> Result<Removed, Error> {
    let number = key as u32;
    Ok(match kind {
        1 => Removed::Tenant(number.into()),
        2 => Removed::Application(number.into()),
        3 => Removed::Profile(number.into()),
        4 => Removed::Stream(number.into()),
        5 => Removed::Gateway(crate::store::key_eui(key)),
        DEVICE_KIND => Removed::Device(crate::store::key_eui(key)),
        _ => return Err(Error::Broken(format!("a removal of unknown kind {kind}"))),
    })
}

fn select<T: Kept>(condition: &str) -> String {
    let columns = T::COLUMNS.join(", ");
    format!("SELECT id, uid, revision, created_us, updated_us, {columns} FROM {} WHERE {condition}", T::TABLE)
}

fn record<T: Kept>(row: &Row<'_>) -> Result<Record<T>, Error> {
    Ok(Stored {
        id: Named { number: row.get::<_, u32>(0)?.into(), uid: Uid::from_bytes(row.get(1)?) },
        revision: row.get::<_, i64>(2)? as u64,
        created_us: row.get::<_, i64>(3)? as u64,
        updated_us: row.get::<_, i64>(4)? as u64,
        value: T::read(row, 5)?,
    })
}
