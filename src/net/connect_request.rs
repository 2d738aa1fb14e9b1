//! CONNECT as a client sends it to a proxy (RFC 9110 §9.3.6), and what a proxy answers.

use std::io;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};

/// How long to wait for the body of a refusal.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head that is read; real ones are far shorter.
const HEAD_LIMIT: u64 = 16 * 1024;
/// How much of a refusal's body is read.
const BODY_LIMIT: u64 = 64 * 1024;

/// What a proxy answered.
pub(crate) enum Answer<S> {
    /// A 2xx: the tunnel to the host.
    Open(BufReader<S>),
    /// Anything but a 2xx.
    Refused(Refusal),
}

/// A proxy's response that opens no tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// The header lines, without hop-by-hop fields.
    pub(crate) fields: Vec<String>,
    /// The body as received (still transfer-encoded), at most 64 KiB.
    pub(crate) body: Vec<u8>,
}

impl Refusal {
    /// The `message` of an error in Box's shape, else the reason phrase.
    pub(crate) fn words(&self) -> String {
        let body: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let message = body.as_ref().and_then(|body| body.get("message")?.as_str());
        message.unwrap_or(&self.reason).chars().filter(|c| !c.is_control()).collect()
    }
}

/// Asks a proxy, on this connection, for a tunnel to `HOST:PORT`. What the host has already sent stays in the reader.
///
/// # Errors
/// The connection breaks, or the response is not HTTP.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    target: &Authority,
    authorization: Option<&HeaderValue>,
) -> io::Result<Answer<S>> {
    let mut request = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: boxgate/{}\r\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes();
    if let Some(authorization) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    stream.flush().await?;
    let Head { first, fields } = head(&mut stream).await?;
    let (status, reason) = status(&first)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the proxy does not speak HTTP/1.1"))?;
    if (200..300).contains(&status) {
        return Ok(Answer::Open(stream));
    }
    let length = fields.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = Vec::new();
    let mut rest = stream.take(length.unwrap_or(BODY_LIMIT).min(BODY_LIMIT));
    // What was received is passed on even if the rest does not arrive.
    let _ = tokio::time::timeout(BODY_TIMEOUT, rest.read_to_end(&mut body)).await;
    let about_connection = |line: &String| {
        let name = line.split(':').next().unwrap_or_default().trim();
        ["connection", "proxy-connection", "keep-alive", "upgrade", "content-length"]
            .iter()
            .any(|field| name.eq_ignore_ascii_case(field))
    };
    let fields = fields.into_iter().filter(|line| !about_connection(line)).collect();
    Ok(Answer::Refused(Refusal { status, reason: reason.to_owned(), fields, body }))
}

fn status(line: &str) -> Option<(u16, &str)> {
    let rest = line.strip_prefix("HTTP/1.")?.get(1..)?.strip_prefix(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = (status.len() == 3).then(|| status.parse().ok())??;
    Some((status, reason))
}

/// The start line and header lines of an HTTP/1.1 message, without line ends.
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) fields: Vec<String>,
}

/// Reads a head of at most 16 KiB; what follows it stays in the reader.
///
/// # Errors
/// It is longer, incomplete, or not UTF-8.
pub(crate) async fn head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Head> {
    let mut limited = stream.take(HEAD_LIMIT);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        limited.read_line(&mut line).await?;
        let Some(text) = line.strip_suffix('\n') else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the head is incomplete or longer than 16 KiB",
            ));
        };
        let text = text.strip_suffix('\r').unwrap_or(text);
        match (text.is_empty(), lines.is_empty()) {
            (true, false) => break,
            // RFC 9112 §2.2: empty lines before the start line are skipped.
            (true, true) => {}
            (false, _) => lines.push(text.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    Ok(Head { first, fields: lines.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_read() {
        assert_eq!(status("HTTP/1.1 200 Connection established"), Some((200, "Connection established")));
        assert_eq!(status("HTTP/1.0 407 "), Some((407, "")));
        assert_eq!(status("HTTP/1.1 204"), Some((204, "")));
        for bad in [
            "",
            "HTTP/1.1",
            "HTTP/1.",
            "HTTP/1.1 20 x",
            "HTTP/1.1 2000 x",
            "HTTP/2 200",
            "SSH-2.0-x",
            "HTTP/1.ä 200",
        ] {
            assert_eq!(status(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_head_ends_at_the_empty_line_and_has_a_limit() {
        let mut text: &[u8] = b"\r\nGET / HTTP/1.1\r\nA: b\nC: d\r\n\r\nrest";
        let Head { first, fields } = head(&mut text).await.unwrap();
        assert_eq!((first.as_str(), fields.join("|").as_str()), ("GET / HTTP/1.1", "A: b|C: d"));
        assert_eq!(text, b"rest");
        let long = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; 20_000], b"\r\n\r\n".to_vec()].concat();
        for bad in [&b""[..], b"GET", b"GET / HTTP/1.1\r\n", b"\xff\xfe\r\n\r\n", &long] {
            assert!(head(&mut &*bad).await.is_err());
        }
    }

    #[test]
    fn the_message_of_a_refusal_is_that_of_its_body_or_its_reason_phrase() {
        let refusal = |body: &str| Refusal {
            status: 403,
            reason: "Forbidden".to_owned(),
            fields: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        assert_eq!(refusal(r#"{"message":"not\nhere"}"#).words(), "nothere");
        assert_eq!(refusal("<html>").words(), "Forbidden");
        assert_eq!(refusal("{}").words(), "Forbidden");
    }
}
