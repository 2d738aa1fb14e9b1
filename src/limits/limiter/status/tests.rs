use std::num::NonZeroU32;

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::*;
use crate::http::error::Refusal;
use crate::limits::limiter::{App, Identity, Permit, Request, Settings};
use crate::limits::rate::limit::Quota;
use crate::net::clock::Clock;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;

const MINUTE: Duration = Duration::from_secs(60);

fn limit(name: &str, key: Key, burst: u32) -> Limit {
    let quota = Quota::Bucket { interval: MINUTE, burst: NonZeroU32::new(burst).unwrap() };
    Limit { name: name.into(), key, on: vec![], quota, wait: Duration::ZERO, enforce: true }
}

fn limiter(limits: Vec<Limit>) -> Limiter {
    let app = |name: &str, most| App { name: name.into(), max_in_flight: NonZeroU32::new(most) };
    let identity =
        |name: &str, subject| Identity { name: name.into(), client_id: format!("id-{name}"), subject };
    let identities = vec![
        identity("service", Subject::Enterprise("17".into())),
        identity("someone", Subject::User("11446498".into())),
    ];
    let apps = vec![app("web", 4), app("jobs", 0)];
    let settings = Settings { limits, box_defaults: true, max_pause: MINUTE, identities, apps };
    Limiter::new(settings, Clock::adjustable(), None)
}

fn request(app: usize, client: u8) -> Request<'static> {
    let operation = Operation { method: &Method::GET, path: "/2.0/users/me" };
    Request {
        operation,
        class: Class::of(operation),
        client: std::net::IpAddr::from([10, 0, 0, client]).into(),
        app: AppId::new(app),
        identity: IdentityId::new(app),
        as_user: None,
        counted: true,
    }
}

async fn admit(limiter: &Limiter, request: Request<'_>) -> Result<Permit, Refusal> {
    limiter.admit(request, std::future::pending::<Refusal>).await
}

fn of(limiter: &Limiter, name: &str) -> LimitStatus {
    limiter.status().into_iter().find(|limit| &*limit.name == name).unwrap()
}

fn fullest(limiter: &Limiter, name: &str) -> Vec<(Option<String>, f64)> {
    of(limiter, name).fullest.into_iter().map(|of| (of.key, (of.used * 100.0).round() / 100.0)).collect()
}

#[tokio::test]
async fn clients_have_a_name_once_a_limit_has_refused_them_and_apps_always() {
    let limiter = limiter(vec![limit("per-client", Key::Client, 4), limit("per-app", Key::App, 100)]);
    for _ in 0..3 {
        drop(admit(&limiter, request(0, 1)).await.unwrap());
    }
    assert_eq!(fullest(&limiter, "per-client"), [(None, 0.75)]);
    drop(admit(&limiter, request(0, 1)).await.unwrap());
    assert!(admit(&limiter, request(0, 1)).await.is_err());
    drop(admit(&limiter, request(1, 2)).await.unwrap());
    let first = "10.0.0.1".to_owned();
    assert_eq!(fullest(&limiter, "per-client"), [(Some(first), 1.0), (None, 0.25)]);
    assert_eq!(fullest(&limiter, "per-app"), [(Some("web".into()), 0.04), (Some("jobs".into()), 0.01)]);
    let status = of(&limiter, "per-client");
    assert_eq!((status.limited, status.waiting, status.key), (1, 0, Some(Key::Client)));
    assert_eq!((status.rate.as_deref(), status.burst, status.share), (Some("1/min"), Some(4), 1));
    // A bucket that fills again is not in the list any more.
    limiter.clock.advance(4 * MINUTE);
    assert_eq!(fullest(&limiter, "per-client"), []);
}

#[tokio::test]
async fn windows_of_box_count_reserved_and_written_calls_by_user() {
    let limiter = limiter(vec![]);
    let mut permits = Vec::new();
    for app in [0, 0, 1] {
        permits.push(admit(&limiter, request(app, 1)).await.unwrap());
    }
    let service = Some("service account of service".to_owned());
    let users =
        || of(&limiter, "box-user").fullest.into_iter().map(|of| (of.key, of.used)).collect::<Vec<_>>();
    assert_eq!(users(), [(service.clone(), 0.002), (Some("11446498".into()), 0.001)]);
    permits.remove(0).reservation.unwrap().written();
    assert_eq!(users()[0], (service, 0.002));
    drop(permits);
    assert_eq!(users().len(), 1, "calls that were not made are given back");
    limiter.clock.advance(2 * MINUTE);
    assert_eq!(users(), []);
    assert_eq!(of(&limiter, "box-user").rate.as_deref(), Some("1000/min"));
}

