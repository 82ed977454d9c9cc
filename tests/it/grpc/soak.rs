//! Many clients while sessions end and phones walk away: no wrong code, no hang, no leak.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const CLIENTS: usize = 50;
const CALLS: u32 = 20_000;

/// Logs in, and retries if the session ends before its approval.
async fn log_in(emulator: &Emulator, ac: &Activeconnect, phone: &str, user: &str) -> String {
    let user = user.into();
    let approve = async {
        loop {
            emulator.act(phone, Action::Approve).ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let logging_in = async {
        loop {
            if let Ok(credential) = ac.log_in(&user).await {
                return credential.expose();
            }
        }
    };
    tokio::select! {
        credential = logging_in => credential,
        () = approve => unreachable!("the run ends in time"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_match_sessions_under_load() {
    let emulator = std::sync::Arc::new(Emulator::start().await.unwrap());
    let ac = builder(&emulator).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::builder().layer(ac.layer()).add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let mut phones = Vec::new();
    for i in 0..CLIENTS {
        ac.enroll(&format!("user-{i}").into()).await.unwrap();
        let known = |phone: &String| phones.contains(phone);
        let mut users = emulator.state().users.into_iter().map(|user| user.user_id);
        let phone = users.rfind(|phone| !known(phone)).unwrap();
        emulator.register_device(&phone).unwrap();
        phones.push(phone);
    }
    let calls = std::sync::Arc::new(AtomicU32::new(0));
    let observed = std::sync::Arc::new([const { AtomicU32::new(0) }; 3]);
    let mut clients = Vec::new();
    for (i, phone) in phones.clone().into_iter().enumerate() {
        let (emulator, ac, calls, observed) =
            (emulator.clone(), ac.clone(), calls.clone(), observed.clone());
        let address = address.clone();
        clients.push(tokio::spawn(async move {
            let user = format!("user-{i}");
            let mut client = Client::connect(&address).await;
            let mut credential = log_in(&emulator, &ac, &phone, &user).await;
            loop {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                if call >= CALLS {
                    return;
                }
                let mut request = Request::new(Bytes::from("hello"));
                let bearer = format!("Bearer {credential}").parse().unwrap();
                request.metadata_mut().insert("authorization", bearer);
                let result = if call.is_multiple_of(20) {
                    // Drops the stream after some messages, unless it is cut first.
                    let mut messages = 0;
                    match client.watch(request).await {
                        Err(status) => Err(status),
                        Ok(watch) => {
                            let mut watch = watch.into_inner();
                            loop {
                                match watch.message().await {
                                    Ok(Some(_)) if messages < 3 => messages += 1,
                                    Ok(Some(_)) => break Ok(()),
                                    Ok(None) => panic!("a stream without end ended"),
                                    Err(status) => break Err(status),
                                }
                            }
                        }
                    }
                } else {
                    client.unary(request).await.map(|response| {
                        assert_eq!(response.into_inner(), format!("{user}: hello"));
                    })
                };
                let Err(status) = result else {
                    observed[0].fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let (code, reason, _) = code_and_reason(&status);
                assert_eq!(code, Code::Unauthenticated, "{status:?}");
                match reason.as_str() {
                    "SUSPENDED" => {
                        observed[1].fetch_add(1, Ordering::Relaxed);
                        // The phone returns, or its session ended already.
                        emulator.act(&phone, Action::Return).ok();
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    "ENDED" => {
                        observed[2].fetch_add(1, Ordering::Relaxed);
                        credential = log_in(&emulator, &ac, &phone, &user).await;
                    }
                    other => panic!("{other}: {status:?}"),
                }
            }
        }));
    }
    // An action on a random session every 50 ms.
    let chaos = tokio::spawn(async move {
        for turn in 0_usize.. {
            let phone = &phones[turn * 7 % phones.len()];
            let action = if turn.is_multiple_of(3) { Action::WalkAway } else { Action::Close };
            emulator.act(phone, action).ok();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    for client in clients {
        tokio::time::timeout(Duration::from_secs(120), client).await.expect("no hang").unwrap();
    }
    chaos.abort();
    let [served, suspended, ended] = [0, 1, 2].map(|i| observed[i].load(Ordering::Relaxed));
    println!("{served} calls served, {suspended} met a phone that walked away, {ended} an end");
    assert!(served > CALLS / 2 && suspended > 0 && ended > 0);
    poll_until("no hold is leaked", async || {
        let mut holds = 0;
        for i in 0..CLIENTS {
            let sessions = ac.sessions(&format!("user-{i}").into()).await.unwrap();
            holds += sessions.iter().map(SessionInfo::held_open).sum::<u64>();
        }
        (holds == 0).then_some(())
    })
    .await;
}
