//! Which apps can serve a request, found by base path, `Host` and key without a walk over all apps.
//!
//! The index only leaves out apps that certainly do not serve the request; whoever asks compares what is left, in the
//! order of precedence. So a request costs the same with one app and with a thousand, unless these have the same path,
//! the same hosts and no keys, and differ only in their sources or certificates. One that no app serves is compared with all apps of its path
//! and host, to say what it lacks.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::http::host::{self, Host, HostList};
use crate::routing::app_key::{AppKeys, ShownKey};

/// The properties of an app by which it is found.
pub(crate) struct Indexed<'a> {
    /// Base path: empty for `/`, else `/a/b` without a slash at the end.
    pub path: &'a str,
    /// Only requests with one of these Host names; empty: any.
    pub hosts: &'a HostList,
    /// Only callers that send one of these keys; `None`: any.
    pub keys: Option<&'a AppKeys>,
}

/// Positions of apps in their list, which is in the order of precedence: longer paths come first.
#[derive(Debug, Clone)]
pub(crate) struct AppIndex {
    /// The lengths that base paths have, longest first.
    lengths: Vec<usize>,
    by_path: HashMap<Box<str>, ByHost>,
    /// The secret of the hashes of keys.
    hasher: RandomState,
}

/// The apps with one base path.
#[derive(Debug, Clone, Default)]
struct ByHost {
    /// Those that list a host, by its name in lower case.
    listed: HashMap<Box<str>, ByKey>,
    /// Those that list none.
    any: ByKey,
}

/// Apps with one base path, for one host or for any. Each list is in the order of precedence.
#[derive(Debug, Clone, Default)]
struct ByKey {
    all: Vec<usize>,
    /// Those that need no key.
    keyless: Vec<usize>,
    /// Those with a key, by its hash with a secret: how long a look-up takes says nothing about a key, and an app that is
    /// found compares the key itself.
    keyed: HashMap<u64, Vec<usize>>,
}

impl AppIndex {
    /// `apps`: in the order of precedence, longer paths first.
    pub(crate) fn new<'a>(apps: impl Iterator<Item = Indexed<'a>>) -> Self {
        let mut index = Self { lengths: Vec::new(), by_path: HashMap::new(), hasher: RandomState::new() };
        for (position, Indexed { path, hosts, keys }) in apps.enumerate() {
            if index.lengths.last() != Some(&path.len()) {
                index.lengths.push(path.len());
            }
            let by_host = index.by_path.entry(path.into()).or_default();
            if hosts.is_empty() {
                by_host.any.add(position, keys, &index.hasher);
            }
            for host in hosts.names() {
                by_host.listed.entry(host.into()).or_default().add(position, keys, &index.hasher);
            }
        }
        index
    }

    /// In the order of precedence, the positions of the apps whose base path leads to `path`, that list `host` or no host,
    /// and that may take `key`. Their sources, certificates, origins and keys are still to be
    /// compared.
    pub(crate) fn candidates<'s>(
        &'s self,
        path: &'s str,
        host: Host<'s>,
        key: ShownKey<'_>,
    ) -> impl Iterator<Item = usize> + use<'s> {
        let host = match host {
            Host::Ip(_) => None,
            Host::Name(name) => Some(host::in_lower_case(name)),
        };
        let key = match key {
            ShownKey::NotNeeded => Wanted::All,
            ShownKey::Nothing => Wanted::Keyless,
            ShownKey::Key(shown) => Wanted::Keyed(self.hasher.hash_one(shown)),
        };
        self.prefixes(path).flat_map(move |(_, by_host)| {
            let listed = host.as_deref().and_then(|host| by_host.listed.get(host));
            merged(listed.map_or(&[], |listed| listed.wanted(key)), by_host.any.wanted(key))
        })
    }

    /// The longest base path of an app that is a prefix of `path`.
    pub(crate) fn base_path(&self, path: &str) -> Option<&str> {
        self.prefixes(path).next().map(|(path, _)| path)
    }

    /// The base paths of apps below which `path` is, longest first. Only whole segments match.
    fn prefixes<'s, 'p>(
        &'s self,
        path: &'p str,
    ) -> impl Iterator<Item = (&'s str, &'s ByHost)> + use<'s, 'p> {
        self.lengths.iter().filter_map(move |&length| {
            let (prefix, rest) = path.split_at_checked(length)?;
            let is_below = rest.is_empty() || rest.starts_with('/');
            let (path, by_host) = self.by_path.get_key_value(prefix).filter(|_| is_below)?;
            Some((&**path, by_host))
        })
    }
}

/// Which apps a request can mean by the key that it shows.
#[derive(Clone, Copy)]
enum Wanted {
    /// A preflight shows none and needs none.
    All,
    Keyless,
    /// The hash of the key.
    Keyed(u64),
}

impl ByKey {
    fn add(&mut self, position: usize, keys: Option<&AppKeys>, hasher: &RandomState) {
        self.all.push(position);
        let Some(keys) = keys else { return self.keyless.push(position) };
        for key in keys.iter() {
            let keyed = self.keyed.entry(hasher.hash_one(key.expose().as_bytes())).or_default();
            // An app may list a key twice.
            if keyed.last() != Some(&position) {
                keyed.push(position);
            }
        }
    }

    fn wanted(&self, key: Wanted) -> &[usize] {
        match key {
            Wanted::All => &self.all,
            Wanted::Keyless => &self.keyless,
            Wanted::Keyed(hash) => self.keyed.get(&hash).map_or(&[], Vec::as_slice),
        }
    }
}

/// The positions of two ascending lists in ascending order.
fn merged<'s>(a: &'s [usize], b: &'s [usize]) -> impl Iterator<Item = usize> + use<'s> {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(first), Some(second)) if first > second => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}
