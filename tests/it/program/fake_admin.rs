//! A server in place of a gateway's admin listener, which answers what a test wants.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::harness::PATIENCE;

/// What the server does with each request.
#[derive(Clone)]
pub(super) enum Reply {
    /// Writes these bytes and closes the connection.
    Bytes(Arc<[u8]>),
    /// Keeps the connection and answers nothing.
    Silence,
}

impl Reply {
    /// An answer with a status such as `200 OK`.
    pub(super) fn answer(status: &str, body: &str) -> Self {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Self::Bytes(text.into_bytes().into())
    }

    /// The connection breaks.
    pub(super) fn broken() -> Self {
        Self::Bytes(Arc::new([]))
    }
}

/// A server on loopback, a thread for each connection.
pub(super) struct FakeAdmin {
    pub(super) address: String,
    reply: Arc<Mutex<Reply>>,
    /// The request lines so far.
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeAdmin {
    pub(super) fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fake = Self { address, reply: Arc::new(Mutex::new(reply)), asked: Arc::default() };
        let (reply, asked) = (fake.reply.clone(), fake.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (reply, asked) = (reply.clone(), asked.clone());
                thread::spawn(move || serve(stream, &reply, &asked));
            }
        });
        fake
    }

    /// Answers this from now on.
    pub(super) fn say(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, reply: &Mutex<Reply>, asked: &Mutex<Vec<String>>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    asked.lock().unwrap().push(line);
    let reply = reply.lock().unwrap().clone();
    match reply {
        // The client may have read enough, and be gone.
        Reply::Bytes(bytes) => drop(stream.write_all(&bytes)),
        Reply::Silence => drop(stream.read(&mut byte)),
    }
}
