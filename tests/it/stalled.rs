//! Callers that read nothing, send nothing or never end are cut off after the configured timeouts.

use std::time::Duration;

use boxgate::sandbox::{Content, Fault, Options, Protocols};
use boxgate::server::shutdown::Stop;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Bench, in_time, refusal, until};
use crate::raw::caller::{RawCaller, fields};
use crate::raw::frames;
use crate::raw::raw_box::RawBox;
use crate::raw::reading_box::ReadingBox;

const BUDGET: &str = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 500\n";
const USED: &str = "boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}";

fn get(stream: u32, path: &str) -> Vec<u8> {
    frames::headers(stream, true, &fields("GET", path))
}

/// Reads frames until one is of this kind and stream.
async fn until_frame(caller: &mut RawCaller, kind: u8, stream: u32) -> frames::Frame {
    let reading = async {
        loop {
            let frame = caller.frame().await.expect("the connection goes on");
            if (frame.kind, frame.stream) == (kind, stream) {
                return frame;
            }
        }
    };
    in_time(reading).await
}

/// An error is held back until it has been searched; its bytes count as progress all the same.
#[tokio::test]
async fn an_error_that_comes_slowly_has_not_stalled() {
    let at = RawBox::start(false).await;
    let bench = Bench::before_raw(&at, "[upstream]\nproxy = \"none\"\nbody_timeout = \"3s\"\n").await;
    let asking = tokio::spawn(bench.client.get(bench.url("/2.0/users/me")).send());
    let mut connection = in_time(at.accept()).await;
    in_time(connection.request()).await.unwrap();
    connection.say(b"HTTP/1.1 500 Any\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // Longer than body_timeout in all.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        connection.say(b"1\r\nx\r\n").await;
    }
    connection.say(b"0\r\n\r\n").await;
    let answer = in_time(asking).await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (500, "xxxxxxxx"));
}

#[tokio::test]
async fn a_caller_without_a_window_is_reset_and_holds_nothing() {
    let more =
        "[upstream]\nproxy = \"none\"\nbody_timeout = \"500ms\"\n[[app]]\nname = \"a\"\nmax_in_flight = 3";
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let bench = Bench::of(Options { protocols, ..Options::default() }, more).await;
        bench.until_ready().await;
        let file = bench.sandbox.add_file("0", "z", Content::Zeros(4 << 20));
        let path = format!("/api/2.0/files/{file}/content");
        let mut caller = RawCaller::with_window(&bench.address, true, 0).await;
        for stream in [1, 3, 5] {
            caller.say(&get(stream, &path)).await;
            until_frame(&mut caller, frames::HEADERS, stream).await;
        }
        assert_eq!(refusal(bench.get(&path).await).await, (503, "overloaded".into()));
        for stream in [1, 3, 5] {
            until_frame(&mut caller, frames::RST_STREAM, stream).await;
        }
        in_time(bench.sandbox.wait_for_in_flight(0)).await;
        until(|| async { bench.get(&path).await.status() == 200 }).await;
        // The gateway's own answers are no exception, and the connection goes on.
        caller.say(&get(7, "/favicon.ico")).await;
        until_frame(&mut caller, frames::HEADERS, 7).await;
        until_frame(&mut caller, frames::RST_STREAM, 7).await;
        caller.say(&[get(9, "/favicon.ico"), frames::window_update(9, 1 << 20)].concat()).await;
        until_frame(&mut caller, frames::HEADERS, 9).await;
        let answer = until_frame(&mut caller, frames::DATA, 9).await;
        assert!(answer.ends_stream(), "{protocols:?}");
    }
}

/// A window that is opened little by little counts as progress.
#[tokio::test]
async fn a_caller_that_is_slow_but_takes_something_is_not_reset() {
    let more = "[upstream]\nproxy = \"none\"\nbody_timeout = \"1s\"";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    let file = bench.sandbox.add_file("0", "z", Content::Zeros(1 << 20));
    let mut caller = RawCaller::with_window(&bench.address, true, 0).await;
    caller.say(&get(1, &format!("/api/2.0/files/{file}/content"))).await;
    until_frame(&mut caller, frames::HEADERS, 1).await;
    let mut received = 0;
    // Time is what this is about, so time must pass.
    for nth in 1..=25 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        caller.say(&frames::window_update(1, 6_000)).await;
        while received < nth * 6_000 {
            received += until_frame(&mut caller, frames::DATA, 1).await.payload.len();
        }
    }
    caller.say(&frames::window_update(1, 1 << 30)).await;
    loop {
        let frame = until_frame(&mut caller, frames::DATA, 1).await;
        received += frame.payload.len();
        if frame.ends_stream() {
            break;
        }
    }
    assert_eq!(received, 1 << 20);
}

