//! The token endpoint. Like Box, it answers every error with HTTP 400 and OAuth's JSON.

use std::{future::pending, sync::Arc};

use http::{
    HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE},
    request::Parts,
};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    oauth_errors::{BAD_GRANT_TYPE, BAD_SUBJECT_TYPE, INVALID_CLIENT, INVALID_GRANT, OauthError, refused},
    token_exchange::{EXCHANGE, exchanged},
};
use crate::sandbox::{
    control::faults::TokenAnswer,
    http::{
        form::Form,
        host::Role,
        request_body::RequestBody,
        response::{self, Answer, Refusal, dress},
        response_body::Broken,
    },
    model::state::State,
};

/// The largest form; real ones are far smaller.
const FORM_LIMIT: usize = 64 * 1024;

/// Cookies that Box sets here, invented values.
const COOKIES: [&str; 2] = [
    "box_visitor_id=sandbox.12345678; expires=Fri, 31-Dec-2027 00:00:00 GMT; path=/; domain=.box.com; secure",
    "site_preference=desktop; path=/; domain=.box.com; secure; HttpOnly",
];

/// Answers everything under `/oauth2/`.
pub(crate) async fn serve(state: &Arc<State>, head: &Parts, incoming: Incoming) -> Result<Answer, Broken> {
    let record = state.recorder.token_calls.write(Role::Api, head, None);
    let mut body = RequestBody::new(incoming, head, record);
    let is_token = head.uri.path() == "/oauth2/token";
    let form = body.read_all(FORM_LIMIT).await;
    // Counted after its form was read, so that a test that waited for the count can read it.
    if is_token {
        state.recorder.token_requests.add();
        state.control.wait_until_tokens_released().await;
        state.control.dawdle().await;
    }
    body.drain().await;
    body.linger(head.version);
    let answer = match form {
        Err(refusal) => refusal.answer(),
        Ok(_) if head.method != Method::POST => Refusal::method_not_allowed().answer(),
        Ok(form) if is_token => scripted(state, head, &Form::parse(&String::from_utf8_lossy(&form))).await?,
        Ok(form) if head.uri.path() == "/oauth2/revoke" => {
            revoked(state, &Form::parse(&String::from_utf8_lossy(&form)))
        }
        Ok(_) => Refusal::not_found().answer(),
    };
    Ok(dress(with_cookies(answer), &head.method))
}

async fn scripted(state: &State, head: &Parts, form: &Form) -> Result<Answer, Broken> {
    let is_exchange = form.get("grant_type") == Some(EXCHANGE);
    Ok(match state.control.next_token_answer(is_exchange) {
        TokenAnswer::Normal => match granted(state, head, form) {
            Ok(grant) => response::json(StatusCode::OK, &grant),
            Err(error) => error.answer(),
        },
        TokenAnswer::Refuse { error, description } => refused(&error, &description),
        TokenAnswer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Refusal::usual(status).answer()
        }
        TokenAnswer::Body { status, body, content_type } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let content_type = HeaderValue::from_str(&content_type).ok();
            let headers = content_type.map(|value| (CONTENT_TYPE, value)).into_iter().collect();
            response::raw(status, headers, body.into())
        }
        TokenAnswer::Hang => pending().await,
        TokenAnswer::Close => return Err(Broken),
    })
}

/// Checks the fields in the order in which Box reports errors.
fn granted(state: &State, head: &Parts, form: &Form) -> Result<Value, OauthError> {
    let content_type =
        head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(BAD_GRANT_TYPE);
    }
    match form.get("grant_type") {
        Some("client_credentials") => {}
        Some(EXCHANGE) => return exchanged(state, form),
        _ => return Err(BAD_GRANT_TYPE),
    }
    let options = &state.options;
    let known = form.get("client_id") == Some(&options.client_id)
        && form.get("client_secret").is_some_and(|secret| state.accepts_secret(secret))
        && !head.headers.contains_key(AUTHORIZATION);
    let (true, Some(subject_type), Some(subject_id)) =
        (known, form.get("box_subject_type"), form.get("box_subject_id"))
    else {
        return Err(INVALID_CLIENT);
    };
    let subject = match subject_type {
        "enterprise" if subject_id == options.enterprise_id => state.users.service_account(),
        "user" if state.users.is_managed(subject_id) => subject_id,
        "enterprise" | "user" => return Err(INVALID_GRANT),
        _ => return Err(BAD_SUBJECT_TYPE),
    };
    let (token, expires_in) = state.tokens().issue(subject);
    Ok(
        json!({ "access_token": token, "expires_in": expires_in, "restricted_to": [], "token_type": "bearer" }),
    )
}

fn revoked(state: &State, form: &Form) -> Answer {
    if let Some(token) = form.get("token") {
        state.tokens().revoke(token);
    }
    response::empty(StatusCode::OK)
}

fn with_cookies(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in COOKIES {
        answer.headers_mut().append(SET_COOKIE, HeaderValue::from_static(cookie));
    }
    answer
}
