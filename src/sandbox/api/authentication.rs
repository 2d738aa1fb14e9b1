//! Who calls: the user of the access token, or the user whom it acts as.

use http::{
    header::{AUTHORIZATION, ORIGIN},
    request::Parts,
};
use serde_json::json;

use crate::sandbox::{
    http::{recorder, response::Refusal},
    model::{state::State, tokens::Grant},
};

/// The token of a request, and what it grants: to its user, or to the user in `As-User`.
pub(crate) fn caller<'a>(state: &State, head: &'a Parts) -> Result<(&'a str, Grant), Refusal> {
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
    let token = token(head).ok_or(Refusal::Unauthorized)?;
    let grant = state.tokens().grant(token).ok_or(Refusal::Unauthorized)?;
    let subject = match head.headers.get("as-user").map(|value| value.to_str().unwrap_or_default()) {
        None => return Ok((token, grant)),
        // No scope of a downscoped token is for this. Box's documents leave it open; the answer is the one that Box
        // gives to an app without the right to use As-User.
        Some(_) if grant.restriction.is_some() => return Err(Refusal::InsufficientScope),
        Some(user) if user == grant.subject => grant.subject,
        // Only the service account may act as others.
        Some(user) if state.users.is_service_account(&grant.subject) && state.users.is_managed(user) => {
            user.to_owned()
        }
        Some(_) => return Err(Refusal::denied()),
    };
    Ok((token, Grant { subject, restriction: None }))
}

/// The token that a request carries.
pub(crate) fn token(head: &Parts) -> Option<&str> {
    let (scheme, token) = head.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