/// Time spent by the caller does not count for Box: the pause of each is shorter than allowed, both together are
/// longer.
#[tokio::test]
async fn time_spent_by_a_slow_caller_does_not_count_for_box() {
    let at = RawBox::start(true).await;
    let bench = Bench::before_raw(&at, "[upstream]\nproxy = \"none\"\nbody_timeout = \"1500ms\"\n").await;
    let mut caller = RawCaller::with_window(&bench.address, true, 0).await;
    caller.say(&get(1, "/2.0/users/me")).await;
    let mut connection = in_time(at.accept()).await;
    let begun = connection.request().await.unwrap();
    let head = frames::headers(begun.stream, false, &[(":status", "200")]);
    connection.say(&[head, frames::data(begun.stream, false, b"one")].concat()).await;
    until_frame(&mut caller, frames::HEADERS, 1).await;
    // Time is what this is about, so time must pass. The connection's pings are answered meanwhile.
    let pause = Duration::from_secs(1);
    assert!(tokio::time::timeout(pause, caller.frame()).await.is_err(), "nothing comes");
    caller.say(&frames::window_update(1, 1 << 20)).await;
    assert_eq!(until_frame(&mut caller, frames::DATA, 1).await.payload, b"one");
    assert!(tokio::time::timeout(pause, caller.frame()).await.is_err(), "nothing comes");
    connection.say(&frames::data(begun.stream, true, b"two")).await;
    assert_eq!(until_frame(&mut caller, frames::DATA, 1).await.payload, b"two");
}

/// The head of HTTP/2 has the time that HTTP/1.1's has, however it is dribbled, and whatever else is under way.
#[tokio::test]
async fn an_http_2_head_that_does_not_come_ends_the_connection() {
    let bench = Bench::with("[server]\nheader_timeout = \"300ms\"").await;
    bench.until_ready().await;
    let _held = bench.sandbox.hold_replies("/2.0/users/me");
    let head = get(3, "/2.0/folders/0");
    let block = frames::block(&fields("GET", "/2.0/folders/0"));
    let open = frames::frame(frames::HEADERS, 1, 3, &block[..10]);
    let mut continued = open.clone();
    // Each of these frames is whole; the head they belong to is not.
    continued.extend(block[10..30].iter().flat_map(|byte| frames::frame(9, 0, 3, &[*byte])));
    for is_busy in [false, true] {
        for dribbled in [&head[..4], &head[..20], &open, &continued] {
            let mut caller = RawCaller::connect(&bench.address, true).await;
            if is_busy {
                caller.say(&get(1, "/2.0/users/me")).await;
            }
            // As fast as it is closed: nothing waits for the caller.
            let dribbling = async {
                for byte in dribbled {
                    caller.socket.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                let mut scrap = [0; 4096];
                while caller.socket.read(&mut scrap).await? > 0 {}
                std::io::Result::Ok(())
            };
            let _ = in_time(dribbling).await;
        }
    }
}

#[tokio::test]
async fn an_idle_http_2_connection_is_told_to_go_and_ended() {
    let bench = Bench::with("[server]\nkeepalive_timeout = \"200ms\"").await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, true).await;
    caller.get("/2.0/users/me", "2").await;
    assert_eq!(in_time(caller.answer()).await.unwrap().0, 200);
    let told = async {
        while let Some(frame) = frames::read(&mut caller.socket).await {
            if frame.kind == frames::GOAWAY {
                return true;
            }
        }
        false
    };
    assert!(in_time(told).await, "GOAWAY says that nothing that comes after was looked at");
    // It answers no ping and closes nothing; pings of its own are no use.
    caller.say(&frames::frame(frames::PING, 0, 0, &[0; 8])).await;
    in_time(caller.closed()).await;
}

