//! One limiter follows another: how apps and identities are matched, and which figures metrics show.

use std::time::Duration;

use super::*;
use crate::http::error::Refusal;
use crate::limits::limiter::{App, Identity, Permit, Request};
use crate::limits::rate::limit::{Key, Limit, Quota};
use crate::limits::redis::replicas::{self, Replicas};
use crate::net::clock::Clock;
use crate::net::secret::Secret;
use crate::net::tls_client::Trust;
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

const HOUR: Duration = Duration::from_secs(3600);

fn limit(name: &str, key: Key, burst: u32) -> Limit {
    let quota = Quota::Bucket { interval: HOUR, burst: NonZeroU32::new(burst).unwrap() };
    Limit { name: name.into(), key, on: vec![], quota, wait: Duration::ZERO, enforce: true }
}

fn app(name: &str) -> App {
    App { name: name.into(), max_in_flight: None }
}

fn busy(name: &str, max_in_flight: u32) -> App {
    App { max_in_flight: NonZeroU32::new(max_in_flight), ..app(name) }
}

fn identity(name: &str, client_id: &str, enterprise: &str) -> Identity {
    Identity {
        name: name.into(),
        client_id: client_id.into(),
        subject: Subject::Enterprise(enterprise.into()),
    }
}

fn settings(limits: Vec<Limit>, apps: Vec<App>, identities: Vec<Identity>) -> Settings {
    Settings { limits, box_defaults: true, max_pause: HOUR, identities, apps }
}

fn request(app: usize, identity: usize, path: &str) -> Request<'_> {
    let operation = Operation { method: &Method::GET, path };
    Request {
        operation,
        class: Class::of(operation),
        client: std::net::IpAddr::from([10, 0, 0, 1]).into(),
        app: AppId::new(app),
        identity: IdentityId::new(identity),
        as_user: None,
        counted: true,
    }
}

async fn admit(limiter: &Limiter, request: Request<'_>) -> Result<Permit, Refusal> {
    limiter.admit(request, std::future::pending::<Refusal>).await
}

/// The limit that refuses `GET /2.0/users/me` of this app and identity.
async fn refused_by(limiter: &Limiter, app: usize, identity: usize) -> Option<String> {
    match admit(limiter, request(app, identity, "/2.0/users/me")).await {
        Ok(_) => None,
        Err(Refusal::RateLimitExceeded { limit, .. }) => Some(limit.to_string()),
        Err(Refusal::Overloaded(what)) => Some(what.to_string()),
        Err(Refusal::PausedByBox { .. }) => Some("pause".to_owned()),
        Err(other) => panic!("{other:?}"),
    }
}

fn pause(limiter: &Limiter, identity: usize) {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("600"));
    let request = request(0, identity, "/2.0/users/me");
    limiter.record_upstream_response(request, "id", StatusCode::TOO_MANY_REQUESTS, &headers);
}

/// Refused and waiting requests by limit, as in the metrics.
fn figures(limiter: &Limiter) -> Vec<(String, u64, usize)> {
    limiter.figures().into_iter().map(|of| (of.limit.to_string(), of.refused, of.queued)).collect()
}

/// As in the metrics: how often Box asked for a pause of general requests, by identity.
fn pauses_begun(limiter: &Limiter) -> Vec<(String, u64)> {
    let begun = limiter.pauses_begun().into_iter().filter(|((_, class), _)| *class == Class::General);
    begun.map(|((identity, _), count)| (identity.to_string(), count)).collect()
}

#[tokio::test]
async fn apps_and_identities_are_matched_by_name_and_not_by_order() {
    let limits = || vec![limit("apps", Key::App, 2), limit("identities", Key::Identity, 3)];
    let service = || identity("service", "client", "1");
    let other = || identity("other", "another client", "1");
    let old = settings(limits(), vec![app("a"), app("b")], vec![service(), other()]);
    let old = Limiter::new(old, Clock::adjustable(), None);
    for _ in 0..2 {
        assert_eq!(refused_by(&old, 0, 0).await, None);
    }
    assert_eq!(refused_by(&old, 0, 0).await.as_deref(), Some("apps"));
    // Apps and identities reordered, one app renamed, a limit added in front.
    let mut more = limits();
    more.insert(0, limit("first", Key::Client, 100));
    let new = old.successor(settings(more, vec![app("renamed"), app("a")], vec![other(), service()]));
    assert_eq!(refused_by(&new, 1, 0).await.as_deref(), Some("apps"), "a is a");
    assert_eq!(refused_by(&new, 0, 1).await, None, "a renamed app has a count of its own");
    assert_eq!(
        refused_by(&new, 0, 1).await.as_deref(),
        Some("identities"),
        "the service account has made three calls"
    );
    assert_eq!(refused_by(&old, 1, 0).await.as_deref(), Some("identities"));
    let told = figures(&new);
    assert_eq!(told[..3], [("first".into(), 0, 0), ("apps".into(), 2, 0), ("identities".into(), 2, 0)]);
    // The same name with another client id is another identity.
    let newer =
        new.successor(settings(limits(), vec![app("a")], vec![identity("service", "new client", "1")]));
    let a_is_spent = refused_by(&newer, 0, 0).await;
    assert_eq!(a_is_spent.as_deref(), Some("apps"));
}

