//! Apps: which app is calling? Chosen by the longest path, then by `Host`, then by source address.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::AS_USER;
use crate::host::{Host, HostList};
use crate::network::Networks;
use crate::operation::Rules;
use crate::refusal::Refusal;

/// One app of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// As written; a label of metrics and access lines.
    pub name: String,
    /// Base path: empty for `/`, else `/a/b` without a slash at the end.
    pub path: String,
    /// The place of its identity in the configuration's list.
    pub identity: usize,
    /// Only requests with one of these Host names; empty: any.
    pub hosts: HostList,
    /// Only callers from here; `None`: any.
    pub sources: Option<Networks>,
    /// What it may do.
    pub rules: Rules,
    /// Whom its `As-User` may name.
    pub as_user: AsUser,
    /// Request headers that pass to Box besides the built-in list.
    pub forward_headers: Vec<HeaderName>,
    /// Whether the gateway goes where a download is redirected to.
    pub follow_downloads: bool,
}

/// Whom an app's `As-User` header may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsUser {
    /// These user ids; none: the header is refused.
    Only(Vec<String>),
    /// Any one user.
    Any,
}

impl AsUser {
    /// Refuses a request that names a user whom the app may not name.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match headers.get(AS_USER).map(HeaderValue::to_str) {
            None => Ok(()),
            Some(Ok(user)) if self.permits(user) => Ok(()),
            Some(_) => Err(Refusal::AsUserNotAllowed),
        }
    }

    /// Whether the header's value is one of the users. An id is digits (Box guide "As-User").
    fn permits(&self, user: &str) -> bool {
        match self {
            Self::Only(users) => users.iter().any(|allowed| allowed == user),
            Self::Any => !user.is_empty() && user.bytes().all(|b| b.is_ascii_digit()),
        }
    }
}

impl App {
    /// The path below this app's base path; `None` where the request is not below it. Whole segments count:
    /// `/intranet` does not hold `/intranets`.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.path.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Sorts before all apps that must be asked later.
    fn rank(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.path.len()), self.hosts.is_empty(), self.sources.is_none())
    }

    /// Whether some request could mean either, with nothing in the order of choice between them.
    pub fn is_ambiguous_with(&self, other: &Self) -> bool {
        self.path == other.path
            && self.hosts.is_empty() == other.hosts.is_empty()
            && self.sources.is_none() == other.sources.is_none()
            && (self.hosts.is_empty()
                || self.hosts.names().any(|name| other.hosts.names().any(|b| b == name)))
            && !self.is_separate_from(other)
    }

    /// Whether no source address can reach both. Path and Host can be invented by any program, addresses cannot.
    pub fn is_separate_from(&self, other: &Self) -> bool {
        matches!((&self.sources, &other.sources), (Some(a), Some(b)) if !a.overlaps(b))
    }
}

/// All apps, in the order in which they are asked.
#[derive(Debug, Clone)]
pub struct Apps(Vec<App>);

impl Apps {
    /// Orders the apps by precedence.
    pub fn new(mut apps: Vec<App>) -> Self {
        apps.sort_by_key(App::rank);
        Self(apps)
    }

    /// In the order in which they are asked; an app's place is its index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &App> {
        self.0.iter()
    }

    /// The app that a request means, its place, and the path below the app's own. `client` is the caller's
    /// address behind trusted proxies.
    pub fn choose<'p>(
        &self,
        path: &'p str,
        host: Host<'_>,
        client: IpAddr,
    ) -> Result<(usize, &App, &'p str), Refusal> {
        let mut refusal = Refusal::NoSuchApp;
        for (place, app) in self.0.iter().enumerate() {
            let Some(rest) = app.below(path) else { continue };
            if !app.hosts.is_empty() && !app.hosts.lists(host) {
                continue;
            }
            if app.sources.as_ref().is_some_and(|sources| !sources.contains(client)) {
                refusal = Refusal::SourceNotAllowed;
                continue;
            }
            return Ok((place, app, rest));
        }
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;
    use crate::operation::Pattern;

    fn app(name: &str, path: &str, hosts: &[&str], sources: &[&str]) -> App {
        let mut list = HostList::default();
        hosts.iter().for_each(|host| list.add(host).unwrap());
        let mut networks = Networks::default();
        sources.iter().for_each(|source| networks.add(source).unwrap());
        App {
            name: name.into(),
            path: path.into(),
            identity: 0,
            hosts: list,
            sources: (!sources.is_empty()).then_some(networks),
            rules: Rules::new(vec![Pattern::everything()], vec![]),
            as_user: AsUser::Only(vec![]),
            forward_headers: vec![],
            follow_downloads: true,
        }
    }

    fn chosen(apps: &Apps, path: &str, host: &str, client: &str) -> Result<String, Refusal> {
        let host = host::parse(host).unwrap().0;
        apps.choose(path, host, client.parse().unwrap()).map(|(_, app, rest)| format!("{} {rest}", app.name))
    }

    #[test]
    fn the_longest_path_wins_then_hosts_then_sources() {
        let apps = Apps::new(vec![
            app("root", "", &[], &[]),
            app("ten", "", &[], &["10.0.0.0/8"]),
            app("named", "", &["named.test"], &[]),
            app("deep", "/a/b", &[], &[]),
            app("a", "/a", &[], &[]),
        ]);
        let is =
            |path, host, client, want: &str| assert_eq!(chosen(&apps, path, host, client).unwrap(), want);
        is("/2.0/x", "localhost", "127.0.0.1", "root /2.0/x");
        is("/2.0/x", "localhost", "10.1.1.1", "ten /2.0/x");
        is("/2.0/x", "Named.Test", "10.1.1.1", "named /2.0/x");
        is("/a/b/2.0/x", "named.test", "10.1.1.1", "deep /2.0/x");
        is("/a/bc/2.0/x", "localhost", "127.0.0.1", "a /bc/2.0/x");
        is("/ab/2.0/x", "localhost", "127.0.0.1", "root /ab/2.0/x");
    }

    #[test]
    fn where_only_the_source_fails_the_refusal_says_so() {
        let apps = Apps::new(vec![app("ten", "/x", &["x.test"], &["10.0.0.0/8"])]);
        let of = |path, host, client| chosen(&apps, path, host, client).unwrap_err();
        assert!(matches!(of("/x/2.0/a", "x.test", "127.0.0.1"), Refusal::SourceNotAllowed));
        assert!(matches!(of("/x/2.0/a", "y.test", "10.0.0.1"), Refusal::NoSuchApp));
        assert!(matches!(of("/y", "x.test", "10.0.0.1"), Refusal::NoSuchApp));
    }

    #[test]
    fn two_apps_that_one_request_could_mean_are_ambiguous() {
        let plain = app("a", "/x", &[], &[]);
        assert!(plain.is_ambiguous_with(&app("b", "/x", &[], &[])));
        assert!(!plain.is_ambiguous_with(&app("b", "/y", &[], &[])));
        assert!(!plain.is_ambiguous_with(&app("b", "/x", &["b.test"], &[])));
        let named = app("a", "/x", &["a.test", "b.test"], &[]);
        assert!(named.is_ambiguous_with(&app("b", "/x", &["b.test"], &[])));
        assert!(!named.is_ambiguous_with(&app("b", "/x", &["c.test"], &[])));
        let ten = app("a", "/x", &[], &["10.0.0.0/8"]);
        assert!(ten.is_ambiguous_with(&app("b", "/x", &[], &["10.9.0.0/16"])));
        assert!(!ten.is_ambiguous_with(&app("b", "/x", &[], &["loopback"])));
    }
}
