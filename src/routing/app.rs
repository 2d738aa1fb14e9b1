//! Apps: which app is calling? The longest path wins, then a key or certificate, then `Host`, then the source address. If a web page
//! calls, only apps that admit its origin are considered.

use std::collections::HashMap;
use std::num::NonZeroU32;

use http::{HeaderMap, HeaderName};

use crate::http::error::Refusal;
use crate::http::host::{Host, HostList};
use crate::http::origin::Claim;
use crate::http::origin::OriginList;
use crate::net::certificate_names::CertificateNames;
use crate::net::client_address::ClientAddress;
use crate::net::networks::Networks;
use crate::oauth::identity::IdentityId;
use crate::routing::app_index::{AppIndex, Indexed};
use crate::routing::app_key::{AppKeys, ShownKey};
use crate::routing::as_user::AsUser;
use crate::routing::operation_policy::OperationPolicy;
use crate::routing::proxy_user::ProxyUser;

/// The index of an app in its configuration. In another configuration it may be another app's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(usize);

impl AppId {
    /// `index`: the position in [`Apps`], from 0.
    pub fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index into lists with one entry for each app.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One app of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The configured name: a label of metrics and access lines.
    pub name: String,
    /// Base path: empty for `/`, else `/a/b` without a slash at the end.
    pub path: String,
    /// The identity whose token its requests get.
    pub identity: IdentityId,
    /// If false, its requests are refused, not passed to another app.
    pub enabled: bool,
    /// Only requests with one of these Host names; empty: any.
    pub hosts: HostList,
    /// Only callers from here; `None`: any.
    pub sources: Option<Networks>,
    /// Only callers that send one of these keys; `None`: any.
    pub keys: Option<AppKeys>,
    /// Only callers whose client certificate carries one of these names; `None`: any.
    pub certificates: Option<CertificateNames>,
    /// Web pages that may call. Empty: no page.
    pub origins: OriginList,
    /// A header that every request but a preflight must carry, with any value.
    pub require_header: Option<HeaderName>,
    /// Which operations it may call.
    pub rules: OperationPolicy,
    /// Which users its `As-User` header may name.
    pub as_user: AsUser,
    /// Request headers that pass to Box besides the built-in list.
    pub forward_headers: Vec<HeaderName>,
    /// How a download's redirect is handled.
    pub follow_downloads: Redirects,
    /// The most of its requests in flight at the same time; `None`: any number.
    pub max_in_flight: Option<NonZeroU32>,
}

/// How Box's redirects of downloads are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// The gateway follows it for the caller.
    Follow,
    /// The caller gets Box's redirect unchanged.
    Pass,
    /// The caller gets the redirect with a `Location` on the gateway.
    Rewrite,
}

