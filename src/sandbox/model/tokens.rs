//! Access tokens: their users and lifetimes.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::sandbox::http::random::random_text;

/// The length of Box's classic tokens.
const TOKEN_LENGTH: usize = 32;

struct Token {
    subject: String,
    expires: Instant,
}

/// All valid tokens.
pub(crate) struct Tokens {
    lifetime: Duration,
    live: HashMap<String, Token>,
}

impl Tokens {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, live: HashMap::new() }
    }

    /// A new token and how many seconds it lives.
    pub(crate) fn issue(&mut self, subject: &str) -> (String, u64) {
        let now = Instant::now();
        self.live.retain(|_, token| token.expires > now);
        let text = random_text(TOKEN_LENGTH);
        let token = Token { subject: subject.to_owned(), expires: now + self.lifetime };
        self.live.insert(text.clone(), token);
        (text, self.lifetime.as_secs())
    }

    /// The user of a token, while it is valid.
    pub(crate) fn subject(&self, text: &str) -> Option<String> {
        self.live.get(text).filter(|token| token.expires > Instant::now()).map(|token| token.subject.clone())
    }

    pub(crate) fn revoke(&mut self, text: &str) {
        self.live.remove(text);
    }

    pub(crate) fn expire_all(&mut self) {
        self.live.clear();
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }
}
