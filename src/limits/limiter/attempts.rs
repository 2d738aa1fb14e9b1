//! The calls of one request: Box's limits count each attempt to send it, at the time at which its head is
//! written.

use std::sync::Arc;

use super::{Limiter, Request, exceeded};
use crate::http::error::Refusal;
use crate::limits::rate::matcher::RequestKey;
use crate::limits::rate::waiting::{self, Limits};
use crate::limits::redis::reservation as shared;

/// A call that Box's limits count from its admission on. If it is dropped before it is written, it is given back.
#[must_use = "a call that is dropped is given back"]
pub(crate) struct Reservation {
    here: Option<waiting::Reservation>,
    shared: Option<shared::Reservation>,
}

impl Reservation {
    pub(super) fn here(here: waiting::Reservation) -> Self {
        Self { here: Some(here), shared: None }
    }

    pub(super) fn shared(shared: shared::Reservation) -> Self {
        Self { here: None, shared: Some(shared) }
    }

    /// A call counted in Redis and in this process.
    pub(super) fn also_here(shared: Option<Self>, here: Option<waiting::Reservation>) -> Option<Self> {
        match (shared, here) {
            (Some(shared), here) => Some(Self { here, ..shared }),
            (None, here) => here.map(Self::here),
        }
    }

    /// Records that the call's head is written to Box now.
    pub(crate) fn written(self) {
        if let Some(here) = self.here {
            here.written();
        }
        if let Some(shared) = self.shared {
            shared.written();
        }
    }
}

/// Reserves the calls that a request needs to be sent and retried.
pub(crate) struct Attempts<'a>(Option<Counted<'a>>);

struct Counted<'a> {
    limiter: &'a Limiter,
    request: Request<'a>,
    first: First,
}

enum First {
    Admitted(Option<Reservation>),
    Sent,
}

impl<'a> Attempts<'a> {
    /// For a request that Box's limits do not count.
    pub(crate) fn uncounted() -> Self {
        Self(None)
    }

    /// The call for the next attempt: first the one of the admission, then one more each time.
    ///
    /// # Errors
    /// One of Box's limits is exhausted.
    pub(crate) async fn next(&mut self) -> Result<Option<Reservation>, Refusal> {
        let Some(Counted { limiter, request, first }) = &mut self.0 else { return Ok(None) };
        match std::mem::replace(first, First::Sent) {
            First::Admitted(reservation) => Ok(reservation),
            // Boxed: few requests are retried, and all would carry the state of this future.
            First::Sent => Box::pin(limiter.reserve(*request)).await,
        }
    }
}

impl Limiter {
    /// The calls of a request that was admitted with this reservation.
    pub(crate) fn attempts<'a>(
        &'a self,
        request: Request<'a>,
        reservation: Option<Reservation>,
    ) -> Attempts<'a> {
        Attempts(Some(Counted { limiter: self, request, first: First::Admitted(reservation) }))
    }

    async fn reserve(&self, request: Request<'_>) -> Result<Option<Reservation>, Refusal> {
        let request_key = self.request_key(request);
        let Some(replicas) = &self.replicas else { return self.reserve_here(&self.limits, &request_key) };
        let alone = self.divided(replicas);
        match self.reserve_together(replicas, &request_key).await? {
            Some(shared) => Ok(Reservation::also_here(shared, alone.reserve_regardless(&request_key))),
            None => self.reserve_here(&alone, &request_key),
        }
    }

    fn reserve_here(
        &self,
        limits: &Arc<Limits>,
        request_key: &RequestKey<'_>,
    ) -> Result<Option<Reservation>, Refusal> {
        match limits.reserve(request_key) {
            Ok(reservation) => Ok(reservation.map(Reservation::here)),
            Err(refused) => Err(exceeded(&refused.headers, refused.retry_after)),
        }
    }
}