impl App {
    /// The path below this app's base path; `None` where the request is not below it. Only whole segments match:
    /// `/intranets` is not below `/intranet`.
    pub(crate) fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.path.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The rest of the path below this app's own, or the first condition that does not hold.
    fn serves<'p>(
        &self,
        path: &'p str,
        of: Way<'_>,
        claim: Claim<'_>,
        key: ShownKey<'_>,
    ) -> Result<&'p str, Mismatch> {
        let rest = self.below(path).ok_or(Mismatch::Path)?;
        if !self.hosts.is_empty() && !self.hosts.lists(of.host) {
            return Err(Mismatch::Host);
        }
        if self.sources.as_ref().is_some_and(|sources| !of.client.is_in(sources)) {
            return Err(Mismatch::Source);
        }
        match (&self.keys, key) {
            (None, ShownKey::Nothing) | (_, ShownKey::NotNeeded) => {}
            (Some(keys), ShownKey::Key(shown)) if keys.contain(shown) => {}
            // A wrong key does not count as none, so an app without keys does not match either.
            _ => return Err(Mismatch::Key),
        }
        if !self.admits_certificate(of.certificate) {
            return Err(Mismatch::Certificate);
        }
        if claim.fits(&self.origins) { Ok(rest) } else { Err(Mismatch::Origin) }
    }

    fn admits_certificate(&self, shown: Option<&CertificateNames>) -> bool {
        self.certificates.as_ref().is_none_or(|admitted| shown.is_some_and(|shown| shown.overlap(admitted)))
    }

    /// Refuses every request while the app is switched off.
    pub fn check_enabled(&self) -> Result<(), Refusal> {
        if self.enabled { Ok(()) } else { Err(Refusal::AppDisabled) }
    }

    /// Refuses a request without the header that this app requires.
    pub fn check_header(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.require_header {
            Some(name) if !headers.contains_key(name) => Err(Refusal::HeaderMissing(name.clone())),
            _ => Ok(()),
        }
    }

    /// How many of key and certificate its callers show, the most first.
    fn shown_credentials(&self) -> impl Ord + use<> {
        std::cmp::Reverse(u8::from(self.keys.is_some()) + u8::from(self.certificates.is_some()))
    }

    /// The sort key: apps with a smaller one are tried first.
    fn rank(&self) -> impl Ord + use<> {
        (
            std::cmp::Reverse(self.path.len()),
            self.shown_credentials(),
            self.hosts.is_empty(),
            self.sources.is_none(),
        )
    }

    /// Whether some request could match both with the same precedence. Origins are ignored, since a request without one
    /// could match both.
    pub fn is_ambiguous_with(&self, other: &Self) -> bool {
        self.path == other.path
            && self.shown_credentials() == other.shown_credentials()
            && self.hosts.is_empty() == other.hosts.is_empty()
            && self.sources.is_none() == other.sources.is_none()
            && (self.hosts.is_empty()
                || self.hosts.names().any(|name| other.hosts.names().any(|b| b == name)))
            && !self.is_separate_from(other)
    }

    /// Whether a caller of one cannot stand in for the other's callers. Path and Host can be invented by any program,
    /// addresses, keys and certificates cannot.
    pub fn is_separate_from(&self, other: &Self) -> bool {
        // A caller without a key or certificate cannot show one.
        fn differ<T>(a: Option<&T>, b: Option<&T>, overlap: fn(&T, &T) -> bool) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => !overlap(a, b),
                (None, None) => false,
                _ => true,
            }
        }
        let by_source = || matches!((&self.sources, &other.sources), (Some(a), Some(b)) if !a.overlaps(b));
        differ(self.keys.as_ref(), other.keys.as_ref(), AppKeys::overlap)
            || differ(self.certificates.as_ref(), other.certificates.as_ref(), CertificateNames::overlap)
            || by_source()
    }
}

/// The first condition that keeps an app from serving a request, in the order in which they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The path is not below the app's.
    Path,
    /// `hosts` does not list the `Host`.
    Host,
    /// The client is in none of `sources`.
    Source,
    /// The app needs a key that the request does not show, or the request shows one that is not the app's.
    Key,
    /// The client certificate carries none of `certificates`.
    Certificate,
    /// `origins` does not admit the page.
    Origin,
}

/// The properties of a request on which the choice of an app depends.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// Its `Host`, or HTTP/2's `:authority`.
    pub host: Host<'a>,
    /// The caller behind trusted proxies.
    pub client: ClientAddress,
    /// The request itself names one of Box's hosts, so its path is a path of Box.
    pub names_box: bool,
    /// The app named by `Proxy-Authorization`.
    pub user: Option<&'a ProxyUser>,
    /// The names in the client certificate of its connection; `None`: it has shown none.
    pub certificate: Option<&'a CertificateNames>,
}

impl<'a> Way<'a> {
    /// The path below which apps are looked for. `None`: the request names its app.
    fn app_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        match (self.names_box, self.user) {
            (false, _) => Some(path),
            // The path is a path of Box, not of an app.
            (true, None) => Some("/"),
            (true, Some(_)) => None,
        }
    }

    /// The app that the request names.
    fn named(&self) -> Option<&'a ProxyUser> {
        self.user.filter(|_| self.names_box)
    }
}

/// All apps, in order of precedence.
#[derive(Debug, Clone)]
pub struct Apps {
    list: Vec<App>,
    /// Leads to the apps that can serve a request.
    index: AppIndex,
    /// The position of each app by its name.
    names: HashMap<Box<str>, usize>,
}

