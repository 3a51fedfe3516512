//! API keys, kept as hashes, and stream tokens, kept sealed and as hashes.

use crate::error::{Error, is_duplicate};
use crate::kept::{Kept, Named, Record};
use crate::rows::{id_at, maybe, name_at, number, stored};
use crate::seal::{random, sha256};
use crate::store::{Reader, Writer};
use model::change::Removed;
use model::{ApiKey, ApiSecret, Change, Fault, KeyId, Name, Role, Stream, StreamId, Token, TokenId, Uid};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row};

impl Kept for ApiKey {
    type Id = KeyId;
    const TABLE: &'static str = "api_keys";
    const COLUMNS: &'static [&'static str] = &["tenant", "name", "role", "hint"];
    const REFERRERS: &'static str = "others";

    fn bind(&self) -> Result<Vec<Value>, Error> {
        Ok(vec![
            maybe(self.role.tenant(), number),
            Value::Text(self.name.to_string()),
            Value::Text(self.role.name().into()),
            Value::Text(self.hint.clone()),
        ])
    }

    fn read(row: &Row<'_>, at: usize) -> Result<Self, Error> {
        let role: String = row.get(at + 2)?;
        Ok(Self {
            role: stored(Role::parse(&role, id_at(row, at)?))?,
            name: name_at(row, at + 1)?,
            hint: row.get(at + 3)?,
        })
    }

    fn change(&self, _: KeyId, _: &Reader<'_>) -> Result<Option<Change>, Error> {
        Ok(None)
    }

    fn removed(_: KeyId) -> Option<Removed> {
        None
    }
}

/// A stream's token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number.
    pub number: TokenId,
    /// Its name for the outside.
    pub uid: Uid,
    /// For people.
    pub name: Name,
    /// Unix microseconds.
    pub created_us: u64,
}

impl Reader<'_> {
    /// The API key with this secret.
    ///
    /// # Errors
    /// When the database fails.
    pub fn key_of_secret(&self, secret: &str) -> Result<Option<Record<ApiKey>>, Error> {
        let id = self
            .conn
            .prepare_cached("SELECT id FROM api_keys WHERE hash = ?1")?
            .query_row([sha256(secret.as_bytes())], |row| row.get::<_, u32>(0))
            .optional()?;
        id.map_or(Ok(None), |id| self.by_number(KeyId(id)))
    }

    /// The tokens of a stream.
    ///
    /// # Errors
    /// When the database fails.
    pub fn tokens(&self, stream: StreamId) -> Result<Vec<TokenRow>, Error> {
        let sql = "SELECT id, uid, name, created_us FROM tokens WHERE stream = ?1 ORDER BY id";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([stream.0])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(TokenRow {
                number: TokenId(row.get(0)?),
                uid: Uid::from_bytes(row.get(1)?),
                name: name_at(row, 2)?,
                created_us: row.get::<_, i64>(3)? as u64,
            });
        }
        Ok(out)
    }

    /// A token itself.
    ///
    /// # Errors
    /// [`Error::Absent`], or when it cannot be opened.
    pub fn reveal_token(&self, id: TokenId) -> Result<Token, Error> {
        let (uid, sealed): ([u8; 16], Vec<u8>) = self
            .conn
            .prepare_cached("SELECT uid, sealed FROM tokens WHERE id = ?1")?
            .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
            .ok_or(Error::Absent)?;
        let plain = self.sealer.open_sealed(&uid, &sealed)?;
        stored(std::str::from_utf8(&plain).map_err(|error| error.to_string()).and_then(Token::parse))
    }

    pub(crate) fn token_hashes(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, Error> {
        let mut statement = self.conn.prepare_cached("SELECT hash FROM tokens WHERE stream = ?1 ORDER BY id")?;
        let hashes = statement.query_map([stream.0], |row| row.get(0))?;
        Ok(hashes.collect::<Result<_, _>>()?)
    }
}

impl Writer<'_> {
    /// Makes an API key. Its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// When the database fails.
    pub fn insert_key(&mut self, name: Name, role: Role) -> Result<(Named<KeyId>, ApiSecret), Error> {
        let secret = ApiSecret::new(&random());
        let key = ApiKey { name, role, hint: secret.hint().to_owned() };
        let hash = Value::Blob(sha256(secret.reveal().as_bytes()).to_vec());
        let named = self.insert_with(&key, &["hash"], &[hash])?;
        Ok((named, secret))
    }

    /// Adds a token to a stream: the one given, or a random one.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the token opens a stream already, or the stream has as many as it may have.
    pub fn insert_token(
        &mut self,
        stream: StreamId,
        name: &Name,
        token: Option<Token>,
    ) -> Result<(TokenRow, Token), Error> {
        const TOKEN_COUNT_MAX: usize = 64;
        if self.tokens(stream)?.len() >= TOKEN_COUNT_MAX {
            let reason = format!("a stream has at most {TOKEN_COUNT_MAX} tokens");
            return Err(Error::Conflict(Fault::new("tokens", reason)));
        }
        let token = token.unwrap_or_else(|| Token::new(&random()));
        let uid = Uid::now();
        let sealed = self.sealer.seal(&uid.to_bytes(), token.reveal().as_bytes());
        self.conn
            .prepare_cached(
                "INSERT INTO tokens (uid, stream, created_us, name, hash, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                uid.to_bytes(),
                stream.0,
                self.now_us as i64,
                name.as_str(),
                sha256(token.reveal().as_bytes()),
                sealed,
            ))
            .map_err(|error| {
                if is_duplicate(&error) {
                    return Error::Conflict(Fault::new("token", "is in use already; choose another"));
                }
                error.into()
            })?;
        let number = TokenId(self.conn.last_insert_rowid() as u32);
        self.touch::<Stream>(stream)?;
        Ok((TokenRow { number, uid, name: name.clone(), created_us: self.now_us }, token))
    }

    /// Removes a token of a stream. Sessions that it opened stay; new ones cannot be opened with it.
    ///
    /// # Errors
    /// [`Error::Absent`], or when the database fails.
    pub fn remove_token(&mut self, stream: StreamId, id: TokenId) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached("DELETE FROM tokens WHERE id = ?1 AND stream = ?2")?;
        let count = statement.execute([id.0, stream.0])?;
        drop(statement);
        if count == 0 {
            return Err(Error::Absent);
        }
        self.touch::<Stream>(stream)
    }
}
