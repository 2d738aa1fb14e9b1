//! Forwarding: sends the request to Box, repeats it where that is safe, and repeats it with a fresh token after a 401.
//!
//! A request that no connection has carried may be repeated whatever its method. One that may have been carried is
//! repeated only for GET, HEAD and OPTIONS: a second DELETE or POST could do harm and is billed. Responses of Box are
//! never retried: the SDKs do that themselves, five times.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::uri::Authority;
use http::{Method, Response, StatusCode};
use tokio::time::Instant;
use tracing::debug;

use crate::http::error::Refusal;
use crate::http::incoming_body::IncomingBody;
use crate::limits::budget::call::Call;
use crate::limits::budget::spending::{BudgetSpent, Spent};
use crate::limits::limiter::Attempts;
use crate::net::clock::Clock;
use crate::oauth::identity::IdentityId;
use crate::oauth::token_cache::{Rejected, Token};
use crate::proxy::gateway::LocalGateway;
use crate::proxy::request_record::RequestRecord;
use crate::proxy::request_trace::WaitedFor;
use crate::proxy::upstream_request::{LONG_ANSWER, UpstreamRequest};
use crate::telemetry::metrics::Tally;
use crate::telemetry::outages::{Outages, Party};
use crate::upstream::host_pool::Lease;
use crate::upstream::pool::Upstream;
use crate::upstream::request_body::{Progress, Taken};
use crate::upstream::send_error::{SendError, SendFault};

/// What is needed to send requests to Box.
#[derive(Clone, Copy)]
pub(crate) struct Forwarder<'a> {
    /// The gateway with which the request began: it has the tokens, budgets and limits.
    pub gateway: &'a LocalGateway,
    /// Connections to Box.
    pub upstream: &'a Upstream,
    pub clock: &'a Clock,
    /// Counts repeated requests.
    pub tally: &'a Tally,
    /// Logs that Box is unreachable.
    pub outages: &'a Outages,
}

