//! What operators are told about an identity's token.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::{Phase, Tokens};

/// The state of an identity's token. Times are those of the wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenStatus {
    pub state: TokenState,
    /// When the token ends, and the time until then; `None` without a valid one.
    pub expires: Option<(SystemTime, Duration)>,
    /// When the last token was obtained.
    pub renewed: Option<SystemTime>,
    /// Why the last request for a token failed, in words; `None` after one that succeeded.
    pub reason: Option<String>,
    /// When a token is requested again after such a failure.
    pub next_attempt: Option<SystemTime>,
}

/// Whether requests get a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// There is a token that has not ended.
    Valid,
    /// The first token, or one after a 401, is being obtained; requests wait for it.
    Waiting,
    /// Box refuses the credentials, or to downscope the token; requests are refused.
    Refused,
    /// The token endpoint fails; requests are refused.
    Unavailable,
}

impl TokenState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Tokens {
    /// The state of the token now.
    pub(crate) fn status(&self) -> TokenStatus {
        let phase = self.phase.borrow().clone();
        let (without, cause) = match phase {
            Phase::Asking | Phase::Holding => (TokenState::Waiting, None),
            Phase::Down { until, cause, .. } => (TokenState::Unavailable, Some((cause, until))),
            Phase::Refused { until, refused } => {
                (TokenState::Refused, Some((format!("{}: {}", refused.what(), refused.cause()), until)))
            }
        };
        let left = self.expires_in();
        let (reason, next_attempt) =
            cause.map(|(reason, until)| (reason, until.left(self.clock.now()))).unzip();
        TokenStatus {
            state: if left.is_some() { TokenState::Valid } else { without },
            expires: left.map(|left| (self.clock.wall() + left, left)),
            renewed: *self.last_obtained.lock().unwrap_or_else(PoisonError::into_inner),
            reason,
            next_attempt: next_attempt.map(|left| self.clock.wall() + left),
        }
    }

    /// Whether Box refused the credentials or the exchange when a token was last requested, also while the one before is valid.
    pub(crate) fn are_refused(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Refused { .. })
    }

    /// Why there is no valid token, in words for `/readyz`; `None` when there is one.
    pub(crate) fn why_not_ready(&self) -> Option<String> {
        let TokenStatus { state, reason, .. } = self.status();
        let reason = reason.unwrap_or_default();
        match state {
            TokenState::Valid => None,
            TokenState::Waiting => Some("the first token is being obtained".to_owned()),
            TokenState::Refused => Some(reason),
            TokenState::Unavailable => Some(format!("no valid token: {reason}")),
        }
    }
}
