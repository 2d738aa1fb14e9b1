//! Bodies go through a balancer while they are being sent, in both directions, of any size.

use std::io::{Read, Write};
use std::process::Child;
use std::sync::mpsc;
use std::thread;

use boxgate::sandbox::{Content, Fault};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::balancer::{CADDY, ENVOY, HAPROXY, NGINX, Shipped};
use super::site::Site;
use crate::program::harness::{FakeBox, Folder, PATIENCE, until, wait};
use crate::raw::raw_box::RawBox;

const MIB: usize = 1 << 20;
/// An upload larger than what anything on the way would keep.
const UPLOAD: usize = 64 * MIB;
const BEGIN: &str = "--b\r\nContent-Disposition: form-data; name=\"attributes\"\r\n\r\n{\"name\":\"large.bin\",\"parent\":{\"id\":\"0\"}}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"large.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n";
const END: &str = "\r\n--b--\r\n";
const FORM: &str = "Content-Type: multipart/form-data; boundary=b";

#[test]
fn nginx_does_not_hold_bodies() {
    bodies_are_not_held(NGINX);
}

#[test]
fn caddy_does_not_hold_bodies() {
    bodies_are_not_held(CADDY);
}

#[test]
fn haproxy_does_not_hold_bodies() {
    bodies_are_not_held(HAPROXY);
    the_invitation_is_boxs(HAPROXY);
}

#[test]
fn envoy_does_not_hold_bodies() {
    bodies_are_not_held(ENVOY);
    the_invitation_is_boxs(ENVOY);
}

fn bodies_are_not_held(file: Shipped) {
    let site = Site::behind(file);
    for version in ["--http2", "--http1.1"] {
        an_upload_arrives_while_it_is_sent(&site, version);
    }
    a_download_is_whole(&site);
    an_upload_with_expect_is_taken(&site);
    an_answer_arrives_piece_by_piece(file);
}

/// Half of it has been sent, and nearly that much is at Box: no more is kept on the way than sockets and windows hold.
fn an_upload_arrives_while_it_is_sent(site: &Site, version: &str) {
    let more = [version, "-X", "POST", "-T", "-", "-H", FORM, "-w", "%{http_code}", "-o", "/dev/null"];
    let mut curl = site.caller.piped("/any/2.0/files/content", &more);
    let mut body = curl.stdin.take().unwrap();
    let half = vec![0; UPLOAD / 2];
    let calls = site.at.calls();
    body.write_all(BEGIN.as_bytes()).unwrap();
    body.write_all(&half).unwrap();
    wait(site.at.wait_for_calls(calls + 1));
    let arrived = || usize::try_from(site.at.last_seen().unwrap().body_bytes).unwrap();
    until("half of an upload that is still being sent is at Box", || arrived() > UPLOAD / 2 - 8 * MIB);
    assert_eq!(site.at.requests_in_flight(), 1);
    body.write_all(&half).unwrap();
    body.write_all(END.as_bytes()).unwrap();
    drop(body);
    let status = read_all(&mut curl);
    // The name is taken after the first upload.
    assert!(status == "201" || (status == "409" && version != "--http2"), "{version}: {status}");
    assert_eq!(arrived(), UPLOAD + BEGIN.len() + END.len());
}

fn a_download_is_whole(site: &Site) {
    let file = site.at.add_file("0", "zeros.bin", Content::Zeros(UPLOAD as u64));
    let mut curl = site.caller.piped(
        &format!("/any/2.0/files/{file}/content"),
        &["-w", "%{http_code} %{size_download}", "-o", "/dev/null"],
    );
    assert_eq!(read_all(&mut curl), format!("200 {UPLOAD}"));
}

fn an_upload_with_expect_is_taken(site: &Site) {
    let body = BEGIN.replace("large.bin", "invited.bin") + "content" + END;
    let more = [
        "--http1.1",
        "--expect100-timeout",
        "60",
        "-H",
        "Expect: 100-continue",
        "-H",
        FORM,
        "--data-binary",
        &body,
    ];
    let answer = site.caller.ask("/any/2.0/files/content", &more);
    assert_eq!(answer.status, 201, "{answer:?}");
    let interim = answer.heads.first().unwrap();
    assert!(interim.starts_with("HTTP/1.1 100 "), "curl waits a minute for an invitation: {answer:?}");
}

/// A body that Box refuses is not invited by the balancer.
fn the_invitation_is_boxs(file: Shipped) {
    let site = Site::behind(file);
    site.at.script("/api/2.0/files/content", vec![Fault::RefuseExpectation]);
    let body = BEGIN.to_owned() + "content" + END;
    let more = [
        "--http1.1",
        "--expect100-timeout",
        "60",
        "-H",
        "Expect: 100-continue",
        "-H",
        FORM,
        "--data-binary",
        &body,
    ];
    let answer = site.caller.ask("/any/2.0/files/content", &more);
    assert_eq!((answer.status, answer.heads.len()), (403, 1), "{answer:?}");
}

/// The rest of an answer is sent once the caller has its beginning: what is kept until a buffer is full would never come.
fn an_answer_arrives_piece_by_piece(file: Shipped) {
    let at = FakeBox::start();
    let slow = SlowBox::start(&at);
    let site = Site::in_front_of(at, &slow.table, file, "boxgate.toml", 1, &[]);
    let mut curl = site.caller.piped("/any/2.0/slow", &[]);
    let mut begun = [0; 5];
    curl.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"begin");
    slow.go_on.send(()).unwrap();
    assert_eq!(read_all(&mut curl), "end");
}

/// A Box whose answer stops in the middle until it is told to go on.
struct SlowBox {
    /// The `[box]` table that leads there.
    table: String,
    go_on: oneshot::Sender<()>,
    _roots: Folder,
}

impl SlowBox {
    /// Tokens are this Box's.
    fn start(at: &FakeBox) -> Self {
        let (started, starting) = mpsc::channel();
        let (go_on, told) = oneshot::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let raw = RawBox::start(false).await;
                started.send((raw.table("TOKEN"), raw.pem.clone())).unwrap();
                answer_slowly(&raw, told).await;
            });
        });
        let (table, pem) = starting.recv_timeout(PATIENCE).unwrap();
        let roots = Folder::new();
        let path = roots.write("ca.pem", &format!("{}{pem}", at.ca_pem()));
        let table = table.replace("TOKEN", &at.token_url()).replace("\"ca.pem\"", &format!("{path:?}"));
        Self { table, go_on, _roots: roots }
    }
}

async fn answer_slowly(raw: &RawBox, told: oneshot::Receiver<()>) {
    // A connection may be opened ahead of a request.
    let mut connection = raw.accept().await;
    while connection.request().await.is_none() {
        connection = raw.accept().await;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 8\r\n\r\n";
    connection.say(format!("{head}begin").as_bytes()).await;
    let _ = told.await;
    connection.say(b"end").await;
    // Until the gateway has gone.
    connection.request().await;
}

/// Waits for curl's end; what was left of its output.
fn read_all(curl: &mut Child) -> String {
    let mut text = String::new();
    curl.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    curl.wait().unwrap();
    text
}
