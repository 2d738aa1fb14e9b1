//! To which limits a request would be charged, and under which keys, without charging it.

use std::net::IpAddr;

use super::{Limiter, Request};
use crate::limits::rate::limit::{Key, Limit};
use crate::limits::rate::matcher::{User, first_64_bits};

/// A limit to which a request would be charged.
pub(crate) struct Charge<'a> {
    pub limit: &'a Limit,
    /// Whether it is one of Box's own.
    pub of_box: bool,
    /// What has the count, such as an address or the name of an app; empty for a limit with one count for all.
    pub counted: String,
}

impl Limiter {
    /// The limits that count this request, in their order.
    pub(crate) fn charges(&self, request: Request<'_>) -> Vec<Charge<'_>> {
        let request_key = self.request_key(request);
        let rules = self.limits.rules();
        let charge = |(index, limit): (usize, _)| {
            let limit: &Limit = limit;
            let counted = match (limit.key, request_key.client.ip()) {
                (Key::Client, Some(IpAddr::V6(address))) => {
                    format!("{}/64", std::net::Ipv6Addr::from_bits(u128::from(first_64_bits(address)) << 64))
                }
                // In the words of `/status.json`.
                (Key::User, _) if request_key.user == User::Service => {
                    let identity = self.settings.identities.get(request_key.identity.index());
                    format!("service account of {}", identity.map_or("", |identity| &identity.name))
                }
                (key, _) => self.key(key, &request_key),
            };
            Charge { limit, of_box: rules.is_of_box(index), counted }
        };
        rules.about(&request_key).map(charge).collect()
    }

    /// The names of the bounds on requests in flight that apply to this request, each with the most that it lets pass.
    pub(crate) fn bounds(&self, request: Request<'_>) -> Vec<(&'static str, usize)> {
        let request_key = self.request_key(request);
        self.wanted_slots(&request_key).map(|(kind, most)| (kind.name(), most)).collect()
    }
}