impl Apps {
    /// Sorts the apps by precedence.
    pub fn new(mut apps: Vec<App>) -> Self {
        apps.sort_by_key(App::rank);
        let index = AppIndex::new(apps.iter().map(|App { path, hosts, keys, .. }| Indexed {
            path,
            hosts,
            keys: keys.as_ref(),
        }));
        let mut names = HashMap::with_capacity(apps.len());
        for (position, app) in apps.iter().enumerate() {
            names.entry(app.name.as_str().into()).or_insert(position);
        }
        Self { list: apps, index, names }
    }

    /// Gives each app that `running` has by its name the certificates that it has there. Returns whether that changes any.
    pub(crate) fn keep_certificates(&mut self, running: &Self) -> bool {
        let mut apps = self.list.clone();
        for app in &mut apps {
            if let Some(before) =
                running.names.get(&*app.name).and_then(|position| running.list.get(*position))
            {
                app.certificates.clone_from(&before.certificates);
            }
        }
        let differs = self.list.iter().zip(&apps).any(|(now, kept)| now.certificates != kept.certificates);
        // Their precedence depends on it.
        *self = Self::new(apps);
        differs
    }

    /// The apps in order of precedence; the position is the [`AppId`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &App> {
        self.list.iter()
    }

    /// Chooses the app of a request. Returns its index, the app, and the rest of the path below the app's own. For a
    /// request that itself names one of Box's hosts, the app is the one that `Proxy-Authorization` names, else the one
    /// for the path `/`.
    ///
    /// # Errors
    /// The refusal of an app that matches the request in all other respects; else `Refusal::NoSuchApp`.
    pub fn choose<'p>(
        &self,
        path: &'p str,
        of: Way<'_>,
        claim: Claim<'_>,
        key: ShownKey<'_>,
    ) -> Result<(AppId, &App, &'p str), Refusal> {
        if let Some(user) = of.named() {
            let (id, app) = self.named(user, of.client, of.certificate, claim)?;
            // A key that is sent must be right, even if the app needs none.
            match (key, &app.keys) {
                (ShownKey::Key(shown), Some(keys)) if keys.contain(shown) => {}
                (ShownKey::Key(_), _) => return Err(Refusal::KeyMissing),
                (ShownKey::Nothing | ShownKey::NotNeeded, _) => {}
            }
            return Ok((id, app, path));
        }
        match self.choose_by_path(path, of, claim, key) {
            Ok((id, app, _)) if of.names_box => Ok((id, app, path)),
            Err(Refusal::NoSuchApp) if of.names_box => Err(Refusal::NoAppForProxy),
            chosen => chosen,
        }
    }

    /// Every app in order of precedence, with the rest of the path below its own or the condition that does not hold.
    /// The first that serves the request is chosen. Empty for a request that names its app.
    pub(crate) fn candidates<'p>(
        &self,
        path: &'p str,
        of: Way<'_>,
        claim: Claim<'_>,
        key: ShownKey<'_>,
    ) -> impl Iterator<Item = (AppId, &App, Result<&'p str, Mismatch>)> {
        let path = of.app_path(path);
        let apps = self.list.iter().enumerate();
        apps.filter_map(move |(id, app)| Some((AppId(id), app, app.serves(path?, of, claim, key))))
    }

    /// The longest app path that is a prefix of the request's path, whether or not that app would serve the request.
    pub(crate) fn base_path(&self, path: &str) -> &str {
        self.index.base_path(path).unwrap_or_default()
    }

    fn choose_by_path<'p>(
        &self,
        path: &'p str,
        of: Way<'_>,
        claim: Claim<'_>,
        key: ShownKey<'_>,
    ) -> Result<(AppId, &App, &'p str), Refusal> {
        let Some(path) = of.app_path(path) else { return Err(Refusal::NoSuchApp) };
        let served = |position: usize| {
            let app = self.list.get(position)?;
            Some((AppId(position), app, app.serves(path, of, claim, key)))
        };
        for (id, app, served) in self.index.candidates(path, of.host, key).filter_map(served) {
            if let Ok(rest) = served {
                return Ok((id, app, rest));
            }
        }
        Err(self.missed(path, of, claim, key, 0))
    }

    /// The refusal of a request that none of the apps serves whose paths have `shortest` bytes or more: that of the app
    /// which matches in most respects, whatever key it wants. `Refusal::NoSuchApp` if none has this path and host.
    fn missed(
        &self,
        path: &str,
        of: Way<'_>,
        claim: Claim<'_>,
        key: ShownKey<'_>,
        shortest: usize,
    ) -> Refusal {
        let mut refusal = Refusal::NoSuchApp;
        let candidates = self.index.candidates(path, of.host, ShownKey::NotNeeded);
        let candidates = candidates.filter_map(|position| self.list.get(position));
        for app in candidates.take_while(|app| app.path.len() >= shortest) {
            match app.serves(path, of, claim, key) {
                Ok(_) | Err(Mismatch::Path | Mismatch::Host) => {}
                Err(Mismatch::Source) if refusal == Refusal::NoSuchApp => refusal = Refusal::SourceNotAllowed,
                Err(Mismatch::Key) if refusal != Refusal::OriginNotAllowed => refusal = Refusal::KeyMissing,
                Err(Mismatch::Certificate) if refusal != Refusal::OriginNotAllowed => {
                    refusal = Refusal::CertificateNotAllowed;
                }
                Err(Mismatch::Source | Mismatch::Key | Mismatch::Certificate) => {}
                Err(Mismatch::Origin) => refusal = Refusal::OriginNotAllowed,
            }
        }
        refusal
    }

    /// Refuses a request whose path is none of Box's below the app that is chosen, if it is below the path of another
    /// app too: the caller means that one, and must be told what keeps it from serving the request.
    ///
    /// # Errors
    /// The refusal of an app with a longer path.
    pub(crate) fn check_longer_paths(
        &self,
        chosen: &App,
        path: &str,
        of: Way<'_>,
        claim: Claim<'_>,
        key: ShownKey<'_>,
    ) -> Result<(), Refusal> {
        match self.missed(path, of, claim, key, chosen.path.len() + 1) {
            Refusal::NoSuchApp => Ok(()),
            refusal => Err(refusal),
        }
    }

    /// Refuses a tunnel whose CONNECT names no app, unless an app admits callers without a key.
    ///
    /// # Errors
    /// Every app needs a key, or those without one need another certificate.
    pub(crate) fn check_unnamed(&self, certificate: Option<&CertificateNames>) -> Result<(), Refusal> {
        let mut keyless = self.list.iter().filter(|app| app.keys.is_none()).peekable();
        if keyless.peek().is_none() {
            return Err(Refusal::ProxyAuthenticationRequired(
                "Every app needs a key: name an app with its key in the proxy URL, as in http://APP:KEY@HOST:PORT.",
            ));
        }
        match keyless.any(|app| app.admits_certificate(certificate)) {
            true => Ok(()),
            false => Err(Refusal::CertificateNotAllowed),
        }
    }

    /// The app that `Proxy-Authorization` names and its index; its path and hosts do not matter.
    ///
    /// # Errors
    /// No app has this name, or the request does not match its key, sources, certificates or origins.
    pub fn named(
        &self,
        user: &ProxyUser,
        client: ClientAddress,
        certificate: Option<&CertificateNames>,
        claim: Claim<'_>,
    ) -> Result<(AppId, &App), Refusal> {
        let found = self.names.get(user.app.as_str());
        let found = found.and_then(|position| Some((*position, self.list.get(*position)?)));
        let (id, app) = found.ok_or(Refusal::ProxyAuthenticationRequired(
            "No app has the name in Proxy-Authorization; the proxy URL has the form http://APP:KEY@HOST:PORT.",
        ))?;
        // Some programs always send a password: an app without a key ignores it.
        if app.keys.as_ref().is_some_and(|keys| !keys.contain(user.key.as_bytes())) {
            return Err(Refusal::ProxyAuthenticationRequired(
                "The password in Proxy-Authorization is not the key of this app; the proxy URL has the form http://APP:KEY@HOST:PORT.",
            ));
        }
        if app.sources.as_ref().is_some_and(|sources| !client.is_in(sources)) {
            return Err(Refusal::SourceNotAllowed);
        }
        if !app.admits_certificate(certificate) {
            return Err(Refusal::CertificateNotAllowed);
        }
        if !claim.fits(&app.origins) {
            return Err(Refusal::OriginNotAllowed);
        }
        Ok((AppId(id), app))
    }
}

#[cfg(test)]
mod tests;
