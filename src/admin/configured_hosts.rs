//! The configured hosts of Box and whether they answer: for `/metrics` and `/status.json`.

use http::uri::Authority;

use crate::oauth::token_endpoint;
use crate::routing::box_hosts::BoxHosts;
use crate::telemetry::outages::{Outage, Outages, Party};

/// The hosts of the API, uploads, downloads and tokens, each once: by default the token endpoint is at the API's host. With the
/// outage of each; a token endpoint that gives no tokens is one of its host.
pub(super) fn configured_hosts<'h>(hosts: &'h BoxHosts, outages: &Outages) -> Vec<(&'h str, Option<Outage>)> {
    let endpoint = token_endpoint::authority_of(&hosts.token_url);
    let mut authorities: Vec<&str> = Vec::new();
    for authority in hosts.authorities().map(Authority::as_str).into_iter().chain([endpoint]) {
        if !authorities.contains(&authority) {
            authorities.push(authority);
        }
    }
    let outage = |authority| {
        let of_host = outages.of(Party::Host(authority));
        let of_tokens = || outages.of(Party::TokenEndpoint { authority, reached: false });
        of_host.or_else(|| if authority == endpoint { of_tokens() } else { None })
    };
    authorities.into_iter().map(|authority| (authority, outage(authority))).collect()
}