#[tokio::test]
async fn requests_in_flight_are_counted_by_app_name_with_the_newest_figure() {
    let one = || vec![identity("service", "client", "1")];
    let old = settings(vec![], vec![busy("a", 2), busy("b", 1)], one());
    let old = Limiter::new(old, Clock::adjustable(), None);
    let path = "/2.0/users/me";
    let held = [admit(&old, request(0, 0, path)).await, admit(&old, request(0, 0, path)).await];
    let new = old.successor(settings(vec![], vec![busy("b", 1), busy("a", 3)], one()));
    assert_eq!(refused_by(&new, 0, 0).await, None);
    let third = admit(&new, request(1, 0, path)).await;
    assert!(third.is_ok());
    assert_eq!(refused_by(&new, 1, 0).await.as_deref(), Some("max-in-flight"));
    assert_eq!(
        refused_by(&old, 0, 0).await.as_deref(),
        Some("max-in-flight"),
        "requests of the new configuration count for the old one too"
    );
    drop(old);
    drop(held);
    assert_eq!(refused_by(&new, 1, 0).await, None);
    assert!(figures(&new).contains(&("max-in-flight".into(), 2, 0)));
}

#[tokio::test]
async fn a_pause_stays_with_the_identity_while_it_is_the_same_account() {
    let service = || identity("service", "client", "1");
    let apps = || vec![app("a")];
    let old = settings(vec![], apps(), vec![service()]);
    let old = Limiter::new(old, Clock::adjustable(), None);
    pause(&old, 0);
    assert_eq!(pauses_begun(&old), [("service".into(), 1)]);
    let new = old.successor(settings(vec![], apps(), vec![identity("before", "x", "1"), service()]));
    assert_eq!(refused_by(&new, 0, 1).await.as_deref(), Some("pause"));
    assert_eq!(refused_by(&new, 0, 0).await, None);
    assert_eq!(pauses_begun(&new), [("before".into(), 0), ("service".into(), 1)], "by name, not by index");
    // What Box tells a request of the configuration before holds for the new ones.
    assert_eq!(new.paused(), 1);
    for other in [identity("service", "other", "1"), identity("service", "client", "2")] {
        let newer = new.successor(settings(vec![], apps(), vec![other]));
        assert_eq!(refused_by(&newer, 0, 0).await, None);
        let again = newer.successor(settings(vec![], apps(), vec![service()]));
        assert_eq!(refused_by(&again, 0, 0).await.as_deref(), Some("pause"));
    }
    assert!(figures(&old).contains(&("box-pause".into(), 3, 0)));
}

/// Box's own limits keep their counts, including calls reserved under the previous configuration.
#[tokio::test]
async fn boxs_own_limits_count_calls_of_all_configurations() {
    let one = || settings(vec![], vec![app("a")], vec![identity("service", "client", "1")]);
    let mut limiters = vec![Limiter::new(one(), Clock::adjustable(), None)];
    let mut permits = Vec::new();
    for _ in 0..6 {
        let current = limiters.last().unwrap();
        permits.push(admit(current, request(0, 0, "/2.0/search")).await.unwrap());
        let next = current.successor(one());
        limiters.push(next);
    }
    let search = |limiter: usize| admit(&limiters[limiter], request(0, 0, "/2.0/search"));
    assert!(search(6).await.is_err() && search(0).await.is_err());
    permits.pop();
    assert!(search(0).await.is_ok(), "a call that is not made is given back for both");
    // One more attempt of a request that began under the first configuration.
    let permit = search(3).await.unwrap();
    let request = request(0, 0, "/2.0/search");
    let mut attempts = limiters[3].attempts(request, permit.reservation);
    let first = attempts.next().await.unwrap();
    assert!(first.is_some());
    assert!(matches!(attempts.next().await, Err(Refusal::RateLimitExceeded { .. })));
}

/// While Redis is unavailable, the divided limits keep their counts too.
#[tokio::test]
async fn divided_limits_keep_their_counts() {
    let settings_of = |burst| {
        settings(
            vec![limit("apps", Key::App, burst)],
            vec![app("a")],
            vec![identity("service", "client", "1")],
        )
    };
    let out_of_reach = replicas::Settings {
        url: Secret::new("redis://127.0.0.1:1".to_owned()),
        prefix: "p".to_owned(),
        max_pause: HOUR,
        bound: replicas::BOUND,
    };
    let replicas = Arc::new(Replicas::new(out_of_reach, &Trust::new(&[]).unwrap()).unwrap());
    let old = Limiter::new(settings_of(2), Clock::adjustable(), Some(replicas));
    assert_eq!(refused_by(&old, 0, 0).await, None);
    let new = old.successor(settings_of(2));
    assert_eq!(refused_by(&new, 0, 0).await, None);
    assert_eq!(refused_by(&old, 0, 0).await.as_deref(), Some("apps"));
    let newer = new.successor(settings_of(3));
    drop((old, new));
    assert_eq!(refused_by(&newer, 0, 0).await, None);
    assert_eq!(refused_by(&newer, 0, 0).await.as_deref(), Some("apps"));
    assert_eq!(figures(&newer)[0], ("apps".into(), 2, 0));
}
