//! Attempts of hostile pages to read, frame or listen.

use serde_json::json;

use super::fixture::Fixture;
use crate::support::approve;

/// T019: another origin can read neither the login state nor a login's result.
#[tokio::test]
async fn status_is_for_this_origin_only() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let (tab, own) = (profile.tab().await, profile.tab().await);
    fixture.start_login(&own, "alice").await;
    // No page of the application polls any more.
    own.navigate(&fixture.evil).await;
    let polls = || fixture.emulator.state().calls.status;
    approve(&fixture.emulator).await;
    let observed = polls();
    crate::support::poll_until("approved", async || (polls() >= observed + 2).then_some(())).await;
    let attempt = profile.cookie("__Host-activeconnect-attempt").await;
    for hostile in [&fixture.sibling, &fixture.evil] {
        for path in ["/auth/status", "/auth/events"] {
            tab.navigate(hostile).await;
            let url_path = format!("{}{path}", fixture.app);
            let read =
                "url => fetch(url, { credentials: 'include' }).then(a => a.text(), e => e.name)";
            assert_eq!(tab.eval(&format!("({read})({})", json!(url_path))).await, "TypeError");
            // `Cross-Origin-Resource-Policy` blocks even opaque responses.
            let blind = "url => fetch(url, { credentials: 'include', mode: 'no-cors' })
                .then(a => a.type, e => e.name)";
            assert_eq!(tab.eval(&format!("({blind})({})", json!(url_path))).await, "TypeError");
            let script = "src => new Promise(done => {
                const script = document.createElement('script');
                Object.assign(script, { onerror: done, onload: done, src });
                document.body.append(script);
            }).then(event => event.type)";
            assert_eq!(tab.eval(&format!("({script})({})", json!(url_path))).await, "error");
        }
    }
    assert_eq!(profile.cookie("__Host-activeconnect").await, None);
    assert_eq!(profile.cookie("__Host-activeconnect-attempt").await, attempt);
    // The application's own pages can read the status and claim the result.
    own.navigate(&format!("{}/auth/login", fixture.app)).await;
    profile.tab().await.navigate(&format!("{}/auth/waiting", fixture.app)).await;
    assert!(profile.cookie("__Host-activeconnect").await.is_some());
}

/// T024: a sibling origin sends the cookies, so the gate checks the origin.
#[tokio::test]
async fn sockets_and_events_are_for_this_origin_only() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let tab = profile.tab().await;
    fixture.log_in(&tab, "alice").await;
    let socket = format!("{}/socket", fixture.app.replace("http", "ws"));
    let listen = "url => new Promise(done => {
        const socket = new WebSocket(url);
        socket.onmessage = event => done(event.data);
        socket.onerror = () => done('rejected');
    })";
    let events = "url => new Promise(done => {
        const events = new EventSource(url, { withCredentials: true });
        events.onmessage = event => { events.close(); done(event.data); };
        events.onerror = () => { events.close(); done('rejected'); };
    })";
    let receive =
        async |script: &str, url: &str| tab.eval(&format!("({script})({})", json!(url))).await;
    let (feed, own) = (format!("{}/feed", fixture.app), format!("{}/auth/events", fixture.app));
    assert_eq!(receive(listen, &socket).await, "alice");
    assert_eq!(receive(events, &feed).await, "alice");
    for hostile in [&fixture.sibling, &fixture.evil] {
        tab.navigate(hostile).await;
        assert_eq!(receive(listen, &socket).await, "rejected", "{hostile}");
        assert_eq!(receive(events, &feed).await, "rejected", "{hostile}");
        assert_eq!(receive(events, &own).await, "rejected", "{hostile}");
    }
}

/// Other sites cannot frame the application's pages (clickjacking).
#[tokio::test]
async fn no_page_is_framed() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let tab = profile.tab().await;
    for path in ["/auth/login", "/auth/waiting", "/", "/auth/status"] {
        // A page of the same site, so that Chromium reports the frame in the page's frame tree.
        tab.navigate(&fixture.sibling).await;
        let frame = "src => new Promise(done => {
            const frame = Object.assign(document.createElement('iframe'), { onload: done, src });
            document.body.append(frame);
        }).then(() => 'loaded')";
        tab.eval(&format!("({frame})({})", json!(format!("{}{path}", fixture.app)))).await;
        let framed = tab.frames().await;
        assert_eq!(framed, ["chrome-error://chromewebdata/"], "{path}");
    }
}
