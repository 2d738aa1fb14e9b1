use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy that answers one CONNECT with this and then echoes everything. Returns the head that it read.
async fn proxy(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let Head { first, fields } = head(&mut stream).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            echo(&mut stream).await;
        }
        [vec![first], fields].concat().join("\n")
    });
    (address, serving)
}

/// Reads to the end before it answers, which it does only after a half-close.
async fn echo(stream: &mut (impl tokio::io::AsyncRead + AsyncWriteExt + Unpin)) {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    stream.write_all(&text).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn splitter(
    gateway: SocketAddr,
    login: Option<Login>,
    earlier: Matcher,
    password: Option<&str>,
) -> SocketAddr {
    let url = GatewayUrl::parse(&gateway.to_string()).unwrap();
    let password = password.map(|password| Secret::new(password.to_owned()));
    let splitter = Splitter::bind(url, login.as_ref(), earlier, password.as_ref()).await.unwrap();
    let address = splitter.address();
    tokio::spawn(splitter.serve());
    address
}

fn nobody() -> SocketAddr {
    // Nothing listens on port 1 of loopback.
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}

fn no_proxy() -> Matcher {
    Matcher::builder().build()
}

/// Sends all of this at once, half-closes, and reads to the end.
async fn talk(address: SocketAddr, text: &[u8]) -> String {
    let talking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(PATIENCE, talking).await.expect("it ends")
}

const OPEN: &str = "HTTP/1.1 200 OK\r\n\r\n";

fn login() -> Option<Login> {
    Some(Login { name: "hr".to_owned(), key: Secret::new("k".to_owned()) })
}

#[tokio::test]
async fn boxs_hosts_go_to_the_gateway_with_the_apps_name_and_key() {
    let (gateway, heard) = proxy(OPEN).await;
    let address = splitter(gateway, login(), no_proxy(), None).await;
    // Bytes sent before the response arrive too, as does the half-close after them.
    let said =
        talk(address, b"CONNECT api.box.com:443 HTTP/1.1\r\nHost: api.box.com\r\n\r\nearly bytes").await;
    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nearly bytes");
    let heard = heard.await.unwrap();
    assert!(heard.starts_with("CONNECT api.box.com:443 HTTP/1.1\nHost: api.box.com:443\n"), "{heard}");
    assert!(heard.ends_with("Proxy-Authorization: Basic aHI6aw=="), "{heard}");
}

#[tokio::test]
async fn the_gateways_refusal_reaches_the_program_unchanged() {
    let (gateway, _) = proxy(
        "HTTP/1.1 403 Forbidden: not this network\r\nContent-Type: application/json\r\nProxy-Status: boxgate\r\n\
         Connection: keep-alive\r\nContent-Length: 15\r\n\r\n{\"message\":\"a\"}",
    )
    .await;
    let address = splitter(gateway, None, no_proxy(), None).await;
    let said = talk(address, b"CONNECT dl.boxcloud.com:443 HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        said,
        "HTTP/1.1 403 Forbidden: not this network\r\nContent-Type: application/json\r\nProxy-Status: boxgate\r\n\
         Content-Length: 15\r\nConnection: close\r\n\r\n{\"message\":\"a\"}"
    );
}

#[tokio::test]
async fn other_hosts_and_other_ports_go_directly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move { echo(&mut listener.accept().await.unwrap().0).await });
    let address = splitter(nobody(), None, no_proxy(), None).await;
    let said = talk(address, format!("CONNECT {target} HTTP/1.1\r\n\r\nhello").as_bytes()).await;
    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nhello");
}

#[tokio::test]
async fn bodies_of_any_size_pass_in_both_directions() {
    let (gateway, _) = proxy(OPEN).await;
    let address = splitter(gateway, None, no_proxy(), None).await;
    let body: String = (0..1_000_000).map(|number| format!("{number:08}")).collect();
    let said = talk(address, format!("CONNECT upload.box.com:443 HTTP/1.1\r\n\r\n{body}").as_bytes()).await;
    assert!(
        said.strip_prefix("HTTP/1.1 200 Connection established\r\n\r\n") == Some(&body),
        "{}",
        said.len()
    );
}

#[tokio::test]
async fn other_hosts_go_by_the_callers_proxy_with_its_credentials_and_its_exceptions() {
    let (earlier, heard) = proxy(OPEN).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let direct = listener.local_addr().unwrap();
    tokio::spawn(async move { echo(&mut listener.accept().await.unwrap().0).await });
    let matcher = Matcher::builder().all(format!("http://me:pw@{earlier}")).no("127.0.0.1,*.box.com").build();
    let address = splitter(nobody(), None, matcher, None).await;
    let said = talk(address, b"CONNECT s3.example:443 HTTP/1.1\r\n\r\none").await;
    assert!(said.ends_with("\r\n\r\none"), "{said}");
    let heard = heard.await.unwrap();
    assert!(heard.starts_with("CONNECT s3.example:443 "), "{heard}");
    assert!(heard.contains("Proxy-Authorization: Basic bWU6cHc="), "{heard}");
    let said = talk(address, format!("CONNECT {direct} HTTP/1.1\r\n\r\ntwo").as_bytes()).await;
    assert!(said.ends_with("\r\n\r\ntwo"), "{said}");
    // Box's hosts still go to the gateway, which is not running.
    let said = talk(address, b"CONNECT api.box.com:443 HTTP/1.1\r\n\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 502 Bad Gateway: cannot reach the gateway at http://127.0.0.1:1: "),
        "{said}"
    );
}

