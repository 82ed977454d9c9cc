//! The statements of the store, rendered once when it opens.

use std::sync::Arc;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::names::Names;

/// A statement, and the values that its parameters take, in order.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(crate) sql: Arc<str>,
    pub(crate) slots: &'static [Slot],
}

/// The value of a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    User,
    Token,
    Epoch,
}

/// The statements of one store.
#[derive(Clone, Debug)]
pub struct Statements {
    /// Returns the user's token.
    pub(crate) select_token: Statement,
    /// Inserts a token unless the user has one.
    pub(crate) insert_token: Statement,
    /// Deletes the user's token, if it is this one.
    pub(crate) delete_token: Statement,
    pub(crate) select_epoch: Statement,
    /// Inserts an epoch, or raises it.
    pub(crate) raise_epoch: Statement,
}

impl Statement {
    pub(crate) fn new(sql: String, slots: &'static [Slot]) -> Self {
        Self { sql: sql.into(), slots }
    }
}

impl Statements {
    /// The statements that PostgreSQL and SQLite have in common. `insert_condition` restricts the
    /// inserts; it may use the user's id as `$1`.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn with_on_conflict(names: &Names, insert_condition: &str) -> Self {
        let Names { tokens, epochs, .. } = names;
        Self {
            select_token: Statement::new(
                format!("SELECT token FROM {tokens} WHERE user_id = $1"),
                &[Slot::User],
            ),
            insert_token: Statement::new(
                format!(
                    "INSERT INTO {tokens} (user_id, token) SELECT $1, $2 WHERE {insert_condition} \
                     ON CONFLICT (user_id) DO NOTHING"
                ),
                &[Slot::User, Slot::Token],
            ),
            delete_token: Statement::new(
                format!("DELETE FROM {tokens} WHERE user_id = $1 AND token = $2"),
                &[Slot::User, Slot::Token],
            ),
            select_epoch: Statement::new(
                format!("SELECT epoch FROM {epochs} WHERE user_id = $1"),
                &[Slot::User],
            ),
            raise_epoch: Statement::new(
                format!(
                    "INSERT INTO {epochs} AS stored (user_id, epoch) \
                     SELECT $1, $2 WHERE {insert_condition} \
                     ON CONFLICT (user_id) DO UPDATE SET epoch = excluded.epoch \
                     WHERE excluded.epoch > stored.epoch"
                ),
                &[Slot::User, Slot::Epoch],
            ),
        }
    }
}
