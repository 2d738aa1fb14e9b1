//! A plain HTTP/1.1 client with a connection for each request, which returns every byte of the response.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::harness::PATIENCE;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {ended:?} {text:?}"));
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Sends a request on a connection of its own. Each of `fields` ends with a line break.
pub(super) fn send(address: &str, method: &str, target: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE * 4)).unwrap();
    stream.set_write_timeout(Some(PATIENCE * 4)).unwrap();
    let host = if fields.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let head = format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Reads what a request was answered with.
pub(super) fn receive(stream: TcpStream) -> Answer {
    Answer::read(stream)
}

pub(super) fn request(address: &str, method: &str, target: &str, fields: &str) -> Answer {
    receive(send(address, method, target, fields))
}
