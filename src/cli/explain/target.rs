//! What is shown of the request: never its query, and no path that is a credential, as in access lines.

use std::fmt;

use http::Method;
use http::request::Parts;
use http::uri::Authority;

use super::request::Asked;
use crate::config::Config;
use crate::routing::{box_hosts, route};

/// Method and URL, without the query.
pub(super) struct Target {
    method: Method,
    /// Scheme and authority, where the request is sent to a host of Box.
    base: String,
    path: String,
    /// Shown in place of the URL, where the path is a credential, or may be.
    pub(super) template: Option<String>,
}

impl Target {
    /// The URL of the request, or of the CONNECT if only a tunnel is asked about.
    pub(super) fn of(config: &Config, asked: &Asked) -> Self {
        let authority = |head: &Parts| {
            let authority = head.uri.authority().map(Authority::as_str).unwrap_or_default();
            authority.rsplit('@').next().unwrap_or_default().to_owned()
        };
        let (base, path) = match (&asked.connect, &asked.head) {
            (Some(connect), Some(head)) => (format!("https://{}", authority(connect)), head.uri.path()),
            (Some(connect), None) => (authority(connect), ""),
            (None, Some(head)) if head.uri.scheme().is_some() => {
                (format!("http://{}", authority(head)), head.uri.path())
            }
            (None, Some(head)) => (authority(head), head.uri.path()),
            (None, None) => (String::new(), ""),
        };
        let host = base.rsplit('/').next().unwrap_or_default();
        let template = match box_hosts::named(&config.hosts, host.strip_suffix(":80").unwrap_or(host)) {
            Some(named) => route::template_at(&named, path),
            None => route::template(path),
        };
        let head = asked.head.as_ref().or(asked.connect.as_ref());
        let method = head.map(|head| head.method.clone()).unwrap_or_default();
        Self { method, base, path: path.to_owned(), template }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.template {
            Some(template) => write!(f, "{} {template}", self.method),
            None => write!(f, "{} {}{}", self.method, self.base, self.path),
        }
    }
}
