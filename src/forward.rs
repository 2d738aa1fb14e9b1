//! Forwarding: the request goes to Box, again where that is safe, and with a fresh token where Box says 401.
//!
//! What was never carried may be sent again whatever it asks. What may have been carried is sent again only for
//! GET, HEAD and OPTIONS: a second DELETE or POST could do harm and is billed. Answers of Box are never retried:
//! the SDKs do that themselves, five times.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::warn;

use crate::budget::ledger::{BudgetSpent, Spent};
use crate::exchange::Exchange;
use crate::outbound::{Call, LONG_ANSWER, Outbound};
use crate::refusal::Refusal;
use crate::token::{Rejected, Token};
use crate::upload::{Progress, Upload};
use crate::upstream::{Lease, SendError};
use crate::worker::Worker;

/// Sends the request; the answer's head, or why there is none.
pub async fn send(
    worker: &Worker,
    exchange: &mut Exchange,
    outbound: &Outbound,
) -> Result<(Response<Incoming>, Lease), Refusal> {
    let retries = worker.config().upstream.retries;
    let mut failures = 0;
    let mut replayed = false;
    loop {
        let token = match outbound.identity {
            None => None,
            Some(identity) => Some(current_token(worker, exchange, identity).await?),
        };
        // Each attempt is a call that Box counts.
        let spent = match outbound.call {
            None => None,
            Some(call) => Some(spend(worker, exchange, call).await?),
        };
        exchange.attempt();
        let sent = Instant::now();
        let http1_only = outbound.upload.invitation().is_some();
        let request = outbound.request(token.as_deref());
        let answering = worker.upstream().send(&outbound.origin, request, http1_only);
        match in_time(worker, outbound, pin!(answering)).await? {
            Ok((response, lease)) if response.status() == StatusCode::UNAUTHORIZED => {
                lease.done_after(response.into_body());
                let (Some(identity), Some(token)) = (outbound.identity, token) else {
                    return Err(Refusal::UpstreamUnauthorized);
                };
                unauthorized(worker, identity, &token, &outbound.upload, replayed)?;
                replayed = true;
            }
            Ok((response, lease)) => {
                exchange.box_answered(response.status(), sent.elapsed());
                return Ok((response, lease));
            }
            Err(error) => {
                if let Some(spent) = spent.filter(|_| error.unsent) {
                    worker.ledger().give_back(spent);
                }
                let repeatable = error.unsent || is_safe(&outbound.method);
                if failures >= retries || !repeatable || !outbound.upload.can_be_sent() {
                    return Err(refusal(error));
                }
                failures += 1;
                warn!(
                    request_id = exchange.request_id_text(),
                    again = failures,
                    "sent again: {}",
                    error.cause
                );
                let pause = Duration::from_millis(50 << failures.min(6));
                tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            }
        }
        worker.tally().retried();
    }
}

/// Whether budgets have something left for the request's first call.
pub fn look_for_budget(worker: &Worker, outbound: &Outbound) -> Result<(), Refusal> {
    match outbound.call {
        None => Ok(()),
        Some(Call { app, identity, .. }) => {
            worker.ledger().look(app, identity, worker.clock().wall()).map_err(refused)
        }
    }
}

fn refused(spent: BudgetSpent) -> Refusal {
    Refusal::BudgetSpent { budget: spent.name, until: spent.until }
}

async fn spend(worker: &Worker, exchange: &mut Exchange, call: Call) -> Result<Spent, Refusal> {
    let Call { app, identity, class } = call;
    let now = worker.clock().wall();
    let spent = match worker.throttle().replicas() {
        None => worker.ledger().try_spend(app, identity, class, now),
        // Boxed, as are the other waits that few requests have: the whole of a request's state is moved for each one.
        Some(replicas) => Box::pin(worker.ledger().spend_together(replicas, app, identity, class, now)).await,
    };
    let spent = spent.map_err(refused)?;
    exchange.shadow(spent.would_have_been_refused_by());
    Ok(spent)
}

async fn current_token(
    worker: &Worker,
    exchange: &mut Exchange,
    identity: usize,
) -> Result<std::sync::Arc<Token>, Refusal> {
    let tokens = worker.tokens(identity).ok_or(Refusal::TokenUnavailable { retry_after: 1 })?;
    if let Some(token) = tokens.at_hand() {
        return Ok(token);
    }
    let began = Instant::now();
    let token = Box::pin(tokens.current()).await;
    exchange.waited(began.elapsed());
    token
}

/// Contract: one fresh token and one replay, then the request fails alone.
fn unauthorized(
    worker: &Worker,
    identity: usize,
    token: &Token,
    upload: &Upload,
    replayed: bool,
) -> Result<(), Refusal> {
    if replayed {
        return Err(Refusal::UpstreamUnauthorized);
    }
    let rejected = worker.tokens(identity).map_or(Rejected::Spared, |tokens| tokens.reject(token));
    match rejected {
        Rejected::Spared => Err(Refusal::UpstreamUnauthorized),
        Rejected::Retired if upload.can_be_sent() => Ok(()),
        Rejected::Retired => Err(Refusal::TokenUnavailable { retry_after: 1 }),
    }
}

/// RFC 9110 §9.2.1. OPTIONS is a check at Box.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn refusal(error: SendError) -> Refusal {
    if error.unreachable {
        Refusal::UpstreamUnreachable(error.cause)
    } else {
        Refusal::UpstreamProtocolError(error.cause)
    }
}

/// Waits for the head: `body_timeout` from the last movement while the request's body is under way, then
/// `response_timeout` from its end. The future is pinned already, or its state would be held twice.
async fn in_time<T>(
    worker: &Worker,
    outbound: &Outbound,
    mut answering: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Refusal> {
    let limits = &worker.config().upstream;
    let response_timeout =
        if outbound.long { limits.response_timeout.max(LONG_ANSWER) } else { limits.response_timeout };
    let progress = outbound.upload.progress();
    let began = Instant::now();
    let deadline = |progress: Option<&Rc<Progress>>| match progress {
        None => began + response_timeout,
        Some(progress) if progress.is_complete() => progress.moved().max(began) + response_timeout,
        // Until something moved, Box may be waiting for nothing but its own decision.
        Some(progress) => progress.moved().max(began) + limits.body_timeout,
    };
    let mut timer = pin!(tokio::time::sleep_until(deadline(progress)));
    loop {
        tokio::select! {
            biased;
            answered = &mut answering => return Ok(answered),
            () = &mut timer => {
                let until = deadline(progress);
                if until > Instant::now() {
                    timer.as_mut().reset(until);
                    continue;
                }
                return Err(match progress {
                    Some(progress) if !progress.is_complete() && progress.is_starved() => Refusal::RequestTimeout,
                    _ => Refusal::UpstreamTimeout,
                });
            }
        }
    }
}
