//! How a typed username is normalized: white space, Unicode, case.

use std::sync::{Arc, Mutex};

use tower_activeconnect::UserId;

use super::fixture::{Fixture, start};
use crate::support::{approve, poll_until};

/// F20: surrounding white space, as from a keyboard or a copy, is removed.
#[tokio::test]
async fn white_space_around_username_is_ignored() {
    let users = ["Zoë1", "Zoë2", "Zoë3", "Zoë4", "Zoë5"];
    let site = Fixture::new(&users, |builder| builder).await;
    let typed =
        ["Zoë1 ", " Zoë2", "\u{a0}Zoë3\u{a0}", "\t\u{2003}Zoe\u{308}4\u{3000}\n", "\u{85}Zoë5"];
    for (user, typed) in users.into_iter().zip(typed) {
        let browser = site.browser();
        assert_eq!(start(&browser, typed, "203.0.113.7").await.status(), 202, "{typed:?}");
        approve(&site.emulator).await;
        poll_until(user, async || (browser.status().await == "active").then_some(())).await;
        assert_eq!(browser.page("/").await.text().await.unwrap(), user);
    }
    for blank in ["", " ", "\u{a0}\u{3000}\t"] {
        assert_eq!(start(&site.browser(), blank, "203.0.113.7").await.status(), 422, "{blank:?}");
    }
}

/// F20: the resolver gets the trimmed text in NFC, in the typed case.
#[tokio::test]
async fn lookup_gets_trimmed_text_in_typed_case() {
    let lookups = Arc::new(Mutex::new(Vec::new()));
    let received = lookups.clone();
    let site = Fixture::new(&[], |builder| {
        builder.resolve_username(move |text| {
            received.lock().unwrap().push(text);
            async { Ok::<_, std::io::Error>(None::<UserId>) }
        })
    })
    .await;
    for typed in [" Alice@Example.COM\u{a0}", "\u{3000}ZOE\u{308}"] {
        assert_eq!(start(&site.browser(), typed, "203.0.113.7").await.status(), 202);
    }
    poll_until("both are looked up", async || (lookups.lock().unwrap().len() == 2).then_some(()))
        .await;
    let mut lookups = lookups.lock().unwrap().clone();
    lookups.sort();
    assert_eq!(lookups, ["Alice@Example.COM", "ZO\u{cb}"]);
}

/// F35: spellings of a username share one reservation, also if the username does not exist.
#[tokio::test]
async fn spellings_share_one_reservation() {
    let site = Fixture::new(&["alice"], |builder| builder).await;
    for name in ["alice", "nobody"] {
        assert_eq!(start(&site.browser(), name, "203.0.113.7").await.status(), 202);
        for typed in [name.to_uppercase(), format!("\u{a0}{name} ")] {
            let rejected = start(&site.browser(), &typed, "203.0.113.8").await;
            assert_eq!(rejected.status(), 429, "{typed:?}");
        }
    }
}

/// F35: the application decides which usernames are equal.
#[tokio::test]
async fn own_normalizer_decides_equality() {
    let site = Fixture::new(&["alice"], |builder| {
        builder
            .normalize_username(|text| {
                let tagged = text.split('@').next().unwrap_or_default();
                tagged.split('+').next().unwrap_or_default().to_owned()
            })
            .resolve_username(|text| async move {
                let name = text.split(['@', '+']).next().unwrap_or_default();
                Ok::<_, std::io::Error>(Some(UserId::from(name)))
            })
    })
    .await;
    let browser = site.browser();
    assert_eq!(start(&browser, "alice+a@example.com", "203.0.113.7").await.status(), 202);
    let other = start(&site.browser(), "alice+b@example.com", "203.0.113.8").await;
    assert_eq!(other.status(), 429);
    // In another case this is another username.
    assert_eq!(start(&site.browser(), "Alice@example.com", "203.0.113.8").await.status(), 202);
    approve(&site.emulator).await;
    poll_until("in", async || (browser.status().await == "active").then_some(())).await;
    assert_eq!(site.push_count(), 1);
}
