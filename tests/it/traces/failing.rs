//! Collectors that fail: requests notice nothing, and what is lost is counted.

use std::time::Duration;

use boxgate::server::shutdown::Stop;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;

use super::collector::{Collector, Does};
use crate::harness::{Bench, free_port, in_time, until};

const ME: &str = "/2.0/users/me";
const LOST: &str = "boxgate_trace_spans_lost_total";
const EXPORTED: &str = "boxgate_trace_spans_exported_total";

fn says(answer: &str) -> Does {
    Does::Say(answer.as_bytes().to_vec())
}

fn empty(status: &str) -> Does {
    says(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
}

async fn of(does: Does) -> (Collector, Bench) {
    let collector = Collector::start(does).await;
    let bench = Bench::with(&collector.table()).await;
    bench.until_ready().await;
    (collector, bench)
}

/// Requests succeed. Each is answered before the next is sent: none waits for a collector that never answers.
async fn succeed(bench: &Bench, count: usize) {
    for _ in 0..count {
        assert_eq!(bench.get(ME).await.status(), 200);
    }
}

/// Lets time pass until so many spans are lost or more.
async fn until_lost(bench: &Bench, count: f64) {
    until(|| async {
        bench.clock.advance(Duration::from_secs(20));
        bench.metric(LOST).await >= count
    })
    .await;
}

#[tokio::test]
async fn nothing_listens() {
    let bench = Bench::with(&format!("[trace]\notlp = \"http://127.0.0.1:{}\"\n", free_port())).await;
    bench.until_ready().await;
    succeed(&bench, 5).await;
    // Five of requests, five of attempts, one of the token.
    until_lost(&bench, 11.0).await;
    succeed(&bench, 1).await;
    assert_eq!(bench.metric(EXPORTED).await, 0.0);
}

#[tokio::test]
async fn it_accepts_and_never_answers() {
    let (collector, bench) = of(Does::SayAndStall(Vec::new())).await;
    collector.requests(1).await;
    succeed(&bench, 5).await;
    until_lost(&bench, 1.0).await;
    let tries = collector.requests(5).await;
    assert!(tries.windows(2).take(4).all(|pair| pair[0].body == pair[1].body), "the same batch, five times");
    succeed(&bench, 1).await;
}

#[tokio::test]
async fn it_is_busy_and_then_takes_the_same_batch() {
    for status in
        ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"]
    {
        let (collector, bench) = of(empty(status)).await;
        succeed(&bench, 3).await;
        let refused = collector.requests(1).await;
        collector.does(Does::Take);
        until(|| async {
            bench.clock.advance(Duration::from_secs(20));
            bench.metric(EXPORTED).await >= 7.0
        })
        .await;
        assert_eq!(bench.metric(LOST).await, 0.0, "{status}");
        assert!(collector.requests(2).await[1..].iter().any(|got| got.body == refused[0].body), "{status}");
        assert_eq!(collector.taken().len(), 7, "three requests, three attempts, one token: each once");
    }
}

#[tokio::test]
async fn it_asks_for_a_pause_and_gets_it() {
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 50\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (collector, bench) = of(says(busy)).await;
    collector.requests(1).await;
    collector.does(Does::Take);
    let mut passed = 0;
    until(|| {
        passed += 1;
        bench.clock.advance(Duration::from_secs(1));
        async { bench.metric(EXPORTED).await >= 1.0 }
    })
    .await;
    // By itself, the gateway pauses for a second at most.
    assert!(passed > 30, "{passed}");
}

#[tokio::test]
async fn it_refuses_for_good() {
    for answer in ["400 Bad Request", "401 Unauthorized", "404 Not Found", "413 Too Large", "500 Oops"] {
        let (collector, bench) = of(empty(answer)).await;
        succeed(&bench, 3).await;
        until_lost(&bench, 7.0).await;
        let bodies: Vec<_> = collector.requests(1).await.into_iter().map(|got| got.body).collect();
        let mut different = bodies.clone();
        different.dedup();
        assert_eq!(bodies, different, "{answer}: no batch is sent twice");
        collector.does(Does::Take);
        succeed(&bench, 1).await;
        until(|| async {
            bench.clock.advance(Duration::from_secs(20));
            bench.metric(EXPORTED).await >= 2.0
        })
        .await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Collector::start(Does::Take).await;
    let answer = format!(
        "HTTP/1.1 307 Elsewhere\r\nlocation: http://{}/v1/traces\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.address
    );
    let (_collector, bench) = of(says(&answer)).await;
    succeed(&bench, 1).await;
    until_lost(&bench, 3.0).await;
    assert!(elsewhere.taken().is_empty());
}

#[tokio::test]
async fn it_talks_nonsense() {
    for answer in ["garbage\r\n\r\n", "", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let (collector, bench) = of(says(answer)).await;
        succeed(&bench, 2).await;
        until_lost(&bench, 5.0).await;
        assert!(collector.requests(1).await.len() >= 5, "{answer:?}: it is tried again");
        succeed(&bench, 1).await;
    }
}

#[tokio::test]
async fn a_success_counts_whatever_its_body() {
    let ok = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}").into_bytes();
    for does in [
        Does::Say(ok("content-length: 7\r\n\r\ngarbage")),
        Does::Say(ok("content-length: 100\r\n\r\nbroken off")),
        Does::SayAndStall(ok("content-length: 100\r\n\r\nslow")),
        Does::Say(ok(&format!("content-length: 10000000\r\n\r\n{}", "x".repeat(200_000)))),
    ] {
        let shown = format!("{does:?}").chars().take(100).collect::<String>();
        let (collector, bench) = of(does).await;
        succeed(&bench, 1).await;
        until(|| async {
            bench.clock.advance(Duration::from_secs(6));
            bench.metric(EXPORTED).await >= 3.0
        })
        .await;
        assert_eq!(bench.metric(LOST).await, 0.0, "{shown}");
        let bodies: Vec<_> = collector.requests(1).await.into_iter().map(|got| got.body).collect();
        let mut different = bodies.clone();
        different.dedup();
        assert_eq!(bodies, different, "{shown}: no batch is sent twice");
    }
}

#[tokio::test]
async fn what_it_rejects_of_a_batch_is_lost() {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 2, error_message: "old".into() });
    let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let (collector, bench) = of(Does::Take).await;
    collector.until(|spans| spans.len() == 1).await;
    collector.does(Does::Say([head.into_bytes(), body].concat()));
    let (lost, exported) = (bench.metric(LOST).await, bench.metric(EXPORTED).await);
    assert_eq!((lost, exported), (0.0, 1.0), "the token's");
    // Its two spans go in one batch.
    succeed(&bench, 1).await;
    until(|| async { bench.metric(LOST).await >= 2.0 }).await;
    assert_eq!(bench.metric(EXPORTED).await, 1.0);
}

