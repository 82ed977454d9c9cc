//! Who came and went, on stderr, from the engine's events.

use tower_activeconnect::{Event, Events};

/// Tells until the engine is over.
pub(crate) async fn tell(mut events: Events) {
    while let Some(event) = events.next().await {
        match event {
            Event::Started { user } => eprintln!("{user} logged in"),
            Event::Suspended { user } => eprintln!("{user}'s phone walked away"),
            Event::Resumed { user } => eprintln!("{user}'s phone is back"),
            Event::Ended { user, reason } => eprintln!("{user} is out: {reason:?}"),
            Event::Missed(events) => eprintln!("{events} events missed"),
            // How the service does.
            other => eprintln!("{other:?}"),
        }
    }
}
