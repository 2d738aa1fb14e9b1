//! Requests that are answered before their body has come: the caller may send the rest and go on, or is told that the
//! connection ends.

use tokio::io::AsyncReadExt;

use crate::harness::{Bench, in_time, until};
use crate::raw::caller::RawCaller;
use crate::raw::http1;
use crate::raw::raw_box::RawBox;

const BODY: &str = r#"{"name":"late"}"#;
const REFUSING: &str = r#"
[[app]]
name = "denied"
path = "/denied"
deny = ["POST /**"]
[[app]]
name = "closed"
path = "/closed"
enabled = false
[[app]]
name = "limited"
path = "/limited"
[[app]]
name = "rest"
[[limit]]
name = "few"
key = "app"
rate = "1/h"
on = ["POST /2.0/**"]
"#;

fn post(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// The status and the `Connection` field of the next answer, whose body is read.
async fn answer(caller: &mut RawCaller) -> (String, Option<String>) {
    let head = in_time(http1::head(&mut caller.socket)).await.expect("an answer");
    in_time(http1::body(&mut caller.socket, &head, false)).await.expect("the whole body");
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (status, http1::field(&head, "connection").map(str::to_owned))
}

async fn refusing() -> Bench {
    let bench = Bench::with(REFUSING).await;
    bench.until_ready().await;
    // The limit's only request of this hour.
    bench.client.post(bench.url("/limited/2.0/folders")).body(BODY).send().await.unwrap();
    bench
}

const REFUSED: [(&str, &str); 5] = [
    ("/denied/2.0/folders", "403"),
    ("/closed/2.0/folders", "503"),
    ("/limited/2.0/folders", "429"),
    ("/favicon.ico", "404"),
    ("/2.0/folders/../users", "400"),
];

#[tokio::test]
async fn a_small_body_that_comes_after_the_refusal_is_read_and_the_connection_goes_on() {
    let bench = refusing().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    for (path, status) in REFUSED {
        caller.say(post(path, BODY.len(), "").as_bytes()).await;
        assert_eq!(answer(&mut caller).await, (status.to_owned(), None), "{path}");
        // In pieces, of which the last comes with the next request.
        let (first, last) = BODY.split_at(4);
        caller.say(first.as_bytes()).await;
        caller.say(last.as_bytes()).await;
        caller.get("/2.0/users/me", "1.1").await;
        assert_eq!(answer(&mut caller).await, ("200".to_owned(), None), "{path}");
    }
}

/// The late bytes are no head that has to be finished in time: the connection is idle after them.
#[tokio::test]
async fn a_connection_whose_late_body_was_read_is_parked() {
    let bench = refusing().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.say(post("/denied/2.0/folders", BODY.len(), "").as_bytes()).await;
    assert_eq!(answer(&mut caller).await.0, "403");
    caller.say(BODY.as_bytes()).await;
    // The other one is that of the limit's only request.
    until(|| async { bench.metric("boxgate_connections_parked").await == 2.0 }).await;
    caller.get("/2.0/users/me", "1.1").await;
    assert_eq!(answer(&mut caller).await.0, "200");
}

/// The time for the rest of a body counts for that body alone, whatever the connection carried before.
#[tokio::test]
async fn the_time_of_a_late_body_begins_with_its_answer() {
    let bench = refusing().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    let began = tokio::time::Instant::now();
    // Never idle, and for longer than a late body has.
    while began.elapsed() < std::time::Duration::from_secs(7) {
        caller.say(post("/denied/2.0/folders", BODY.len(), "").as_bytes()).await;
        assert_eq!(answer(&mut caller).await, ("403".to_owned(), None));
        caller.say(BODY.as_bytes()).await;
        for _ in 0..3 {
            caller.get("/.well-known/boxgate/errors/not_found", "1.1").await;
            assert_eq!(answer(&mut caller).await, ("200".to_owned(), None));
        }
    }
}

#[tokio::test]
async fn a_small_body_that_does_not_come_ends_the_connection() {
    let bench = refusing().await;
    let mut caller = RawCaller::connect(&bench.address, false).await;
    caller.say(post("/denied/2.0/folders", BODY.len(), "").as_bytes()).await;
    assert_eq!(answer(&mut caller).await.0, "403");
    let mut scrap = [0; 1];
    assert_eq!(in_time(caller.socket.read(&mut scrap)).await.unwrap_or(0), 0);
}

/// A large body, and one that the caller sends only when invited, are not waited for: the answer says so.
#[tokio::test]
async fn the_refusal_of_a_body_that_is_not_read_says_that_the_connection_ends() {
    let bench = refusing().await;
    for (path, status) in REFUSED {
        for request in [
            post(path, 1_000_000, ""),
            post(path, BODY.len(), "Expect: 100-continue\r\n"),
            post(path, 1_000_000, "Expect: 100-continue\r\n"),
        ] {
            let mut caller = RawCaller::connect(&bench.address, false).await;
            caller.say(request.as_bytes()).await;
            assert_eq!(answer(&mut caller).await, (status.to_owned(), Some("close".to_owned())), "{request}");
            in_time(caller.closed()).await;
        }
    }
    // A body that has arrived is read, whatever its size.
    let mut caller = RawCaller::connect(&bench.address, false).await;
    let body = "x".repeat(30_000);
    caller.say(format!("{}{body}", post("/denied/2.0/folders", body.len(), "")).as_bytes()).await;
    assert_eq!(answer(&mut caller).await, ("403".to_owned(), None));
    caller.get("/2.0/users/me", "1.1").await;
    assert_eq!(answer(&mut caller).await.0, "200");
}

/// Box's refusal comes while the caller is still sending.
#[tokio::test]
async fn a_small_body_that_comes_after_boxs_answer_is_read() {
    for (is_http2, length, connection) in [
        (false, BODY.len(), None),
        (true, BODY.len(), None),
        (false, 1_000_000, Some("close".to_owned())),
        (true, 1_000_000, Some("close".to_owned())),
    ] {
        let raw = RawBox::start(is_http2).await;
        let bench = Bench::before_raw(&raw, "").await;
        let mut caller = RawCaller::connect(&bench.address, false).await;
        caller.say(post("/2.0/folders", length, "").as_bytes()).await;
        let mut at = in_time(raw.accept()).await;
        let begun = in_time(at.request()).await.expect("a request");
        at.answer(&begun, 409, "{}").await;
        let goes_on = connection.is_none();
        assert_eq!(answer(&mut caller).await, ("409".to_owned(), connection), "{is_http2} {length}");
        if goes_on {
            caller.say(BODY.as_bytes()).await;
            caller.get("/.well-known/boxgate/errors/not_found", "1.1").await;
            assert_eq!(answer(&mut caller).await.0, "200");
        }
    }
}

/// Operators' requests too.
#[tokio::test]
async fn the_admin_listener_says_that_it_does_not_read_a_body() {
    let bench = Bench::start().await;
    let mut caller = RawCaller::connect(&bench.admin, false).await;
    caller.say(post("/healthz", 1_000_000, "").as_bytes()).await;
    assert_eq!(answer(&mut caller).await.1.as_deref(), Some("close"));
    in_time(caller.closed()).await;
}
