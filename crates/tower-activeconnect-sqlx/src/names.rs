//! The names of tables and columns, checked and quoted.

use tower_activeconnect::store::StoreError;

use crate::dialect::Dialect;

/// The longest name, in bytes. PostgreSQL cuts longer ones without an error.
const MAX_NAME_BYTES: usize = 63;
/// The longest name of the token table, in bytes: MySQL names a foreign key after its table, in 64
/// characters, and the table of the epochs has a suffix already.
const MAX_TOKEN_TABLE_BYTES: usize = 40;

/// The names as the application sets them.
#[derive(Clone, Debug)]
pub struct RawNames {
    pub(crate) schema: Option<String>,
    pub(crate) users_table: String,
    pub(crate) users_id_column: String,
    pub(crate) token_table: String,
}

/// The names in SQL: quoted, tables with their schema.
#[derive(Clone, Debug)]
pub struct Names {
    pub(crate) users: String,
    pub(crate) users_id: String,
    pub(crate) tokens: String,
    pub(crate) epochs: String,
    pub(crate) history: String,
}

impl Default for RawNames {
    fn default() -> Self {
        Self {
            schema: None,
            users_table: "users".to_owned(),
            users_id_column: "id".to_owned(),
            token_table: "activeconnect_token".to_owned(),
        }
    }
}

impl RawNames {
    /// Checks and quotes the names.
    ///
    /// # Errors
    ///
    /// When a name is empty, too long, or has a character that no plain identifier has.
    pub(crate) fn quoted<B: Dialect>(&self) -> Result<Names, StoreError> {
        let Self { schema, users_table, users_id_column, token_table } = self;
        for name in [users_table, users_id_column].into_iter().chain(schema) {
            check(name, MAX_NAME_BYTES)?;
        }
        check(token_table, MAX_TOKEN_TABLE_BYTES)?;
        let table = |name: &str| match schema {
            Some(schema) => format!("{}.{}", B::quote(schema), B::quote(name)),
            None => B::quote(name),
        };
        Ok(Names {
            users: table(users_table),
            users_id: B::quote(users_id_column),
            tokens: table(token_table),
            epochs: table(&format!("{token_table}_browser_epoch")),
            history: table(&format!("{token_table}_migrations")),
        })
    }
}

fn check(name: &str, max_bytes: usize) -> Result<(), StoreError> {
    let is_plain = |character: char| character.is_alphanumeric() || "_$-".contains(character);
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(StoreError::new(format!(
            "{name:?} is not the name of a table, column or schema; use letters, digits, _, $ and -"
        )));
    }
    if name.len() > max_bytes {
        return Err(StoreError::new(format!(
            "the name {name:?} is too long; use at most {max_bytes} bytes"
        )));
    }
    Ok(())
}
