//! A real browser.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

const PROGRAM: &str = "/usr/bin/chromium";

/// Headless Chromium, until it is dropped.
pub(crate) struct Chromium {
    _process: Child,
    _profile: TempDir,
}

impl Chromium {
    /// Loads a page; `None` where there is no Chromium.
    pub(crate) fn open(url: &str) -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            println!("there is no {PROGRAM}");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let process = Command::new(PROGRAM)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--no-proxy-server", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Some(Self { _process: process, _profile: profile })
    }
}
