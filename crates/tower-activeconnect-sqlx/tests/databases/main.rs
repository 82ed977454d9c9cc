//! The stores on real servers. `scripts/databases` starts private ones:
//! `scripts/databases cargo test --package tower-activeconnect-sqlx --all-features`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

mod collations;
mod conformance;
mod faults;
mod migrations;
mod mysql_columns;
mod privileges;
mod processes;
mod sqlite_files;
mod support;
mod tls;
