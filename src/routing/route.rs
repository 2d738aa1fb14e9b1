//! Routes: which host and path of Box? Path and method choose the API, upload or download host; `/_box/HOST/…` names
//! the host.
//!
//! API and download hosts serve `/2.0/…`, upload hosts `/api/2.0/…`, and download hosts serve some of `/api/2.0/…` too.
//! Sources: `docs/box-api.md#hosts-and-paths`.

use http::Method;
use http::uri::Authority;

use crate::http::error::Refusal;
use crate::http::target;
use crate::routing::box_hosts::BoxHosts;
use crate::routing::box_hosts::{self, BoxHost, Named};
use crate::routing::operation::plain_path;

/// The operation of a pre-signed URL, which does not say which file it is for.
const ANY_CONTENT: &str = "/2.0/files/*/content";
/// The template of a zip download, whose path is a credential.
const ANY_ZIP: &str = "/2.0/zip_downloads/*/content";
const EVENTS: &str = "/2.0/events";

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    Box(Destination<'p>),
    /// `POST /oauth2/token` or `/api/oauth2/token`: the gateway answers with a placeholder.
    PlaceholderToken,
    /// `POST /oauth2/revoke` or `/api/oauth2/revoke`: the gateway answers and does nothing.
    Revoke,
}

/// A host and path of Box, with how to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination<'p> {
    pub authority: Authority,
    /// Whether the path is sent with `/api` in front.
    pub under_api: bool,
    /// The path that is sent (after `/api`, if any), a part of the caller's path.
    pub path: &'p str,
    /// The operation path that rules match, `/2.0/…`.
    pub operation: &'p str,
    /// Which credential is sent to Box.
    pub access: Access,
    /// Whether it counts as an API call in Box's limits and plans; content of a download host does not.
    pub counted: bool,
}

/// The credential of a request to Box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Token,
    /// The URL itself: no token goes along, and the path is not logged.
    Presigned,
    /// The URL of the long poll, which is its own credential; Box holds the request for minutes.
    Realtime,
}

impl Destination<'_> {
    /// Refuses a path that a server could read as another operation, see [`target::check_api_path`]. URLs that need no
    /// token are not checked, since Box itself created them.
    pub(crate) fn check_path(&self) -> Result<(), Refusal> {
        if self.access == Access::Token { target::check_api_path(self.path) } else { Ok(()) }
    }

    /// The template that is logged instead of a path that is a credential.
    pub(crate) fn template(&self) -> Option<String> {
        (self.access != Access::Token).then(|| match self.operation {
            ANY_CONTENT | EVENTS => format!("/_box/{}/*", self.authority),
            _ => format!("/_box/{}{ANY_ZIP}", self.authority),
        })
    }

    /// The template of the operation, if its path is a credential; `None`: any template of its path may be logged.
    pub(crate) fn operation_template(&self) -> Option<&'static str> {
        (self.access != Access::Token).then_some(match self.operation {
            ANY_CONTENT => ANY_CONTENT,
            EVENTS => EVENTS,
            _ => ANY_ZIP,
        })
    }
}

/// The template that is logged instead of a path that may be a credential, before the route is known.
pub(crate) fn template(path: &str) -> Option<String> {
    if let Some(at) = path.find("/_box/") {
        let (app, named) = path.split_at(at);
        let host = named.split('/').nth(2).unwrap_or_default();
        return Some(format!("{app}/_box/{host}/*"));
    }
    let is_zip = path.split('/').any(|segment| segment.eq_ignore_ascii_case("zip_downloads"));
    is_zip.then(|| "*/zip_downloads/*".to_owned())
}

