//! Which limits apply to a request, and under which key each counts it.
//!
//! Keys are stored as 64-bit hashes under a random key: two keys collide once in thousands of years, and nobody
//! can choose keys that collide.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use super::limit::{Key, Limit};
use crate::net::client_address::ClientAddress;
use crate::oauth::identity::IdentityId;
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;

/// The properties of a request that limits use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestKey<'a> {
    pub operation: Operation<'a>,
    pub class: Class,
    /// The client behind trusted proxies.
    pub client: ClientAddress,
    /// The index in lists of the configuration; counts are kept by `app_number`.
    pub app: AppId,
    /// The index in lists of the configuration; counts are kept by `identity_number`.
    pub identity: IdentityId,
    /// The app's number, the same in all configurations of the process.
    pub app_number: u64,
    /// The identity's number, the same in all configurations of the process.
    pub identity_number: u64,
    pub user: User<'a>,
    /// The number of the client id, the same in all configurations of the process.
    pub enterprise: u64,
    /// Whether Box's own limits count it: not if it goes to a pre-signed or realtime URL.
    pub counted_by_box: bool,
}

/// The Box user on whose behalf the request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User<'a> {
    /// `As-User`, or the identity's `user_id`: one count over all identities.
    Id(&'a str),
    /// The service account that belongs to the client id.
    Service,
}

/// The configured limits and those that Box publishes. Immutable, so it needs no lock.
#[derive(Debug)]
pub(crate) struct LimitMatcher {
    rules: Vec<Rule>,
    hasher: RandomState,
}

/// One limit of a configuration.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) limit: Limit,
    /// Whether it is one of Box's own.
    pub(super) of_box: bool,
    /// The slot of its counts in [`super::buckets::Table`].
    slot: u32,
}

impl LimitMatcher {
    /// The configured ones come first: if several refuse, an operator expects the name of the configured one.
    pub(crate) fn new(configured: Vec<Limit>, of_box: Vec<Limit>) -> Self {
        let configured = configured.into_iter().map(|limit| (limit, false));
        let rules = configured.chain(of_box.into_iter().map(|limit| (limit, true)));
        let rules = (0..).zip(rules).map(|(slot, (limit, of_box))| Rule { limit, of_box, slot });
        Self { rules: rules.collect(), hasher: RandomState::new() }
    }

    /// Sets the slot of each limit's counts, in the limits' order, and the hasher of their keys: so the limits of
    /// several configurations can share counts.
    pub(super) fn bind(&mut self, slots: &[u32], hasher: RandomState) {
        for (rule, slot) in self.rules.iter_mut().zip(slots) {
            rule.slot = *slot;
        }
        self.hasher = hasher;
    }

    /// All limits, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.rules.iter().map(|rule| &rule.limit)
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The slots of the limits' counts, in the limits' order.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().map(|rule| rule.slot)
    }

    /// The index of the limit with this slot.
    pub(super) fn index_of(&self, slot: u32) -> Option<usize> {
        self.rules.iter().position(|rule| rule.slot == slot)
    }

    /// The limits that count this request, by index.
    pub(crate) fn about(&self, request_key: &RequestKey<'_>) -> impl Iterator<Item = (usize, &Limit)> {
        self.rules_about(*request_key).map(|(index, rule)| (index, &rule.limit))
    }

    /// Whether the limit with this index is one of Box's own.
    pub(crate) fn is_of_box(&self, index: usize) -> bool {
        self.rules.get(index).is_some_and(|rule| rule.of_box)
    }

    /// The limits that count this request, with their keys; empty if none applies.
    pub(crate) fn applying(&self, request_key: &RequestKey<'_>) -> Keys {
        self.keys(request_key, |_| true)
    }

    /// The same only for windows, which count each attempt.
    pub(crate) fn windows(&self, request_key: &RequestKey<'_>) -> Keys {
        self.keys(request_key, |limit| limit.quota.is_window())
    }

    fn keys(&self, request_key: &RequestKey<'_>, wanted: impl Fn(&Limit) -> bool) -> Keys {
        let mut keys = Keys::default();
        let mut hashes: [Option<u64>; 6] = [None; 6];
        for (_, Rule { limit, slot, .. }) in self.rules_about(*request_key) {
            if !wanted(limit) {
                continue;
            }
            let key = match hashes.get_mut(limit.key as usize) {
                Some(known) => *known.get_or_insert_with(|| self.hash(limit.key, request_key)),
                None => self.hash(limit.key, request_key),
            };
            keys.push(Counted { slot: *slot, key });
        }
        keys
    }

    fn rules_about(&self, request_key: RequestKey<'_>) -> impl Iterator<Item = (usize, &Rule)> {
        let operation = request_key.operation.in_any_spelling();
        self.rules.iter().enumerate().filter(move |(_, Rule { limit, of_box, .. })| {
            (!*of_box || request_key.counted_by_box) && limit.applies(&operation, request_key.class)
        })
    }

    /// The key under which the app, identity or enterprise with this number is counted; for `Key::User`, the service account of the
    /// enterprise with this number.
    pub(crate) fn key_of(&self, key: Key, number: u64) -> u64 {
        self.hasher.hash_one((key, number))
    }

    /// The key under which this user is counted.
    pub(crate) fn key_of_user(&self, id: &str) -> u64 {
        self.hasher.hash_one((Key::User, id))
    }

    /// The key of this kind under which the request is counted.
    pub(super) fn hash(&self, key: Key, request_key: &RequestKey<'_>) -> u64 {
        let hash = |value: u64| self.hasher.hash_one((key, value));
        match key {
            Key::Client => match request_key.client.ip() {
                Some(IpAddr::V4(address)) => hash(u64::from(address.to_bits())),
                // A household or a server usually has a whole /64 network.
                Some(IpAddr::V6(address)) => self.hasher.hash_one((key, 6, first_64_bits(address))),
                // Clients without a known address share one count, which is not the proxy's.
                None => self.hasher.hash_one((key, "unknown")),
            },
            Key::App => hash(request_key.app_number),
            Key::Identity => hash(request_key.identity_number),
            Key::Enterprise => hash(request_key.enterprise),
            Key::Global => hash(0),
            Key::User => match request_key.user {
                User::Id(id) => self.hasher.hash_one((key, id)),
                User::Service => hash(request_key.enterprise),
            },
        }
    }
}

/// The network whose addresses have one count.
pub(crate) fn first_64_bits(address: Ipv6Addr) -> u64 {
    // What is left of the shift fits.
    (address.to_bits() >> 64) as u64
}

/// A limit, by the slot of its counts, and the key under which it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counted {
    pub slot: u32,
    /// The hash of the key.
    pub key: u64,
}

/// The limits that count a request, with their keys. Few apply to one request, so this rarely allocates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

    /// All entries, in the limits' order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Counted> {
        self.first.iter().take(self.len).chain(&self.more).copied()
    }
}
