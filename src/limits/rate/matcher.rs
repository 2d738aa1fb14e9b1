//! Which limits apply to a request, and what it is counted under.
//!
//! Keys are kept as 64-bit hashes under a random key: two keys fall together once in thousands of years, and nobody
//! can choose keys that do.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::limit::{Key, Limit};
use crate::net::client_address::ClientAddress;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;

/// What is asked, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestKey<'a> {
    pub operation: Operation<'a>,
    pub class: Class,
    /// The client behind trusted proxies.
    pub client: ClientAddress,
    pub app: AppId,
    pub identity: IdentityId,
    pub user: User<'a>,
    /// A number for each client id.
    pub enterprise: usize,
    /// Box's own limits count it: not what goes to a pre-signed or realtime URL.
    pub counted_by_box: bool,
}

/// On whose behalf Box is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User<'a> {
    /// `As-User`, or the identity's `user_id`: one count, whichever identity asks.
    Id(&'a str),
    /// The service account that belongs to the client id.
    Service,
}

/// The limits as they are configured and as Box publishes them. Unchanging: asked without a lock.
#[derive(Debug)]
pub(crate) struct LimitMatcher {
    rules: Vec<Rule>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Rule {
    limit: Limit,
    of_box: bool,
}

impl LimitMatcher {
    /// The configured ones come first: where several refuse, theirs is the name that an operator expects.
    pub(crate) fn new(configured: Vec<Limit>, of_box: Vec<Limit>) -> Self {
        let configured = configured.into_iter().map(|limit| Rule { limit, of_box: false });
        let rules = configured.chain(of_box.into_iter().map(|limit| Rule { limit, of_box: true }));
        Self { rules: rules.collect(), hasher: RandomState::new() }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Limit> {
        self.rules.get(index as usize).map(|rule| &rule.limit)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.rules.iter().map(|rule| &rule.limit)
    }

    /// What this request is counted under; empty where no limit is about it.
    pub(crate) fn applying(&self, request_key: &RequestKey<'_>) -> Keys {
        let mut keys = Keys::default();
        let mut hashes: [Option<u64>; 6] = [None; 6];
        let operation = request_key.operation.in_any_spelling();
        for (index, Rule { limit, of_box }) in (0..).zip(&self.rules) {
            if (*of_box && !request_key.counted_by_box) || !limit.applies(&operation, request_key.class) {
                continue;
            }
            let key = match hashes.get_mut(limit.key as usize) {
                Some(known) => *known.get_or_insert_with(|| self.hash(limit.key, request_key)),
                None => self.hash(limit.key, request_key),
            };
            keys.push(Counted { rule: index, key });
        }
        keys
    }

    /// Of what a request is counted under, the windows: each attempt counts there.
    pub(crate) fn windows(&self, request_key: &RequestKey<'_>) -> Keys {
        let mut windows = Keys::default();
        for counted in self.applying(request_key).iter() {
            if self.get(counted.rule).is_some_and(|limit| limit.quota.is_window()) {
                windows.push(counted);
            }
        }
        windows
    }

    fn hash(&self, key: Key, request_key: &RequestKey<'_>) -> u64 {
        let hash = |value: u64| self.hasher.hash_one((key, value));
        match key {
            Key::Client => match request_key.client {
                ClientAddress::Known(IpAddr::V4(address)) => hash(u64::from(address.to_bits())),
                // A household or a server has so many at its disposal.
                ClientAddress::Known(IpAddr::V6(address)) => {
                    self.hasher.hash_one((key, 6, address.to_bits() >> 64))
                }
                // Those whom nobody can tell apart have one count, but not that of the proxy.
                ClientAddress::Unknown => self.hasher.hash_one((key, "unknown")),
            },
            Key::App => hash(request_key.app.index() as u64),
            Key::Identity => hash(request_key.identity.index() as u64),
            Key::Enterprise => hash(request_key.enterprise as u64),
            Key::Global => hash(0),
            Key::User => match request_key.user {
                User::Id(id) => self.hasher.hash_one((key, id)),
                User::Service => hash(request_key.enterprise as u64),
            },
        }
    }
}

/// A limit by its index in [`LimitMatcher`], and what it counts under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counted {
    pub rule: u32,
    /// The hash of what has a count of its own.
    pub key: u64,
}

/// What a request is counted under. Few limits apply to one request, so they mostly need no allocation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    first: [Counted; 8],
    len: usize,
    more: Vec<Counted>,
}

impl Keys {
    pub(crate) fn push(&mut self, counted: Counted) {
        match self.first.get_mut(self.len) {
            Some(free) => {
                *free = counted;
                self.len += 1;
            }
            None => self.more.push(counted),
        }
    }

    /// Whether no limit applies.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in the limits' order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Counted> {
        self.first.iter().take(self.len).chain(&self.more).copied()
    }
}
