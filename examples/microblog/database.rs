//! The blog's database: users, posts and the audit log, beside the library's token store. The same
//! tables on SQLite, PostgreSQL, MySQL and MariaDB.

use std::time::SystemTime;

use sqlx::error::ErrorKind;
use sqlx::mysql::{MySqlConnection, MySqlPool};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _, SqlStr};
use time::OffsetDateTime;
use tower_activeconnect::events::Event;
use tower_activeconnect_sqlx::{MySqlTokenStore, PgTokenStore, SqliteTokenStore};

/// The tables. `{text_id}` is the type of the users' ids, and `{row_id}` that of a primary key which
/// counts up. The last statement deletes no row, but fails if the database is read-only.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS users (
        id {text_id} PRIMARY KEY NOT NULL,
        email TEXT NOT NULL,
        created BIGINT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS posts (
        id {row_id},
        user_id {text_id} NOT NULL,
        body TEXT NOT NULL,
        created BIGINT NOT NULL,
        FOREIGN KEY (user_id) REFERENCES users (id)
    );
    CREATE TABLE IF NOT EXISTS audit (
        id {row_id},
        time TEXT NOT NULL,
        event TEXT NOT NULL,
        detail TEXT NOT NULL,
        user_id TEXT,
        session TEXT,
        address TEXT,
        user_agent TEXT
    );
    DELETE FROM users WHERE false;";

/// The number of posts on the timeline.
const TIMELINE_POSTS: i64 = 50;
/// A row of a user that has no token after so many seconds is free again: its registration was
/// interrupted, and no user has logged in with it.
const REGISTRATION_SECONDS: i64 = 60;

#[derive(Clone)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
}

/// The token store in the same database.
pub(crate) enum Tokens {
    Sqlite(SqliteTokenStore),
    Postgres(PgTokenStore),
    MySql(MySqlTokenStore),
}

pub(crate) struct Post {
    pub(crate) author: String,
    pub(crate) body: String,
    /// The time in UTC, as `2022-05-17 09:30`.
    pub(crate) created: String,
}

/// Evaluates an expression with the pool of the database, of whichever type it is.
macro_rules! with_pool {
    ($database:expr, $pool:ident => $expression:expr) => {
        match $database {
            Database::Sqlite($pool) => $expression,
            Database::Postgres($pool) => $expression,
            Database::MySql($pool) => $expression,
        }
    };
}

impl Database {
    /// Opens the database and creates missing tables; returns the token store, too.
    pub(crate) async fn open(url: &str) -> Result<(Tokens, Self), String> {
        let opened = match url.split(':').next() {
            Some("postgres" | "postgresql") => Self::open_postgres(url).await,
            Some("mysql" | "mariadb") => Self::open_mysql(url).await,
            _ => Self::open_sqlite(url).await,
        };
        opened.map_err(|reason| {
            // Without the user and the password.
            let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
            format!(
                "cannot use the database {place:?}: {reason}; give --database a file that can be written, \
                 like sqlite:microblog.db, or a URL like postgres://USER:PASSWORD@HOST/DATABASE \
                 or mysql://USER:PASSWORD@HOST/DATABASE"
            )
        })
    }

    async fn open_sqlite(url: &str) -> Result<(Tokens, Self), String> {
        // Its foreign keys may refer to a table that does not exist yet.
        let tokens = SqliteTokenStore::open(url).await.map_err(|error| format!("{error:?}"))?;
        let database = Self::Sqlite(tokens.pool().clone());
        database.create_tables("TEXT", "INTEGER PRIMARY KEY").await?;
        Ok((Tokens::Sqlite(tokens), database))
    }

    async fn open_postgres(url: &str) -> Result<(Tokens, Self), String> {
        // A pool would not say why it has no connection.
        PgConnection::connect(url).await.map_err(|error| error.to_string())?;
        let pool = PgPool::connect_lazy(url).map_err(|error| error.to_string())?;
        let database = Self::Postgres(pool.clone());
        let row_id = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
        database.create_tables("TEXT", row_id).await?;
        let tokens = PgTokenStore::from_pool(pool).await.map_err(|error| format!("{error:?}"))?;
        Ok((Tokens::Postgres(tokens), database))
    }

    async fn open_mysql(url: &str) -> Result<(Tokens, Self), String> {
        MySqlConnection::connect(url).await.map_err(|error| error.to_string())?;
        let pool = MySqlPool::connect_lazy(url).map_err(|error| error.to_string())?;
        let database = Self::MySql(pool.clone());
        let text_id = "VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        database.create_tables(text_id, "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY").await?;
        let tokens =
            MySqlTokenStore::from_pool(pool).await.map_err(|error| format!("{error:?}"))?;
        Ok((Tokens::MySql(tokens), database))
    }

