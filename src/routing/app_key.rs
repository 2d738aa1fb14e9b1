//! `X-Boxgate-Key`: the secret that callers must send if an app has keys, and operators if their listener has.

use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq;

use crate::http::error::Refusal;
use crate::http::headers::find;
use crate::net::secret::Secret;

/// The header with the key. It is never sent to Box.
pub(crate) const APP_KEY: HeaderName = HeaderName::from_static("x-boxgate-key");

/// The key of a request.
#[derive(Debug, Clone, Copy)]
pub enum ShownKey<'a> {
    /// A preflight, which carries no key and needs none.
    NotNeeded,
    Nothing,
    Key(&'a [u8]),
}

impl<'a> ShownKey<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// The header occurs more than once.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        if find(headers, &APP_KEY).is_none() {
            return Ok(Self::Nothing);
        }
        let mut values = headers.get_all(APP_KEY).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self::Nothing),
            (Some(key), None) => Ok(Self::Key(key.as_bytes())),
            (Some(_), Some(_)) => {
                Err(Refusal::BadRequest("The request has more than one X-Boxgate-Key header."))
            }
        }
    }
}

/// The keys of one app, or of the operators' listener: several while a key is rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppKeys(Vec<Secret>);

impl AppKeys {
    /// `keys`: at least one.
    pub fn new(keys: Vec<Secret>) -> Self {
        Self(keys)
    }

    /// Whether this is one of them. Compares in constant time.
    pub fn contain(&self, shown: &[u8]) -> bool {
        let matches = self.0.iter().map(|key| key.expose().as_bytes().ct_eq(shown));
        matches.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }

    /// The length in bytes of the shortest; `None` if there is none.
    pub(crate) fn shortest(&self) -> Option<usize> {
        self.0.iter().map(|key| key.expose().len()).min()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// One of them, for whoever acts as a caller of the app.
    pub(crate) fn first(&self) -> Option<&Secret> {
        self.0.first()
    }

    /// Whether they have a key in common.
    pub fn overlap(&self, other: &Self) -> bool {
        other.0.iter().any(|key| self.contain(key.expose().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_the_list_is_accepted_and_parts_of_one_are_not() {
        let keys = AppKeys::new(vec![Secret::new("first".into()), Secret::new("second".into())]);
        assert!(keys.contain(b"first") && keys.contain(b"second"));
        for wrong in ["", "firs", "first ", "First", "firstsecond"] {
            assert!(!keys.contain(wrong.as_bytes()), "{wrong}");
        }
        assert!(keys.overlap(&AppKeys::new(vec![Secret::new("second".into())])));
        assert!(!keys.overlap(&AppKeys::new(vec![Secret::new("third".into())])));
    }
}
