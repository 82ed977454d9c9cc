//! What others try to read, frame or listen to in the victim's browser.

use serde_json::json;

use super::stage::Stage;
use crate::support::approve;

/// T019: who is logged in can't be read, nor a login's result taken, from another origin.
#[tokio::test]
async fn status_is_for_this_origin_only() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let (tab, own) = (profile.tab().await, profile.tab().await);
    stage.begin(&own, "alice").await;
    // Nothing of ours asks any more.
    own.go(&stage.evil).await;
    let polls = || stage.emulator.state().calls.status;
    approve(&stage.emulator).await;
    let seen = polls();
    crate::support::until("approved", async || (polls() >= seen + 2).then_some(())).await;
    let attempt = profile.cookie("__Host-activeconnect-attempt").await;
    for hostile in [&stage.sibling, &stage.evil] {
        for path in ["/auth/status", "/auth/events"] {
            tab.go(hostile).await;
            let place = format!("{}{path}", stage.app);
            let read =
                "url => fetch(url, { credentials: 'include' }).then(a => a.text(), e => e.name)";
            assert_eq!(tab.eval(&format!("({read})({})", json!(place))).await, "TypeError");
            // `Cross-Origin-Resource-Policy`: not even an answer that can't be read.
            let blind = "url => fetch(url, { credentials: 'include', mode: 'no-cors' })
                .then(a => a.type, e => e.name)";
            assert_eq!(tab.eval(&format!("({blind})({})", json!(place))).await, "TypeError");
            let script = "src => new Promise(done => {
                const script = document.createElement('script');
                Object.assign(script, { onerror: done, onload: done, src });
                document.body.append(script);
            }).then(event => event.type)";
            assert_eq!(tab.eval(&format!("({script})({})", json!(place))).await, "error");
        }
    }
    assert_eq!(profile.cookie("__Host-activeconnect").await, None);
    assert_eq!(profile.cookie("__Host-activeconnect-attempt").await, attempt);
    // The application's own pages can, and get the result.
    own.go(&format!("{}/auth/login", stage.app)).await;
    profile.tab().await.go(&format!("{}/auth/waiting", stage.app)).await;
    assert!(profile.cookie("__Host-activeconnect").await.is_some());
}

/// T024: a sibling's page has the cookies sent along; the origin is what tells.
#[tokio::test]
async fn sockets_and_events_are_for_this_origin_only() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let tab = profile.tab().await;
    stage.log_in(&tab, "alice").await;
    let socket = format!("{}/socket", stage.app.replace("http", "ws"));
    let listen = "url => new Promise(done => {
        const socket = new WebSocket(url);
        socket.onmessage = event => done(event.data);
        socket.onerror = () => done('refused');
    })";
    let events = "url => new Promise(done => {
        const events = new EventSource(url, { withCredentials: true });
        events.onmessage = event => { events.close(); done(event.data); };
        events.onerror = () => { events.close(); done('refused'); };
    })";
    let hear = async |how: &str, url: &str| tab.eval(&format!("({how})({})", json!(url))).await;
    let (feed, own) = (format!("{}/feed", stage.app), format!("{}/auth/events", stage.app));
    assert_eq!(hear(listen, &socket).await, "alice");
    assert_eq!(hear(events, &feed).await, "alice");
    for hostile in [&stage.sibling, &stage.evil] {
        tab.go(hostile).await;
        assert_eq!(hear(listen, &socket).await, "refused", "{hostile}");
        assert_eq!(hear(events, &feed).await, "refused", "{hostile}");
        assert_eq!(hear(events, &own).await, "refused", "{hostile}");
    }
}

/// No page of ours is shown in a frame of others, to be clicked on unseen.
#[tokio::test]
async fn no_page_is_framed() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let tab = profile.tab().await;
    for path in ["/auth/login", "/auth/waiting", "/", "/auth/status"] {
        // Of the same site, so that Chromium tells of the frame with the page around it.
        tab.go(&stage.sibling).await;
        let frame = "src => new Promise(done => {
            const frame = Object.assign(document.createElement('iframe'), { onload: done, src });
            document.body.append(frame);
        }).then(() => 'loaded')";
        tab.eval(&format!("({frame})({})", json!(format!("{}{path}", stage.app)))).await;
        let framed = tab.frames().await;
        assert_eq!(framed, ["chrome-error://chromewebdata/"], "{path}");
    }
}
