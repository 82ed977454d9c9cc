//! The honest user's way.

use serde_json::json;

use super::stage::Stage;

/// `__Host-` cookies are kept on the loopback without TLS, and scripts don't see them.
#[tokio::test]
async fn honest_user_gets_in_with_scripts_and_without() {
    let Some(stage) = Stage::start().await else { return };
    for (scripts, user) in [(true, "alice"), (false, "bob")] {
        let profile = stage.chromium.profile().await;
        let tab = profile.tab().await;
        if !scripts {
            tab.disable_scripts().await;
        }
        tab.go(&stage.evil).await;
        assert_eq!(tab.eval("document.title === 'a script ran'").await, scripts);
        // From the page that was asked for to the login.
        tab.go(&stage.app).await;
        assert_eq!(tab.place().await, format!("{}/auth/login", stage.app));
        stage.log_in(&tab, user).await;
        let cookies = profile.cookies().await;
        let mut names: Vec<_> = cookies.iter().map(|cookie| cookie["name"].clone()).collect();
        names.retain(|name| name != "__Host-activeconnect-known");
        assert_eq!(names, ["__Host-activeconnect"]);
        for cookie in cookies {
            let is = |attribute: &str| cookie[attribute].clone();
            assert_eq!((is("domain"), is("path")), (json!("www.app.localhost"), json!("/")));
            assert_eq!((is("secure"), is("httpOnly")), (json!(true), json!(true)));
            assert_eq!(is("sameSite"), "Lax");
        }
        assert_eq!(tab.eval("document.cookie").await, "");
    }
}

/// A link from a mail, or from any other site, finds the session.
#[tokio::test]
async fn links_from_elsewhere_find_the_session() {
    let Some(stage) = Stage::start().await else { return };
    let profile = stage.chromium.profile().await;
    let tab = profile.tab().await;
    for follow in ["link", "window"] {
        tab.go(&stage.evil).await;
        let app = &stage.app;
        tab.eval(&match follow {
            "link" => format!(
                "document.body.innerHTML = '<a href=\"{app}/\">x</a>';
                 document.querySelector('a').click()"
            ),
            _ => format!("location = '{app}/'"),
        })
        .await;
        tab.until("location.pathname === '/auth/login'").await;
    }
    stage.log_in(&tab, "alice").await;
    tab.go(&stage.evil).await;
    tab.eval(&format!("location = '{}/'", stage.app)).await;
    stage.is_in(&tab, "alice").await;
    // The pages of the login too.
    tab.go(&stage.evil).await;
    tab.eval(&format!("location = '{}/auth/login?switch'", stage.app)).await;
    tab.until("document.body?.innerText.includes('User name')").await;
}
