//! A long poll is cut by no balancer: the time limit that would cut it is longer than Box holds one.

use std::process::Stdio;
use std::time::Duration;

use boxgate::sandbox::Content;

use super::balancer::{CADDY, ENVOY, HAPROXY, NGINX, Shipped};
use super::caller::NAME;
use super::site::Site;
use crate::program::harness::wait;

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

/// Nobody wants to wait for eleven minutes. So the test shows that the file has them, and that it is this limit which cuts an
/// answer off: with a second in its place, an answer that takes longer gets 504.
fn waits_as_long_as_the_file_says(file: Shipped, to_a_second: &[(&str, &str)]) {
    let site = Site::with(file, "boxgate.toml", 1, to_a_second);
    let _held = site.at.hold_replies("/2.0/users/me");
    let cut = site.caller.get(ME);
    assert_eq!(cut.status, 504, "{cut:?}");
}

#[test]
#[ignore = "takes ten minutes"]
fn a_long_poll_of_ten_minutes_is_answered_through_each() {
    let polls: Vec<_> =
        [NGINX, CADDY, HAPROXY, ENVOY].map(|file| std::thread::spawn(move || long_poll(file))).into();
    for poll in polls {
        poll.join().unwrap();
    }
}

/// Box holds a long poll for 600 s.
fn long_poll(file: Shipped) {
    let site = Site::behind(file);
    let held = site.at.hold_replies("/subscribe");
    let events = site.caller.ask("/any/2.0/events", &["-X", "OPTIONS"]);
    let (_, rest) =
        events.body.split_once(&format!("{NAME}:{}", site.ports.balancer)).expect("a URL of the balancer");
    let target = rest.split('"').next().unwrap();
    let mut poll = site.caller.curl();
    poll.args(["--max-time", "700", "-w", "%{http_code} %{time_total}", "-o", "/dev/null"])
        .arg(site.caller.url(target));
    let poll = poll.stdout(Stdio::piped()).spawn().unwrap();
    wait(site.at.wait_for_in_flight(1));
    std::thread::sleep(Duration::from_secs(605));
    drop(held);
    site.at.add_file("0", "news.txt", Content::Bytes("news".into()));
    let said = String::from_utf8(poll.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.starts_with("200 6"), "{}: {said}", file.file);
}
