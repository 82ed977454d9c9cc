//! What the blog keeps: its users and their posts, in one file with the library's lookup table.

use std::time::UNIX_EPOCH;

use sqlx::sqlite::SqlitePool;
use tower_activeconnect::events::Event;
use tower_activeconnect_sqlx::SqliteTokenStore;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS users (
        id TEXT PRIMARY KEY NOT NULL,
        email TEXT NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS posts (
        id INTEGER PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id),
        body TEXT NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS audit (
        id INTEGER PRIMARY KEY,
        time TEXT NOT NULL,
        event TEXT NOT NULL,
        detail TEXT NOT NULL,
        user_id TEXT,
        session TEXT,
        address TEXT,
        user_agent TEXT
    );
    -- Deletes nobody, but only in a file that can be written.
    DELETE FROM users WHERE false;";

/// How many posts the timeline shows.
const SHOWN: i64 = 50;

#[derive(Clone)]
pub(crate) struct Database {
    pool: SqlitePool,
}

pub(crate) struct Post {
    pub(crate) author: String,
    pub(crate) body: String,
    /// UTC, as `2022-05-17 09:30`.
    pub(crate) written: String,
}

impl Database {
    pub(crate) async fn open(url: &str) -> Result<(SqliteTokenStore, Self), String> {
        let failed = |reason: String| {
            format!(
                "cannot use the database {url:?}: {reason}; give --database a file that can be \
                 written, like sqlite:microblog.db"
            )
        };
        let tokens =
            SqliteTokenStore::open(url).await.map_err(|error| failed(format!("{error:?}")))?;
        let database = Self { pool: tokens.pool().clone() };
        database.make_tables().await.map_err(|error| failed(error.to_string()))?;
        Ok((tokens, database))
    }

    /// Fails for a file that can only be read even if the tables are there: better now than at the
    /// first user.
    async fn make_tables(&self) -> sqlx::Result<()> {
        sqlx::raw_sql(TABLES).execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn is_registered(&self, name: &str) -> sqlx::Result<bool> {
        Ok(self.token(name).await?.is_some())
    }

    /// Those who have a token, and so can log in.
    pub(crate) async fn registered_users(&self) -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar("SELECT user_id FROM activeconnect_token").fetch_all(&self.pool).await
    }

    /// What the login service calls the user.
    pub(crate) async fn token(&self, name: &str) -> sqlx::Result<Option<String>> {
        let token = sqlx::query_scalar("SELECT token FROM activeconnect_token WHERE user_id = ?");
        token.bind(name).fetch_optional(&self.pool).await
    }

    /// Makes the user's row; `false` when the name is somebody's.
    ///
    /// A row that has had no token for a minute is nobody's: its registration broke off, and
    /// nobody ever logged in with it.
    pub(crate) async fn claim(&self, name: &str, email: &str) -> sqlx::Result<bool> {
        let claimed = sqlx::query(
            "INSERT INTO users (id, email, created) VALUES (?, ?, unixepoch())
             ON CONFLICT (id) DO UPDATE SET email = excluded.email, created = excluded.created
             WHERE users.created < unixepoch() - 60
             AND NOT EXISTS (SELECT 1 FROM activeconnect_token WHERE user_id = users.id)",
        );
        let done = claimed.bind(name).bind(email).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a claim back; a token goes with the row.
    pub(crate) async fn release(&self, name: &str) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM users WHERE id = ?").bind(name).execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn write(&self, author: &str, body: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO posts (user_id, body, created) VALUES (?, ?, unixepoch())")
            .bind(author)
            .bind(body)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Adds a row to the audit log. `docs/audit-log.md` tells more of such a table.
    pub(crate) async fn keep_event(&self, event: &Event) -> sqlx::Result<()> {
        let seconds = event.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        sqlx::query(
            "INSERT INTO audit (time, event, detail, user_id, session, address, user_agent)
             VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', ?, 'unixepoch'), ?, ?, ?, ?, ?, ?)",
        )
        .bind(seconds)
        .bind(event.kind.as_str())
        .bind(event.kind.detail())
        .bind(event.user.as_ref().map(ToString::to_string))
        .bind(event.session.map(|session| session.to_string()))
        .bind(event.address.map(|address| address.to_string()))
        .bind(&event.user_agent)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The latest posts, the newest first.
    pub(crate) async fn posts(&self) -> sqlx::Result<Vec<Post>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT user_id, body, strftime('%Y-%m-%d %H:%M', created, 'unixepoch')
             FROM posts ORDER BY id DESC LIMIT ?",
        )
        .bind(SHOWN)
        .fetch_all(&self.pool)
        .await?;
        let post = |(author, body, written)| Post { author, body, written };
        Ok(rows.into_iter().map(post).collect())
    }
}
