//! The path of one request through the sandbox: it is recorded, held, and answered or made to fail.

use std::{future::pending, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, RETRY_AFTER, TRAILER, TRANSFER_ENCODING},
    request::Parts,
};
use hyper::body::Incoming;

use crate::sandbox::{
    api::{authentication::token, downloads, oauth, request::ApiRequest, router, uploads},
    control::{failures::Call, faults::Fault},
    http::{
        host::Role,
        recorder,
        request_body::RequestBody,
        response::{self, Answer, Refusal, dress},
        response_body::{Broken, ResponseBody},
    },
    model::state::State,
};

const CHECKSUM: HeaderName = HeaderName::from_static("x-checksum");

/// Answers one request, or makes hyper drop it.
pub(crate) async fn serve(
    state: Arc<State>,
    role: Role,
    request: Request<Incoming>,
) -> Result<Answer, Broken> {
    let (head, incoming) = request.into_parts();
    if role == Role::Api && head.uri.path().starts_with("/oauth2/") {
        return oauth::serve(&state, &head, incoming).await;
    }
    let target = recorder::target(&head);
    let seen_token = token(&head).and_then(|token| state.tokens().seen(token));
    let (record, mut in_flight) = state.recorder.arrived(role, &head, seen_token);
    let mut body = RequestBody::new(incoming, &head, record);
    state.control.wait_until_released(&target).await;
    state.control.dawdle().await;

    let call = Call { has_token: head.headers.contains_key(AUTHORIZATION), changes: !head.method.is_safe() };
    let answer = match state.control.next_fault(&target, call) {
        Some(fault) => faulty(fault, &state, role, &head, &mut body).await,
        None => Ok(usual(&state, role, &head, &mut body).await),
    };
    body.drain().await;
    body.linger(head.version);
    match answer {
        Ok(answer) => Ok(dress(answer, &head.method).map(|body| body.guarded(in_flight))),
        Err(broken) => {
            in_flight.finish();
            Err(broken)
        }
    }
}

/// Box's response.
async fn usual(state: &State, role: Role, head: &Parts, body: &mut RequestBody) -> Answer {
    let answer = match role {
        Role::Api => match ApiRequest::admit(state, head) {
            Ok(request) => router::answer(&request, body).await,
            Err(refusal) => Err(refusal),
        },
        Role::Upload => match ApiRequest::admit(state, head) {
            Ok(request) => uploads::answer(&request, body).await,
            Err(refusal) => Err(refusal),
        },
        // Pre-signed URLs need no token, so this host looks for one itself.
        Role::Download => downloads::answer(state, head).await,
    };
    answer.unwrap_or_else(|refusal| refusal.answer())
}

async fn faulty(
    fault: Fault,
    state: &State,
    role: Role,
    head: &Parts,
    body: &mut RequestBody,
) -> Result<Answer, Broken> {
    match fault {
        Fault::Status { status, headers, body } => Ok(response::raw(status, headers, body)),
        Fault::RateLimited { retry_after } => {
            let mut answer = Refusal::usual(StatusCode::TOO_MANY_REQUESTS).answer();
            answer.headers_mut().insert(RETRY_AFTER, retry_after.into());
            Ok(answer)
        }
        Fault::CloseBeforeHead => Err(Broken),
        Fault::BreakBodyAfter(length) => {
            Ok(usual(state, role, head, body).await.map(|body| body.breaking_after(length)))
        }
        Fault::EarlyAnswer { status } => {
            body.abandon();
            Ok(Refusal::usual(status).answer())
        }
        Fault::Trailers => {
            let trailers = HeaderMap::from_iter([(CHECKSUM, HeaderValue::from_static("sandbox"))]);
            let mut answer = usual(state, role, head, body).await.map(|body| body.with_trailers(trailers));
            answer.headers_mut().insert(TRAILER, HeaderValue::from_static("x-checksum"));
            Ok(answer)
        }
        Fault::Hang => {
            // hyper notices that an HTTP/1.1 caller left only when its request has been read.
            body.drain().await;
            pending().await
        }
        Fault::RawBody { mut headers, pieces } => {
            // hyper frames the body itself.
            headers.remove(TRANSFER_ENCODING);
            let mut answer = Answer::new(ResponseBody::pieces(pieces));
            *answer.headers_mut() = headers;
            Ok(answer)
        }
        Fault::RefuseExpectation => {
            body.abandon();
            Ok(Refusal::usual(StatusCode::FORBIDDEN).answer())
        }
    }
}
