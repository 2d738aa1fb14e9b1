//! The credentials of HTTP Basic (RFC 7617), as `Authorization` and `Proxy-Authorization` carry them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

/// User name and password.
pub(crate) struct BasicCredentials {
    pub user: String,
    pub password: Zeroizing<String>,
}

/// Whether the field has the scheme Basic, valid or not.
pub(crate) fn is_basic(value: &HeaderValue) -> bool {
    let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"basic")
}

/// Reads the field; `None` if it is not Basic, or is malformed.
pub(crate) fn read(value: &HeaderValue) -> Option<BasicCredentials> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(BasicCredentials { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
}
