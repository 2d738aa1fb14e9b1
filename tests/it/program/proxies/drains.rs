//! One of two gateways drains and stops, and callers of the balancer notice nothing.

use std::process::{Child, Stdio};

use super::balancer::{CADDY, ENVOY, HAPROXY, NGINX, Shipped};
use super::site::Site;
use crate::program::harness::{Lines, until};

/// More requests than a second has for curl, one after the other.
const MANY: &str = "/any/2.0/users/me?number=[1-1000000]";

#[test]
fn nginx_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(NGINX);
}

#[test]
fn caddy_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(CADDY);
}

#[test]
fn haproxy_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(HAPROXY);
}

#[test]
fn envoy_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(ENVOY);
}

fn no_request_is_lost(file: Shipped) {
    let mut site = Site::with(file, "boxgate.toml", 2, &[]);
    until("both gateways serve", || {
        site.caller.get("/any/2.0/users/me");
        site.gateways.iter().all(|gateway| gateway.out.text().contains("status=200"))
    });
    let gets = Load::start(&site, &[]);
    let posts = Load::start(&site, &["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"]);
    for load in [&gets, &posts] {
        load.statuses.wait_for_count(20);
    }
    let mut stopping = site.gateways.remove(0);
    stopping.terminate();
    assert_eq!(stopping.exited().code(), Some(0));
    for load in [&gets, &posts] {
        // More after the end than curl has under way.
        load.statuses.wait_for_count(load.statuses.all().len() + 20);
    }
    let (gets, posts) = (gets.end(), posts.end());
    assert!(gets.iter().all(|status| status == "200"), "{:?}", unusual(&gets, "200"));
    // The sandbox has no such operation; Box's answer it is all the same.
    let usual = posts.first().unwrap().clone();
    assert!(["404", "405"].contains(&usual.as_str()), "{usual}");
    assert!(posts.iter().all(|status| *status == usual), "{:?}", unusual(&posts, &usual));
}

fn unusual<'a>(statuses: &'a [String], usual: &str) -> Vec<&'a String> {
    statuses.iter().filter(|status| *status != usual).collect()
}

/// Requests one after the other over one connection, and the status of each.
struct Load {
    curl: Child,
    statuses: Lines,
}

impl Load {
    fn start(site: &Site, more: &[&str]) -> Self {
        let mut command = site.caller.curl();
        command.args(["-N", "-o", "/dev/null", "-w", "%{http_code}\\n"]).args(more);
        command.arg(site.caller.url(MANY));
        let mut curl = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let statuses = Lines::of(curl.stdout.take().unwrap());
        Self { curl, statuses }
    }

    /// All statuses until now.
    fn end(mut self) -> Vec<String> {
        self.curl.kill().unwrap();
        self.curl.wait().unwrap();
        self.statuses.all()
    }
}
