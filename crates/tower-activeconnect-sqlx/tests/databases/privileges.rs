//! Roles with the least privileges that the documentation lists.

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySql, Postgres};
use tower_activeconnect::store::{StoreErrorKind, conformance};
use tower_activeconnect_sqlx::{MySqlTokenStore, PgTokenStore, SqlTokenStore, TokenStoreOptions};

use crate::support::{TestBackend, messages, mysql_url, postgres_url, random_name, with_user};

const RIGHTS: [(&str, &str); 3] = [
    ("activeconnect_token", "SELECT, INSERT, DELETE"),
    ("activeconnect_token_browser_epoch", "SELECT, INSERT, UPDATE"),
    ("activeconnect_token_migrations", "SELECT"),
];

/// The store opens by a role with these rights, and does all it has to.
async fn check_migrated<B: TestBackend>(url: &str) -> SqlTokenStore<B> {
    let store = SqlTokenStore::<B>::connect(url).await.unwrap();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;
    conformance::missing_user_is_reported(&store, &"carol".into()).await;
    store
}

/// The store that has to create tables reports the privilege that the role lacks.
async fn check_not_migrated<B: TestBackend>(options: TokenStoreOptions<B>, url: &str) {
    let error = options.connect(url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    let text = messages(&error);
    assert!(text.contains("the role lacks a privilege"), "{text}");
}

#[tokio::test]
async fn postgres_role_needs_the_listed_privileges() {
    let (database, role) = (Postgres::create_database().await, random_name("role"));
    let mut admin = PgConnection::connect(&postgres_url("postgres")).await.unwrap();
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    let url = with_user(&database.url, &role, "secret");
    check_not_migrated(PgTokenStore::options(), &url).await;
    let owner = database.open::<Postgres>().await;
    for (table, rights) in RIGHTS {
        Postgres::run(owner.pool(), &format!("GRANT {rights} ON {table} TO {role}")).await;
    }
    let store = check_migrated::<Postgres>(&url).await;
    // The role has no right to the users table.
    let users = sqlx::query("SELECT id FROM users").fetch_all(store.pool()).await;
    assert!(users.unwrap_err().to_string().contains("permission denied"));
}

#[tokio::test]
async fn mysql_role_needs_the_listed_privileges() {
    let (database, user) = (MySql::create_database().await, random_name("role"));
    let mut admin = MySqlConnection::connect(&mysql_url("mysql")).await.unwrap();
    let role = format!("'{user}'@'127.0.0.1'");
    let create = format!("CREATE USER {role} IDENTIFIED BY 'secret'");
    admin.execute(AssertSqlSafe(create)).await.unwrap();
    // Some right lets the user open the database.
    let pool = database.pool::<MySql>().await;
    MySql::run(&pool, "CREATE TABLE others (id INTEGER)").await;
    MySql::run(&pool, &format!("GRANT SELECT ON others TO {role}")).await;
    // A role that may read the users table, but not create the others.
    let id_type = MySql::ID_TYPES[0];
    MySql::run(&pool, &format!("CREATE TABLE readable (id {id_type} PRIMARY KEY)")).await;
    MySql::run(&pool, &format!("GRANT SELECT ON readable TO {role}")).await;
    let url = with_user(&database.url, &user, "secret");
    check_not_migrated(MySqlTokenStore::options().users_table("readable"), &url).await;
    let owner = database.open::<MySql>().await;
    for (table, rights) in RIGHTS {
        MySql::run(owner.pool(), &format!("GRANT {rights} ON {table} TO {role}")).await;
    }
    MySql::run(owner.pool(), &format!("GRANT SELECT (id) ON users TO {role}")).await;
    check_migrated::<MySql>(&url).await;
}

#[tokio::test]
async fn postgres_migrating_role_needs_the_listed_privileges() {
    let (database, role) = (Postgres::create_database().await, random_name("role"));
    let pool = database.pool::<Postgres>().await;
    for sql in [
        "CREATE TABLE users (id TEXT PRIMARY KEY)".to_owned(),
        "INSERT INTO users VALUES ('alice'), ('bob')".to_owned(),
        format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"),
        format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}"),
        format!("GRANT REFERENCES ON users TO {role}"),
    ] {
        Postgres::run(&pool, &sql).await;
    }
    check_migrated::<Postgres>(&with_user(&database.url, &role, "secret")).await;
}

#[tokio::test]
async fn mysql_migrating_role_needs_the_listed_privileges() {
    let (database, user) = (MySql::create_database().await, random_name("role"));
    let (_, name) = database.url.rsplit_once('/').unwrap();
    let role = format!("'{user}'@'127.0.0.1'");
    let pool = database.pool::<MySql>().await;
    let id_type = MySql::ID_TYPES[0];
    for sql in [
        format!("CREATE TABLE users (id {id_type} PRIMARY KEY)"),
        "INSERT INTO users VALUES ('alice'), ('bob')".to_owned(),
        format!("CREATE USER {role} IDENTIFIED BY 'secret'"),
        format!("GRANT CREATE, REFERENCES, SELECT, INSERT ON {name}.* TO {role}"),
    ] {
        MySql::run(&pool, &sql).await;
    }
    MySqlTokenStore::connect(&with_user(&database.url, &user, "secret")).await.unwrap();
    // The owner finds the tables migrated.
    check_migrated::<MySql>(&database.url).await;
}