/// What came before the connection was told to go is answered to its last byte.
#[tokio::test]
async fn a_request_that_crosses_the_end_of_an_idle_http_2_connection_gets_its_whole_answer() {
    let bench = Bench::with("[server]\nkeepalive_timeout = \"200ms\"").await;
    bench.until_ready().await;
    let mut caller = RawCaller::connect(&bench.address, true).await;
    let told = async {
        while frames::read(&mut caller.socket).await.is_some_and(|frame| frame.kind != frames::GOAWAY) {}
    };
    in_time(told).await;
    let held = bench.sandbox.hold_replies("/2.0/users/me");
    caller.get("/2.0/users/me", "2").await;
    in_time(bench.sandbox.wait_for_calls(1)).await;
    // Longer than an idle connection has after it was told: time is what this is about, so time must pass.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    drop(held);
    // It answers no ping, by which the connection would know that nothing else was on its way.
    let mut body = Vec::new();
    loop {
        let frame = in_time(frames::read(&mut caller.socket)).await.expect("the whole answer");
        if frame.kind == frames::DATA {
            body.extend_from_slice(&frame.payload);
        }
        if frame.ends_stream() {
            break;
        }
    }
    assert_eq!(body.len(), 470);
}

/// A laptop that goes to sleep closes nothing and answers nothing.
#[tokio::test]
async fn an_http_2_caller_that_gives_no_sign_of_life_is_given_up() {
    let bench = Bench::with("[upstream]\nproxy = \"none\"\nbody_timeout = \"600ms\"").await;
    bench.until_ready().await;
    let _held = bench.sandbox.hold_replies("/2.0/users/me");
    let mut caller = RawCaller::connect(&bench.address, true).await;
    caller.get("/2.0/users/me", "2").await;
    in_time(bench.sandbox.wait_for_calls(1)).await;
    // Read, but not answered.
    in_time(caller.closed()).await;
    in_time(bench.sandbox.wait_for_cancelled(1)).await;
}

/// Box has answered, and the caller's body never ends: the upload ends with the answer.
#[tokio::test]
async fn an_upload_ends_with_its_answer() {
    for is_http2 in [false, true] {
        let at = RawBox::start(is_http2).await;
        let one_worker = "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1";
        let bench = Bench::before_raw(&at, one_worker).await;
        let mut caller = RawCaller::connect(&bench.address, true).await;
        let head = frames::headers(1, false, &fields("POST", "/2.0/folders"));
        caller.say(&[head, frames::data(1, false, b"hello")].concat()).await;
        let mut connection = in_time(at.accept()).await;
        let begun = connection.request().await.unwrap();
        connection.answer(&begun, 403, "{}").await;
        assert_eq!(in_time(caller.answer()).await.unwrap().1, Ok(b"{}".to_vec()));
        // Whatever became of the connection, the body on it is not a whole one, and the next request gets through.
        let body = in_time(connection.body(&begun)).await;
        assert_eq!(body, Err(b"hello".to_vec()), "{is_http2}");
        let next = async {
            let mut connection = match is_http2 {
                true => connection,
                false => at.accept().await,
            };
            let begun = connection.request().await.unwrap();
            connection.answer(&begun, 200, "{}").await;
        };
        let (answer, ()) = in_time(async { tokio::join!(bench.get("/2.0/users/me"), next) }).await;
        assert_eq!(answer.status(), 200);
    }
}

