//! A long poll is cut by no balancer: the time limit that would cut it is longer than Box holds one.

use super::balancer::{CADDY, ENVOY, HAPROXY, NGINX, Shipped};
use super::site::Site;

const ME: &str = "/any/2.0/users/me";

#[test]
fn nginx_waits_eleven_minutes() {
    waits_as_long_as_the_file_says(NGINX, &[("proxy_read_timeout 11m", "proxy_read_timeout 1s")]);
}

#[test]
fn caddy_waits_eleven_minutes() {
    waits_as_long_as_the_file_says(CADDY, &[("response_header_timeout 11m", "response_header_timeout 1s")]);
}

#[test]
fn haproxy_waits_eleven_minutes() {
    waits_as_long_as_the_file_says(HAPROXY, &[("timeout server 11m", "timeout server 1s")]);
}

#[test]
fn envoy_waits_eleven_minutes() {
    waits_as_long_as_the_file_says(ENVOY, &[("stream_idle_timeout: 660s", "stream_idle_timeout: 1s")]);
}

/// With a second in place of the eleven minutes an answer that takes longer is cut off, so nothing else would cut it sooner
/// but a limit of more than a second: those of the file are compared with 660 s in [`limits`].
fn waits_as_long_as_the_file_says(file: Shipped, to_a_second: &[(&str, &str)]) {
    let site = Site::with(file, "boxgate.toml", 1, to_a_second);
    let _held = site.at.hold_replies("/2.0/users/me");
    let cut = site.caller.get(ME);
    assert_eq!(cut.status, 504, "{cut:?}");
}
