//! A secret that cannot be printed by mistake, is blanked in all output, and is wiped when it is dropped.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::net::secret_filter::{self, LiveSecret};

/// A client secret, key, token, or URL with a password. Neither `Debug` nor `Display` shows it; [`Secret::expose`] is
/// the only way to the text, so that a search for that word finds every use. As long as it exists, it is blanked in all
/// output (`src/net/secret_filter.rs`).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<LiveSecret>);

impl Secret {
    /// Takes the text over. Wiping other copies is up to the caller.
    pub fn new(text: String) -> Self {
        Self(secret_filter::register(text))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.text()
    }
}

/// Takes over what a library is to send. It is wiped when the library drops the last handle to it; the copies that the library
/// makes are not.
pub(crate) fn wiped_when_sent(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        assert!(!format!("{:?}", Secret::new("hunter2".into())).contains("hunter2"));
    }
}
