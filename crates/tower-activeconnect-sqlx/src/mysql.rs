//! MySQL 8 and MariaDB 10.11.

use sqlx::error::DatabaseError;
use sqlx::mysql::{MySql, MySqlConnectOptions, MySqlDatabaseError, MySqlQueryResult};
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection as _, Error, Executor as _, Row as _};
use tower_activeconnect::store::StoreErrorKind;

use crate::dialect::{ColumnTypes, Dialect, UserIdColumn};
use crate::error::advice;
use crate::migrations::Migrations;
use crate::names::{Names, RawNames};
use crate::queries::RowsAffected;
use crate::statements::{Slot, Statement, Statements};
use crate::user_id::{UserIdFormat, UserIdType};

impl RowsAffected for MySql {
    fn rows_affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }
}

impl Dialect for MySql {
    const URL_EXAMPLE: &'static str = "mysql://USER:PASSWORD@HOST/DATABASE";
    const IS_REMOTE: bool = true;
    // A migration that was interrupted can have created its table: there are no transactions of
    // such statements.
    const CREATE_TABLE: &'static str = "CREATE TABLE IF NOT EXISTS";
    const TABLE_OPTIONS: &'static str = " ENGINE = InnoDB";

    fn quote(name: &str) -> String {
        format!("`{name}`")
    }

    fn accepts_url(url: &str) -> bool {
        url.starts_with("mysql://") || url.starts_with("mariadb://")
    }

    fn location(options: &MySqlConnectOptions) -> String {
        let database = options.get_database().unwrap_or_default();
        format!("the database {database:?} at {}:{}", options.get_host(), options.get_port())
    }

