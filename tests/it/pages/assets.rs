//! The files that the pages load: names, caching, size.

use tower_activeconnect::pages::{Logo, Theme};

use super::fixture::{Site, files, header};

/// The maximum size of a first page load, uncompressed.
const MAX_FIRST_LOAD: usize = 20 * 1024;
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

#[tokio::test]
async fn assets_are_cacheable() {
    let css = "main { border-width: 3px }";
    let theme = Theme::new().logo(Logo::bytes("image/png", &b"png"[..])).custom_css(css);
    let site = Site::new(|builder| builder.theme(theme)).await;
    let browser = site.browser();
    let page = browser.page("/auth/login").await.text().await.unwrap();
    let files = files(&page);
    let kinds: Vec<_> = files
        .iter()
        .map(|path| (path.split('.').next().unwrap(), path.rsplit('.').next().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("/auth/assets/logo", "png"),
            ("/auth/assets/style", "css"),
            ("/auth/assets/custom", "css"),
            ("/auth/assets/restored", "js"),
            ("/auth/assets/logo", "png"),
        ]
    );
    let media_types = ["image/png", "text/css", "text/css", "text/javascript", "image/png"];
    for (path, media_type) in files.iter().zip(media_types) {
        let file = browser.page(path).await;
        assert_eq!(file.status(), 200, "{path}");
        assert_eq!(header(&file, "cache-control"), IMMUTABLE, "{path}");
        assert!(header(&file, "content-type").starts_with(media_type), "{path}");
        assert_eq!(header(&file, "x-content-type-options"), "nosniff", "{path}");
        assert!(!file.headers().contains_key("set-cookie"), "{path}");
        assert!(!file.headers().contains_key("vary"), "{path}");
        let head = browser.send(browser.get(path)).await;
        assert_eq!(head.text().await.unwrap(), file.text().await.unwrap());
    }
    assert_eq!(browser.page(&files[2]).await.text().await.unwrap(), css);
    assert_eq!(browser.page(&files[0]).await.bytes().await.unwrap(), "png");
}

/// A page from before an update requests a file with an old hash.
#[tokio::test]
async fn unknown_hash_gets_the_current_file() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser();
    let page = browser.page("/auth/login").await.text().await.unwrap();
    let path = files(&page).remove(1);
    let (name, _) = path.split_once('.').unwrap();
    let current = browser.page(&path).await.text().await.unwrap();
    let old = browser.page(&format!("{name}.0123456789abcdef.css")).await;
    assert_eq!((old.status().as_u16(), header(&old, "cache-control")), (200, "no-cache"));
    assert_eq!(old.text().await.unwrap(), current);
    for path in ["/auth/assets/style.css", "/auth/assets/..%2fstyle.0.css"] {
        assert_eq!(browser.page(path).await.status(), 404, "{path}");
    }
}

/// Application pages use a fixed URL for the script, so caches revalidate it.
#[tokio::test]
async fn guard_script_is_revalidated() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser();
    let path = "/auth/assets/guard.js";
    let script = browser.page(path).await;
    assert_eq!(script.status(), 200);
    let etag = header(&script, "etag").to_owned();
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    assert_eq!(header(&script, "cache-control"), "no-cache");
    assert_eq!(header(&script, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header(&script, "cross-origin-resource-policy"), "same-origin");
    let size = script.bytes().await.unwrap().len();
    println!("guard.js: {size} bytes");
    assert!(size <= 3_072, "{size} bytes");
    for (known, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"other\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (etag.trim_matches('"').to_owned(), 200),
    ] {
        let response = browser.send(browser.get(path).header("if-none-match", &known)).await;
        assert_eq!(response.status(), status, "{known}");
        assert_eq!(header(&response, "etag"), etag, "{known}");
        assert_eq!(header(&response, "cache-control"), "no-cache", "{known}");
        assert_eq!(response.bytes().await.unwrap().is_empty(), status == 304, "{known}");
    }
}

#[tokio::test]
async fn accent_changes_the_name_of_the_style() {
    let style = async |theme: Theme| {
        let site = Site::new(|builder| builder.theme(theme)).await;
        let page = site.browser().page("/auth/login").await.text().await.unwrap();
        let path = files(&page).remove(1);
        let style = site.browser().page(&path).await.text().await.unwrap();
        (path, style)
    };
    let (plain, _) = style(Theme::new()).await;
    let (green, css) = style(Theme::new().accent("#0a7")).await;
    assert_ne!(plain, green);
    assert!(css.starts_with(":root{--accent:#00aa77;--on-accent:#000000;"), "{css}");
}

#[tokio::test]
async fn first_load_is_small() {
    let site = Site::new(|builder| builder).await;
    let browser = site.browser();
    browser.form("/auth/login", &[("username", "alice")]).await;
    for path in ["/auth/login", "/auth/waiting"] {
        let page = browser.page(path).await.text().await.unwrap();
        let mut size = page.len();
        for file in files(&page) {
            size += browser.page(&file).await.bytes().await.unwrap().len();
        }
        println!("{path}: {size} bytes");
        assert!(size <= MAX_FIRST_LOAD, "{path}: {size} bytes");
    }
}
