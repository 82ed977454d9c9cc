//! Runs statements on a connection. The only place with sqlx's bounds on encoding and decoding.

use sqlx::database::Database;
use sqlx::query::Query;
use sqlx::types::Uuid;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Decode, Encode, Error, Executor, IntoArguments, Row as _, Type,
};

use crate::statements::{Slot, Statement};
use crate::user_id::StoredUserId;

/// The values of a statement's parameters.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    pub(crate) user: StoredUserId,
    pub(crate) token: &'a str,
    pub(crate) epoch: i64,
}

impl Values<'_> {
    pub(crate) fn of_user(user: StoredUserId) -> Self {
        Self { user, token: "", epoch: 0 }
    }
}

/// The statements of the store on one connection.
pub trait Queries: Database {
    /// Returns the number of changed rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// The text in the first column of the row, if there is a row.
    fn fetch_text(
        connection: &mut Self::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// The number in the first column of the row, if there is a row.
    fn fetch_integer(
        connection: &mut Self::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> impl Future<Output = Result<Option<i64>, Error>> + Send;

    /// Runs statements without parameters, separated by semicolons.
    fn run_script(
        connection: &mut Self::Connection,
        sql: String,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

impl<DB> Queries for DB
where
    DB: Database + RowsAffected,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn execute(
        connection: &mut DB::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> Result<u64, Error> {
        let result = connection.execute(query::<DB>(statement, values)).await?;
        Ok(DB::rows_affected(&result))
    }

    async fn fetch_text(
        connection: &mut DB::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> Result<Option<String>, Error> {
        let row = connection.fetch_optional(query::<DB>(statement, values)).await?;
        // Unchecked: MySQL's VARBINARY is no text for sqlx.
        row.map(|row| row.try_get_unchecked(0)).transpose()
    }

    async fn fetch_integer(
        connection: &mut DB::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> Result<Option<i64>, Error> {
        let row = connection.fetch_optional(query::<DB>(statement, values)).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    async fn run_script(connection: &mut DB::Connection, sql: String) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
    }
}

/// The number of changed rows, which each database returns in a type of its own.
pub trait RowsAffected: Database {
    fn rows_affected(result: &Self::QueryResult) -> u64;
}

fn query<DB>(statement: &Statement, values: &Values<'_>) -> Query<'static, DB, DB::Arguments>
where
    DB: Database,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
{
    // Its only parts that are no literals are names that were checked and quoted.
    let query = sqlx::query(AssertSqlSafe(statement.sql.clone()));
    statement.slots.iter().fold(query, |query, slot| match slot {
        Slot::User => match &values.user {
            StoredUserId::Text(text) => query.bind(text.clone()),
            StoredUserId::Integer(integer) => query.bind(*integer),
            StoredUserId::Uuid(uuid) => query.bind(*uuid),
        },
        Slot::Token => query.bind(values.token.to_owned()),
        Slot::Epoch => query.bind(values.epoch),
    })
}
