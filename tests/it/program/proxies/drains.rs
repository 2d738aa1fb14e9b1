//! One of two gateways drains and stops, and callers of the balancer notice nothing.

use std::process::{Child, Stdio};

use super::balancer::{CADDY, ENVOY, HAPROXY, NGINX, Shipped};
use super::site::Site;
use crate::program::harness::{Lines, until};

/// Arguments of curl, and the status of each answer.
type Requests = (&'static [&'static str], &'static str);

const GETS: Requests = (&[], "200");
/// The sandbox has no such operation; it is Box's answer all the same.
const POSTS: Requests = (&["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"], "405");

/// More requests than the test has time for, one after the other.
const MANY: &str = "/any/2.0/users/me?number=[1-1000000]";

/// It asks no health checks: it notices when a connection fails, and sends again only what may be sent twice.
#[test]
fn nginx_loses_no_get_while_a_gateway_stops() {
    no_request_is_lost(NGINX, &[GETS]);
}

#[test]
fn caddy_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(CADDY, &[GETS, POSTS]);
}

#[test]
fn haproxy_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(HAPROXY, &[GETS, POSTS]);
}

#[test]
fn envoy_loses_no_request_while_a_gateway_stops() {
    no_request_is_lost(ENVOY, &[GETS, POSTS]);
}

fn no_request_is_lost(file: Shipped, kinds: &[Requests]) {
    let mut site = Site::with(file, "boxgate.toml", 2, &[]);
    until("both gateways serve", || {
        site.caller.get("/any/2.0/users/me");
        site.gateways.iter().all(|gateway| gateway.out.text().contains("status=200"))
    });
    let loads: Vec<_> = kinds.iter().map(|(arguments, _)| Load::start(&site, arguments)).collect();
    for load in &loads {
        load.statuses.wait_for_count(20);
    }
    let mut stopping = site.gateways.remove(0);
    stopping.terminate();
    assert_eq!(stopping.exited().code(), Some(0));
    for load in &loads {
        load.statuses.wait_for_count(load.statuses.all().len() + 20);
    }
    for (load, (arguments, usual)) in loads.into_iter().zip(kinds) {
        let statuses = load.end();
        let unusual: Vec<_> = statuses.iter().filter(|status| status != usual).collect();
        assert!(unusual.is_empty(), "{arguments:?}: {unusual:?}");
    }
}

/// Requests one after the other over one connection, and the status of each.
struct Load {
    curl: Child,
    statuses: Lines,
}

impl Load {
    fn start(site: &Site, more: &[&str]) -> Self {
        let mut command = site.caller.curl();
        // Standard error is not buffered. A hundred a second, since other tests run beside this one.
        command.args(["--rate", "100/s", "-o", "/dev/null", "-w", "%{stderr}%{http_code}\\n"]).args(more);
        command.arg(site.caller.url(MANY));
        let mut curl = command.stderr(Stdio::piped()).spawn().unwrap();
        let statuses = Lines::of(curl.stderr.take().unwrap());
        Self { curl, statuses }
    }

    /// All statuses until now, but for one that may have been written in part.
    fn end(mut self) -> Vec<String> {
        self.curl.kill().unwrap();
        self.curl.wait().unwrap();
        let mut statuses = self.statuses.all();
        statuses.pop();
        statuses
    }
}
