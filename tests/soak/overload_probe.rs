//! Detects times in which the machine is too slow to poll in time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::event_log::{OVERLOAD, Outage, Span, now};

const PROBE_INTERVAL_MS: u64 = 100;
/// A machine with calls this slow cannot poll 500 sessions each second.
const SLOW_CALL_MS: u64 = 200;

/// Calls the emulator continuously, in the engine's runtime.
pub(crate) struct OverloadProbe {
    task: JoinHandle<()>,
    slow: Arc<Mutex<Vec<Outage>>>,
}

impl OverloadProbe {
    pub(crate) fn start(emulator: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        // An unknown route responds at once, and has no faults.
        let url = format!("{emulator}/unknown");
        let slow = Arc::<Mutex<Vec<Outage>>>::default();
        let recorded = slow.clone();
        let task = tokio::spawn(async move {
            loop {
                let from = now();
                tokio::time::sleep(Duration::from_millis(PROBE_INTERVAL_MS)).await;
                http.get(&url).send().await.unwrap();
                let until = now();
                if until - from > PROBE_INTERVAL_MS + SLOW_CALL_MS {
                    let kind = OVERLOAD.to_owned();
                    let span = Span { from, until };
                    recorded.lock().unwrap().push(Outage { kind, span, users: None });
                }
            }
        });
        Self { task, slow }
    }

    /// Stops; returns the times in which the machine was too slow.
    pub(crate) fn stop(self) -> Vec<Outage> {
        self.task.abort();
        std::mem::take(&mut self.slow.lock().unwrap())
    }
}
