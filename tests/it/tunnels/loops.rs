//! The gateway never calls itself.

use super::program::tunnel;
use crate::harness::{Bench, free_port, refusal, until};

#[tokio::test]
async fn a_request_that_came_through_before_is_a_loop() {
    let bench = Bench::start().await;
    bench.until_ready().await;
    for via in ["1.1 boxgate", "1.1 a, 2 BoxGate (x)", "HTTP/1.1 boxgate"] {
        let answer = bench.client.get(bench.url("/2.0/users/me")).header("via", via).send().await.unwrap();
        assert_eq!(refusal(answer).await, (508, "loop_detected".to_owned()), "{via}");
    }
    for via in ["1.1 other", "1.1 notboxgate", "boxgate 1.1", "1.1 boxgate.example"] {
        let answer = bench.client.get(bench.url("/2.0/users/me")).header("via", via).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{via}");
    }
}

/// As with HTTPS_PROXY set for all of a machine, the gateway's own process among them.
#[tokio::test]
async fn a_proxy_that_is_the_gateway_itself_is_a_loop() {
    let port = free_port();
    for host in ["127.0.0.1", "localhost"] {
        let tables = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\nworkers = 1\n[upstream]\nproxy = \"http://{host}:{port}\"\n[forward_proxy]"
        );
        let bench = Bench::with(&tables).await;
        until(|| async {
            let answer = bench.get("/2.0/users/me").await;
            answer.status() == 508
        })
        .await;
        let (_, reasons) = bench.admin("/readyz").await;
        assert!(reasons.contains("where this gateway itself listens"), "{reasons}");
        bench.stop(boxgate::server::shutdown::Stop::Now);
        bench.stopped().await;
    }
}

#[tokio::test]
async fn an_upstream_that_is_the_gateway_itself_is_a_loop() {
    let port = free_port();
    let sandbox = boxgate::sandbox::Sandbox::start(Default::default()).await.unwrap();
    let tables = format!(
        "[listen]\naddress = \"0.0.0.0:{port}\"\nworkers = 1\n[box]\napi = \"https://localhost:{port}\"\nupload = \"https://127.0.0.1:{port}\"\ntoken_url = \"{}\"\nca_file = \"ca.pem\"",
        sandbox.token_url()
    );
    let bench = Bench::before(sandbox, &tables).await;
    bench.until_ready().await;
    for path in ["/2.0/users/me", "/api/2.0/files/upload_sessions/1"] {
        let answer = bench.client.get(format!("http://127.0.0.1:{port}{path}")).send().await.unwrap();
        assert_eq!(refusal(answer).await, (508, "loop_detected".to_owned()), "{path}");
    }
}

/// The token endpoint is a gateway, whose placeholder is not a token.
#[tokio::test]
async fn a_placeholder_is_not_accepted_as_a_token() {
    let bench = super::bench().await;
    let ca = super::program::ca(&bench).await;
    let proxied = format!("[upstream]\nproxy = \"http://{}\"\n[box]\nca_file = \"ca.pem\"", bench.address);
    let sandbox = boxgate::sandbox::Sandbox::start(Default::default()).await.unwrap();
    let behind = Bench::before_trusting(sandbox, &ca, &proxied).await;
    until(|| async { behind.get("/2.0/users/me").await.status() == 508 }).await;
    let (_, reasons) = behind.admin("/readyz").await;
    assert!(reasons.contains("placeholder"), "{reasons}");
    let head = tunnel::refused(&behind, "api.box.com:443", "").await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
}
