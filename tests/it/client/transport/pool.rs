//! The connection pool is bounded.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::raw_server::{RawServer, STATUS_ACTIVE, Step, authenticate, response};

#[tokio::test]
async fn at_most_64_connections_are_kept() {
    let rest = Step::Pause(Duration::from_millis(1_500));
    let raw =
        RawServer::with_session(vec![rest, Step::Send(response("200 OK", &[], STATUS_ACTIVE))])
            .await;
    let client = raw.client();
    let session = authenticate(&client).await.unwrap();
    // Concurrent calls on one connection each, within the server's backlog.
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
