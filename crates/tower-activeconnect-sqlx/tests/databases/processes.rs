//! Several processes that use one database at once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use sqlx::{MySql, Postgres, Sqlite};
use tokio::task::JoinSet;
use tower_activeconnect::TokenStore as _;
use tower_activeconnect_sqlx::SqlTokenStore;

use crate::support::{TestBackend, on_each_database, token};

const MIGRATING_PROCESSES: usize = 8;
const ASSIGNING_PROCESSES: usize = 4;
const TASKS: usize = 100;
/// The variables of a child process: what it does, and the URL of the database.
const JOB: &str = "DATABASE_TEST_JOB";
const URL: &str = "DATABASE_TEST_URL";

/// Runs this test program again, as processes that do one job at the same time.
async fn run_processes(count: usize, job: &'static str, url: &str) -> Vec<String> {
    let url = url.to_owned();
    let run = move || {
        let mut children: Vec<_> = (0..count).map(|_| spawn(job, &url)).collect();
        let mut outputs: Vec<_> =
            children.iter_mut().map(|child| BufReader::new(child.stdout.take().unwrap())).collect();
        for output in &mut outputs {
            let is_ready = output.by_ref().lines().any(|line| line.unwrap() == "> ready");
            assert!(is_ready, "a process did not connect");
        }
        for child in &mut children {
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        let lines = outputs.into_iter().flat_map(BufReader::lines).map(Result::unwrap);
        let results: Vec<_> =
            lines.filter_map(|line| Some(line.strip_prefix("> ")?.to_owned())).collect();
        for child in &mut children {
            assert!(child.wait().unwrap().success(), "a process failed");
        }
        results
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn spawn(job: &str, url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child_process", "--nocapture", "--test-threads=1"])
        .env(JOB, job)
        .env(URL, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Nothing in the run of all tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let (Ok(job), Ok(url)) = (std::env::var(JOB), std::env::var(URL)) else { return };
    match url.split(':').next().unwrap() {
        "postgres" => do_job::<Postgres>(&job, &url).await,
        "mysql" => do_job::<MySql>(&job, &url).await,
        _ => do_job::<Sqlite>(&job, &url).await,
    }
}

async fn do_job<B: TestBackend>(job: &str, url: &str) {
    let pool = sqlx::pool::PoolOptions::new().max_connections(4).connect(url).await.unwrap();
    println!("\n> ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let store = SqlTokenStore::<B>::from_pool(pool).await.unwrap();
    if job == "assign" {
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let store = store.clone();
            tasks.spawn(async move { store.assign(&"alice".into(), &token()).await.unwrap() });
        }
        for assigned in tasks.join_all().await {
            println!("\n> {}", assigned.as_str());
        }
    } else {
        assert_eq!(store.token(&"alice".into()).await.unwrap(), None);
        println!("\n> migrated");
    }
}

async fn eight_processes_migrate_at_once<B: TestBackend>() {
    let database = B::create_database().await;
    let pool = database.pool::<B>().await;
    let id_type = B::ID_TYPES[0];
    B::run(&pool, &format!("CREATE TABLE users (id {id_type} NOT NULL PRIMARY KEY)")).await;
    let migrated = run_processes(MIGRATING_PROCESSES, "migrate", &database.url).await;
    assert_eq!(migrated.len(), MIGRATING_PROCESSES);
    let versions = "SELECT COUNT(*) FROM activeconnect_token_migrations";
    assert_eq!(B::count(&pool, versions).await, 2, "each migration is applied once");
}

/// As above, on a database of the previous version.
async fn eight_processes_upgrade_at_once<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    B::run(store.pool(), "DROP TABLE activeconnect_token_browser_epoch").await;
    B::run(store.pool(), "DELETE FROM activeconnect_token_migrations WHERE version = 2").await;
    store.pool().close().await;
    let migrated = run_processes(MIGRATING_PROCESSES, "migrate", &database.url).await;
    assert_eq!(migrated.len(), MIGRATING_PROCESSES);
}

async fn first_writer_wins_over_processes<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let assigned = run_processes(ASSIGNING_PROCESSES, "assign", &database.url).await;
    assert_eq!(assigned.len(), ASSIGNING_PROCESSES * TASKS);
    let stored = store.token(&"alice".into()).await.unwrap().unwrap();
    for token in assigned {
        assert_eq!(token, stored.as_str(), "a writer got a token that is not the user's");
    }
}

on_each_database!(
    eight_processes_migrate_at_once,
    eight_processes_upgrade_at_once,
    first_writer_wins_over_processes,
);
