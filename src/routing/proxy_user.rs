//! `Proxy-Authorization` (RFC 9110 §11.7.1, RFC 7617): the app that is named by a program that uses the gateway as its
//! proxy.

use http::HeaderMap;
use http::header::PROXY_AUTHORIZATION;
use zeroize::Zeroizing;

use crate::http::basic_credentials::{self, BasicCredentials};
use crate::http::error::Refusal;

/// User name and password of a proxy URL.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUser {
    pub app: String,
    /// The password, which must be the app's key; empty if none was given.
    pub key: Zeroizing<String>,
}

/// Shows only the name: the key is a secret.
impl std::fmt::Debug for ProxyUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyUser").field("app", &self.app).finish_non_exhaustive()
    }
}

/// Reads the header; `None` if there is none.
///
/// # Errors
/// It occurs more than once, or is not Basic with a name and a password.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<ProxyUser>, Refusal> {
    const WRONG: Refusal = Refusal::ProxyAuthenticationRequired(
        "Proxy-Authorization must be Basic with the name of an app and its key, as in http://APP:KEY@HOST:PORT.",
    );
    let mut values = headers.get_all(PROXY_AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::ProxyAuthenticationRequired(
            "The request has more than one Proxy-Authorization header.",
        ));
    }
    let BasicCredentials { user, password } = basic_credentials::read(value).ok_or(WRONG)?;
    Ok(Some(ProxyUser { app: user, key: password }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Result<Option<ProxyUser>, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PROXY_AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        read(&headers)
    }

    fn user(app: &str, key: &str) -> Option<ProxyUser> {
        Some(ProxyUser { app: app.to_owned(), key: Zeroizing::new(key.to_owned()) })
    }

    #[test]
    fn name_and_key_are_split_at_the_first_colon() {
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["Basic YXBwOmE6Yg=="]).unwrap(), user("app", "a:b"));
        assert_eq!(of(&["basic  YXBwOg=="]).unwrap(), user("app", ""));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            ["", "Basic", "Basic ", "Basic YXBw", "Bearer YXBwOg==", "Basic YXBwOg", "Basic !!", "Basic //86"]
        {
            assert!(matches!(of(&[bad]), Err(Refusal::ProxyAuthenticationRequired(_))), "{bad}");
        }
        assert!(of(&["Basic YXBwOg==", "Basic YXBwOg=="]).is_err());
    }
}
