//! A measurement, no test: what admission takes when several threads ask the one limiter at the same time.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures real time, and its user reads the figures"
)]

use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::limits::rate::limit::{Key, Limit, Quota};
use crate::net::clock::Clock;
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use http::Method;

const REQUESTS: u32 = 500_000;

fn limiter() -> Limiter {
    let quota = Quota::Bucket { interval: Duration::from_nanos(1), burst: NonZeroU32::MAX };
    let limit = Limit {
        name: "per-client".into(),
        key: Key::Client,
        on: vec![],
        quota,
        wait: Duration::ZERO,
        enforce: true,
    };
    let identity = Identity {
        name: "service".into(),
        client_id: "client".into(),
        subject: Subject::Enterprise("1".into()),
    };
    let app = App { name: "default".into(), max_in_flight: None };
    let max_pause = Duration::from_secs(60);
    let settings = Settings {
        limits: vec![limit],
        box_defaults: false,
        max_pause,
        identities: vec![identity],
        apps: vec![app],
    };
    Limiter::new(settings, Clock::real(), None)
}

/// Admits requests of one client. `spin`: between them the thread does something else for so long, as a worker does.
fn admit(limiter: &Limiter, client: u8, spin: Duration) -> Duration {
    let operation = Operation { method: &Method::GET, path: "/2.0/users/me" };
    let request = Request {
        operation,
        class: Class::General,
        client: std::net::IpAddr::from([10, 0, 0, client]).into(),
        app: AppId::new(0),
        identity: IdentityId::new(0),
        as_user: None,
        counted: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut took = Duration::ZERO;
        for _ in 0..REQUESTS {
            let began = Instant::now();
            assert!(limiter.admit(request, std::future::pending::<Refusal>).await.is_ok());
            took += began.elapsed();
            let idle = Instant::now();
            while idle.elapsed() < spin {
                std::hint::spin_loop();
            }
        }
        took
    })
}

/// `cargo test --release --locked --lib limits::limiter::contention -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_admission_takes_when_threads_contend() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        for threads in [1_u8, 2] {
            let limiter = limiter();
            let took: Duration = thread::scope(|scope| {
                let limiter = &limiter;
                let running: Vec<_> =
                    (0..threads).map(|client| scope.spawn(move || admit(limiter, client, spin))).collect();
                running.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            let each = took / REQUESTS / u32::from(threads);
            println!("{threads} threads, {spin:?} of other work for each request: {each:?} for an admission");
        }
    }
}
