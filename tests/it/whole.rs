//! A message ends cleanly at one side only if the other side completed it: requests and responses, HTTP/1.1 and HTTP/2,
//! with and without a length, broken off anywhere.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Bench, in_time, until};
use crate::raw::caller::{RawCaller, fields};
use crate::raw::frames::{self, CANCEL, NO_ERROR};
use crate::raw::raw_box::{BoxConnection, RawBox};
use crate::raw::reading_box::ReadingBox;
use tokio::io::AsyncWriteExt;

const ONE_WORKER: &str = "[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1\n[limits]\nbox_defaults = false\n";

/// How a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// As it should.
    Clean,
    /// As it should; over HTTP/2 in a frame of its own, without a byte.
    CleanApart,
    /// The sender ends its side of the connection.
    HalfClose,
    /// The connection is closed without another word; over TLS without close_notify.
    Close,
    ResetConnection,
    /// HTTP/2: in one segment with the last bytes.
    ResetStream(u32),
    /// HTTP/1.1: what follows is no chunk.
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    /// Chunks, or HTTP/2 without a length.
    Open,
    /// HTTP/1.1: the end of the connection.
    TillClose,
    /// The same of HTTP/1.0.
    Old,
    /// HTTP/1.1: chunks, beside a length that means nothing.
    Both,
}

const BROKEN: [Ending; 6] = [
    Ending::HalfClose,
    Ending::Close,
    Ending::ResetConnection,
    Ending::ResetStream(NO_ERROR),
    Ending::ResetStream(CANCEL),
    Ending::Malformed,
];

impl Ending {
    fn is_of(self, is_http2: bool, framing: Framing) -> bool {
        match self {
            Self::Clean | Self::Close | Self::ResetConnection => true,
            Self::CleanApart => is_http2,
            Self::HalfClose => !is_http2,
            Self::ResetStream(_) => is_http2,
            Self::Malformed => !is_http2 && matches!(framing, Framing::Open | Framing::Both),
        }
    }
}

/// The bytes that say this much of a body, and its end where it is clean.
fn said(is_http2: bool, framing: Framing, part: &[u8], ending: Ending) -> Vec<u8> {
    let is_clean = ending == Ending::Clean;
    let mut said = Vec::new();
    if is_http2 {
        let mut pieces = part.chunks(16_000).peekable();
        while let Some(piece) = pieces.next() {
            said.extend(frames::data(1, is_clean && pieces.peek().is_none(), piece));
        }
        if is_clean && part.is_empty() || ending == Ending::CleanApart {
            said.extend(frames::data(1, true, b""));
        }
        if let Ending::ResetStream(reason) = ending {
            said.extend(frames::reset(1, reason));
        }
        return said;
    }
    match framing {
        Framing::Length | Framing::TillClose | Framing::Old => said.extend_from_slice(part),
        Framing::Open | Framing::Both => {
            for piece in part.chunks(5_000) {
                said.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                said.extend_from_slice(piece);
                said.extend(b"\r\n");
            }
            if is_clean {
                said.extend(b"0\r\n\r\n");
            }
            if ending == Ending::Malformed {
                said.extend(b"zz\r\n");
            }
        }
    }
    said
}

/// A request whose body is cut.
#[derive(Debug, Clone, Copy)]
struct Upload {
    by_http2: bool,
    framing: Framing,
    method: &'static str,
    whole: usize,
    cut: usize,
    ending: Ending,
    ends_when: When,
}

/// When the rest of a body is said, and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// With the head.
    AtOnce,
    /// When Box has the head.
    Begun,
    /// When Box has answered 401, and a fresh token is asked for.
    Refused,
    /// When the request is sent again with the fresh token.
    Replayed,
}

impl Upload {
    fn clean(by_http2: bool) -> Self {
        let (framing, whole, ending) = (Framing::Open, 100, Ending::Clean);
        Self { by_http2, framing, method: "POST", whole, cut: whole, ending, ends_when: When::AtOnce }
    }

    async fn in_time<T>(self, what: &str, future: impl Future<Output = T>) -> T {
        let patience = crate::harness::PATIENCE / 2;
        let waited = tokio::time::timeout(patience, future).await;
        waited.unwrap_or_else(|_| panic!("never: {what}: {self:?}"))
    }

