//! Several processes that use one database at once.

use std::process::{Child, Command, Stdio};

use sqlx::{MySql, Postgres, Sqlite};
use tokio::task::JoinSet;
use tower_activeconnect::TokenStore as _;
use tower_activeconnect_sqlx::SqlTokenStore;

use crate::conformance::on_each_database;
use crate::support::{TestBackend, token};

const MIGRATING_PROCESSES: usize = 8;
const ASSIGNING_PROCESSES: usize = 4;
const TASKS: usize = 100;
/// The variables of a child process: what it does, and the URL of the database.
const JOB: &str = "DATABASE_TEST_JOB";
const URL: &str = "DATABASE_TEST_URL";

/// Runs this test program again, as a process that does one job.
fn spawn(job: &str, url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child_process", "--nocapture", "--test-threads=1"])
        .env(JOB, job)
        .env(URL, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lines that the processes printed after `> `; asserts that all of them succeeded.
async fn lines_of(children: Vec<Child>) -> Vec<String> {
    let read = move || {
        let outputs = children.into_iter().map(|child| child.wait_with_output().unwrap());
        let texts = outputs.map(|output| {
            assert!(output.status.success(), "a process failed");
            String::from_utf8(output.stdout).unwrap()
        });
        let texts: Vec<_> = texts.collect();
        let lines = texts.iter().flat_map(|text| text.lines());
        lines.filter_map(|line| Some(line.strip_prefix("> ")?.to_owned())).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
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
    let store = SqlTokenStore::<B>::connect(url).await.unwrap();
    if job == "assign" {
        let pool = sqlx::pool::PoolOptions::new().max_connections(4).connect(url).await.unwrap();
        let store = SqlTokenStore::<B>::from_pool(pool).await.unwrap();
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
    let children: Vec<_> =
        (0..MIGRATING_PROCESSES).map(|_| spawn("migrate", &database.url)).collect();
    assert_eq!(lines_of(children).await.len(), MIGRATING_PROCESSES);
    let versions = "SELECT COUNT(*) FROM activeconnect_token_migrations";
    assert_eq!(B::count(&pool, versions).await, 2, "each migration is applied once");
}

async fn first_writer_wins_over_processes<B: TestBackend>() {
    let database = B::create_database().await;
    let store = database.open::<B>().await;
    let children: Vec<_> =
        (0..ASSIGNING_PROCESSES).map(|_| spawn("assign", &database.url)).collect();
    let assigned = lines_of(children).await;
    assert_eq!(assigned.len(), ASSIGNING_PROCESSES * TASKS);
    let stored = store.token(&"alice".into()).await.unwrap().unwrap();
    for token in assigned {
        assert_eq!(token, stored.as_str(), "a writer got a token that is not the user's");
    }
}

on_each_database!(eight_processes_migrate_at_once, first_writer_wins_over_processes);