/// The route of a request that itself names one of Box's hosts.
pub(crate) fn find_at<'p>(method: &Method, path: &'p str, named: &Named) -> Result<Route<'p>, Refusal> {
    let posts = method == Method::POST;
    match named {
        Named::Login => match path {
            "/api/oauth2/token" if posts => Ok(Route::PlaceholderToken),
            "/api/oauth2/revoke" if posts => Ok(Route::Revoke),
            _ => Err(Refusal::LoginNotServed),
        },
        Named::Host(host) => match path {
            "/oauth2/token" if posts && host.api => Ok(Route::PlaceholderToken),
            "/oauth2/revoke" if posts && host.api => Ok(Route::Revoke),
            _ if path.starts_with("/oauth2/") && host.api => Err(Refusal::LoginNotServed),
            _ => at_host(method, path, host).map(Route::Box),
        },
    }
}

/// The template that is logged instead of a path at a host that the request itself names, before the route is known.
pub(crate) fn template_at(named: &Named, path: &str) -> Option<String> {
    match named {
        Named::Host(host) if !host.api && !host.upload => Some(format!("/_box/{}/*", host.authority)),
        _ => template(path),
    }
}

/// Finds the route. `path`: the request's path below the app's own, checked by [`crate::http::target`].
pub(crate) fn find<'p>(method: &Method, path: &'p str, hosts: &BoxHosts) -> Result<Route<'p>, Refusal> {
    let (operation, came_under_api) = without_api(path);
    // Box's login hosts serve it under `/api`, where clients written for them call it.
    let oauth = operation.strip_prefix("/oauth2");
    if let Some(rest) = oauth.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return match (rest, method == Method::POST) {
            ("/token", true) => Ok(Route::PlaceholderToken),
            ("/revoke", true) => Ok(Route::Revoke),
            _ => Err(Refusal::LoginNotServed),
        };
    }
    if let Some(named) = path.strip_prefix("/_box/") {
        return at_named_host(method, named, hosts).map(Route::Box);
    }
    let below = below_version(operation).ok_or(Refusal::NotFound)?;
    Ok(Route::Box(match host(method, below, came_under_api) {
        Host::Api => Destination::with_token(&hosts.api, operation, false, true),
        Host::Upload => Destination::with_token(&hosts.upload, operation, true, true),
        Host::Download => {
            Destination::with_token(&hosts.download, operation, true, !is_content(method, below))
        }
        Host::Zip => Destination::without_token(&hosts.download, operation, operation, Access::Presigned),
    }))
}

impl<'p> Destination<'p> {
    fn with_token(authority: &Authority, operation: &'p str, under_api: bool, counted: bool) -> Self {
        let (path, access) = (operation, Access::Token);
        Self { authority: authority.clone(), under_api, path, operation, access, counted }
    }

    fn without_token(authority: &Authority, path: &'p str, operation: &'p str, access: Access) -> Self {
        Self { authority: authority.clone(), under_api: false, path, operation, access, counted: false }
    }
}

/// The destination of `named`, the `HOST/PATH` in a rewritten URL.
fn at_named_host<'p>(method: &Method, named: &'p str, hosts: &BoxHosts) -> Result<Destination<'p>, Refusal> {
    let (name, path) = named.split_at(named.find('/').ok_or(Refusal::NotFound)?);
    let host = box_hosts::find(hosts, name).ok_or(Refusal::NotFound)?;
    at_host(method, path, &host)
}

fn at_host<'p>(method: &Method, path: &'p str, host: &BoxHost) -> Result<Destination<'p>, Refusal> {
    let authority = &host.authority;
    let (operation, under_api) = without_api(path);
    let below = below_version(operation);
    let with_token = match below {
        Some(_) if under_api => host.upload || host.download,
        Some(below) => host.api && !(host.download && is_zip(below)),
        None => false,
    };
    if with_token {
        let counted = host.api || host.upload || !below.is_some_and(|below| is_content(method, below));
        return Ok(Destination::with_token(authority, operation, under_api, counted));
    }
    // Where only configured hosts are used (as in the sandbox), the long poll has no host of its own.
    let realtime = host.realtime || host.configured && path == "/subscribe";
    if !(realtime || host.download) {
        return Err(Refusal::NotFound);
    }
    // Pre-signed URLs are only for reading.
    if !is_read(method) {
        return Err(Refusal::OperationNotAllowed { denied_by: None });
    }
    Ok(if realtime {
        Destination::without_token(authority, path, EVENTS, Access::Realtime)
    } else if below.is_some_and(is_zip) {
        Destination::without_token(authority, path, path, Access::Presigned)
    } else {
        Destination::without_token(authority, path, ANY_CONTENT, Access::Presigned)
    })
}