    /// Creates missing tables. Also fails if the database is read-only, so that the error appears at
    /// the start and not at the first registration.
    async fn create_tables(&self, text_id: &str, row_id: &str) -> Result<(), String> {
        let sql = TABLES.replace("{text_id}", text_id).replace("{row_id}", row_id);
        let created = with_pool!(self, pool => sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop));
        created.map_err(|error| error.to_string())
    }

    /// The statement with the placeholders of the database: `?`, on PostgreSQL `$1`, `$2`, …
    fn sql(&self, sql: &'static str) -> SqlStr {
        if !matches!(self, Self::Postgres(_)) {
            return sql.into_sql_str();
        }
        let mut parts = sql.split('?');
        let first = parts.next().unwrap_or_default().to_owned();
        let numbered = (1..).zip(parts).map(|(number, part)| format!("${number}{part}"));
        AssertSqlSafe(first + &numbered.collect::<String>()).into_sql_str()
    }

    pub(crate) async fn is_registered(&self, name: &str) -> sqlx::Result<bool> {
        Ok(self.token(name).await?.is_some())
    }

    /// The users who have a token and thus can log in.
    pub(crate) async fn registered_users(&self) -> sqlx::Result<Vec<String>> {
        let sql = self.sql("SELECT user_id FROM activeconnect_token");
        with_pool!(self, pool => sqlx::query_scalar(sql).fetch_all(pool).await)
    }

    /// The user's token, which is the user's id at the login service.
    pub(crate) async fn token(&self, name: &str) -> sqlx::Result<Option<String>> {
        let sql = self.sql("SELECT token FROM activeconnect_token WHERE user_id = ?");
        let token: Option<Vec<u8>> = with_pool!(self, pool => {
            // MySQL's token store keeps bytes.
            let row = sqlx::query(sql).bind(name).fetch_optional(pool).await?;
            row.map(|row| sqlx::Row::try_get_unchecked(&row, 0)).transpose()?
        });
        Ok(token.map(|token| String::from_utf8_lossy(&token).into_owned()))
    }

    /// Inserts the user's row, or takes over one without a token; returns `false` if the name is
    /// taken.
    pub(crate) async fn insert_user(&self, name: &str, email: &str) -> sqlx::Result<bool> {
        let now = unix_seconds();
        let sql = self.sql("INSERT INTO users (id, email, created) VALUES (?, ?, ?)");
        let inserted = with_pool!(self, pool => {
            sqlx::query(sql).bind(name).bind(email).bind(now).execute(pool).await.map(drop)
        });
        match inserted {
            Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {}
            result => return result.map(|()| true),
        }
        let sql = self.sql(
            "UPDATE users SET email = ?, created = ? WHERE id = ? AND created < ?
             AND NOT EXISTS (SELECT 1 FROM activeconnect_token WHERE user_id = users.id)",
        );
        let taken_over = with_pool!(self, pool => {
            let query = sqlx::query(sql).bind(email).bind(now).bind(name);
            query.bind(now - REGISTRATION_SECONDS).execute(pool).await?.rows_affected()
        });
        Ok(taken_over == 1)
    }

    /// Deletes the user's row, and with it the user's token.
    pub(crate) async fn delete_user(&self, name: &str) -> sqlx::Result<()> {
        let sql = self.sql("DELETE FROM users WHERE id = ?");
        with_pool!(self, pool => sqlx::query(sql).bind(name).execute(pool).await.map(drop))
    }

    pub(crate) async fn insert_post(&self, author: &str, body: &str) -> sqlx::Result<()> {
        let sql = self.sql("INSERT INTO posts (user_id, body, created) VALUES (?, ?, ?)");
        with_pool!(self, pool => {
            let query = sqlx::query(sql).bind(author).bind(body).bind(unix_seconds());
            query.execute(pool).await.map(drop)
        })
    }

    /// Inserts a row into the audit log. `docs/audit-log.md` describes such a table.
    pub(crate) async fn insert_event(&self, event: &Event) -> sqlx::Result<()> {
        let sql = self.sql(
            "INSERT INTO audit (time, event, detail, user_id, session, address, user_agent)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        );
        with_pool!(self, pool => {
            sqlx::query(sql)
                .bind(rfc3339(event.time))
                .bind(event.kind.as_str())
                .bind(event.kind.detail())
                .bind(event.user.as_ref().map(ToString::to_string))
                .bind(event.session.map(|session| session.to_string()))
                .bind(event.address.map(|address| address.to_string()))
                .bind(event.user_agent.clone())
                .execute(pool)
                .await
                .map(drop)
        })
    }

    /// The latest posts, newest first.
    pub(crate) async fn latest_posts(&self) -> sqlx::Result<Vec<Post>> {
        let sql = self.sql("SELECT user_id, body, created FROM posts ORDER BY id DESC LIMIT ?");
        let rows: Vec<(String, String, i64)> = with_pool!(self, pool => sqlx::query_as(sql).bind(TIMELINE_POSTS).fetch_all(pool).await?);
        let post = |(author, body, created)| Post { author, body, created: minute(created) };
        Ok(rows.into_iter().map(post).collect())
    }
}

fn unix_seconds() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// The time in UTC, to the minute.
fn minute(unix_seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix_seconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, _) = time.to_hms();
    format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}", u8::from(month))
}

/// The time in UTC by RFC 3339, to the millisecond.
fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millis) = time.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}
