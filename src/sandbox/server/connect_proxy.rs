//! A CONNECT proxy that connects Box's names to the sandbox's ports, and to nothing else.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::TcpStream,
};

use crate::sandbox::{
    http::{
        host::{PerRole, Role},
        lock::lock,
    },
    model::{state::State, urls::role_of},
};

/// The longest head that is read; real ones are far shorter.
const HEAD_LIMIT: u64 = 16 * 1024;

/// Serves one connection; errors are left to its caller.
pub(crate) async fn serve(stream: TcpStream, ports: PerRole<u16>, state: Arc<State>) {
    let mut stream = BufReader::new(stream);
    let Some((method, target)) = request(&mut stream).await else { return };
    if method != "CONNECT" {
        return refuse(&mut stream, "405 Method Not Allowed").await;
    }
    let port = port_for(&target, &ports);
    lock(&state.tunnelled).push(target);
    let Some(port) = port else { return refuse(&mut stream, "403 Forbidden").await };
    // Nothing listens at a host that is down.
    let Ok(mut host) = TcpStream::connect(("127.0.0.1", port)).await else {
        return refuse(&mut stream, "502 Bad Gateway").await;
    };
    let _ = host.set_nodelay(true);
    let _ = stream.get_ref().set_nodelay(true);
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut host).await;
    }
}

/// Method and target, once the whole head was read.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut head = stream.take(HEAD_LIMIT);
    let mut first = String::new();
    head.read_line(&mut first).await.ok()?;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut words = first.split_ascii_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

fn port_for(target: &str, ports: &PerRole<u16>) -> Option<u16> {
    let (name, port) = target.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    if matches!(name, "localhost" | "127.0.0.1") {
        return Role::ALL.into_iter().map(|role| *ports.of(role)).find(|own| *own == port);
    }
    role_of(name).filter(|_| port == 443).map(|role| *ports.of(role))
}

async fn refuse(stream: &mut BufReader<TcpStream>, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_lead_to_ports() {
        let ports = PerRole { api: 1001, upload: 1002, download: 1003 };
        for (target, port) in [
            ("api.box.com:443", Some(1001)),
            ("API.box.com:443", Some(1001)),
            ("upload.box.com:443", Some(1002)),
            ("upload-las.app.box.com:443", Some(1002)),
            ("dl.boxcloud.com:443", Some(1003)),
            ("2.realtime.services.box.net:443", Some(1003)),
            ("localhost:1002", Some(1002)),
            ("127.0.0.1:1003", Some(1003)),
            ("api.box.com:80", None),
            ("localhost:22", None),
            ("boxcloud.com:443", None),
            ("a.b.boxcloud.com:443", None),
            ("api.box.com.evil.example:443", None),
            ("169.254.169.254:443", None),
            ("api.box.com", None),
        ] {
            assert_eq!(port_for(target, &ports), port, "{target}");
        }
    }
}
