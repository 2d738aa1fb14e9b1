//! Routes: where at Box? By path and method to the API, upload or download host.
//!
//! Source: Box's OpenAPI documents (`servers` of the operations) and the paths that Box's clients use beside them.
//! API and download hosts serve `/2.0/…`, upload hosts `/api/2.0/…`, the download hosts some of that too.

use http::Method;

use crate::refusal::Refusal;

/// Which of Box's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `api.box.com`
    Api,
    /// `upload.box.com`
    Upload,
    /// `dl.boxcloud.com`
    Download,
}

/// What a path below an app's own means.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'p> {
    /// Box serves it.
    Box(Destination<'p>),
    /// `POST /oauth2/token`: the gateway answers with a placeholder.
    PlaceholderToken,
    /// `POST /oauth2/revoke`: the gateway answers and does nothing.
    Revoke,
}

/// A place at Box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'p> {
    /// The host.
    pub role: Role,
    /// Whether the path is sent with `/api` in front of its `/2.0`.
    pub under_api: bool,
    /// The operation's path, `/2.0/…`, a part of what the caller sent.
    pub path: &'p str,
    /// The URL itself is the credential: no token goes along, and the path is not logged.
    pub presigned: bool,
}

/// Finds the route. `path` is what is left of the request's below the app's own, checked by [`crate::target`].
pub fn find<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, Refusal> {
    if let Some(rest) = path.strip_prefix("/oauth2").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return match (rest, method == Method::POST) {
            ("/token", true) => Ok(Route::PlaceholderToken),
            ("/revoke", true) => Ok(Route::Revoke),
            _ => Err(Refusal::OperationNotAllowed),
        };
    }
    let (operation, came_under_api) = match path.strip_prefix("/api") {
        Some(rest) => (rest, true),
        None => (path, false),
    };
    let below = operation.strip_prefix("/2.0/").filter(|below| !below.is_empty()).ok_or(Refusal::NotFound)?;
    let (role, under_api, presigned) = host(method, below, came_under_api);
    Ok(Route::Box(Destination { role, under_api, path: operation, presigned }))
}

fn host(method: &Method, below: &str, came_under_api: bool) -> (Role, bool, bool) {
    let reads = method == Method::GET || method == Method::HEAD;
    let mut segments = below.split('/');
    let mut next = || segments.next();
    let [first, second, third, fourth] = [next(), next(), next(), next()];
    match (first, second, third, fourth) {
        (Some("files"), Some("upload_sessions"), ..) => (Role::Upload, true, false),
        (Some("files"), Some(_), Some("upload_sessions"), _) => (Role::Upload, true, false),
        (Some("files"), Some("content"), None, _) if method == Method::POST => (Role::Upload, true, false),
        (Some("files"), Some(_), Some("content"), None) if method == Method::POST => {
            (Role::Upload, true, false)
        }
        (Some("files"), Some(_), Some("content"), None) if reads && came_under_api => {
            (Role::Download, true, false)
        }
        (Some("internal_files"), ..) if came_under_api => (Role::Download, true, false),
        (Some("zip_downloads"), Some(_), Some("content"), None) if reads && !came_under_api => {
            (Role::Download, false, true)
        }
        _ if came_under_api => (Role::Upload, true, false),
        _ => (Role::Api, false, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: &str, path: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match find(&method, path) {
            Ok(Route::Box(to)) => {
                let prefix = if to.under_api { "/api" } else { "" };
                let presigned = if to.presigned { " presigned" } else { "" };
                format!("{:?} {prefix}{}{presigned}", to.role, to.path)
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
            ("GET", "/api/oauth2/token", "not_found"),
        ] {
            assert_eq!(at(method, path), want, "{method} {path}");
        }
    }
}
