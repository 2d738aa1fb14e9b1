//! Access tokens: their users, lifetimes and restrictions.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::sandbox::http::{
    random::random_text,
    recorder::{Downscoped, SeenToken},
};

/// The length of Box's classic tokens.
const TOKEN_LENGTH: usize = 32;

/// How long an ended token is remembered, so that a request that carries it can be told from one with an invented token.
const REMEMBERED: Duration = Duration::from_secs(3600);

struct Token {
    subject: String,
    expires: Instant,
    downscoped: Option<Downscoped>,
}

impl Token {
    fn is_live(&self) -> bool {
        self.expires > Instant::now()
    }

    fn end(&mut self) {
        self.expires = self.expires.min(Instant::now());
    }
}

/// All tokens, ended ones for a while.
pub(crate) struct Tokens {
    lifetime: Duration,
    all: HashMap<String, Token>,
}

impl Tokens {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, all: HashMap::new() }
    }

    /// A new full token, and how many seconds it lives.
    pub(crate) fn issue(&mut self, subject: &str) -> (String, u64) {
        self.add(subject, None)
    }

    /// A new downscoped token, and how many seconds it lives.
    pub(crate) fn downscope(&mut self, subject: &str, to: Downscoped) -> (String, u64) {
        self.add(subject, Some(to))
    }

    fn add(&mut self, subject: &str, downscoped: Option<Downscoped>) -> (String, u64) {
        let now = Instant::now();
        self.all.retain(|_, token| token.expires + REMEMBERED > now);
        let text = random_text(TOKEN_LENGTH);
        let token = Token { subject: subject.to_owned(), expires: now + self.lifetime, downscoped };
        self.all.insert(text.clone(), token);
        (text, self.lifetime.as_secs())
    }

    /// The user of a token, while it is valid.
    pub(crate) fn subject(&self, text: &str) -> Option<String> {
        self.all.get(text).filter(|token| token.is_live()).map(|token| token.subject.clone())
    }

    /// What is told of a token that was given here.
    pub(crate) fn seen(&self, text: &str) -> Option<SeenToken> {
        let token = self.all.get(text)?;
        Some(SeenToken { is_live: token.is_live(), downscoped: token.downscoped.clone() })
    }

    pub(crate) fn revoke(&mut self, text: &str) {
        if let Some(token) = self.all.get_mut(text) {
            token.end();
        }
    }

    pub(crate) fn expire_all(&mut self) {
        self.all.values_mut().for_each(Token::end);
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }
}