    fn configure_pool(pool: PoolOptions<Self>, _: &MySqlConnectOptions) -> PoolOptions<Self> {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                let session = "SET SESSION innodb_lock_wait_timeout = 2, \
                               sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
                connection.execute(session).await?;
                // The server cancels what the store has given up. A limit of the user or the server
                // stays. MySQL has another variable, which is in milliseconds.
                let mariadb = "SET SESSION max_statement_time = \
                               IF(@@max_statement_time = 0, 4, @@max_statement_time)";
                let mysql = "SET SESSION max_execution_time = \
                             IF(@@max_execution_time = 0, 4000, @@max_execution_time)";
                if connection.execute(mariadb).await.is_err() {
                    connection.execute(mysql).await?;
                }
                Ok(())
            })
        })
    }

    /// Without strict mode the server would cut a long id, and store it as the id of another user.
    async fn check_connection(connection: &mut sqlx::MySqlConnection) -> Result<(), Error> {
        let mode: String = sqlx::query_scalar("SELECT @@sql_mode").fetch_one(connection).await?;
        if mode.contains("STRICT_ALL_TABLES") || mode.contains("STRICT_TRANS_TABLES") {
            return Ok(());
        }
        let error = "the connections of the pool cut long values; add STRICT_ALL_TABLES to their \
                     sql_mode";
        Err(Error::Configuration(error.into()))
    }

    fn column_types(id_type: UserIdType) -> ColumnTypes {
        let user_id = match id_type {
            UserIdType::Text => "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            UserIdType::Integer => "BIGINT",
            UserIdType::Uuid => "BINARY(16)",
        };
        ColumnTypes {
            row_id: "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
            // Bytes: every text collation of MariaDB 10.11 but the NOPAD ones ignores trailing
            // spaces, the binary ones included.
            token: "VARBINARY(256)",
            user_id: user_id.to_owned(),
        }
    }

    fn statements(names: &Names, format: UserIdFormat) -> Statements {
        let Names { users, users_id, tokens, epochs, .. } = names;
        // The foreign key has the collation of the users id, which may ignore case, accents and
        // trailing spaces. So texts are compared once by the index and once by their bytes.
        let is_text = format == UserIdFormat::Text;
        let is_user = |column: &str| {
            let bytes = format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)");
            match is_text {
                true => format!("{column} = ? AND {bytes} = CAST(? AS BINARY)"),
                false => format!("{column} = ?"),
            }
        };
        let of_user = is_user("user_id");
        let source = if is_text {
            let bytes = format!("CAST(CONVERT({users_id} USING utf8mb4) AS BINARY)");
            format!(
                "SELECT ?, ? FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM {users} \
                 WHERE {users_id} = ? AND {bytes} <> CAST(? AS BINARY))"
            )
        } else {
            "VALUES (?, ?)".to_owned()
        };
        let slots = |text: &'static [Slot], other| if is_text { text } else { other };
        Statements {
            select_token: Statement::new(
                format!("SELECT token FROM {tokens} WHERE {of_user}"),
                slots(&[Slot::User, Slot::User], &[Slot::User]),
            ),
            insert_token: Statement::new(
                format!("INSERT INTO {tokens} (user_id, token) {source}"),
                slots(
                    &[Slot::User, Slot::Token, Slot::User, Slot::User],
                    &[Slot::User, Slot::Token],
                ),
            ),
            delete_token: Statement::new(
                format!("DELETE FROM {tokens} WHERE {of_user} AND token = ?"),
                slots(&[Slot::User, Slot::User, Slot::Token], &[Slot::User, Slot::Token]),
            ),
            select_epoch: Statement::new(
                format!("SELECT epoch FROM {epochs} WHERE {of_user}"),
                slots(&[Slot::User, Slot::User], &[Slot::User]),
            ),
            raise_epoch: Statement::new(
                format!(
                    "INSERT INTO {epochs} (user_id, epoch) {source} \
                     ON DUPLICATE KEY UPDATE epoch = GREATEST(epoch, VALUES(epoch))"
                ),
                slots(
                    &[Slot::User, Slot::Epoch, Slot::User, Slot::User],
                    &[Slot::User, Slot::Epoch],
                ),
            ),
        }
    }

    /// A foreign key needs the same type, sign, character set and collation on both sides. The
    /// role of a migrated application may not see the users table, so the token table comes first.
    async fn read_user_id_column(
        connection: &mut sqlx::MySqlConnection,
        names: &RawNames,
        _: &Names,
        id_type: UserIdType,
    ) -> Result<UserIdColumn, Error> {
        let sql = "SELECT data_type, column_type, character_set_name, collation_name \
                   FROM information_schema.columns WHERE table_schema = DATABASE() \
                   AND (table_name = ? AND column_name = 'user_id' \
                        OR table_name = ? AND column_name = ?) \
                   ORDER BY table_name = ? DESC LIMIT 1";
        let row = sqlx::query(sql)
            .bind(&names.token_table)
            .bind(&names.users_table)
            .bind(&names.users_id_column)
            .bind(&names.token_table)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else {
            return Err(Error::Configuration(advice::USERS_TABLE.into()));
        };
        // Text, although information_schema has other types in some versions.
        let text = |index: usize| row.try_get_unchecked::<Option<String>, _>(index);
        let data_type = text(0)?.unwrap_or_default().to_lowercase();
        let mut sql_type = text(1)?.unwrap_or_default();
        if let Some((charset, collation)) = text(2)?.zip(text(3)?) {
            sql_type = format!("{sql_type} CHARACTER SET {charset} COLLATE {collation}");
        }
        let format = match (id_type, data_type.as_str()) {
            (UserIdType::Text, "char" | "varchar" | "varbinary" | "uuid") => UserIdFormat::Text,
            (UserIdType::Integer, "tinyint" | "smallint" | "mediumint" | "int" | "bigint") => {
                UserIdFormat::Integer
            }
            (UserIdType::Uuid, "binary") => UserIdFormat::Uuid,
            (UserIdType::Uuid, "uuid" | "char" | "varchar") => UserIdFormat::UuidAsText,
            _ => {
                let error = format!(
                    "the users' ids have the type {sql_type}; set the type of the ids in the \
                     options"
                );
                return Err(Error::Configuration(error.into()));
            }
        };
        Ok(UserIdColumn { format, sql_type: Some(sql_type) })
    }

    async fn migrate(
        connection: PoolConnection<Self>,
        migrations: &Migrations,
    ) -> Result<(), Error> {
        // The lock belongs to the connection. When this future is dropped, both go.
        let mut connection = connection.detach();
        // MariaDB's limit would also end the wait for the lock. MySQL does not know it.
        connection.execute("SET SESSION max_statement_time = 60").await.ok();
        let lock = "SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), ' ', ?)), 60)";
        let lock = sqlx::query_scalar::<_, Option<i64>>(lock).bind(migrations.history());
        if lock.fetch_one(&mut connection).await? != Some(1) {
            let error = "another process holds the lock of the migrations; look for a migration \
                         that hangs";
            return Err(Error::Configuration(error.into()));
        }
        migrations.apply_pending::<Self>(&mut connection).await?;
        connection.close().await
    }

    /// By <https://mariadb.com/kb/en/mariadb-error-codes/>.
    fn classify(error: &dyn DatabaseError) -> Option<(StoreErrorKind, &'static str)> {
        use StoreErrorKind::{NoSuchUser, Other, ReadOnly, Unavailable};
        let error = error.try_downcast_ref::<MySqlDatabaseError>()?;
        Some(match error.number() {
            // Out of range, not of the column's type, too long, with characters that the column does
            // not have: only the id can be so.
            1264 | 1267 | 1292 | 1366 | 1406 | 3988 => {
                (NoSuchUser, "the users table cannot have such an id")
            }
            1290 | 1792 | 1836 => (ReadOnly, advice::READ_ONLY),
            // MariaDB's and MySQL's limit of a statement, and KILL QUERY.
            1969 | 3024 | 1317 => (Unavailable, advice::TIMEOUT),
            1053 | 1927 | 1152 | 1158..=1161 => (Unavailable, advice::RESTART),
            1040 | 1203 | 1226 => (Unavailable, advice::CONNECTIONS),
            1205 | 1213 | 1020 => (Unavailable, advice::CONFLICT),
            1021 | 1041 | 1037 => {
                (Unavailable, "the server has no space left on its disk or in its memory")
            }
            1045 | 1698 | 1130 => (Other, advice::LOGIN),
            1049 => (Other, advice::DATABASE),
            1146 => (Other, advice::TABLE),
            1005 | 1215 | 1824 | 3780 => (Other, advice::USERS_TABLE),
            1044 | 1142 | 1143 | 1227 => (Other, advice::PRIVILEGE),
            _ => return None,
        })
    }

    fn is_missing_table(error: &dyn DatabaseError) -> bool {
        const NO_SUCH_TABLE: u16 = 1146;
        let error = error.try_downcast_ref::<MySqlDatabaseError>();
        error.is_some_and(|error| error.number() == NO_SUCH_TABLE)
    }
}
