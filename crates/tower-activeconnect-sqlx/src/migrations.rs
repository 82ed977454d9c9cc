//! The versions of the tables.

use sqlx::Error;

use crate::dialect::{ColumnTypes, Dialect};
use crate::names::Names;
use crate::queries::Values;
use crate::statements::Statement;
use crate::user_id::StoredUserId;

/// The migrations of one store. A released migration never changes; new ones are appended.
#[derive(Clone, Debug)]
pub struct Migrations {
    /// Creates the history.
    create_history: String,
    /// The statements of each version, the first of which is 1.
    versions: Vec<String>,
    select_version: Statement,
    history: String,
}

impl Migrations {
    pub(crate) fn new<B: Dialect>(names: &Names, types: &ColumnTypes) -> Self {
        let Names { users, users_id, tokens, epochs, history } = names;
        let ColumnTypes { row_id, token, user_id } = types;
        let (create, options) = (B::CREATE_TABLE, B::TABLE_OPTIONS);
        let create_history = format!(
            "CREATE TABLE IF NOT EXISTS {history} (\n    \
                 version BIGINT NOT NULL PRIMARY KEY,\n    \
                 applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP\n\
             ){options}"
        );
        let create_tokens = format!(
            "{create} {tokens} (\n    \
                 id {row_id},\n    \
                 user_id {user_id} NOT NULL UNIQUE,\n    \
                 token {token} NOT NULL UNIQUE,\n    \
                 FOREIGN KEY (user_id) REFERENCES {users} ({users_id}) ON DELETE CASCADE\n\
             ){options}"
        );
        let create_epochs = format!(
            "{create} {epochs} (\n    \
                 user_id {user_id} NOT NULL PRIMARY KEY,\n    \
                 epoch BIGINT NOT NULL,\n    \
                 FOREIGN KEY (user_id) REFERENCES {users} ({users_id}) ON DELETE CASCADE\n\
             ){options}"
        );
        // COALESCE gives BIGINT everywhere.
        let select_version = format!("SELECT COALESCE(MAX(version), 0) FROM {history}");
        Self {
            create_history,
            versions: vec![create_tokens, create_epochs],
            select_version: Statement::new(select_version, &[]),
            history: history.clone(),
        }
    }

    /// The newest version.
    pub(crate) fn newest(&self) -> i64 {
        self.versions.len().try_into().unwrap_or(i64::MAX)
    }

    /// The name of the history, for the lock.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) fn history(&self) -> &str {
        &self.history
    }

    /// The version that the history has.
    ///
    /// # Errors
    ///
    /// Those of the database, for one when the history does not exist.
    pub(crate) async fn applied<B: Dialect>(
        &self,
        connection: &mut B::Connection,
    ) -> Result<i64, Error> {
        let no_values = Values::of_user(StoredUserId::Integer(0));
        let version = B::fetch_integer(connection, &self.select_version, &no_values).await?;
        Ok(version.unwrap_or(0))
    }

    /// Creates the history and applies what it does not have. The caller holds the lock.
    pub(crate) async fn apply_pending<B: Dialect>(
        &self,
        connection: &mut B::Connection,
    ) -> Result<(), Error> {
        B::run_script(connection, self.create_history.clone()).await?;
        let applied = self.applied::<B>(connection).await?;
        for (version, sql) in self.numbered().filter(|(version, _)| *version > applied) {
            B::run_script(connection, sql.clone()).await?;
            B::run_script(connection, self.insert_version(version)).await?;
        }
        Ok(())
    }

    /// All migrations as SQL.
    pub(crate) fn script(&self) -> String {
        let mut script = format!("{};\n", self.create_history);
        for (version, sql) in self.numbered() {
            script += &format!("\n{sql};\n{};\n", self.insert_version(version));
        }
        script
    }

    fn numbered(&self) -> impl Iterator<Item = (i64, &String)> {
        (1..).zip(&self.versions)
    }

    fn insert_version(&self, version: i64) -> String {
        format!("INSERT INTO {} (version) VALUES ({version})", self.history)
    }
}

#[cfg(all(test, feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod tests {
    use crate::{MySqlTokenStore, PgTokenStore, SqliteTokenStore};

    #[test]
    fn documented_sql_is_what_the_store_runs() {
        for (documented, migrations) in [
            (include_str!("../migrations/postgres.sql"), PgTokenStore::options().migrations()),
            (include_str!("../migrations/mysql.sql"), MySqlTokenStore::options().migrations()),
            (include_str!("../migrations/sqlite.sql"), SqliteTokenStore::options().migrations()),
        ] {
            assert_eq!(documented, migrations.unwrap());
            let guide = include_str!("../../../docs/token-stores.md");
            assert!(guide.contains(documented), "docs/token-stores.md has other SQL");
        }
        let postgres = include_str!("../migrations/postgres.sql");
        assert!(include_str!("../../../README.md").contains(postgres), "README.md has other SQL");
    }
}
