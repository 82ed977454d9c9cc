//! Starts of logins over hours: how often the phone rings, and how soon after a decline. Time is
//! paused, the service is played here.

use std::sync::{Arc, Mutex};

use super::stage::{Stage, agree, by_the_application, say, started};
use crate::UserId;
use crate::engine::{Start, Starter, UsernameNormalizer, Who};
use crate::identity::AttemptCredential;
use crate::protocol::SessionStatus::{Active, Cancelled, Pending, Timeout};

fn stranger<'a>(typed: &str, mine: Option<&'a AttemptCredential>) -> Start<'a> {
    Start {
        who: Who::Typed(UsernameNormalizer::new(str::to_owned).username(typed)),
        starter: Starter::Stranger(None),
        next: String::new(),
        mine,
        bearer: false,
    }
}

/// Lets all that is ready run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// T027: the same browser may begin again at once, and the phone is left alone for longer after each
/// decline; a login that succeeds ends the row.
#[tokio::test(start_paused = true)]
async fn each_decline_keeps_the_phone_quiet_for_longer() {
    let mut stage = Stage::new();
    let engine = stage.ac.engine().clone();
    let (mut mine, mut waited) = (None, Vec::new());
    for round in 0..5 {
        let named = engine.begin_attempt(stranger("alice", mine.as_ref())).unwrap();
        let begun = stage.now();
        let call = stage.call("/authentication/authenticate_user").await;
        waited.push(stage.now() - begun);
        started(call, round);
        let answer = if round == 3 { Active } else { Cancelled };
        say(stage.call("/s/").await, answer);
        settle().await;
        if answer == Active {
            engine.claim(&named, None).unwrap().session.mark_presented();
        }
        mine = Some(named.credential);
    }
    assert_eq!(waited, [0, 0, 5_000, 10_000, 0]);
}

/// T027: a name that may be spelled in many ways rings no more often than one that may not.
#[tokio::test(start_paused = true)]
async fn spellings_without_end_do_not_ring_without_end() {
    let mut stage = Stage::set_up(|builder| {
        builder.resolve_username(|typed| async move {
            Ok::<_, std::io::Error>(Some(UserId::from(typed.to_lowercase())))
        })
    });
    let engine = stage.ac.engine().clone();
    let rings = Arc::new(Mutex::new(Vec::new()));
    let heard = rings.clone();
    stage.play(move |now, call| {
        if call.path.starts_with("/authentication/authenticate_user") {
            let mut rings = heard.lock().unwrap();
            started(call, rings.len());
            rings.push(now);
        } else if call.path.starts_with("/s/") {
            say(call, Timeout);
        } else {
            agree(call);
        }
    });
    for number in 0..360_u64 {
        stage.at(number * 10_000).await;
        let letters = "alice".chars().enumerate();
        let spelled: String = letters
            .map(|(bit, c)| if number >> bit & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect();
        engine.begin_attempt(stranger(&spelled, None)).ok();
    }
    stage.at(3_600_000).await;
    let rings = rings.lock().unwrap();
    assert_eq!(rings.len(), 12, "{rings:?}");
    assert!(rings.windows(6).all(|six| six[5] - six[0] >= 300_000), "{rings:?}");
}

/// The application's own logins have their own budget, and go before those of strangers.
#[tokio::test(start_paused = true)]
async fn strangers_do_not_keep_the_application_out() {
    let mut stage = Stage::new();
    let engine = stage.ac.engine().clone();
    let mut mine = None;
    for _ in 0..5 {
        mine = Some(engine.begin_attempt(stranger("alice", mine.as_ref())).unwrap().credential);
    }
    assert!(engine.begin_attempt(stranger("alice", mine.as_ref())).is_err());
    stage.start().await;
    say(stage.call("/s/0").await, Pending);
    let named = engine.begin_attempt(by_the_application("alice".into())).unwrap();
    agree(stage.call("/l/0").await);
    stage.start().await;
    say(stage.call("/s/1").await, Active);
    settle().await;
    assert!(engine.claim(&named, Some(&"alice".into())).is_some());
}