    /// Returns when it is said; the caller, where it is still there.
    async fn send(self, bench: &Bench, at: &ReadingBox, path: &str) -> Option<RawCaller> {
        let body = content(self.whole);
        let mut caller = RawCaller::connect(&bench.address, self.by_http2).await;
        let length = self.whole.to_string();
        let head = if self.by_http2 {
            let mut head = fields(self.method, path).to_vec();
            if self.framing == Framing::Length {
                head.push(("content-length", &length));
            }
            frames::headers(1, false, &head)
        } else {
            let framing = match self.framing {
                Framing::Length => format!("Content-Length: {length}"),
                _ => "Transfer-Encoding: chunked".to_owned(),
            };
            format!("{} {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n", self.method).into_bytes()
        };
        let (first, rest) = body[..self.cut].split_at(self.cut.min(5));
        let first = said(self.by_http2, self.framing, first, Ending::Close);
        let rest = said(self.by_http2, self.framing, rest, self.ending);
        let mut begin = [head, first].concat();
        if self.ends_when == When::AtOnce {
            begin.extend_from_slice(&rest);
        }
        let tokens = bench.sandbox.token_requests();
        let held = (self.ends_when == When::Refused).then(|| bench.sandbox.hold_token_replies());
        caller.say(&begin).await;
        match self.ends_when {
            When::AtOnce => {}
            When::Begun => in_time(at.wait_for_heads(path, 1)).await,
            When::Refused => in_time(bench.sandbox.wait_for_token_requests(tokens + 1)).await,
            When::Replayed => in_time(at.wait_for_heads(path, 2)).await,
        }
        if self.ends_when != When::AtOnce {
            caller.say(&rest).await;
        }
        match self.ending {
            Ending::HalfClose => caller.socket.shutdown().await.unwrap(),
            Ending::ResetConnection => caller.socket.set_zero_linger().unwrap(),
            Ending::Close
            | Ending::Clean
            | Ending::CleanApart
            | Ending::ResetStream(_)
            | Ending::Malformed => {}
        }
        let is_there = !matches!(self.ending, Ending::Close | Ending::ResetConnection);
        let caller = Some(caller).filter(|_| is_there);
        if held.is_some() {
            // That the gateway reads the end before the token comes, nothing tells; if it does not, this is as Replayed.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        caller
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| b'a' + (n % 23) as u8).collect()
}

fn uploads() -> Vec<Upload> {
    let mut uploads = Vec::new();
    for by_http2 in [false, true] {
        for (framing, method) in [(Framing::Length, "POST"), (Framing::Open, "POST"), (Framing::Open, "GET")]
        {
            for ends_when in [When::AtOnce, When::Begun, When::Refused, When::Replayed] {
                for ending in BROKEN.into_iter().filter(|ending| ending.is_of(by_http2, framing)) {
                    for cut in [0, 5, 2_000, 30_000, 99_999, 100_000] {
                        // A length that is reached is the end on HTTP/1.1.
                        let is_end = !by_http2 && framing == Framing::Length && cut == 100_000;
                        // A GET's body is looked for before anything is sent.
                        let begins = method == "POST" || cut > 0 || ends_when == When::AtOnce;
                        // What is more than is kept cannot be sent again.
                        let replays = matches!(ends_when, When::AtOnce | When::Begun) || cut <= 30_000;
                        if !is_end && begins && replays {
                            let whole = 100_000;
                            uploads.push(Upload { by_http2, framing, method, whole, cut, ending, ends_when });
                        }
                    }
                }
            }
        }
    }
    uploads
}

/// After each caller that breaks off, a complete request on another connection follows. By then, everything that the
/// first one caused has arrived at Box.
async fn no_part_of_a_request_is_whole_at_box(box_http2: bool) {
    let at = ReadingBox::start(box_http2).await;
    let bench = Bench::before_raw(&at.raw, ONE_WORKER).await;
    for (number, upload) in uploads().into_iter().enumerate() {
        let is_refused = matches!(upload.ends_when, When::Refused | When::Replayed);
        let path = format!("/2.0/comments/{}{number}", if is_refused { "replay" } else { "" });
        let before = recorded(&bench).await;
        let caller = upload.send(&bench, &at, &path).await;
        // A request that came with the end of its connection may not even have been looked at.
        if caller.is_some() {
            upload.in_time("recorded", until(|| async { recorded(&bench).await > before })).await;
        }
        drop(caller);
        let closed = until(|| async { bench.metric("boxgate_connections").await == 0.0 });
        upload.in_time("closed", closed).await;
        let sentinel = format!("/2.0/comments/sentinel{number}");
        let clean = Upload::clean(upload.by_http2);
        let mut after = clean.send(&bench, &at, &sentinel).await.unwrap();
        let (status, _) = upload.in_time("the next is answered", after.answer()).await.unwrap();
        assert_eq!(status, 200, "{upload:?}");
        assert_eq!(at.received(&sentinel).await, [Ok(content(clean.whole))], "{upload:?}");
        // Box is told of each body that it has ended or broken off.
        let received = upload.in_time("Box knows", at.received(&path)).await;
        for (nth, received) in received.into_iter().enumerate() {
            let got = received.as_ref().map_or_else(Vec::len, Vec::len);
            assert!(received.is_err(), "{got} bytes of attempt {nth} are whole at Box: {upload:?}");
            assert!(content(upload.cut).starts_with(&received.unwrap_err()), "{upload:?}");
        }
    }
}

async fn recorded(bench: &Bench) -> f64 {
    let (_, text) = bench.admin("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("boxgate_requests_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn no_part_of_a_request_is_whole_at_a_box_of_http_1() {
    no_part_of_a_request_is_whole_at_box(false).await;
}

#[tokio::test]
async fn no_part_of_a_request_is_whole_at_a_box_of_http_2() {
    no_part_of_a_request_is_whole_at_box(true).await;
}

/// An answer that is cut.
#[derive(Debug, Clone, Copy)]
struct Download {
    framing: Framing,
    whole: usize,
    cut: usize,
    ending: Ending,
    /// The gateway looks into it.
    is_looked_into: bool,
    to_http2: bool,
    version: &'static str,
}

impl Download {
    fn path(self) -> &'static str {
        if self.is_looked_into { "/2.0/folders/0/items" } else { "/2.0/users/me" }
    }

    async fn say(self, mut connection: BoxConnection, stream: u32, body: &[u8]) -> Option<BoxConnection> {
        let is_http2 = connection.is_http2;
        let length = self.whole.to_string();
        let head = if is_http2 {
            let mut head = vec![(":status", "200"), ("content-type", "application/json")];
            if self.framing == Framing::Length {
                head.push(("content-length", &length));
            }
            frames::headers(stream, false, &head)
        } else {
            let framing = match self.framing {
                Framing::Length => format!("Content-Length: {length}\r\n"),
                Framing::Open => "Transfer-Encoding: chunked\r\n".to_owned(),
                Framing::TillClose | Framing::Old => String::new(),
                Framing::Both => "Content-Length: 700\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            };
            let version = if self.framing == Framing::Old { "1.0" } else { "1.1" };
            format!("HTTP/{version} 200 OK\r\nContent-Type: application/json\r\n{framing}\r\n").into_bytes()
        };
        let mut rest = said(is_http2, self.framing, &body[..self.cut], self.ending);
        if is_http2 {
            rest = with_stream(rest, stream);
            connection.say_frames(&[head, rest].concat()).await;
        } else {
            connection.say(&[head, rest].concat()).await;
        }
        match self.ending {
            Ending::CleanApart => Some(connection),
            Ending::Clean if !matches!(self.framing, Framing::TillClose | Framing::Old) => Some(connection),
            Ending::Clean => {
                let _ = connection.socket.shutdown().await;
                None
            }
            Ending::ResetConnection => {
                connection.socket.get_ref().0.set_zero_linger().unwrap();
                None
            }
            Ending::Close => None,
            Ending::HalfClose | Ending::ResetStream(_) | Ending::Malformed => Some(connection),
        }
    }
}

/// The frames of stream 1 as frames of this one.
fn with_stream(mut frames: Vec<u8>, stream: u32) -> Vec<u8> {
    let mut at = 0;
    while at < frames.len() {
        let length = u32::from_be_bytes([0, frames[at], frames[at + 1], frames[at + 2]]) as usize;
        frames[at + 5..at + 9].copy_from_slice(&stream.to_be_bytes());
        at += 9 + length;
    }
    frames
}

/// JSON, so that it can be looked into.
fn json(length: usize) -> Vec<u8> {
    let (before, after) = (r#"{"entries":[{"id":"1","name":""#, r#""}]}"#);
    format!("{before}{}{after}", "x".repeat(length - before.len() - after.len())).into_bytes()
}

fn downloads(box_http2: bool) -> Vec<Download> {
    let mut downloads = Vec::new();
    let framings: &[Framing] = match box_http2 {
        true => &[Framing::Length, Framing::Open],
        false => &[Framing::Length, Framing::Open, Framing::TillClose, Framing::Old, Framing::Both],
    };
    for &framing in framings {
        for ending in [Ending::Clean, Ending::CleanApart].into_iter().chain(BROKEN) {
            let is_of = ending.is_of(box_http2, framing) && ending != Ending::HalfClose;
            for (to_http2, version) in [(false, "1.1"), (false, "1.0"), (true, "2")] {
                for (is_looked_into, whole) in [(false, 100_000), (true, 2_000), (true, 600_000)] {
                    let is_end = !box_http2 && framing == Framing::Length;
                    let cuts: &[usize] = match ending {
                        Ending::Clean | Ending::CleanApart => &[whole],
                        _ if is_end => &[0, 1, 700, whole - 1],
                        _ => &[0, 1, 700, whole - 1, whole],
                    };
                    for &cut in cuts.iter().filter(|_| is_of) {
                        downloads.push(Download {
                            framing,
                            whole,
                            cut,
                            ending,
                            is_looked_into,
                            to_http2,
                            version,
                        });
                    }
                }
            }
        }
    }
    downloads
}

async fn no_part_of_an_answer_is_whole_at_the_caller(box_http2: bool, is_secure: bool) {
    let at = RawBox::start(box_http2).await;
    let files = Certificate::written();
    let tls = if is_secure { files.tls() } else { String::new() };
    let listen = format!("[listen]\naddress = \"127.0.0.1:0\"\nworkers = 1\n{tls}\n");
    let bench = Bench::before_raw(&at, &format!("{listen}[limits]\nbox_defaults = false\n")).await;
    let mut kept = None;
    for download in downloads(box_http2) {
        let body = json(download.whole);
        let mut caller = RawCaller::connect_to(&bench.address, download.to_http2).await;
        caller.get(download.path(), download.version).await;
        let (connection, stream) = in_time(next_request(&at, kept.take())).await;
        let (connection, answer) =
            in_time(async { tokio::join!(download.say(connection, stream, &body), caller.answer()) }).await;
        kept = connection;
        match (download.ending, answer) {
            (Ending::Clean | Ending::CleanApart, Some((200, Ok(received)))) => {
                assert!(received == body, "{download:?}");
            }
            (Ending::Clean | Ending::CleanApart, other) => {
                panic!("{download:?}: {:?}", other.map(|(status, body)| (status, body.map(|b| b.len()))))
            }
            (_, Some((200, Ok(received)))) => {
                panic!("{} of {} bytes pass for whole: {download:?}", received.len(), download.whole)
            }
            // Broken where the head had gone, else refused.
            (_, Some((200, Err(received)))) => assert!(body.starts_with(&received), "{download:?}"),
            // The table of HPACK has no 502.
            (_, Some((502, Ok(_)) | (0, Ok(_)))) => {}
            (_, None) => {}
            (_, Some((status, body))) => panic!("{status} {:?}: {download:?}", body.map(|b| b.len())),
        }
    }
}

/// The gateway may go on with a connection or open another.
async fn next_request(at: &RawBox, kept: Option<BoxConnection>) -> (BoxConnection, u32) {
    if let Some(mut kept) = kept {
        tokio::select! {
            begun = kept.request() => {
                if let Some(begun) = begun {
                    return (kept, begun.stream);
                }
            }
            mut connection = at.accept() => {
                let begun = connection.request().await.unwrap();
                return (connection, begun.stream);
            }
        }
    }
    let mut connection = at.accept().await;
    let begun = connection.request().await.unwrap();
    (connection, begun.stream)
}

#[tokio::test]
async fn no_part_of_an_answer_of_http_1_is_whole_at_the_caller() {
    no_part_of_an_answer_is_whole_at_the_caller(false, false).await;
}

#[tokio::test]
async fn no_part_of_an_answer_of_http_2_is_whole_at_the_caller() {
    no_part_of_an_answer_is_whole_at_the_caller(true, false).await;
}

#[tokio::test]
async fn no_part_of_an_answer_of_http_1_is_whole_at_the_caller_over_tls() {
    no_part_of_an_answer_is_whole_at_the_caller(false, true).await;
}

#[tokio::test]
async fn no_part_of_an_answer_of_http_2_is_whole_at_the_caller_over_tls() {
    no_part_of_an_answer_is_whole_at_the_caller(true, true).await;
}

/// Files of `[listen] tls`.
pub struct Certificate(PathBuf);

impl Certificate {
    pub fn written() -> Self {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("boxgate-it-{:016x}", fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("tls.crt"), signed.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), signed.signing_key.serialize_pem()).unwrap();
        Self(folder)
    }

    pub fn tls(&self) -> String {
        format!("tls = {{ cert = {:?}, key = {:?} }}", self.0.join("tls.crt"), self.0.join("tls.key"))
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
