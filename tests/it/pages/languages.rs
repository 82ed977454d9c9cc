//! The language of a page, and of all pages of a login.

use activeconnect_emulator::Emulator;
use tower_activeconnect::setup::BuildError;

use super::fixture::{Site, attributes};
use crate::support::{approve, builder, location, poll_until};

async fn heading(site: &Site, path: &str, accept_language: Option<&str>) -> (String, String) {
    let browser = site.browser();
    let request = browser.get(path).header("accept", "text/html");
    let request = accept_language
        .into_iter()
        .fold(request, |request, languages| request.header("accept-language", languages));
    let page = browser.send(request).await.text().await.unwrap();
    let heading = page.split("<h1>").nth(1).unwrap().split('<').next().unwrap();
    (attributes(&page, "lang").remove(0), heading.to_owned())
}

#[tokio::test]
async fn page_uses_the_requested_language() {
    let site = Site::new(|builder| {
        builder
            .language("fr")
            .texts("ar", "login-heading = تسجيل الدخول")
            .texts("en", "login-heading = Sign in")
    })
    .await;
    for (path, accepted, lang, heading_there) in [
        ("/auth/login", None, "fr", "Connexion"),
        ("/auth/login", Some("de-CH, en;q=0.5"), "de", "Anmelden"),
        ("/auth/login?lang=ja", Some("de"), "ja", "ログイン"),
        ("/auth/login?lang=nl", Some("es"), "es", "Iniciar sesión"),
        ("/auth/login?next=/&lang=pt-BR", None, "pt-BR", "Entrar"),
        ("/auth/login", Some("en"), "en", "Sign in"),
        ("/auth/login?lang=ar", None, "ar", "تسجيل الدخول"),
        ("/auth/waiting", Some("de"), "de", "Hier wartet keine Anmeldung"),
    ] {
        let actual = heading(&site, path, accepted).await;
        assert_eq!(actual, (lang.to_owned(), heading_there.to_owned()), "{path} {accepted:?}");
    }
    let page = site.browser().page("/auth/login?lang=ar").await.text().await.unwrap();
    assert!(page.contains("<html lang=\"ar\" dir=\"rtl\">"), "{page}");
}

/// From the login page to the requested page.
#[tokio::test]
async fn login_stays_in_its_language() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser();
    let page = browser.page("/auth/login?lang=de&next=/form").await.text().await.unwrap();
    let action = attributes(&page, "action").remove(0);
    assert_eq!(action, "/auth/login?lang=de");
    let started_at = browser.form(&action, &[("username", "alice"), ("next", "/form")]).await;
    let waiting = location(&started_at).to_owned();
    assert_eq!(waiting, "/auth/waiting?next=/form&lang=de");
    let page = browser.page(&waiting).await.text().await.unwrap();
    assert!(page.contains("Sehen Sie auf Ihr Telefon"), "{page}");
    let again = "/auth/login?next=/form&lang=de".to_owned();
    assert!(attributes(&page, "href").contains(&again), "{page}");
    approve(&site.emulator).await;
    let claimed = poll_until("the result is claimed", async || {
        let response = browser.page(&waiting).await;
        (response.status() == 303).then(|| location(&response).to_owned())
    })
    .await;
    assert_eq!(claimed, waiting);
    assert_eq!(location(&browser.page(&waiting).await), "/form");
    let out = browser.form("/auth/logout?lang=de", &[]).await;
    assert_eq!(location(&out), "/auth/login?lang=de");
}

/// The reason of a rejected start, in the language's words and numbers.
#[tokio::test]
async fn rejected_start_uses_the_language() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser();
    let long = "x".repeat(257);
    for (name, detail) in [
        ("", "Der Benutzername ist leer; geben Sie einen ein."),
        (long.as_str(), "Der Benutzername ist zu lang; höchstens 256 Byte sind möglich."),
        ("a\u{7}", "Der Benutzername enthält Steuerzeichen; lassen Sie sie weg."),
    ] {
        let rejected = browser.form("/auth/login?lang=de", &[("username", name)]).await;
        assert_eq!(rejected.status(), 422);
        let page = rejected.text().await.unwrap();
        assert!(page.contains(detail), "{page}");
        assert!(page.contains("href=\"/auth/login?lang=de\""), "{page}");
    }
    browser.form("/auth/login", &[("username", "alice")]).await;
    let other = site.browser();
    let rejected = other.form("/auth/login?lang=ja", &[("username", "alice")]).await;
    assert_eq!(rejected.status(), 429);
    let seconds = rejected.headers()["retry-after"].to_str().unwrap().to_owned();
    let page = rejected.text().await.unwrap();
    assert!(page.contains(&format!("{seconds} 秒後")), "{page}");
}

#[tokio::test]
async fn build_rejects_unusable_texts() {
    let emulator = Emulator::start().await.unwrap();
    for (language, texts) in
        [("en", "login-headline = Sign in"), ("en", "login-heading"), ("?", "login-heading = x")]
    {
        let error = builder(&emulator).texts(language, texts).build().unwrap_err();
        assert!(matches!(error, BuildError::InvalidTexts { .. }), "{error}");
    }
    let error = builder(&emulator).language("nl").build().unwrap_err();
    assert!(matches!(error, BuildError::InvalidTexts { .. }), "{error}");
}
