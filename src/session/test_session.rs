//! A session for unit tests.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::Credentials;
use crate::client::Client;
use crate::clock::{Clock, Millis};
use crate::events::event::EventSender;
use crate::identity::{UserId, UserToken};
use crate::polling::schedule::Schedule;
use crate::protocol::AuthMethods;
use crate::session::client_details::ClientDetails;
use crate::session::key_ring::KeyRing;
use crate::session::live::{Session, SessionContext};
use crate::session::record::PackedRecord;
use crate::session::walkaway_ends::WalkawayEnds;
use crate::verdict::VerdictLimits;

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let credentials = Credentials::new("APPLICATION", "MXG9EDN581U33XTPLPFT75V2").unwrap();
    Client::new(credentials.with_server("http://127.0.0.1:9").unwrap()).unwrap()
});

/// A session of this user and token that was just created, of an engine that does not poll.
pub(crate) fn test_session(user: &UserId, token: &UserToken) -> Arc<Session> {
    let clock = Clock::system();
    let created_at = clock.now();
    let context = SessionContext {
        clock,
        limits: VerdictLimits {
            max_staleness: Millis::from_secs(15),
            lifetime: Millis::from_secs(3_600),
        },
        idle_timeout: Millis::MAX,
        retry_after: Duration::from_secs(5),
        schedule: Schedule::default(),
        events: EventSender::new(),
        key_ring: Arc::new(KeyRing::from_application_secret(CLIENT.application_secret())),
        walkaway_ends: WalkawayEnds::default(),
    };
    let remote = CLIENT.restore("TOKEN", "SECRET", "/s/TOKEN", "/l/TOKEN").unwrap();
    let record = PackedRecord::new(user, token, &remote, &ClientDetails::default(), false);
    Session::new(Arc::new(context), record, AuthMethods::default(), created_at)
}
