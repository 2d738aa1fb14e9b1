//! Box's own names, and the proxy that connects them to the sandbox.

use tokio::io::BufReader;

use super::*;

/// A bench whose client uses Box's names and the proxy.
async fn bench() -> Bench {
    let mut bench = Bench::with(Options { names: Names::Box, ..Options::default() }).await;
    bench.client = Client::builder()
        .tls_backend_preconfigured(trusting(&bench.sandbox, &[b"h2", b"http/1.1"]))
        .redirect(Policy::none())
        .proxy(reqwest::Proxy::all(bench.sandbox.proxy_url()).unwrap())
        .build()
        .unwrap();
    bench
}

#[tokio::test]
async fn responses_have_boxs_names_and_the_proxy_connects_them() {
    let bench = bench().await;
    let id = bench.sandbox.add_file("0", "a.txt", Content::Bytes("hello".into()));
    let redirect = bench.get(&format!("https://api.box.com/2.0/files/{id}/content")).await;
    let location = redirect.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("https://public.boxcloud.com/d/1/"), "{location}");
    assert_eq!(bench.client.get(&location).send().await.unwrap().text().await.unwrap(), "hello");
    assert_eq!(bench.sandbox.last_seen().unwrap().authority, "public.boxcloud.com");
    assert_eq!(bench.sandbox.tunnelled(), ["api.box.com:443", "public.boxcloud.com:443"]);

    let fields = "authenticated_download_url,representations";
    let file = json(bench.get(&format!("https://api.box.com/2.0/files/{id}?fields={fields}")).await).await;
    let direct = file["authenticated_download_url"].as_str().unwrap();
    assert_eq!(direct, format!("https://dl.boxcloud.com/api/2.0/files/{id}/content"));
    let info = file["representations"]["entries"][0]["info"]["url"].as_str().unwrap();
    assert!(info.starts_with("https://api.box.com/2.0/internal_files/"), "{info}");

    let check = serde_json::json!({ "name": "b.txt", "size": 5, "parent": { "id": "0" } });
    let checked = json(bench.send("OPTIONS", "https://api.box.com/2.0/files/content", check).await).await;
    let upload = checked["upload_url"].as_str().unwrap();
    assert!(upload.starts_with("https://upload-las.app.box.com/api/2.0/files/content?"), "{upload}");
    let form = form_data(&[("attributes", r#"{"name":"b.txt","parent":{"id":"0"}}"#), ("file", "hello")]);
    let token = checked["upload_token"].as_str().unwrap().to_owned();
    let bench = Bench { token, ..bench };
    let made = bench.request("POST", upload).header("content-type", FORM_DATA).body(form);
    assert_eq!(made.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn the_proxy_refuses_other_hosts() {
    let bench = Bench::start().await;
    let port = bench.sandbox.proxy_port;
    for (request, status) in [
        ("CONNECT example.com:443 HTTP/1.1", "HTTP/1.1 403 "),
        (&format!("CONNECT localhost:{port} HTTP/1.1"), "HTTP/1.1 403 "),
        ("GET http://api.box.com/ HTTP/1.1", "HTTP/1.1 405 "),
        ("CONNECT api.box.com:443 HTTP/1.1", "HTTP/1.1 200 "),
    ] {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        stream.write_all(format!("{request}\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, status.as_bytes(), "{request}");
    }
    bench.sandbox.go_down(Role::Upload).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"CONNECT upload.box.com:443 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 502 ");
    assert_eq!(bench.sandbox.tunnelled().len(), 4);
}