impl Forwarder<'_> {
    /// Checks that every budget has a call left for the request. Charges nothing yet.
    pub(crate) fn check_budget(&self, outbound: &UpstreamRequest<'_>) -> Result<(), Refusal> {
        match &outbound.call {
            None => Ok(()),
            Some(call) => self.gateway.ledger.look(call, self.clock.wall()).map_err(refused),
        }
    }

    /// Sends the request and returns the response with its head read, or why there is none.
    pub(crate) async fn send(
        &self,
        record: &mut RequestRecord,
        outbound: &UpstreamRequest<'_>,
        attempts: &mut Attempts<'_>,
    ) -> Result<(Response<IncomingBody>, Lease), Refusal> {
        let retries = self.gateway.config.upstream.retries;
        let mut failures = 0;
        let mut replayed = false;
        loop {
            let token = match outbound.identity {
                None => None,
                Some(identity) => Some(self.current_token(record, identity).await?),
            };
            // Box counts each attempt as a call, which windows count from the time when its head is written.
            let reservation = attempts.next().await?;
            let charge = match &outbound.call {
                None => None,
                Some(call) => Some(self.charge(record, call).await?),
            };
            let mut request = outbound.request(token.as_deref());
            record.attempt(outbound.origin.authority(), outbound.attempt_path(), request.headers_mut());
            let sent = self.clock.mono();
            let taken = Rc::clone(request.body().taken());
            let charge = charge.map(|charge| charge.sent_with(&taken));
            if let Some(reservation) = reservation {
                taken.then(|| reservation.written());
            }
            let answering = self.upstream.send(&outbound.origin, request, outbound.protocol());
            let answered = self.in_time(outbound, pin!(answering)).await?;
            if let Some(charge) = charge {
                charge.settle(answered.as_ref().err());
            }
            if let Ok((response, _)) = &answered {
                record.attempt_answered(response);
                // A request that was answered must have been written.
                taken.set();
                self.outages.answered(Party::Host(outbound.origin.authority().as_str()), "");
            }
            match answered {
                Ok((response, lease)) if response.status() == StatusCode::UNAUTHORIZED => {
                    record.box_refused(response.headers());
                    lease.done_after(response.into_body());
                    let (Some(identity), Some(token)) = (outbound.identity, token) else {
                        return Err(Refusal::UrlUnauthorized);
                    };
                    self.unauthorized(identity, &token, outbound, replayed)?;
                    replayed = true;
                }
                Ok((response, _)) if response.status().is_informational() => {
                    // The request asked for no upgrade, so Box may not switch protocols.
                    let cause =
                        format!("Box answered {} without being asked to switch protocols", response.status());
                    return Err(Refusal::UpstreamProtocolError(cause));
                }
                Ok((response, lease)) => {
                    // A 5xx may come from a server that has not checked the token.
                    if let Some(token) = token.filter(|_| !response.status().is_server_error()) {
                        token.accepted();
                    }
                    record.box_answered(response.status(), sent);
                    return Ok((response, lease));
                }
                Err(error) => {
                    if let Some(broken) = outbound.upload.broken() {
                        return Err(Refusal::from(&broken));
                    }
                    record.attempt_failed(code(&error));
                    // If there was no room for a connection, the request has already waited for it.
                    let repeatable = (error.unsent || is_safe(&outbound.method))
                        && !matches!(error.fault, SendFault::NoRoom | SendFault::Loop);
                    if failures >= retries || !repeatable || !outbound.upload.can_be_sent() {
                        self.tell(outbound.origin.authority(), &error);
                        return Err(refusal(error));
                    }
                    failures += 1;
                    debug!(
                        request_id = record.request_id_text(),
                        again = failures,
                        "sent again: {}",
                        error.cause
                    );
                    let pause = Duration::from_millis(50 << failures.min(6));
                    tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
                }
            }
            self.tally.retried();
        }
    }

    /// Reports a failed request. All that fail since Box is unreachable are one outage.
    fn tell(&self, authority: &Authority, error: &SendError) {
        let name = authority.as_str();
        // An error of a stopping worker names no host.
        if error.fault == SendFault::Unreachable
            && let Some((_, cause)) = error.cause.split_once(name)
        {
            self.outages.failed(Party::Host(name), cause.trim_start_matches(": "), 1, "");
        }
    }

    async fn charge(&self, record: &mut RequestRecord, call: &Call) -> Result<Charge, Refusal> {
        let now = self.clock.wall();
        let charged = |gateway: LocalGateway, spent| Charge { gateway, spent: Some(spent), taken: None };
        let charge = match self.gateway.limiter.replicas().cloned() {
            None => {
                let spent = self.gateway.ledger.try_spend(call, now).map_err(refused)?;
                charged(self.gateway.clone(), spent)
            }
            Some(replicas) => {
                let (gateway, call) = (self.gateway.clone(), call.clone());
                // Runs in a task of its own, since Redis counts the call even if the caller leaves before Redis has
                // answered. The charge is then dropped with the task's result, which gives it back.
                let asking = tokio::task::spawn_local(async move {
                    let spent = gateway.ledger.spend_together(&replicas, &call, now).await?;
                    Ok(charged(gateway, spent))
                });
                let stopping = |_| Refusal::UpstreamUnreachable("the worker is stopping".to_owned());
                asking.await.map_err(stopping)?.map_err(refused)?
            }
        };
        if let Some(spent) = &charge.spent {
            record.shadow(spent.would_have_been_refused_by());
        }
        Ok(charge)
    }

    async fn current_token(
        &self,
        record: &mut RequestRecord,
        identity: IdentityId,
    ) -> Result<std::sync::Arc<Token>, Refusal> {
        let tokens = self.gateway.tokens(identity).ok_or_else(|| Refusal::TokenUnavailable {
            retry_after: 1,
            cause: "no such identity".to_owned(),
        })?;
        if let Some(token) = tokens.cached() {
            return Ok(token);
        }
        let mut asking = Box::pin(tokens.current());
        let token = record.waiting(WaitedFor::Token, asking.as_mut()).await;
        record.waited_for_token();
        token
    }

    /// Handles a 401: one fresh token and one replay, then this request fails.
    fn unauthorized(
        &self,
        identity: IdentityId,
        token: &Token,
        outbound: &UpstreamRequest<'_>,
        replayed: bool,
    ) -> Result<(), Refusal> {
        let kind = kind_of(&outbound.method, outbound.target.path());
        let rejected = self
            .gateway
            .tokens(identity)
            .map_or(Rejected::Spared, |tokens| tokens.reject(token, kind, replayed));
        if let Some(broken) = outbound.upload.broken() {
            return Err(Refusal::from(&broken));
        }
        match rejected {
            _ if replayed => Err(Refusal::UpstreamUnauthorized),
            Rejected::Spared => Err(Refusal::UpstreamUnauthorized),
            Rejected::Retired if outbound.upload.can_be_sent() => Ok(()),
            Rejected::Retired => Err(Refusal::TokenRetired),
        }
    }

    /// Waits for the head of the response: for `body_timeout` from the last progress while the request's body is under
    /// way, then for `response_timeout` from its end. Takes a pinned future, since otherwise its state would be stored
    /// twice.
    async fn in_time<T>(
        &self,
        outbound: &UpstreamRequest<'_>,
        mut answering: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Refusal> {
        let limits = &self.gateway.config.upstream;
        let response_timeout =
            if outbound.long { limits.response_timeout.max(LONG_ANSWER) } else { limits.response_timeout };
        let progress = outbound.upload.progress();
        let began = Instant::now();
        // Boxed, and only for requests with bodies, since the state of every request is moved as a whole.
        let mut completed = progress
            .filter(|progress| !progress.is_complete())
            .map(|progress| Box::pin(async { progress.completed().await }));
        let deadline = |progress: Option<&Rc<Progress>>| match progress {
            None => began + response_timeout,
            Some(progress) if progress.is_complete() => progress.moved().max(began) + response_timeout,
            // Before any progress, the timeout counts from the beginning.
            Some(progress) => progress.moved().max(began) + limits.body_timeout,
        };
        let mut timer = pin!(tokio::time::sleep_until(deadline(progress)));
        loop {
            tokio::select! {
                biased;
                answered = &mut answering => return Ok(answered),
                // From here on response_timeout counts, which may be shorter than body_timeout.
                () = either(&mut completed), if completed.is_some() => {
                    completed = None;
                    timer.as_mut().reset(deadline(progress));
                }
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
}

/// A call that was charged to budgets before it is sent. Dropping it gives the call back, unless a connection has taken
/// the request's head: a caller that leaves while Box is unreachable has made no call.
struct Charge {
    gateway: LocalGateway,
    spent: Option<Spent>,
    taken: Option<Rc<Taken>>,
}

impl Charge {
    /// Sets the flag that tells whether a connection has taken the request.
    fn sent_with(mut self, taken: &Rc<Taken>) -> Self {
        self.taken = Some(taken.clone());
        self
    }

    /// Settles the charge after Box has answered or the attempt has failed.
    fn settle(mut self, failed: Option<&SendError>) {
        match failed {
            None => self.spent = None,
            // Box has certainly not processed it.
            Some(error) if error.unsent => self.taken = None,
            // `taken` says whether it was written.
            Some(_) => {}
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(spent) = self.spent.take()
            && !self.taken.as_ref().is_some_and(|taken| taken.is_set())
        {
            self.gateway.ledger.give_back(spent);
        }
    }
}

fn refused(spent: BudgetSpent) -> Refusal {
    Refusal::BudgetSpent { budget: spent.name, until: spent.until }
}

/// A hash of method and path that ignores ids.
fn kind_of(method: &Method, path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    method.hash(&mut hasher);
    for segment in path.split('/') {
        let is_id = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        if is_id { "*" } else { segment }.hash(&mut hasher);
    }
    hasher.finish()
}

/// Waits for the future, if there is one.
async fn either<F: Future<Output = ()> + Unpin>(future: &mut Option<F>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Whether the method is safe (RFC 9110 §9.2.1). At Box, OPTIONS is a pre-flight check of an upload.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The code of [`refusal`].
fn code(error: &SendError) -> &'static str {
    match error.fault {
        SendFault::Unreachable => "upstream_unreachable",
        SendFault::Loop => "loop_detected",
        SendFault::NoRoom => "overloaded",
        SendFault::Broken => "upstream_protocol_error",
    }
}

fn refusal(error: SendError) -> Refusal {
    match error.fault {
        SendFault::Unreachable => Refusal::UpstreamUnreachable(error.cause),
        SendFault::Loop => Refusal::LoopDetected(error.cause),
        SendFault::NoRoom => Refusal::Overloaded("open files".into()),
        SendFault::Broken => Refusal::UpstreamProtocolError(error.cause),
    }
}