fn without_api(path: &str) -> (&str, bool) {
    match path.strip_prefix("/api") {
        Some(rest) if rest.starts_with('/') => (rest, true),
        _ => (path, false),
    }
}

fn below_version(path: &str) -> Option<&str> {
    path.strip_prefix("/2.0/").filter(|below| !below.is_empty())
}

fn is_zip(below: &str) -> bool {
    let below = plain_path(below);
    let mut segments = below.split('/');
    let mut next = || segments.next();
    matches!([next(), next(), next(), next()], [Some("zip_downloads"), Some(_), Some("content"), None])
}

/// Whether the request reads content, which plans do not count. Everything else that download hosts serve under `/api`
/// is an API call as at any other host.
fn is_content(method: &Method, below: &str) -> bool {
    is_read(method)
        && matches!(host(method, below, true), Host::Download)
        && below.split('/').any(|segment| segment == "content")
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

enum Host {
    Api,
    Upload,
    Download,
    /// A zip archive at the download host, whose URL is the credential.
    Zip,
}

fn host(method: &Method, below: &str, came_under_api: bool) -> Host {
    let posts = method == Method::POST;
    let mut segments = below.split('/');
    let mut next = || segments.next();
    match [next(), next(), next(), next()] {
        [Some("files"), Some("upload_sessions"), ..] => Host::Upload,
        [Some("files"), Some(_), Some("upload_sessions"), _] => Host::Upload,
        [Some("files"), Some("content"), None, _] if posts => Host::Upload,
        [Some("files"), Some(_), Some("content"), None] if posts => Host::Upload,
        [Some("files"), Some(_), Some("content"), None] if is_read(method) && came_under_api => {
            Host::Download
        }
        [Some("internal_files"), ..] if came_under_api => Host::Download,
        _ if came_under_api => Host::Upload,
        _ if is_read(method) && is_zip(below) => Host::Zip,
        _ => Host::Api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::box_hosts::tests::hosts;

    fn at(method: &str, path: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match find(&method, path, &hosts()) {
            Ok(Route::Box(to)) => {
                let prefix = if to.under_api { "/api" } else { "" };
                let access = match to.access {
                    Access::Token => "",
                    Access::Presigned => " presigned",
                    Access::Realtime => " realtime",
                };
                let host = match to.authority.as_str() {
                    "api.box.com" => "Api",
                    "upload.box.com" => "Upload",
                    "localhost:7443" => "Download",
                    other => other,
                };
                format!("{host} {prefix}{}{access}", to.path)
            }
            Ok(other) => format!("{other:?}"),
            Err(refusal) => refusal.status_and_code().1.to_owned(),
        }
    }

    #[test]
    fn every_path_has_the_host_of_boxs_documents() {
        for (method, path, want) in [
            ("GET", "/2.0/users/me", "Api /2.0/users/me"),
            ("OPTIONS", "/2.0/files/content", "Api /2.0/files/content"),
            ("OPTIONS", "/2.0/files/1/content", "Api /2.0/files/1/content"),
            ("GET", "/2.0/files/1/content", "Api /2.0/files/1/content"),
            ("HEAD", "/2.0/files/1/content", "Api /2.0/files/1/content"),
            ("POST", "/2.0/files/content", "Upload /api/2.0/files/content"),
            ("POST", "/api/2.0/files/content", "Upload /api/2.0/files/content"),
            ("POST", "/2.0/files/1/content", "Upload /api/2.0/files/1/content"),
            ("POST", "/api/2.0/files/1/content", "Upload /api/2.0/files/1/content"),
            ("POST", "/2.0/files/upload_sessions", "Upload /api/2.0/files/upload_sessions"),
            ("POST", "/2.0/files/1/upload_sessions", "Upload /api/2.0/files/1/upload_sessions"),
            ("PUT", "/2.0/files/upload_sessions/A1", "Upload /api/2.0/files/upload_sessions/A1"),
            (
                "GET",
                "/api/2.0/files/upload_sessions/A1/parts",
                "Upload /api/2.0/files/upload_sessions/A1/parts",
            ),
            (
                "POST",
                "/2.0/files/upload_sessions/A1/commit",
                "Upload /api/2.0/files/upload_sessions/A1/commit",
            ),
            ("GET", "/api/2.0/files/1/content", "Download /api/2.0/files/1/content"),
            ("HEAD", "/api/2.0/files/1/content", "Download /api/2.0/files/1/content"),
            ("GET", "/api/2.0/internal_files/1/x", "Download /api/2.0/internal_files/1/x"),
            ("GET", "/2.0/internal_files/1/x", "Api /2.0/internal_files/1/x"),
            ("GET", "/2.0/zip_downloads/1/content", "Download /2.0/zip_downloads/1/content presigned"),
            ("GET", "/2.0/zip_downloads/1/status", "Api /2.0/zip_downloads/1/status"),
            ("POST", "/2.0/zip_downloads", "Api /2.0/zip_downloads"),
            ("GET", "/api/2.0/users/me", "Upload /api/2.0/users/me"),
            ("POST", "/oauth2/token", "PlaceholderToken"),
            ("POST", "/oauth2/revoke", "Revoke"),
            ("GET", "/oauth2/token", "operation_not_allowed"),
            ("POST", "/oauth2/token/", "operation_not_allowed"),
            ("GET", "/oauth2/authorize", "operation_not_allowed"),
            ("GET", "/oauth2", "operation_not_allowed"),
            ("GET", "/favicon.ico", "not_found"),
            ("GET", "/", "not_found"),
            ("GET", "", "not_found"),
            ("GET", "/2.0", "not_found"),
            ("GET", "/2.0/", "not_found"),
            ("GET", "/2.1/users/me", "not_found"),
            ("GET", "/api2.0/users", "not_found"),
            ("POST", "/api/oauth2/token", "PlaceholderToken"),
            ("POST", "/api/oauth2/revoke", "Revoke"),
            ("GET", "/api/oauth2/token", "operation_not_allowed"),
            ("POST", "/api/oauth2/token/", "operation_not_allowed"),
            ("GET", "/api/oauth2/authorize", "operation_not_allowed"),
            ("GET", "/api/oauth2", "operation_not_allowed"),
            ("POST", "/api/api/oauth2/token", "not_found"),
            ("POST", "/api/oauth2x/token", "not_found"),
        ] {
            assert_eq!(at(method, path), want, "{method} {path}");
        }
    }

    #[test]
    fn a_named_host_serves_only_its_own_paths() {
        for (method, path, want) in [
            ("GET", "/_box/api.box.com/2.0/internal_files/1/x", "Api /2.0/internal_files/1/x"),
            ("GET", "/_box/api.box.com/2.0/zip_downloads/1/content", "Api /2.0/zip_downloads/1/content"),
            (
                "PUT",
                "/_box/upload.app.box.com/api/2.0/files/upload_sessions/A",
                "upload.app.box.com /api/2.0/files/upload_sessions/A",
            ),
            (
                "GET",
                "/_box/dl.boxcloud.com/api/2.0/files/1/content",
                "dl.boxcloud.com /api/2.0/files/1/content",
            ),
            (
                "GET",
                "/_box/public.boxcloud.com/d/1/a!b/download",
                "public.boxcloud.com /d/1/a!b/download presigned",
            ),
            (
                "HEAD",
                "/_box/dl.boxcloud.com/2.0/zip_downloads/1/content",
                "dl.boxcloud.com /2.0/zip_downloads/1/content presigned",
            ),
            ("GET", "/_box/dl.boxcloud.com/2.0/files/1", "dl.boxcloud.com /2.0/files/1 presigned"),
            ("POST", "/_box/dl.boxcloud.com/d/1/a/download", "operation_not_allowed"),
            (
                "GET",
                "/_box/2.realtime.services.box.net/subscribe",
                "2.realtime.services.box.net /subscribe realtime",
            ),
            ("POST", "/_box/2.realtime.services.box.net/subscribe", "operation_not_allowed"),
            ("GET", "/_box/localhost:7443/subscribe", "Download /subscribe realtime"),
            ("GET", "/_box/api.box.com/oauth2/token", "not_found"),
            ("POST", "/_box/api.box.com/oauth2/token", "not_found"),
            ("GET", "/_box/api.box.com/api/2.0/users/me", "not_found"),
            ("GET", "/_box/upload.app.box.com/2.0/users/me", "not_found"),
            ("GET", "/_box/evil.example/2.0/users/me", "not_found"),
            ("GET", "/_box/app.box.com/2.0/users/me", "not_found"),
            ("GET", "/_box/api.box.com", "not_found"),
            ("GET", "/_box/", "not_found"),
            ("GET", "/_box", "not_found"),
            ("GET", "/api/_box/api.box.com/2.0/users/me", "not_found"),
        ] {
            assert_eq!(at(method, path), want, "{method} {path}");
        }
    }

    #[test]
    fn only_reading_content_of_a_download_host_is_not_counted() {
        let content = "internal_files/1/versions/2/representations/png/content/1.png";
        for (method, path, want) in [
            ("GET", "/api/2.0/files/1/content".to_owned(), false),
            ("HEAD", "/api/2.0/files/1/content".to_owned(), false),
            ("GET", format!("/api/2.0/{content}"), false),
            ("GET", format!("/_box/dl.boxcloud.com/api/2.0/{content}"), false),
            ("GET", "/2.0/zip_downloads/1/content".to_owned(), false),
            ("GET", "/api/2.0/internal_files/1/versions/2".to_owned(), true),
            ("POST", format!("/api/2.0/{content}"), true),
            ("DELETE", format!("/api/2.0/{content}"), true),
            ("DELETE", format!("/_box/dl.boxcloud.com/api/2.0/{content}"), true),
            ("OPTIONS", "/api/2.0/files/1/content".to_owned(), true),
            ("GET", "/2.0/files/1/content".to_owned(), true),
            ("GET", "/2.0/users/me".to_owned(), true),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let Ok(Route::Box(to)) = find(&method, &path, &hosts()) else { panic!("{method} {path}") };
            assert_eq!(to.counted, want, "{method} {path}");
        }
    }

    #[test]
    fn urls_that_are_credentials_are_logged_as_templates() {
        let of = |path| match find(&Method::GET, path, &hosts()) {
            Ok(Route::Box(to)) => to.template(),
            _ => None,
        };
        assert_eq!(of("/2.0/files/1").as_deref(), None);
        assert_eq!(
            of("/2.0/zip_downloads/x/content").as_deref(),
            Some("/_box/localhost:7443/2.0/zip_downloads/*/content")
        );
        assert_eq!(of("/_box/dl.boxcloud.com/d/1/x/download").as_deref(), Some("/_box/dl.boxcloud.com/*"));
        assert_eq!(
            template("/app/_box/dl.boxcloud.com/d/1//x").as_deref(),
            Some("/app/_box/dl.boxcloud.com/*")
        );
        assert_eq!(template("/app/_box/x").as_deref(), Some("/app/_box/x/*"));
        assert_eq!(template("/app/2.0/zip_downloads/x/content").as_deref(), Some("*/zip_downloads/*"));
        assert_eq!(template("/2.0/ZIP_downloads/x/content").as_deref(), Some("*/zip_downloads/*"));
        assert_eq!(template("/2.0/files/1"), None);
    }
}
