//! The pool of connections is bounded.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::raw::{Raw, STATUS_ACTIVE, Step, answer, authenticate};

#[tokio::test]
async fn sixty_four_connections_are_kept_at_most() {
    let rest = Step::Rest(Duration::from_millis(1_500));
    let raw = Raw::with_session(vec![rest, Step::Send(answer("200 OK", &[], STATUS_ACTIVE))]).await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    // So many at once, each on a connection of its own; not more than the server's backlog together.
    let eighty_calls = async || {
        let calls = (0..80).map(|call| {
            let pause = Duration::from_millis(if call < 40 { 0 } else { 300 });
            let (client, session) = (&client, &session);
            async move {
                tokio::time::sleep(pause).await;
                client.status(session).await.unwrap();
            }
        });
        join_all(calls).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    eighty_calls().await;
    assert_eq!(raw.connections(), 80);
    eighty_calls().await;
    assert_eq!(raw.connections(), 80 + 16, "64 were left");
}
