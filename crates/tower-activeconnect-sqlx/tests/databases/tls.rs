//! TLS with certificates of a CA of one's own.

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySql};
use tower_activeconnect::store::conformance;
use tower_activeconnect_sqlx::{MySqlTokenStore, PgTokenStore};

use crate::support::{TestBackend, messages, mysql_url, postgres_url, random_name, with_user};

fn ca_file() -> String {
    std::env::var("TEST_DATABASE_CA")
        .expect("TEST_DATABASE_CA is not set; run scripts/databases cargo test …")
}

/// A CA that did not sign the servers' certificates.
fn other_ca(folder: &std::path::Path) -> String {
    let file = folder.join("other.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(&file, parameters.self_signed(&key).unwrap().pem()).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn postgres_that_requires_tls_is_used_with_it() {
    let mut admin = PgConnection::connect(&postgres_url("postgres")).await.unwrap();
    // The server rejects connections to this database without TLS.
    for sql in ["DROP DATABASE IF EXISTS tls_only", "CREATE DATABASE tls_only"] {
        admin.execute(sql).await.unwrap();
    }
    let url = postgres_url("tls_only");
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", ca_file());
    let mut connection = PgConnection::connect(&verified).await.unwrap();
    connection.execute("CREATE TABLE users (id TEXT PRIMARY KEY)").await.unwrap();
    connection.execute("INSERT INTO users VALUES ('alice'), ('bob')").await.unwrap();
    let store = PgTokenStore::connect(&verified).await.unwrap();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;

    let plain = PgTokenStore::connect(&format!("{url}?sslmode=disable")).await.unwrap_err();
    assert!(messages(&plain).contains("no encryption"), "{}", messages(&plain));
    let folder = tempfile::tempdir().unwrap();
    let other = other_ca(folder.path());
    let untrusted = format!("{url}?sslmode=verify-full&sslrootcert={other}");
    let untrusted = PgTokenStore::connect(&untrusted).await.unwrap_err();
    assert!(messages(&untrusted).contains("TLS with the database"), "{}", messages(&untrusted));
}

#[tokio::test]
async fn mysql_that_requires_tls_is_used_with_it() {
    let database = MySql::create_database().await;
    drop(database.open::<MySql>().await);
    let user = random_name("tls");
    let (_, name) = database.url.rsplit_once('/').unwrap();
    let mut admin = MySqlConnection::connect(&mysql_url("mysql")).await.unwrap();
    for sql in [
        format!("CREATE USER '{user}'@'127.0.0.1' IDENTIFIED BY 'secret' REQUIRE SSL"),
        format!("GRANT ALL ON {name}.* TO '{user}'@'127.0.0.1'"),
    ] {
        admin.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let url = with_user(&database.url, &user, "secret");
    let verified = format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", ca_file());
    let store = MySqlTokenStore::connect(&verified).await.unwrap();
    conformance::check_all(&store, &["alice".into(), "bob".into()]).await;

    let plain = MySqlTokenStore::connect(&format!("{url}?ssl-mode=DISABLED")).await.unwrap_err();
    assert!(messages(&plain).contains("rejected the user"), "{}", messages(&plain));
    let folder = tempfile::tempdir().unwrap();
    let other = other_ca(folder.path());
    let untrusted = format!("{url}?ssl-mode=VERIFY_CA&ssl-ca={other}");
    let untrusted = MySqlTokenStore::connect(&untrusted).await.unwrap_err();
    assert!(messages(&untrusted).contains("TLS with the database"), "{}", messages(&untrusted));
}
