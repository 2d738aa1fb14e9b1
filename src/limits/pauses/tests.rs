use std::task::{Context, Waker};

use http::Method;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn asked<'a>(method: &'a Method, path: &'a str) -> Asked<'a> {
    let operation = Operation { method, path };
    Asked { identity: 0, user: User::Service, class: Class::of(operation), operation }
}

fn pauses() -> (Arc<Pauses>, Clock) {
    let clock = Clock::adjustable();
    (Arc::new(Pauses::new(clock.clone())), clock)
}

#[test]
fn what_is_kept_of_a_callers_path_is_bounded() {
    let path = format!("/2.0/{}", "letters/".repeat(4_000));
    match &Paused::new(asked(&Method::GET, &path), true).requests {
        PausedRequests::Operation(text) => {
            assert!(text.starts_with("GET /2.0/letters/") && text.len() == LONGEST_OPERATION, "{text}");
        }
        PausedRequests::Class(class) => panic!("{class:?}"),
    }
}

#[tokio::test]
async fn a_429_pauses_only_one_users_class() {
    let (pauses, _clock) = pauses();
    let me = asked(&Method::GET, "/2.0/users/me");
    pauses.box_said(me, 429, MINUTE);
    let refused = |asked| {
        let pauses = &pauses;
        async move { pauses.pass(asked, Duration::ZERO).await.is_err() }
    };
    assert!(refused(me).await && refused(asked(&Method::PUT, "/2.0/files/1")).await);
    assert!(!refused(Asked { user: User::Id("1"), ..me }).await);
    assert!(!refused(Asked { identity: 1, ..me }).await);
    assert!(!refused(asked(&Method::GET, "/2.0/search")).await);
    assert_eq!(pauses.refused(), 2);
}

#[tokio::test]
async fn a_503_or_a_separate_limit_pauses_only_the_operation() {
    for (status, path) in [
        (503, "/2.0/files/17/comments"),
        (429, "/2.0/sign_requests/ab-12"),
        (429, "/2.0/zip_downloads/17/content"),
    ] {
        let (pauses, _clock) = pauses();
        let one = asked(&Method::GET, path);
        pauses.box_said(one, status, MINUTE);
        assert!(pauses.pass(one, Duration::ZERO).await.is_err(), "{path}");
        let same = path.replace("17", "18").replace("ab-12", "cd-34");
        assert!(pauses.pass(asked(&Method::GET, &same), Duration::ZERO).await.is_err(), "{same}");
        assert!(pauses.pass(asked(&Method::PUT, path), Duration::ZERO).await.is_ok(), "PUT {path}");
        assert!(pauses.pass(asked(&Method::GET, "/2.0/files/17"), Duration::ZERO).await.is_ok());
    }
}

#[test]
fn pauses_in_force_tell_what_they_hold_up() {
    let (pauses, clock) = pauses();
    pauses.box_said(asked(&Method::GET, "/2.0/search"), 429, MINUTE);
    let of_user = Asked { identity: 7, user: User::Id("17"), ..asked(&Method::PUT, "/2.0/folders/1") };
    pauses.box_said(of_user, 503, 2 * MINUTE);
    clock.advance(Duration::from_secs(30));
    let in_force = pauses.in_force();
    let all: Vec<&Paused> = in_force.iter().map(|(paused, _)| &**paused).collect();
    let operation = PausedRequests::Operation("PUT /2.0/folders/*".into());
    assert_eq!(*all[0], Paused { identity: 7, user: Some("17".into()), requests: operation });
    let search = PausedRequests::Class(Class::Search);
    assert_eq!(*all[1], Paused { identity: 0, user: None, requests: search });
    assert!(in_force[1].1 <= Duration::from_secs(30) && in_force[0].1 > MINUTE, "{in_force:?}");
    clock.advance(MINUTE);
    assert_eq!(pauses.in_force().len(), 1, "the other has ended, though its requests still come back slowly");
}

#[tokio::test]
async fn a_waiting_request_goes_when_the_pause_ends_unless_it_is_extended() {
    let (pauses, clock) = pauses();
    let me = asked(&Method::GET, "/2.0/users/me");
    pauses.box_said(me, 429, MINUTE);
    let waiter = |wait| {
        let pauses = Arc::clone(&pauses);
        tokio::spawn(async move { pauses.pass(asked(&Method::GET, "/2.0/users/me"), wait).await })
    };
    let (patient, impatient) = (waiter(MINUTE * 5), waiter(MINUTE + Duration::from_secs(1)));
    while pauses.live().1 < 2 {
        tokio::task::yield_now().await;
    }
    pauses.box_said(me, 429, MINUTE * 2);
    clock.advance(MINUTE);
    assert!(impatient.await.unwrap().is_err());
    assert!(!patient.is_finished());
    clock.advance(MINUTE + Duration::from_secs(1));
    assert_eq!(patient.await.unwrap(), Ok(()));
    assert_eq!(pauses.live().1, 0);
}

#[tokio::test]
async fn who_hangs_up_no_longer_counts_as_waiting() {
    let (pauses, _clock) = pauses();
    let me = asked(&Method::GET, "/2.0/users/me");
    pauses.box_said(me, 429, MINUTE);
    let mut waiting = Box::pin(pauses.pass(me, MINUTE * 2));
    let mut once = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut once).is_pending());
    assert_eq!(pauses.live(), (1, 1));
    drop(waiting);
    assert_eq!(pauses.live(), (1, 0));
}