#[tokio::test]
async fn a_socks_proxy_of_the_callers_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let earlier = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        stream.write_all(&[5, 0]).await.unwrap();
        let mut request = vec![0; 5 + "s3.example".len() + 2];
        stream.read_exact(&mut request).await.unwrap();
        assert!(request.windows(10).any(|name| name == b"s3.example"));
        stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).await.unwrap();
        echo(&mut stream).await;
    });
    let matcher = Matcher::builder().all(format!("socks5h://{earlier}")).build();
    let address = splitter(nobody(), None, matcher, None).await;
    let said = talk(address, b"CONNECT s3.example:443 HTTP/1.1\r\n\r\nhello").await;
    assert_eq!(said, "HTTP/1.1 200 Connection established\r\n\r\nhello");
}

#[tokio::test]
async fn a_gateway_that_is_the_callers_proxy_is_not_used_for_other_hosts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move { echo(&mut listener.accept().await.unwrap().0).await });
    let matcher = Matcher::builder().all(format!("http://{}", nobody())).build();
    let address = splitter(nobody(), None, matcher, None).await;
    let said = talk(address, format!("CONNECT {target} HTTP/1.1\r\n\r\nhello").as_bytes()).await;
    assert!(said.ends_with("\r\n\r\nhello"), "{said}");
}

#[tokio::test]
async fn requests_without_the_password_are_refused() {
    let (gateway, heard) = proxy(OPEN).await;
    let address = splitter(gateway, login(), no_proxy(), Some("pw")).await;
    let right = "Ym94Z2F0ZTpwdw==";
    for shown in [
        String::new(),
        "Proxy-Authorization: Basic Ym94Z2F0ZTp4eA==\r\n".to_owned(),
        "Proxy-Authorization: Basic\r\n".to_owned(),
        format!("Proxy-Authorization: Bearer {right}\r\n"),
        format!("Proxy-Authorization: Basic {right}\r\nProxy-Authorization: Basic {right}\r\n"),
    ] {
        let said = talk(address, format!("CONNECT api.box.com:443 HTTP/1.1\r\n{shown}\r\n").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 407 Proxy Authentication Required: "), "{said}");
        assert!(said.contains("Proxy-Authenticate: Basic realm="), "{said}");
    }
    let request =
        format!("CONNECT api.box.com:443 HTTP/1.1\r\nproxy-authorization: basic {right}\r\n\r\nhello");
    let said = talk(address, request.as_bytes()).await;
    assert!(said.ends_with("\r\n\r\nhello"), "{said}");
    assert!(heard.await.unwrap().contains("Basic aHI6aw=="));
}

#[tokio::test]
async fn anything_but_a_connect_is_refused_with_a_message() {
    let address = splitter(nobody(), None, no_proxy(), None).await;
    let long = [b"CONNECT a:1 HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; 40_000], b"\r\n\r\n".to_vec()].concat();
    for (request, status) in [
        (&b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n"[..], "501"),
        (b"GET / HTTP/1.1\r\n\r\n", "501"),
        (b"CONNECT api.box.com HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT api.box.com: HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT api.box.com:0 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT api.box.com:70000 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT a@api.box.com:443 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT :443 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT https://api.box.com:443/ HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT  api.box.com:443 HTTP/1.1\r\n\r\n", "400"),
        (b"CONNECT api.box.com:443\r\n\r\n", "400"),
        (b"CONNECT api.box.com:443 HTTP/3\r\n\r\n", "505"),
        (b"CONNECT api.box.com:443 HTTP/1.1\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\n\n", "400"),
        (b"", "400"),
        (&long, "400"),
    ] {
        let said = talk(address, request).await;
        let shown = String::from_utf8_lossy(request);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:.60}: {said}");
        assert!(said.contains("\r\n\r\nboxgate exec: "), "{said}");
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_speak_http_is_a_502() {
    let (gateway, _) = proxy("SSH-2.0-OpenSSH\r\n\r\n").await;
    let address = splitter(gateway, None, no_proxy(), None).await;
    let said = talk(address, b"CONNECT api.box.com:443 HTTP/1.1\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 502 Bad Gateway: ") && said.contains("does not speak HTTP"), "{said}");
}
