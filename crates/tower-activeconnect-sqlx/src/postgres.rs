//! PostgreSQL.

use sqlx::error::DatabaseError;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult, Postgres};
use sqlx::{Connection as _, Error, Executor as _};
use tower_activeconnect::store::StoreErrorKind;

use crate::dialect::{ColumnTypes, Dialect, UserIdColumn};
use crate::error::advice;
use crate::migrations::Migrations;
use crate::names::{Names, RawNames};
use crate::queries::RowsAffected;
use crate::statements::Statements;
use crate::user_id::{UserIdFormat, UserIdType};

impl RowsAffected for Postgres {
    fn rows_affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }
}

impl Dialect for Postgres {
    const URL_EXAMPLE: &'static str = "postgres://USER:PASSWORD@HOST/DATABASE";
    const IS_REMOTE: bool = true;
    const CREATE_TABLE: &'static str = "CREATE TABLE";
    const TABLE_OPTIONS: &'static str = "";

    fn quote(name: &str) -> String {
        format!("\"{name}\"")
    }

    fn accepts_url(url: &str) -> bool {
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    fn location(options: &PgConnectOptions) -> String {
        let database = options.get_database().unwrap_or(options.get_username());
        format!("the database {database:?} at {}:{}", options.get_host(), options.get_port())
    }

    fn configure_pool(pool: PoolOptions<Self>, _: &PgConnectOptions) -> PoolOptions<Self> {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                // The server cancels what the store has given up. A limit of the URL, the role or
                // the server stays.
                let sql = "SELECT set_config('statement_timeout', '4s', false) \
                           WHERE current_setting('statement_timeout') = '0'";
                connection.execute(sql).await.map(drop)
            })
        })
    }

    fn column_types(id_type: UserIdType) -> ColumnTypes {
        let user_id = match id_type {
            UserIdType::Text => "TEXT",
            UserIdType::Integer => "BIGINT",
            UserIdType::Uuid => "UUID",
        };
        ColumnTypes {
            row_id: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            token: "TEXT",
            user_id: user_id.to_owned(),
        }
    }

    fn statements(names: &Names, format: UserIdFormat) -> Statements {
        let Names { users, users_id, .. } = names;
        let condition = match format {
            UserIdFormat::LaxText => format!(
                "NOT EXISTS (SELECT 1 FROM {users} \
                 WHERE {users_id} = $1 AND {users_id}::text COLLATE \"C\" <> $1)"
            ),
            _ => "true".to_owned(),
        };
        Statements::with_on_conflict(names, &condition)
    }

    /// The foreign key compares by the collation of the users id, which may take several spellings
    /// for one. Every role can read the catalog.
    async fn read_user_id_column(
        connection: &mut PgConnection,
        raw: &RawNames,
        names: &Names,
        id_type: UserIdType,
    ) -> Result<UserIdColumn, Error> {
        let sql = "SELECT collisdeterministic FROM pg_attribute \
                   JOIN pg_collation ON pg_collation.oid = attcollation \
                   WHERE attrelid = to_regclass($1) AND attname = $2";
        let is_deterministic: Option<bool> = sqlx::query_scalar(sql)
            .bind(&names.users)
            .bind(&raw.users_id_column)
            .fetch_optional(connection)
            .await?;
        let format = match (id_type, is_deterministic) {
            (UserIdType::Text, Some(false)) => UserIdFormat::LaxText,
            _ => id_type.into(),
        };
        Ok(UserIdColumn { format, sql_type: None })
    }

    async fn migrate(
        mut connection: PoolConnection<Self>,
        migrations: &Migrations,
    ) -> Result<(), Error> {
        let mut transaction = connection.begin().await?;
        transaction.execute("SET LOCAL statement_timeout = '60s'").await?;
        // Ends with the transaction. Without it, two processes that start at once would both create
        // the tables.
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        let lock = sqlx::query(lock).bind(format!("tower-activeconnect {}", migrations.history()));
        transaction.execute(lock).await?;
        migrations.apply_pending::<Self>(&mut transaction).await?;
        transaction.commit().await
    }

    /// By <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
    fn classify(error: &dyn DatabaseError) -> Option<(StoreErrorKind, &'static str)> {
        use StoreErrorKind::{Other, ReadOnly, Unavailable};
        let code = error.code()?;
        Some(match &*code {
            "25006" => (ReadOnly, advice::READ_ONLY),
            "57014" => (Unavailable, advice::TIMEOUT),
            "57P01" | "57P02" | "57P03" | "57P05" => (Unavailable, advice::RESTART),
            "53300" => (Unavailable, advice::CONNECTIONS),
            "40001" | "40P01" | "55P03" => (Unavailable, advice::CONFLICT),
            "28000" | "28P01" => (Other, advice::LOGIN),
            "3D000" => (Other, advice::DATABASE),
            "42P01" | "3F000" => (Other, advice::TABLE),
            "42703" | "42804" | "42830" => (Other, advice::USERS_TABLE),
            "42501" => (Other, advice::PRIVILEGE),
            // Resources, connection and system errors.
            code if ["53", "08", "58"].iter().any(|class| code.starts_with(class)) => {
                (Unavailable, advice::RESTART)
            }
            _ => return None,
        })
    }

    fn is_missing_table(error: &dyn DatabaseError) -> bool {
        matches!(error.code().as_deref(), Some("42P01" | "3F000"))
    }
}