#[tokio::test]
async fn it_comes_back() {
    let address = format!("127.0.0.1:{}", free_port());
    let collector = Collector::at(&address, Does::Take).await;
    let bench = Bench::with(&collector.table()).await;
    bench.until_ready().await;
    succeed(&bench, 1).await;
    collector.until(|spans| spans.len() == 3).await;
    drop(collector);
    succeed(&bench, 2).await;
    let again = Collector::at(&address, Does::Take).await;
    until(|| async {
        bench.clock.advance(Duration::from_secs(20));
        again.taken().len() == 4
    })
    .await;
    assert_eq!(bench.metric(LOST).await, 0.0);
}

#[tokio::test]
async fn a_stop_sends_what_is_queued() {
    let (collector, bench) = of(Does::Take).await;
    // The token's span has gone, so that nothing else makes a batch go.
    collector.until(|spans| spans.len() == 1).await;
    let answer = bench.get(ME).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    bench.stop(Stop::Drain);
    bench.stopped().await;
    assert_eq!(collector.taken().len(), 3);
}

#[tokio::test]
async fn a_stop_does_not_wait_long_for_it() {
    for does in [Does::SayAndStall(Vec::new()), empty("503 Service Unavailable"), empty("400 Bad Request")] {
        let (collector, bench) = of(does).await;
        collector.requests(1).await;
        succeed(&bench, 3).await;
        bench.stop(Stop::Drain);
        // Within the patience of tests, and that of an attempt is longer by the gateway's clock, which stands.
        bench.stopped().await;
    }
}

#[tokio::test]
async fn the_gateway_does_not_trace_itself_in_a_circle() {
    let port = free_port();
    let tables =
        format!("[listen]\naddress = \"127.0.0.1:{port}\"\n[trace]\notlp = \"http://127.0.0.1:{port}\"\n");
    let bench = Bench::with(&tables).await;
    bench.until_ready().await;
    succeed(&bench, 1).await;
    until_lost(&bench, 3.0).await;
    let (_, metrics) = bench.admin("/metrics").await;
    let others = metrics
        .lines()
        .filter(|line| line.starts_with("boxgate_requests_total") && !line.contains("\"200\""));
    assert_eq!(others.count(), 0, "{metrics}");
}

#[tokio::test]
async fn many_requests_at_once_and_a_collector_that_stalls() {
    let (collector, bench) = of(Does::SayAndStall(Vec::new())).await;
    collector.requests(1).await;
    let answers = in_time(bench.gets(ME, 200)).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
}
