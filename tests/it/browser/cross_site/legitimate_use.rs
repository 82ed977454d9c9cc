//! Legitimate use in the presence of hostile origins.

use serde_json::json;

use super::fixture::Fixture;

/// Chromium stores `__Host-` cookies on the loopback without TLS, and scripts cannot read them.
#[tokio::test]
async fn login_works_with_and_without_scripts() {
    let Some(fixture) = Fixture::start().await else { return };
    for (scripts, user) in [(true, "alice"), (false, "bob")] {
        let profile = fixture.chromium.profile().await;
        let tab = profile.tab().await;
        if !scripts {
            tab.disable_scripts().await;
        }
        tab.navigate(&fixture.evil).await;
        assert_eq!(tab.eval("document.title === 'a script ran'").await, scripts);
        // The requested page leads to the login.
        tab.navigate(&fixture.app).await;
        assert_eq!(tab.url().await, format!("{}/auth/login", fixture.app));
        fixture.log_in(&tab, user).await;
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

/// A link from a mail or from another site finds the session.
#[tokio::test]
async fn links_from_other_sites_find_the_session() {
    let Some(fixture) = Fixture::start().await else { return };
    let profile = fixture.chromium.profile().await;
    let tab = profile.tab().await;
    for follow in ["link", "window"] {
        tab.navigate(&fixture.evil).await;
        let app = &fixture.app;
        tab.eval(&match follow {
            "link" => format!(
                "document.body.innerHTML = '<a href=\"{app}/\">x</a>';
                 document.querySelector('a').click()"
            ),
            _ => format!("location = '{app}/'"),
        })
        .await;
        tab.wait_for("location.pathname === '/auth/login'").await;
    }
    fixture.log_in(&tab, "alice").await;
    tab.navigate(&fixture.evil).await;
    tab.eval(&format!("location = '{}/'", fixture.app)).await;
    fixture.wait_for_page(&tab, "alice").await;
    // The same for the login's pages.
    tab.navigate(&fixture.evil).await;
    tab.eval(&format!("location = '{}/auth/login?switch'", fixture.app)).await;
    tab.wait_for("document.body?.innerText.includes('User name')").await;
}
