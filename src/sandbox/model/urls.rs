//! The host names in URLs of responses.

use crate::sandbox::http::host::{PerRole, Role};

/// Which host names URLs in responses have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// `localhost` and the port, which lead to the sandbox.
    #[default]
    Local,
    /// Box's own names, which lead to the sandbox only through
    /// [`Sandbox::proxy_url`](crate::sandbox::Sandbox::proxy_url).
    Box,
}

/// Scheme and authority of every host in responses.
pub(crate) struct Hosts {
    pub(crate) api: String,
    /// In upload sessions.
    pub(crate) session: String,
    /// In the check before an upload.
    pub(crate) preflight: String,
    /// For content with a token, and zips.
    pub(crate) download: String,
    /// For content without a token.
    pub(crate) presigned: String,
    /// The long poll.
    pub(crate) realtime: String,
    /// Whether an upload session is served only at the host that it names and at upload.box.com.
    pub(crate) is_strict: bool,
}

impl Hosts {
    pub(crate) fn new(names: Names, local: &PerRole<String>) -> Self {
        match names {
            Names::Local => Self {
                api: local.api.clone(),
                session: local.upload.clone(),
                preflight: local.upload.clone(),
                download: local.download.clone(),
                presigned: local.download.clone(),
                realtime: local.download.clone(),
                is_strict: false,
            },
            Names::Box => Self {
                api: "https://api.box.com".to_owned(),
                session: "https://upload.app.box.com".to_owned(),
                preflight: "https://upload-las.app.box.com".to_owned(),
                download: "https://dl.boxcloud.com".to_owned(),
                presigned: "https://public.boxcloud.com".to_owned(),
                // Box says http, and so does its OpenAPI document.
                realtime: "http://2.realtime.services.box.net".to_owned(),
                is_strict: true,
            },
        }
    }
}

/// The names of Box in the certificate: those that [`role_of`] knows.
pub(crate) const BOX_NAMES: [&str; 5] =
    ["api.box.com", "upload.box.com", "*.app.box.com", "*.boxcloud.com", "*.realtime.services.box.net"];

/// The host of the sandbox for this name of Box.
pub(crate) fn role_of(name: &str) -> Option<Role> {
    let name = name.to_ascii_lowercase();
    // As in certificates, a star is one label.
    let is_below = |suffix: &str| {
        name.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
    };
    match name.as_str() {
        "api.box.com" => Some(Role::Api),
        "upload.box.com" => Some(Role::Upload),
        _ if is_below(".app.box.com") => Some(Role::Upload),
        _ if is_below(".boxcloud.com") || is_below(".realtime.services.box.net") => Some(Role::Download),
        _ => None,
    }
}
