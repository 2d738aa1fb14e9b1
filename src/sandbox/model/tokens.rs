//! Access tokens: their users, lifetimes and restrictions.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::restriction::Restriction;
use crate::sandbox::http::{random::random_text, recorder::SeenToken};

/// The length of Box's classic tokens.
const TOKEN_LENGTH: usize = 32;

/// How long an ended token is remembered, so that a request that carries it can be told from one with an invented token.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Whom a token is for, and what it may do.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The id of a user.
    pub(crate) subject: String,
    /// `None`: a full token.
    pub(crate) restriction: Option<Restriction>,
}

struct Token {
    grant: Grant,
    expires: Instant,
    /// The token for which it was exchanged.
    parent: Option<String>,
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
        self.add(Grant { subject: subject.to_owned(), restriction: None }, None)
    }

    /// A new token in exchange for another one, and how many seconds it lives. Whether a downscoped token outlives the
    /// token that it was made from is not said by Box. Here it does not: neither its end nor its revocation. A client
    /// that works with this works with both.
    pub(crate) fn downscope(&mut self, parent: &str, subject: &str, to: Restriction) -> (String, u64) {
        self.add(Grant { subject: subject.to_owned(), restriction: Some(to) }, Some(parent))
    }

    fn add(&mut self, grant: Grant, parent: Option<&str>) -> (String, u64) {
        let now = Instant::now();
        self.all.retain(|_, token| token.expires + REMEMBERED > now);
        let rest = parent.and_then(|parent| self.all.get(parent)).map(|parent| parent.expires - now);
        let lifetime = rest.map_or(self.lifetime, |rest| rest.min(self.lifetime));
        let text = random_text(TOKEN_LENGTH);
        let token = Token { grant, expires: now + lifetime, parent: parent.map(str::to_owned) };
        self.all.insert(text.clone(), token);
        (text, lifetime.as_secs())
    }

    /// What a token is for, while it is valid.
    pub(crate) fn grant(&self, text: &str) -> Option<Grant> {
        self.live(text).map(|token| token.grant.clone())
    }

    /// What is told of a token that was given here.
    pub(crate) fn seen(&self, text: &str) -> Option<SeenToken> {
        let token = self.all.get(text)?;
        Some(SeenToken {
            is_live: self.live(text).is_some(),
            downscoped: token.grant.restriction.as_ref().map(Restriction::told),
        })
    }

    pub(crate) fn revoke(&mut self, text: &str) {
        if let Some(token) = self.all.get_mut(text) {
            token.expires = token.expires.min(Instant::now());
        }
    }

    pub(crate) fn expire_all(&mut self) {
        let now = Instant::now();
        self.all.values_mut().for_each(|token| token.expires = token.expires.min(now));
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// A token that has not ended, by itself or with one that it was made from.
    fn live(&self, text: &str) -> Option<&Token> {
        let token = self.all.get(text).filter(|token| token.expires > Instant::now())?;
        token.parent.as_ref().is_none_or(|parent| self.live(parent).is_some()).then_some(token)
    }
}
