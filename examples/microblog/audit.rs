//! Who came and went, in the table `audit` and on stderr, from the engine's events.

use tower_activeconnect::events::{Event, EventKind, Events};

use crate::database::Database;

/// Keeps events until the engine is over.
pub(crate) async fn keep(mut events: Events, database: Database) {
    while let Some(event) = events.next().await {
        print(&event);
        if let Err(error) = database.keep_event(&event).await {
            eprintln!("an event is not in the audit log: {error}");
        }
    }
}

fn print(event: &Event) {
    let Event { kind, user: Some(user), .. } = event else {
        // How the service does, and events that were missed.
        return eprintln!("{} {}", event.kind, event.kind.detail());
    };
    match kind {
        EventKind::Started => eprintln!("{user} logged in"),
        EventKind::UnknownBrowser => eprintln!("{user}: that browser is new"),
        EventKind::Suspended => eprintln!("{user}'s phone walked away"),
        EventKind::Resumed => eprintln!("{user}'s phone is back"),
        EventKind::Ended { reason } => eprintln!("{user} is out: {reason}"),
        other => eprintln!("{user}: {other} {}", other.detail()),
    }
}
