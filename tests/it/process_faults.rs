//! What can happen to a process: stopped for a while, another time on the clock, killed. The
//! example blog is the process.

use std::process::Command;
use std::time::{Duration, Instant};

use activeconnect_emulator::{Action, Emulator, Endpoint, Fault, FaultKind};
use tempfile::TempDir;
use tower_activeconnect::protocol::SessionStatus;

use crate::support::blog::{Blog, before};
use crate::support::{self, Browser, until};

/// Interval, the longest a poll may take, and a second.
const BOUND: Duration = Duration::from_secs(5 + 3 + 1);
/// How old what the blog knows may be.
const MAX_STALENESS: Duration = Duration::from_secs(15);

/// What a script gets from the blog.
async fn ask(browser: &Browser) -> u16 {
    browser.api("/").await.status().as_u16()
}

/// Asks until the answer is this one, which must come within the bound; until then it is 503.
async fn soon(browser: &Browser, answer: u16) {
    let begun = Instant::now();
    loop {
        let status = ask(browser).await;
        if status == answer {
            return;
        }
        assert_eq!(status, 503, "on the way to {answer}");
        assert!(begun.elapsed() < BOUND, "no {answer} within the bound");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks for this long; the answer is always the same.
async fn always(browser: &Browser, answer: u16, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert_eq!(ask(browser).await, answer, "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// T112: who was stopped for longer than knowledge may last begins by knowing nothing.
#[tokio::test]
async fn stopped_blog_polls_before_allow() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (alice, closed) = blog.log_in(&emulator, "alice").await;
    let (bob, _) = blog.log_in(&emulator, "bob").await;
    assert_eq!((ask(&alice).await, ask(&bob).await), (200, 200));
    let cookie = bob.cookie(&blog.session_cookie());

    blog.signal("STOP").await;
    emulator.act_on_session(&closed.session_token, Action::Close).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    // These wait in the sockets of the stopped blog, and are the first that it answers.
    let (first_of_alice, first_of_bob, ()) = tokio::join!(ask(&alice), ask(&bob), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        blog.signal("CONT").await;
    });
    assert!([401, 503].contains(&first_of_alice), "{first_of_alice}");
    assert!([200, 503].contains(&first_of_bob), "{first_of_bob}");
    soon(&alice, 401).await;
    soon(&bob, 200).await;
    always(&bob, 200, BOUND).await;
    assert_eq!(bob.cookie(&blog.session_cookie()), cookie);
}

/// T112: an answer that waited in the socket of a stopped process is as old as its question.
#[tokio::test]
async fn answer_that_arrived_while_stopped_is_old() {
    let emulator = Emulator::start().await.unwrap();
    let blog = Blog::start(&emulator).await;
    let (alice, session) = blog.log_in(&emulator, "alice").await;
    assert_eq!(ask(&alice).await, 200);

    let late = Fault::new(Endpoint::Status, FaultKind::Delay).with_delay(Duration::from_secs(1));
    emulator.inject_fault(late.times(1));
    let calls = emulator.state().calls.status;
    until("a poll is on its way", async || (emulator.state().calls.status > calls).then_some(()))
        .await;
    blog.signal("STOP").await;
    // The answer is already made, and says active.
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    tokio::time::sleep(MAX_STALENESS + Duration::from_secs(1)).await;
    let (first, ()) = tokio::join!(ask(&alice), blog.signal("CONT"));
    assert!([401, 503].contains(&first), "{first}");
    soon(&alice, 401).await;
}

/// The wall clock of a child process. Its monotonic clock stays as it is.
struct WallClock(TempDir);

impl WallClock {
    /// Sets the clock of the blog that is to be started.
    fn of(command: &mut tokio::process::Command) -> Self {
        // Only the program itself knows where its library is.
        let library = Command::new("faketime")
            .args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"])
            .output()
            .expect("faketime is installed; scripts/test does that");
        let library = String::from_utf8(library.stdout).unwrap();
        let clock = Self(tempfile::tempdir().unwrap());
        clock.ahead(0);
        command
            .env("LD_PRELOAD", library.trim())
            .env("FAKETIME_TIMESTAMP_FILE", clock.0.path().join("now"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        clock
    }

    /// Jumps to this many seconds ahead of the real time, at once.
    fn ahead(&self, seconds: i64) {
        let (new, now) = (self.0.path().join("new"), self.0.path().join("now"));
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, now).unwrap();
    }
}

/// A blog whose clock can be moved.
async fn with_clock(emulator: &Emulator) -> (Blog, WallClock) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = before(emulator, &folder);
    let clock = WallClock::of(&mut command);
    (Blog::run(command, folder).await, clock)
}

/// Asks right after a jump forward: without a poll since, what is known is too old.
async fn is_not_let_in_unasked(browser: &Browser, emulator: &Emulator, calls: u64) {
    let status = ask(browser).await;
    let polled = emulator.state().calls.status > calls;
    assert!(status == 503 || (status == 200 && polled), "{status}");
}

/// T111, T112: as much as the client puts up with. The service refuses the first signature after
/// each jump, and its `Date` says why.
#[tokio::test]
async fn two_minutes_on_the_wall_clock_cost_one_poll() {
    let emulator =
        Emulator::builder().clock_tolerance(Duration::from_secs(60)).start().await.unwrap();
    let (blog, clock) = with_clock(&emulator).await;
    let (alice, session) = blog.log_in(&emulator, "alice").await;
    let cookie = alice.cookie(&blog.session_cookie());
    assert_eq!(ask(&alice).await, 200);
    assert_eq!(emulator.state().rejected.timestamp, 0);

    let calls = emulator.state().calls.status;
    clock.ahead(120);
    is_not_let_in_unasked(&alice, &emulator, calls).await;
    soon(&alice, 200).await;
    assert_eq!(emulator.state().rejected.timestamp, 1);

    // Back: what is known is no younger than the monotonic clock says, and no older.
    clock.ahead(0);
    always(&alice, 200, BOUND).await;
    assert_eq!(emulator.state().rejected.timestamp, 2);
    assert_eq!(alice.cookie(&blog.session_cookie()), cookie);

    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    clock.ahead(120);
    assert_ne!(ask(&alice).await, 200);
    soon(&alice, 401).await;
}

/// T111, T112: more than the client puts up with. Nothing is learned until the clock is right
/// again, and nobody's session is taken for lost.
#[tokio::test]
async fn wall_clock_jump_costs_only_availability() {
    let emulator = Emulator::start().await.unwrap();
    let (blog, clock) = with_clock(&emulator).await;
    let (alice, session) = blog.log_in(&emulator, "alice").await;
    let (bob, _) = blog.log_in(&emulator, "bob").await;
    let cookie = bob.cookie(&blog.session_cookie());
    assert_eq!((ask(&alice).await, ask(&bob).await), (200, 200));

    let calls = emulator.state().calls.status;
    clock.ahead(3_600);
    is_not_let_in_unasked(&bob, &emulator, calls).await;
    emulator.act_on_session(&session.session_token, Action::Close).unwrap();
    // Longer than what was known before lasts on the monotonic clock too.
    let ahead = MAX_STALENESS + Duration::from_secs(1);
    tokio::join!(always(&alice, 503, ahead), always(&bob, 503, ahead));
    assert!(emulator.state().rejected.timestamp >= 4, "each was refused twice");
    clock.ahead(0);
    tokio::join!(soon(&alice, 401), soon(&bob, 200));

    // An hour back, what is known grows old by the monotonic clock.
    clock.ahead(-3_600);
    always(&bob, 200, MAX_STALENESS - BOUND).await;
    tokio::time::sleep(BOUND).await;
    always(&bob, 503, Duration::from_secs(1)).await;
    clock.ahead(0);
    soon(&bob, 200).await;
    assert_eq!(bob.cookie(&blog.session_cookie()), cookie);
}

/// What was only in memory is gone: the old cookies name nobody, and that is no error.
#[tokio::test]
async fn killed_blog_knows_no_session_when_it_is_back() {
    let emulator = Emulator::start().await.unwrap();
    let mut blog = Blog::start(&emulator).await;
    let mut cookies = Vec::new();
    for name in ["alice", "bob"] {
        let (browser, _) = blog.log_in(&emulator, name).await;
        assert_eq!(ask(&browser).await, 200);
        cookies.push(browser.cookie(&blog.session_cookie()).unwrap());
    }
    blog.child.kill().await.unwrap();
    let blog = Blog::run(before(&emulator, &blog.folder), blog.folder).await;
    for cookie in cookies {
        let browser = blog.browser();
        browser.set_cookie(&blog.session_cookie(), &cookie);
        assert_eq!(ask(&browser).await, 401);
        let page = browser.page("/").await;
        assert_eq!((page.status().as_u16(), support::location(&page)), (303, "/auth/login"));
        assert_eq!(browser.form("/posts", &[("body", "still here")]).await.status(), 401);
        assert_eq!(browser.status().await, "none");
    }
    // Nobody logged out there; a new login is another session.
    let live = || {
        let sessions = emulator.state().sessions.into_iter();
        sessions.filter(|session| session.status == SessionStatus::Active).count()
    };
    assert_eq!(live(), 2);
    let browser = blog.browser();
    browser.log_in(&emulator, "alice").await;
    assert_eq!(ask(&browser).await, 200);
    assert_eq!(live(), 3);
}
