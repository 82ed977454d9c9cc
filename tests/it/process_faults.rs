//! Process faults, with the example blog: stopped, clock changes, killed.

use std::process::Command;
use std::time::{Duration, Instant};

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind};
use tempfile::TempDir;
use tower_activeconnect::protocol::SessionStatus;

use crate::support::blog::{Blog, command_for_emulator};
use crate::support::{self, Browser, poll_until};

/// The poll interval, the poll timeout and one second.
const END_DEADLINE: Duration = Duration::from_secs(5 + 3 + 1);
/// The blog's staleness limit.
const MAX_STALENESS: Duration = Duration::from_secs(15);

/// The status of a script's request.
async fn status(browser: &Browser) -> u16 {
    browser.api("/").await.status().as_u16()
}

/// Sends requests until the status is this one, within the bound; until then it must be 503.
async fn wait_for_status(browser: &Browser, response: u16) {
    let started_at = Instant::now();
    loop {
        let status = status(browser).await;
        if status == response {
            return;
        }
        assert_eq!(status, 503, "on the way to {response}");
        assert!(started_at.elapsed() < END_DEADLINE, "no {response} within the bound");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that requests return this status for this long.
async fn assert_status_during(browser: &Browser, response: u16, time: Duration) {
    let started_at = Instant::now();
    while started_at.elapsed() < time {
        assert_eq!(status(browser).await, response, "after {:?}", started_at.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// T112: a process that was stopped for longer than the staleness limit polls first.
#[tokio::test]
async fn stopped_blog_polls_before_allow() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (alice, closed) = blog.log_in(&emulator, "alice").await;
    let (bob, _) = blog.log_in(&emulator, "bob").await;
    assert_eq!((status(&alice).await, status(&bob).await), (200, 200));
    let cookie = bob.cookie(&blog.session_cookie());

    blog.signal("STOP").await;
    emulator.act_on_session(&closed.session_token, Action::Close).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    // These requests wait in the sockets of the stopped blog, and are served first.
    let (first_of_alice, first_of_bob, ()) = tokio::join!(status(&alice), status(&bob), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        blog.signal("CONT").await;
    });
    assert!([401, 503].contains(&first_of_alice), "{first_of_alice}");
    assert!([200, 503].contains(&first_of_bob), "{first_of_bob}");
    wait_for_status(&alice, 401).await;
    wait_for_status(&bob, 200).await;
    assert_status_during(&bob, 200, END_DEADLINE).await;
    assert_eq!(bob.cookie(&blog.session_cookie()), cookie);
}

/// T112: a poll response that waited in the socket of a stopped process is as old as its poll.
#[tokio::test]
async fn response_received_while_stopped_is_stale() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (alice, session) = blog.log_in(&emulator, "alice").await;
    assert_eq!(status(&alice).await, 200);

    let late = Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(Duration::from_secs(1));
    emulator.inject_fault(late.times(1));
    let calls = emulator.state().calls.status;
    poll_until("a poll is on its way", async || {
        (emulator.state().calls.status > calls).then_some(())
    })
    .await;
    blog.signal("STOP").await;
    // The response with the active status is already sent.
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    tokio::time::sleep(MAX_STALENESS + Duration::from_secs(1)).await;
    let (first, ()) = tokio::join!(status(&alice), blog.signal("CONT"));
    assert!([401, 503].contains(&first), "{first}");
    wait_for_status(&alice, 401).await;
}

/// The wall clock of a child process. Its monotonic clock does not change.
struct WallClock(TempDir);

impl WallClock {
    /// Configures the clock of the blog's command.
    fn new(command: &mut tokio::process::Command) -> Self {
        // Only the program knows where its library is.
        let library = Command::new("faketime")
            .args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"])
            .output()
            .expect("faketime is installed; scripts/test does that");
        let library = String::from_utf8(library.stdout).unwrap();
        let clock = Self(tempfile::tempdir().unwrap());
        clock.shift(0);
        command
            .env("LD_PRELOAD", library.trim())
            .env("FAKETIME_TIMESTAMP_FILE", clock.0.path().join("now"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        clock
    }

    /// Shifts the clock to this many seconds ahead of real time.
    fn shift(&self, seconds: i64) {
        let (new, now) = (self.0.path().join("new"), self.0.path().join("now"));
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, now).unwrap();
    }
}

/// A blog with a movable clock.
async fn with_clock(emulator: &Emulator) -> (Blog, WallClock) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command_for_emulator(emulator, &folder);
    let clock = WallClock::new(&mut command);
    (Blog::spawn(command, folder).await, clock)
}

/// Sends a request right after a jump forward: it is allowed only after a poll.
async fn assert_polls_before_allow(browser: &Browser, emulator: &Emulator, calls: u64) {
    let status = status(browser).await;
    let polled = emulator.state().calls.status > calls;
    assert!(status == 503 || (status == 200 && polled), "{status}");
}

/// T111, T112: within the offset that the client accepts. The service rejects the first signature
/// after each jump, and its `Date` gives the offset.
#[tokio::test]
async fn two_minute_clock_jump_costs_one_poll() {
    let emulator =
        Emulator::builder().clock_tolerance(Duration::from_secs(60)).start().await.unwrap();
    let (blog, clock) = with_clock(&emulator).await;
    let (alice, session) = blog.log_in(&emulator, "alice").await;
    let cookie = alice.cookie(&blog.session_cookie());
    assert_eq!(status(&alice).await, 200);
    assert_eq!(emulator.state().rejected.timestamp, 0);

    let calls = emulator.state().calls.status;
    clock.shift(120);
    assert_polls_before_allow(&alice, &emulator, calls).await;
    wait_for_status(&alice, 200).await;
    assert_eq!(emulator.state().rejected.timestamp, 1);

    // After the jump back no status is younger than by the monotonic clock, nor older.
    clock.shift(0);
    assert_status_during(&alice, 200, END_DEADLINE).await;
    assert_eq!(emulator.state().rejected.timestamp, 2);
    assert_eq!(alice.cookie(&blog.session_cookie()), cookie);

    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    clock.shift(120);
    assert_ne!(status(&alice).await, 200);
    wait_for_status(&alice, 401).await;
}

/// T111, T112: above the offset that the client accepts. No poll succeeds until the clock is
/// corrected, and no session counts as lost.
#[tokio::test]
async fn wall_clock_jump_costs_only_availability() {
    let emulator = Emulator::start().await.unwrap();
    let (blog, clock) = with_clock(&emulator).await;
    let (alice, session) = blog.log_in(&emulator, "alice").await;
    let (bob, _) = blog.log_in(&emulator, "bob").await;
    let cookie = bob.cookie(&blog.session_cookie());
    assert_eq!((status(&alice).await, status(&bob).await), (200, 200));

    let calls = emulator.state().calls.status;
    clock.shift(3_600);
    assert_polls_before_allow(&bob, &emulator, calls).await;
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    // Longer than the staleness limit by the monotonic clock, too.
    let shift = MAX_STALENESS + Duration::from_secs(1);
    tokio::join!(assert_status_during(&alice, 503, shift), assert_status_during(&bob, 503, shift));
    assert!(emulator.state().rejected.timestamp >= 4, "each call was rejected twice");
    clock.shift(0);
    tokio::join!(wait_for_status(&alice, 401), wait_for_status(&bob, 200));

    // With the clock an hour back, statuses age by the monotonic clock.
    clock.shift(-3_600);
    assert_status_during(&bob, 200, MAX_STALENESS - END_DEADLINE).await;
    tokio::time::sleep(END_DEADLINE).await;
    assert_status_during(&bob, 503, Duration::from_secs(1)).await;
    clock.shift(0);
    wait_for_status(&bob, 200).await;
    assert_eq!(bob.cookie(&blog.session_cookie()), cookie);
}

/// Sessions are only in memory: old cookies are unknown, which is no error.
#[tokio::test]
async fn restarted_blog_knows_no_session() {
    let emulator = Emulator::start().await.unwrap();
    let mut blog = Blog::start(&emulator).await;
    let mut cookies = Vec::new();
    for name in ["alice", "bob"] {
        let (browser, _) = blog.log_in(&emulator, name).await;
        assert_eq!(status(&browser).await, 200);
        cookies.push(browser.cookie(&blog.session_cookie()).unwrap());
    }
    blog.child.kill().await.unwrap();
    let blog = Blog::spawn(command_for_emulator(&emulator, &blog.folder), blog.folder).await;
    for cookie in cookies {
        let browser = blog.browser();
        browser.set_cookie(&blog.session_cookie(), &cookie);
        assert_eq!(status(&browser).await, 401);
        let page = browser.page("/").await;
        assert_eq!((page.status().as_u16(), support::location(&page)), (303, "/auth/login"));
        assert_eq!(browser.form("/posts", &[("body", "still here")]).await.status(), 401);
        assert_eq!(browser.status().await, "none");
    }
    // The old session was not logged out; a new login is another session.
    let live = || {
        let sessions = emulator.state().sessions.into_iter();
        sessions.filter(|session| session.status == SessionStatus::Active).count()
    };
    assert_eq!(live(), 2);
    let browser = blog.browser();
    browser.log_in(&emulator, "alice").await;
    assert_eq!(status(&browser).await, 200);
    assert_eq!(live(), 3);
}
