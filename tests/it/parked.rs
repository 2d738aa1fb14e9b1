//! Callers' connections that are idle and parked: hyper's state is gone, and nothing of that shows.

use boxgate::server::shutdown::Stop;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::harness::{Bench, in_time, until};
use crate::raw::caller::RawCaller;
use crate::tunnels::program::tunnel;
use crate::whole::Certificate;

const ME: &str = "/2.0/users/me";
const REQUEST: &str = "GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn until_parked(bench: &Bench, count: usize) {
    until(|| async { bench.metric("boxgate_connections_parked").await == count as f64 }).await;
}

/// Asks, waits until the connection is parked, and asks again.
async fn asks_again(bench: &Bench, mut caller: RawCaller<impl AsyncRead + AsyncWrite + Unpin>) {
    for _ in 0..3 {
        caller.get(ME, "1.1").await;
        let (status, body) = in_time(caller.answer()).await.unwrap();
        assert_eq!(status, 200);
        assert!(String::from_utf8_lossy(&body.unwrap()).contains("3550001234"));
        until_parked(bench, 1).await;
    }
}

#[tokio::test]
async fn a_parked_connection_carries_the_next_request() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    asks_again(&bench, RawCaller::connect(&bench.address, false).await).await;
    // It ends with its caller.
    until_parked(&bench, 0).await;
}

#[tokio::test]
async fn a_parked_connection_keeps_its_tls_session() {
    let files = Certificate::written();
    let bench = Bench::with(&format!("[listen]\naddress = \"127.0.0.1:0\"\n{}\n", files.tls())).await;
    bench.until_ready().await;
    asks_again(&bench, RawCaller::connect_to(&bench.address, false).await).await;
}

#[tokio::test]
async fn a_connection_in_a_tunnel_is_parked_too() {
    let bench = Bench::with_boxs_names(boxgate::sandbox::Options::default(), "", "[forward_proxy]").await;
    bench.until_ready().await;
    let mut inside = tunnel::to(&bench, "api.box.com").await;
    // The connection on which the CA was fetched is kept.
    until_parked(&bench, 1).await;
    for _ in 0..3 {
        inside.write_all(b"GET /2.0/users/me HTTP/1.1\r\nHost: api.box.com\r\n\r\n").await.unwrap();
        inside.flush().await.unwrap();
        let mut caller = RawCaller { socket: inside, is_http2: false };
        assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
        inside = caller.socket;
        until_parked(&bench, 2).await;
    }
}

/// The connection was parked with the first request's answer; the head comes in pieces, of which one byte is the first.
#[tokio::test]
async fn a_head_in_pieces_and_a_body_come_after_a_pause() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    for _ in 0..2 {
        let body = r#"{"name":"parked","parent":{"id":"0"}}"#;
        let head = format!(
            "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (first, rest) = head.split_at(1);
        for piece in [first, rest, body] {
            caller.say(piece.as_bytes()).await;
            // The piece is read before the next one is sent.
            until_parked(&bench, 0).await;
        }
        let status = in_time(caller.answer()).await.unwrap().0;
        assert!(status == 201 || status == 409, "{status}");
        until_parked(&bench, 1).await;
    }
}

/// The rest of a head that came together with a request is not lost, whenever the connection turns idle.
#[tokio::test]
async fn requests_one_behind_the_other_are_all_answered() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    let (begin, rest) = REQUEST.split_at(20);
    caller.say(format!("{REQUEST}{REQUEST}{begin}").as_bytes()).await;
    for _ in 0..2 {
        assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
    }
    // Long enough for a connection without these bytes to be parked.
    let mut other = RawCaller::connect(&bench.address, false).await;
    other.get(ME, "1.1").await;
    assert_eq!(in_time(other.answer()).await.unwrap().0, 200);
    until_parked(&bench, 1).await;
    caller.say(rest.as_bytes()).await;
    assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_parked_connection_ends_with_its_callers_side() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.get(ME, "1.1").await;
    assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
    until_parked(&bench, 1).await;
    caller.socket.shutdown().await.unwrap();
    assert_eq!(in_time(caller.socket.read(&mut [0])).await.unwrap(), 0);
    until_parked(&bench, 0).await;
}

#[tokio::test]
async fn a_parked_connection_ends_after_keepalive_timeout() {
    let bench = Bench::with("[server]\nkeepalive_timeout = \"400ms\"").await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.get(ME, "1.1").await;
    assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
    in_time(caller.closed()).await;
}

/// A byte wakes the connection up: from then on the head has its time, no more.
#[tokio::test]
async fn a_parked_connection_that_gets_half_a_head_ends_after_header_timeout() {
    let bench = Bench::with("[server]\nheader_timeout = \"300ms\"").await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.get(ME, "1.1").await;
    assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
    until_parked(&bench, 1).await;
    caller.say(b"GET /2.0").await;
    in_time(caller.closed()).await;
    until_parked(&bench, 0).await;
}

#[tokio::test]
async fn a_drain_ends_parked_connections_at_once() {
    let files = Certificate::written();
    for tls in [String::new(), files.tls()] {
        let more = "[server]\ndrain_timeout = \"10m\"\nkeepalive_timeout = \"10m\"";
        let bench = Bench::with(&format!("[listen]\naddress = \"127.0.0.1:0\"\n{tls}\n{more}")).await;
        bench.until_ready().await;
        let mut callers = Vec::new();
        for _ in 0..3 {
            let mut caller = RawCaller::connect_to(&bench.address, false).await;
            caller.get(ME, "1.1").await;
            assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
            callers.push(caller);
        }
        until_parked(&bench, 3).await;
        bench.stop(Stop::Drain);
        for mut caller in callers {
            // The clean end: over TLS, rustls would say otherwise.
            assert_eq!(in_time(caller.socket.read(&mut [0])).await.unwrap(), 0);
        }
        in_time(bench.stopped()).await;
    }
}