/// A request is not replayed on a connection whose body still waits for the caller.
#[tokio::test]
async fn a_replay_does_not_wait_for_the_callers_next_bytes() {
    let bench = Bench::of(Options { protocols: Protocols::Http1, ..Options::default() }, "").await;
    assert_eq!(bench.get("/2.0/users/me").await.status(), 200);
    bench.sandbox.script("/2.0/folders", vec![Fault::EarlyAnswer { status: StatusCode::UNAUTHORIZED }]);
    let calls = bench.sandbox.calls();
    let body = r#"{"name":"paused","parent":{"id":"0"}}"#;
    let (first, rest) = body.split_at(5);
    let mut socket = bench.connect().await;
    let head = format!(
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{first}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    in_time(bench.sandbox.wait_for_calls(calls + 2)).await;
    socket.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    in_time(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once_and_counted() {
    let bench = Bench::with("[listen]\naddress = \"127.0.0.1:0\"\nmax_connections = 3").await;
    bench.until_ready().await;
    assert_eq!(bench.metric("boxgate_connections_max").await, 3.0);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(bench.connect().await);
    }
    until(|| async { bench.metric("boxgate_connections").await == 3.0 }).await;
    for _ in 0..5 {
        let mut more = bench.connect().await;
        let read = in_time(more.read(&mut [0])).await;
        assert!(!matches!(read, Ok(1..)), "closed at once");
    }
    assert_eq!(bench.metric("boxgate_connections_refused_total").await, 5.0);
    assert_eq!(bench.admin("/healthz").await.0, 200);
    open.pop();
    until(|| async { bench.metric("boxgate_connections").await == 2.0 }).await;
    let mut socket = bench.connect().await;
    socket.write_all(b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    in_time(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// Box accepts the connection but does no handshake, and callers give up. Nothing was sent, so nothing is charged.
#[tokio::test]
async fn requests_whose_callers_leave_before_they_are_sent_are_not_charged() {
    let at = RawBox::start(true).await;
    // One worker: the handshake of another would be accepted below, and the last request not be on it.
    let more = "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1\n[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 5\n[upstream]\nproxy = \"none\"\nconnect_timeout = \"10m\"";
    let bench = Bench::before_raw(&at, more).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut socket = bench.connect().await;
        socket.write_all(b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        waiting.push(socket);
    }
    let used = "boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}";
    until(|| async { bench.metric(used).await == 5.0 }).await;
    assert_eq!(refusal(bench.get("/2.0/users/me").await).await, (403, "budget_spent".into()));
    drop(waiting);
    until(|| async { bench.metric(used).await == 0.0 }).await;
    // Once Box is there, they are five again.
    let mut silent = Vec::new();
    let answering = async {
        // The handshakes that wait are given up one by one, with the connections they are on.
        silent.push(in_time(at.accept_tcp()).await);
        silent.clear();
        let mut connection = in_time(at.accept()).await;
        let begun = connection.request().await.unwrap();
        connection.answer(&begun, 200, "{}").await;
        connection
    };
    let (answer, _connection) = tokio::join!(bench.get("/2.0/users/me"), answering);
    assert_eq!(answer.status(), 200);
    assert_eq!(bench.metric(used).await, 1.0);
}

#[tokio::test]
async fn a_call_that_was_sent_is_charged_even_if_the_caller_leaves() {
    for protocols in [Protocols::Http1, Protocols::Http2] {
        let more = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 5";
        let bench = Bench::of(Options { protocols, ..Options::default() }, more).await;
        bench.until_ready().await;
        let _held = bench.sandbox.hold_replies("/2.0/users/me");
        let mut socket = bench.connect().await;
        socket.write_all(b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        in_time(bench.sandbox.wait_for_calls(1)).await;
        drop(socket);
        in_time(bench.sandbox.wait_for_cancelled(1)).await;
        let used = "boxgate_budget_used_calls{budget=\"plan\",key=\"global\",value=\"\"}";
        assert_eq!(bench.metric(used).await, 1.0, "{protocols:?}");
    }
}

/// A request whose body breaks off before anything was written is not counted.
#[tokio::test]
async fn a_request_whose_body_broke_off_before_it_was_written_is_not_charged() {
    for is_http2 in [false, true] {
        let at = ReadingBox::start(is_http2).await;
        let bench = Bench::before_raw(&at.raw, BUDGET).await;
        for (nth, request) in ["Content-Length: 10\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"]
            .into_iter()
            .cycle()
            .take(20)
            .enumerate()
        {
            let mut socket = bench.connect().await;
            let head = format!("POST /2.0/comments/{nth} HTTP/1.1\r\nHost: localhost\r\n{request}");
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
            in_time(socket.read_to_end(&mut Vec::new())).await.unwrap();
        }
        // What did reach Box is counted, the rest is not.
        let mut seen = 0;
        for nth in 0..20 {
            seen += at.received(&format!("/2.0/comments/{nth}")).await.len();
        }
        let used = bench.metric(USED).await as usize;
        // A stream that is reset with its head on a connection that has just begun is not shown to the Box of this test.
        let hidden = if is_http2 { 2 } else { 0 };
        assert!((seen..=seen + hidden).contains(&used), "{is_http2}: {used} of {seen}");
    }
}

#[tokio::test]
async fn a_drain_does_not_linger_for_a_body_that_was_read() {
    let more = "[server]\ndrain_timeout = \"10m\"";
    let bench = Bench::with(more).await;
    bench.until_ready().await;
    let body = r#"{"name":"read","parent":{"id":"0"}}"#;
    let mut socket = bench.connect().await;
    let request = format!(
        "POST /2.0/folders HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    in_time(socket.read_exact(&mut answer)).await.unwrap();
    bench.stop(Stop::Drain);
    // A socket that is closed answers with a reset; one that lingers takes what is sent to it.
    let mut rest = Vec::new();
    in_time(socket.read_to_end(&mut rest)).await.unwrap();
    let refused = async {
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), refused).await.expect("it does not linger");
    bench.stopped().await;
}
