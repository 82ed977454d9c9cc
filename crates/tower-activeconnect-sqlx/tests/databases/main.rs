//! The stores on real servers. `scripts/databases` starts private ones:
//! `scripts/databases cargo test --package tower-activeconnect-sqlx --all-features`.

mod collations;
mod conformance;
mod faults;
mod migrations;
mod mysql_columns;
mod privileges;
mod processes;
mod support;
mod tls;
