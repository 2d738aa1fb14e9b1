//! The identities and their tokens. No secret and no token is here.

use serde::Serialize;

use crate::admin::readiness::one_line;
use crate::oauth::identity::{self, Subject};
use crate::oauth::token_cache::{TokenStatus, Tokens};
use crate::telemetry::words::rfc_3339;

/// One identity.
#[derive(Serialize)]
pub(in crate::admin) struct Identity {
    pub name: String,
    pub subject: String,
    /// As in `base_explorer on folder 42`.
    pub downscope: Option<String>,
    pub state: &'static str,
    pub expires: Option<String>,
    pub expires_in_seconds: Option<u64>,
    pub renewed: Option<String>,
    pub reason: Option<String>,
    pub next_attempt: Option<String>,
    pub obtained: u64,
    pub failed: u64,
}

impl Identity {
    pub(super) fn of(identity: &identity::Identity, tokens: &Tokens) -> Self {
        let TokenStatus { state, expires, renewed, reason, next_attempt } = tokens.status();
        let (obtained, failed) = tokens.outcomes();
        Self {
            name: identity.name.clone(),
            subject: match &identity.subject {
                Subject::Enterprise(id) => format!("enterprise {id}"),
                Subject::User(id) => format!("user {id}"),
            },
            downscope: identity.downscope.as_ref().map(ToString::to_string),
            state: state.as_str(),
            expires: expires.map(|(end, _)| rfc_3339(end)),
            expires_in_seconds: expires.map(|(_, left)| left.as_secs()),
            renewed: renewed.map(rfc_3339),
            reason: reason.as_deref().map(one_line),
            next_attempt: next_attempt.map(rfc_3339),
            obtained,
            failed,
        }
    }
}
