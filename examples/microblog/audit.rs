//! Writes the engine's events to the table `audit` and to stderr.

use tower_activeconnect::events::{Event, EventKind, Events};

use crate::database::Database;

/// Records events until the engine ends.
pub(crate) async fn record(mut events: Events, database: Database) {
    while let Some(event) = events.next().await {
        print(&event);
        if let Err(error) = database.insert_event(&event).await {
            eprintln!("cannot write an event to the audit log: {error}");
        }
    }
}

fn print(event: &Event) {
    let Event { kind, user: Some(user), .. } = event else {
        // An event about the service, or a count of missed events.
        return eprintln!("{} {}", event.kind, event.kind.detail());
    };
    match kind {
        EventKind::Started => eprintln!("{user} logged in"),
        EventKind::UnknownBrowser => eprintln!("{user} logged in from an unknown browser"),
        EventKind::Suspended => eprintln!("{user}'s phone is away"),
        EventKind::Resumed => eprintln!("{user}'s phone is back"),
        EventKind::Ended { reason } => eprintln!("{user}'s session ended: {reason}"),
        other => eprintln!("{user}: {other} {}", other.detail()),
    }
}
