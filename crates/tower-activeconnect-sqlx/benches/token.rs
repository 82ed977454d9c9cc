//! `SqlTokenStore::token` against the same query by plain sqlx on the same pool, in turns:
//! `scripts/databases cargo bench --package tower-activeconnect-sqlx --all-features`.
//!
//! Prints the median time of a call of each and their ratio, and fails if the ratio exceeds 1.1.
//! Under `cargo test` each runs once.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench may fail, and measures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlPool;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use tower_activeconnect::{TokenStore as _, UserId, UserToken};
use tower_activeconnect_sqlx::{MySqlTokenStore, PgTokenStore, SqliteTokenStore};

const MAX_RATIO: f64 = 1.1;
const CALLS_PER_TURN: usize = 200;
const TURNS: usize = 101;

/// Measures one database. Each has types of its own, so this is no function.
macro_rules! measure {
    ($name:literal, $store:ty, $pool:expr, $id_type:literal, $select:literal) => {{
        let pool = $pool;
        for table in
            ["bench_token_browser_epoch", "bench_token", "bench_token_migrations", "bench_users"]
        {
            let drop = format!("DROP TABLE IF EXISTS {table}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&pool).await.unwrap();
        }
        let create = concat!("CREATE TABLE bench_users (id ", $id_type, " PRIMARY KEY)");
        sqlx::raw_sql(create).execute(&pool).await.unwrap();
        sqlx::raw_sql("INSERT INTO bench_users VALUES ('alice')").execute(&pool).await.unwrap();
        let options = <$store>::options().users_table("bench_users").token_table("bench_token");
        let store = options.from_pool(pool.clone()).await.unwrap();
        let alice = UserId::from("alice");
        store.assign(&alice, &UserToken::random().unwrap()).await.unwrap();
        let is_full = std::env::args().any(|argument| argument == "--bench");
        let (turns, calls) = if is_full { (TURNS, CALLS_PER_TURN) } else { (1, 1) };
        let (mut plain, mut own) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            let start = Instant::now();
            for _ in 0..calls {
                let query = sqlx::query($select).bind("alice");
                let row = query.fetch_optional(&pool).await.unwrap().unwrap();
                let token: String = sqlx::Row::try_get_unchecked(&row, 0).unwrap();
                black_box(token);
            }
            plain.push(start.elapsed());
            let start = Instant::now();
            for _ in 0..calls {
                black_box(store.token(&alice).await.unwrap());
            }
            own.push(start.elapsed());
        }
        let [plain, own] = [plain, own].map(|times| micros(times, calls));
        let ratio = own / plain;
        println!("{}: plain query {plain:.1} µs, token() {own:.1} µs, ratio {ratio:.3}", $name);
        assert!(!is_full || ratio <= MAX_RATIO, "more than {MAX_RATIO} times the plain query");
    }};
}

/// The median time of a call.
fn micros(mut times: Vec<Duration>, calls: usize) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6 / calls as f64
}

fn server_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run scripts/databases cargo bench …, or set it to a server")
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}?mode=rwc", folder.path().join("bench.db").display());
    measure!(
        "SQLite",
        SqliteTokenStore,
        SqlitePool::connect(&file).await.unwrap(),
        "TEXT",
        "SELECT token FROM bench_token WHERE user_id = $1"
    );
    measure!(
        "PostgreSQL",
        PgTokenStore,
        PgPool::connect(&server_url("TEST_POSTGRES_URL")).await.unwrap(),
        "TEXT",
        "SELECT token FROM bench_token WHERE user_id = $1"
    );
    let mysql = MySqlPool::connect(&server_url("TEST_MYSQL_URL")).await.unwrap();
    let database = "CREATE DATABASE IF NOT EXISTS bench";
    sqlx::raw_sql(database).execute(&mysql).await.unwrap();
    let url = server_url("TEST_MYSQL_URL");
    let (server, _) = url.rsplit_once('/').unwrap();
    measure!(
        "MySQL or MariaDB",
        MySqlTokenStore,
        MySqlPool::connect(&format!("{server}/bench")).await.unwrap(),
        "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "SELECT token FROM bench_token WHERE user_id = ?"
    );
}