#[tokio::test]
async fn of_very_many_clients_those_that_were_refused_are_found() {
    let limiter = limiter(vec![limit("per-client", Key::Client, 2)]);
    for number in 0..20_000_u32 {
        let client = std::net::IpAddr::from(number.to_be_bytes()).into();
        drop(admit(&limiter, Request { client, ..request(0, 1) }).await.unwrap());
    }
    let greedy = || async { admit(&limiter, request(0, 200)).await.is_err() };
    while !greedy().await {}
    let fullest = fullest(&limiter, "per-client");
    assert_eq!(fullest.len(), SHOWN);
    assert_eq!(fullest[0], (Some("10.0.0.200".into()), 1.0));
    assert!(fullest[1..].iter().all(|other| *other == (None, 0.5)), "{fullest:?}");
}

/// Whether the future still waits after one poll.
async fn waits<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn those_who_wait_are_counted_by_key_and_app() {
    let wait = Duration::from_secs(30);
    let quota = Quota::Bucket { interval: Duration::from_secs(2), burst: NonZeroU32::MIN };
    let limiter = limiter(vec![Limit { wait, quota, ..limit("line", Key::Global, 1) }]);
    drop(admit(&limiter, request(0, 1)).await.unwrap());
    let mut waiting: Vec<_> =
        [0, 0, 1].into_iter().map(|app| Box::pin(admit(&limiter, request(app, 1)))).collect();
    for request in &mut waiting {
        assert!(waits(request.as_mut()).await, "it waits");
    }
    let status = of(&limiter, "line");
    let mut apps = status.waiting_apps;
    apps.sort();
    assert_eq!(apps, [(Some("jobs".into()), 1), (Some("web".into()), 2)]);
    assert_eq!((status.fullest[0].key.as_deref(), status.fullest[0].waiting), (Some(""), 3));
}

#[tokio::test]
async fn requests_in_flight_are_parts_of_their_limit() {
    let limiter = limiter(vec![]);
    let permit = admit(&limiter, request(0, 1)).await.unwrap();
    assert_eq!(fullest(&limiter, "max-in-flight"), [(Some("web".into()), 0.25)]);
    let status = of(&limiter, "max-in-flight");
    assert_eq!((status.key, status.rate, status.enforced), (Some(Key::App), None, true));
    drop(permit);
    assert_eq!(fullest(&limiter, "max-in-flight"), []);
    assert_eq!(of(&limiter, "box-zip-user").key, Some(Key::Identity));
    // The same names in the same order as in the metrics.
    let names = |limit: LimitStatus| limit.name;
    let figures: Vec<_> = limiter.figures().into_iter().map(|figures| figures.limit).collect();
    assert_eq!(limiter.status().into_iter().map(names).collect::<Vec<_>>(), figures);
}

#[test]
fn pauses_name_the_identity_and_the_user() {
    let limiter = limiter(vec![]);
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("30"));
    let of_user = Request { as_user: Some("42"), ..request(0, 1) };
    for (request, status) in [(of_user, 503), (request(1, 1), 429)] {
        let status = StatusCode::from_u16(status).unwrap();
        limiter.record_upstream_response(request, "a", status, &headers);
    }
    let pauses = limiter.pauses_in_force();
    let mut told: Vec<_> =
        pauses.iter().map(|pause| (pause.identity.as_deref(), pause.user.as_deref())).collect();
    told.sort_unstable();
    assert_eq!(told, [(Some("service"), Some("42")), (Some("someone"), Some("11446498"))]);
    assert!(pauses.iter().any(|pause| pause.requests == PausedRequests::Class(Class::General)));
    assert!(pauses.iter().all(|pause| pause.left <= Duration::from_secs(30)));
}
