//! The schema, version by version. A version that was released is never edited.

use crate::error::OpenError;
use rusqlite::Connection;

/// "TRNK": says that the file is ours (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x5452_4E4B;

/// Each step takes the schema from its index to the next version.
///
/// EUIs are 64-bit integers with the sign bit turned, so that the order of the column is the order of the EUIs.
/// Every kind of thing has a `revision`, the one that changed it last; what is gone is in `removed`.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    identity INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- Removals at or below this revision have been forgotten.
    floor INTEGER NOT NULL,
    key_check BLOB NOT NULL
) STRICT;
CREATE TABLE settings (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL, updated_us INTEGER NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE TABLE tenants (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL UNIQUE,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    name TEXT NOT NULL
) STRICT;
CREATE TABLE applications (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL UNIQUE,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    tenant INTEGER NOT NULL REFERENCES tenants, name TEXT NOT NULL, dedup_window_ms INTEGER
) STRICT;
CREATE TABLE profiles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL UNIQUE,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    tenant INTEGER REFERENCES tenants, name TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE TABLE gateways (
    eui INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    tenant INTEGER REFERENCES tenants, name TEXT, eirp_max_dbm INTEGER,
    latitude REAL, longitude REAL, altitude_m REAL
) STRICT;
CREATE TABLE devices (
    eui INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    tenant INTEGER NOT NULL REFERENCES tenants, application INTEGER NOT NULL REFERENCES applications,
    profile INTEGER NOT NULL REFERENCES profiles, name TEXT, enabled INTEGER NOT NULL, join_eui INTEGER NOT NULL,
    -- ABP devices have an address; OTAA devices have none here.
    dev_addr INTEGER, fcnt_up INTEGER, fcnt_down INTEGER, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL UNIQUE,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    tenant INTEGER REFERENCES tenants, name TEXT NOT NULL, level TEXT NOT NULL,
    application INTEGER REFERENCES applications, device INTEGER REFERENCES devices,
    gateway INTEGER REFERENCES gateways, body TEXT NOT NULL
) STRICT;
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL UNIQUE,
    stream INTEGER NOT NULL REFERENCES streams ON DELETE CASCADE, created_us INTEGER NOT NULL,
    name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid BLOB NOT NULL UNIQUE,
    revision INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    tenant INTEGER REFERENCES tenants, name TEXT NOT NULL, role TEXT NOT NULL, hint TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE removed (
    kind INTEGER NOT NULL, key INTEGER NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX removed_revision ON removed (revision);
CREATE INDEX tenants_revision ON tenants (revision);
CREATE INDEX applications_revision ON applications (revision);
CREATE INDEX applications_tenant ON applications (tenant);
CREATE INDEX profiles_revision ON profiles (revision);
CREATE INDEX profiles_tenant ON profiles (tenant);
CREATE INDEX gateways_revision ON gateways (revision);
CREATE INDEX gateways_tenant ON gateways (tenant);
CREATE INDEX devices_revision ON devices (revision);
CREATE INDEX devices_tenant ON devices (tenant);
CREATE INDEX devices_application ON devices (application);
CREATE INDEX devices_profile ON devices (profile);
CREATE INDEX streams_revision ON streams (revision);
CREATE INDEX streams_tenant ON streams (tenant);
CREATE INDEX streams_application ON streams (application);
CREATE INDEX streams_device ON streams (device);
CREATE INDEX streams_gateway ON streams (gateway);
CREATE INDEX tokens_stream ON tokens (stream);
CREATE INDEX api_keys_tenant ON api_keys (tenant);
",
    "
-- Streams may be durable. A version that does not know it would serve them live without a word, and must not open them.
UPDATE streams SET body = json_set(body, '$.durable', NULL);
",
    "
-- Counting ten million rows takes a second; every transaction keeps the sum instead.
ALTER TABLE meta ADD COLUMN device_count INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET device_count = (SELECT count(*) FROM devices);
",
];

/// Brings the schema to this version, each step in a transaction of its own. Says whether the store is new.
pub(crate) fn migrate(conn: &mut Connection, shown: &str) -> Result<bool, OpenError> {
    let failed = |error: rusqlite::Error| OpenError(format!("cannot read the store {shown}: {error}"));
    let pragma = |conn: &Connection, name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let version = usize::try_from(pragma(conn, "user_version").map_err(failed)?).unwrap_or(usize::MAX);
    let application = pragma(conn, "application_id").map_err(failed)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(OpenError(format!("{shown} is a database of something else")));
    }
    if version > MIGRATIONS.len() {
        return Err(OpenError(format!(
            "the store {shown} has schema version {version}, this version of Trunkline knows {}; upgrade Trunkline",
            MIGRATIONS.len()
        )));
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let failed = |error: rusqlite::Error| {
            OpenError(format!("cannot migrate the store {shown} to schema version {}: {error}", index + 1))
        };
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        tx.execute_batch(step).map_err(failed)?;
        tx.pragma_update(None, "user_version", (index + 1) as i64).map_err(failed)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        tx.commit().map_err(failed)?;
    }
    Ok(version == 0)
}
