//! The blog's database: users, posts and the audit log, in one file with the library's token store.

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
    -- Deletes no row, but fails if the file is read-only.
    DELETE FROM users WHERE false;";

/// The number of posts on the timeline.
const TIMELINE_POSTS: i64 = 50;

#[derive(Clone)]
pub(crate) struct Database {
    pool: SqlitePool,
}

pub(crate) struct Post {
    pub(crate) author: String,
    pub(crate) body: String,
    /// The time in UTC, as `2022-05-17 09:30`.
    pub(crate) created: String,
}

impl Database {
    /// Opens the database and creates missing tables; returns the token store, too.
    pub(crate) async fn open(url: &str) -> Result<(SqliteTokenStore, Self), String> {
        let describe = |reason: String| {
            format!(
                "cannot use the database {url:?}: {reason}; give --database a file that can be \
                 written, like sqlite:microblog.db"
            )
        };
        let tokens =
            SqliteTokenStore::open(url).await.map_err(|error| describe(format!("{error:?}")))?;
        let database = Self { pool: tokens.pool().clone() };
        database.create_tables().await.map_err(|error| describe(error.to_string()))?;
        Ok((tokens, database))
    }

    /// Creates missing tables. Also fails if the file is read-only, so that the error appears at the
    /// start and not at the first registration.
    async fn create_tables(&self) -> sqlx::Result<()> {
        sqlx::raw_sql(TABLES).execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn is_registered(&self, name: &str) -> sqlx::Result<bool> {
        Ok(self.token(name).await?.is_some())
    }

    /// The users who have a token and thus can log in.
    pub(crate) async fn registered_users(&self) -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar("SELECT user_id FROM activeconnect_token").fetch_all(&self.pool).await
    }

    /// The user's token, which is the user's id at the login service.
    pub(crate) async fn token(&self, name: &str) -> sqlx::Result<Option<String>> {
        let token = sqlx::query_scalar("SELECT token FROM activeconnect_token WHERE user_id = ?");
        token.bind(name).fetch_optional(&self.pool).await
    }

    /// Inserts the user's row; returns `false` if the name is taken.
    ///
    /// A row that has no token after a minute is free again: its registration was interrupted, and
    /// no user has logged in with it.
    pub(crate) async fn insert_user(&self, name: &str, email: &str) -> sqlx::Result<bool> {
        let query = sqlx::query(
            "INSERT INTO users (id, email, created) VALUES (?, ?, unixepoch())
             ON CONFLICT (id) DO UPDATE SET email = excluded.email, created = excluded.created
             WHERE users.created < unixepoch() - 60
             AND NOT EXISTS (SELECT 1 FROM activeconnect_token WHERE user_id = users.id)",
        );
        let result = query.bind(name).bind(email).execute(&self.pool).await?;
        Ok(result.rows_affected() == 1)
    }

    /// Deletes the user's row, and with it the user's token.
    pub(crate) async fn delete_user(&self, name: &str) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM users WHERE id = ?").bind(name).execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn insert_post(&self, author: &str, body: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO posts (user_id, body, created) VALUES (?, ?, unixepoch())")
            .bind(author)
            .bind(body)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Inserts a row into the audit log. `docs/audit-log.md` describes such a table.
    pub(crate) async fn insert_event(&self, event: &Event) -> sqlx::Result<()> {
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

    /// The latest posts, newest first.
    pub(crate) async fn latest_posts(&self) -> sqlx::Result<Vec<Post>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT user_id, body, strftime('%Y-%m-%d %H:%M', created, 'unixepoch')
             FROM posts ORDER BY id DESC LIMIT ?",
        )
        .bind(TIMELINE_POSTS)
        .fetch_all(&self.pool)
        .await?;
        let post = |(author, body, created)| Post { author, body, created };
        Ok(rows.into_iter().map(post).collect())
    }
}
