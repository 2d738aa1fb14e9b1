//! Balancers that pass TCP on: the gateway ends TLS, and a header of the PROXY protocol names the client.

use super::balancer::{ENVOY_TCP, HAPROXY_TCP, NGINX_TCP, Shipped};
use super::site::Site;

#[test]
fn nginx_names_the_client_with_version_1() {
    the_client_is_named(NGINX_TCP);
}

#[test]
fn haproxy_names_the_client_with_version_2() {
    the_client_is_named(HAPROXY_TCP);
}

#[test]
fn envoy_names_the_client_with_version_2() {
    the_client_is_named(ENVOY_TCP);
}

fn the_client_is_named(file: Shipped) {
    let site = Site::with(file, "boxgate-tcp.toml", 1, &[]);
    let keyless = site.caller.curl_without_key().arg(site.caller.url("/any/2.0/users/me")).output().unwrap();
    let said = String::from_utf8_lossy(&keyless.stdout);
    assert!(said.contains("caller_not_allowed"), "{said}");
    let target = "/known/2.0/users/me";
    let answer = site.caller.get(target);
    assert_eq!((answer.status, answer.version.as_str()), (200, "HTTP/2"), "{answer:?}");
    site.gateway().out.wait_for(&["client=127.0.0.2", "status=200"]);
    let forged = ["-H", "X-Forwarded-For: 127.0.0.2"];
    let refused = site.caller_from("127.0.0.3").ask(target, &forged);
    assert!(refused.status == 403 && refused.body.contains("source_not_allowed"), "{refused:?}");
}
