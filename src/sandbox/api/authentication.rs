//! Who calls: the user of the access token, or the user whom it acts as.

use http::{
    header::{AUTHORIZATION, ORIGIN},
    request::Parts,
};
use serde_json::json;

use crate::sandbox::{
    http::{recorder, response::Refusal},
    model::state::State,
};

/// The user of the token, or the user in `As-User`.
pub(crate) fn caller(state: &State, head: &Parts) -> Result<String, Refusal> {
    if let Some(origin) = head.headers.get(ORIGIN) {
        return Err(Refusal::Error {
            status: 403,
            code: "cors_origin_not_whitelisted",
            message: "Access denied - Did you forget to safelist your origin in the CORS config of your app?"
                .to_owned(),
            context: json!({ "origin": String::from_utf8_lossy(origin.as_bytes()) }),
        });
    }
    if state.control.is_unauthorized(&recorder::target(head)) {
        return Err(Refusal::Unauthorized);
    }
    let subject = token(head).and_then(|token| state.tokens().subject(token)).ok_or(Refusal::Unauthorized)?;
    match head.headers.get("as-user").map(|value| value.to_str().unwrap_or_default()) {
        None => Ok(subject),
        Some(user) if user == subject => Ok(subject),
        // Only the service account may act as others.
        Some(user) if state.users.is_service_account(&subject) && state.users.is_managed(user) => {
            Ok(user.to_owned())
        }
        Some(_) => Err(Refusal::denied()),
    }
}

/// The token that a request carries.
pub(crate) fn token(head: &Parts) -> Option<&str> {
    let (scheme, token) = head.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
