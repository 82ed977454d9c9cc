//! How fast the machine is at each moment. Nobody can poll in time on one that stands still.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::event_log::{OVERLOAD, Outage, Span, now};

const EVERY: u64 = 100;
/// A machine on which one call takes so long has no time for the polls of 500 sessions each second.
const SLOW: u64 = 200;

/// Calls the emulator all the time, from the runtime of the engine, beside the engine.
pub(crate) struct Pulse {
    task: JoinHandle<()>,
    slow: Arc<Mutex<Vec<Outage>>>,
}

impl Pulse {
    pub(crate) fn start(emulator: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        // Nothing is there: it is answered at once, and no fault strikes it.
        let url = format!("{emulator}/nothing");
        let slow = Arc::<Mutex<Vec<Outage>>>::default();
        let noted = slow.clone();
        let task = tokio::spawn(async move {
            loop {
                let from = now();
                tokio::time::sleep(Duration::from_millis(EVERY)).await;
                http.get(&url).send().await.unwrap();
                let until = now();
                if until - from > EVERY + SLOW {
                    let kind = OVERLOAD.to_owned();
                    let on = Span { from, until };
                    noted.lock().unwrap().push(Outage { kind, on, users: None });
                }
            }
        });
        Self { task, slow }
    }

    /// When the machine was too slow.
    pub(crate) fn stop(self) -> Vec<Outage> {
        self.task.abort();
        std::mem::take(&mut self.slow.lock().unwrap())
    }
}
