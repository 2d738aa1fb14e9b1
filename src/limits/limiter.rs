//! Throttling: decides whether a request may go to Box now, must wait, or is refused.
//!
//! Three checks, of which a refusal by one charges nothing to the others: requests in flight, pauses
//! requested by Box, limits. If replicas share them, Redis checks pauses and limits in one round trip; while
//! it is unavailable, this process counts alone, each limit divided by the number of replicas.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::http::error::Refusal;
use crate::limits::concurrency::{self, Guard, InFlight, Kind};
use crate::limits::pause_counts::PauseCounts;
use crate::limits::pauses::{self, Pauses};
use crate::limits::rate::box_limits;
use crate::limits::rate::buckets::Shadow;
use crate::limits::rate::headers::{RateLimitHeaders, whole_seconds};
use crate::limits::rate::limit::Limit;
use crate::limits::rate::matcher::{LimitMatcher, RequestKey, User};
use crate::limits::rate::tally::{Tallies, Tally};
use crate::limits::rate::waiting::{self, Admitted, Entered, Limits};
use crate::limits::redis::replicas::Replicas;
use crate::net::client_address::ClientAddress;
use crate::net::clock::Clock;
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AppId;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use crate::telemetry::repeats::Repeats;

mod numbers;
mod shared;
mod attempts;
mod charges;
#[cfg(test)]
mod contention;
mod status;
mod successor;
mod upstream_response;

use numbers::Numbers;

pub(crate) use attempts::{Attempts, Reservation};
pub(crate) use charges::Charge;
pub(crate) use status::{LimitStatus, PauseStatus};

/// How long a request may wait for a pause to end, and for its turn after it, unless a limit allows more: a
/// page or SDK that retries in time, with a few requests at once, is not refused again.
const PAUSE_WAIT: Duration = Duration::from_secs(2);
/// The upper bound, whatever its limits allow: it may wait for those too, and SDKs time out at 60 s.
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The limits, pauses and concurrency limits of one configuration, shared by the workers. Counts, queues, pauses and
/// requests in flight are shared with the previous and next configurations ([`Limiter::successor`]).
pub(crate) struct Limiter {
    limits: Arc<Limits>,
    /// If replicas share: the limits that apply while Redis is unavailable.
    alone: Option<Mutex<Alone>>,
    pauses: Arc<Pauses>,
    pause_counts: Arc<PauseCounts>,
    in_flight: Arc<InFlight>,
    replicas: Option<Arc<Replicas>>,
    /// Counts of refusals by the limits, whether Redis or this process decided.
    tallies: Tallies,
    numbers: Numbers,
    settings: Settings,
    /// Suppresses log lines of repeated pauses.
    repeats: Arc<Repeats>,
    clock: Clock,
}

/// The limits of this process alone.
struct Alone {
    /// The number of replicas by which the limits are divided.
    share: NonZeroU32,
    limits: Arc<Limits>,
}

/// The settings of a [`Limiter`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configured limits, without Box's own.
    pub limits: Vec<Limit>,
    /// Whether Box's published limits are applied.
    pub box_defaults: bool,
    /// The longest pause after a `Retry-After` of Box.
    pub max_pause: Duration,
    /// The identities, by their ids.
    pub identities: Vec<Identity>,
    /// The apps, by their ids.
    pub apps: Vec<App>,
}

/// The fields of an identity that limits need.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name in the configuration.
    pub name: String,
    /// The client id of the Box app.
    pub client_id: String,
    /// The account that its token belongs to.
    pub subject: Subject,
}

/// The fields of an app that limits need.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name in the configuration.
    pub name: String,
    /// The most of its requests in flight; `None`: any number.
    pub max_in_flight: Option<NonZeroU32>,
}

/// A request on its way to Box.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub operation: Operation<'a>,
    pub class: Class,
    /// The client behind trusted proxies.
    pub client: ClientAddress,
    pub app: AppId,
    pub identity: IdentityId,
    /// The value of `As-User`.
    pub as_user: Option<&'a str>,
    /// Whether it is a call of Box's API that Box's limits count.
    pub counted: bool,
}

/// A request that may go to Box. Its slots in flight are released when this is dropped.
#[derive(Default)]
pub(crate) struct Permit {
    /// Its first call, if one of Box's limits counts it.
    pub reservation: Option<Reservation>,
    /// Held only for its `Drop`.
    pub slots: Option<Guard>,
    /// How long it waited.
    pub waited: Duration,
    /// The limits that would have refused it if they were enforced.
    pub shadow: Vec<Arc<str>>,
}

pub(crate) struct Figures {
    pub limit: Arc<str>,
    pub refused: u64,
    /// Requests that it would have refused if it were enforced.
    pub shadow: u64,
    /// Requests that wait for it in this process.
    pub queued: usize,
}

impl Permit {
    fn new(slots: Option<Guard>, admitted: Admitted) -> Self {
        let shadow = admitted.shadow.into_iter().map(|Shadow { limit, .. }| limit).collect();
        Self {
            reservation: admitted.reservation.map(Reservation::here),
            slots,
            waited: admitted.waited,
            shadow,
        }
    }
}

impl Limiter {
    pub(crate) fn new(settings: Settings, clock: Clock, replicas: Option<Arc<Replicas>>) -> Self {
        let of_all = rules(&settings, NonZeroU32::MIN);
        let tallies = Tallies::new(of_all.iter().map(|limit| &limit.name));
        let limits = |rules| Arc::new(Limits::new(rules, tallies.clone(), clock.clone()));
        let alone = replicas.as_ref().map(|replicas| {
            let share = replicas.share();
            Mutex::new(Alone { share, limits: limits(rules(&settings, share)) })
        });
        Self {
            limits: limits(of_all),
            alone,
            pauses: Arc::new(Pauses::new(clock.clone())),
            pause_counts: Arc::default(),
            in_flight: Arc::default(),
            replicas,
            numbers: Numbers::new(&settings.apps, &settings.identities),
            tallies,
            settings,
            repeats: Arc::new(Repeats::new(clock.clone())),
            clock,
        }
    }

    /// The state shared by replicas, if configured.
    pub(crate) fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.replicas.as_ref()
    }

    /// Admits a request, after a wait if a limit allows one, or refuses it. `gone`: returns a refusal when the caller
    /// has left or sent an invalid body; polled only while the request waits.
    ///
    /// # Errors
    /// Too many requests are in flight, Box requested a pause, or a limit is exhausted. No limit was charged then,
    /// unless a pause began while the request was queued.
    pub(crate) async fn admit<G: Future<Output = Refusal>>(
        &self,
        request: Request<'_>,
        gone: impl FnOnce() -> G,
    ) -> Result<Permit, Refusal> {
        let request_key = self.request_key(request);
        let slots = self.slots(&request_key)?;
        if self.replicas.is_none() && self.paused() == 0 {
            match self.limits.enter(&request_key) {
                Entered::Passed(admitted) => return Ok(Permit::new(slots, admitted)),
                Entered::Refused(refused) => return Err(exceeded(&refused.headers, refused.retry_after)),
                Entered::Waits(turn) => {
                    let waiting = async {
                        let admitted = turn.come().await;
                        let admitted = admitted.map_err(|no| exceeded(&no.headers, no.retry_after))?;
                        // Box may have requested a pause meanwhile.
                        self.pass_pause(&request_key, PAUSE_WAIT).await?;
                        Ok(Permit::new(slots, admitted))
                    };
                    return or_cancelled(Box::pin(gone()), Box::pin(waiting)).await;
                }
            }
        }
        or_cancelled(Box::pin(gone()), Box::pin(self.admit_later(request_key, slots))).await
    }

    async fn admit_later(
        &self,
        request_key: RequestKey<'_>,
        slots: Option<Guard>,
    ) -> Result<Permit, Refusal> {
        let began = self.clock.mono();
        let mut admission = match &self.replicas {
            None => self.admit_here(&self.limits, &request_key).await?,
            Some(replicas) => {
                let alone = self.divided(replicas);
                match self.admit_together(replicas, &request_key).await? {
                    Some(mut admission) => {
                        // Charge here too what Redis admitted: if Redis is lost, this process does not grant a second
                        // burst.
                        let here = alone.charge_regardless(&request_key);
                        admission.reservation = Reservation::also_here(admission.reservation, here);
                        admission
                    }
                    None => self.admit_here(&alone, &request_key).await?,
                }
            }
        };
        if !admission.waited.is_zero() {
            self.pass_pause(&request_key, PAUSE_WAIT).await?;
        }
        admission.waited = self.clock.mono().saturating_duration_since(began);
        admission.slots = slots;
        Ok(admission)
    }

    /// The figures of the limits in their order, then of requests in flight, then of Box's pauses.
    pub(crate) fn figures(&self) -> Vec<Figures> {
        let alone = self.alone.as_ref().map(|alone| {
            let limits = alone.lock().unwrap_or_else(PoisonError::into_inner).limits.clone();
            limits.figures()
        });
        let alone = alone.unwrap_or_default().into_iter().map(|figures| figures.queued);
        let of = |((here, tally), alone): ((waiting::Figures, &Tally), usize)| Figures {
            limit: here.limit,
            refused: here.refused,
            shadow: here.shadow,
            queued: here.queued + tally.queued() + alone,
        };
        let here = self.limits.figures().into_iter();
        let mut figures: Vec<Figures> =
            here.zip(self.tallies.iter()).zip(alone.chain(std::iter::repeat(0))).map(of).collect();
        let queued = self.pauses.live().1;
        let other = |name: &str, refused, queued| Figures { limit: name.into(), refused, shadow: 0, queued };
        figures.extend(self.in_flight.refused().map(|(name, refused)| other(name, refused, 0)));
        figures.push(other(pauses::NAME, self.pauses.refused(), queued));
        figures
    }

    /// The number of pauses in force or just ended.
    pub(crate) fn paused(&self) -> usize {
        self.pauses.live().0
    }

    /// How many pauses Box asked this process for, by identity and class; an identity without any counts 0.
    pub(crate) fn pauses_begun(&self) -> BTreeMap<(Arc<str>, Class), u64> {
        self.pause_counts.with(self.settings.identities.iter().map(|identity| identity.name.as_str()))
    }

    fn request_key<'a>(&'a self, request: Request<'a>) -> RequestKey<'a> {
        let Request { operation, class, client, app, identity, as_user, counted } = request;
        let subject = self.settings.identities.get(identity.index()).map(|identity| &identity.subject);
        let user = as_user.or(match subject {
            Some(Subject::User(id)) => Some(id),
            Some(Subject::Enterprise(_)) | None => None,
        });
        RequestKey {
            operation,
            class,
            client,
            app,
            identity,
            user: user.map_or(User::Service, User::Id),
            app_number: self.numbers.app(app),
            identity_number: self.numbers.identity(identity),
            enterprise: self.numbers.enterprise(identity),
            counted_by_box: counted,
        }
    }

    /// The kinds of requests in flight of which a request needs a slot, each with the most of them; at most three.
    fn wanted_slots(&self, request_key: &RequestKey<'_>) -> impl Iterator<Item = (Kind, usize)> + use<> {
        let of_app = self.settings.apps.get(request_key.app.index()).and_then(|app| app.max_in_flight);
        let of_box =
            concurrency::of_box(request_key.operation, request_key.identity_number, request_key.enterprise)
                .filter(|_| self.settings.box_defaults);
        let of_app = of_app.map(|most| (Kind::App(request_key.app_number), most.get() as usize));
        of_app.into_iter().chain(of_box.into_iter().flatten())
    }

    fn slots(&self, request_key: &RequestKey<'_>) -> Result<Option<Guard>, Refusal> {
        let mut wanted = [(Kind::App(request_key.app_number), 0); 3];
        let mut count = 0;
        for (slot, kind) in wanted.iter_mut().zip(self.wanted_slots(request_key)) {
            *slot = kind;
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let wanted = wanted.get(..count).unwrap_or_default();
        match self.in_flight.enter(wanted) {
            Ok(guard) => Ok(Some(guard)),
            Err(kind @ Kind::App(_)) => Err(Refusal::Overloaded(kind.name().into())),
            Err(kind) => {
                let most = wanted.iter().find(|(full, _)| *full == kind).map_or(0, |(_, most)| *most);
                let name = kind.name();
                let policy = format!("\"{name}\";q={most};qu=\"concurrent-requests\"");
                Err(unnumbered(name, concurrency::RETRY_AFTER, policy))
            }
        }
    }

    async fn pass_pause(&self, request_key: &RequestKey<'_>, wait: Duration) -> Result<(), Refusal> {
        self.pauses.pass(asked(request_key), wait).await.map_err(paused)
    }

    async fn admit_here(
        &self,
        limits: &Arc<Limits>,
        request_key: &RequestKey<'_>,
    ) -> Result<Permit, Refusal> {
        if self.paused() > 0 {
            self.pass_pause(request_key, wait_of(limits.rules(), request_key)).await?;
        }
        match limits.admit(request_key).await {
            Ok(admitted) => Ok(Permit::new(None, admitted)),
            Err(refused) => Err(exceeded(&refused.headers, refused.retry_after)),
        }
    }
}

/// Boxed: few requests wait, and the state of every request would reserve the size.
async fn or_cancelled(
    gone: Pin<Box<impl Future<Output = Refusal>>>,
    waiting: Pin<Box<impl Future<Output = Result<Permit, Refusal>>>>,
) -> Result<Permit, Refusal> {
    tokio::select! {
        biased;
        admitted = waiting => admitted,
        refusal = gone => Err(refusal),
    }
}

/// The configured limits, then Box's own, each divided by the number of replicas.
fn rules(settings: &Settings, share: NonZeroU32) -> LimitMatcher {
    let divided = |limit: &Limit| Limit { quota: limit.quota.divided(share), ..limit.clone() };
    let of_box = if settings.box_defaults { box_limits::limits() } else { Vec::new() };
    LimitMatcher::new(settings.limits.iter().map(divided).collect(), of_box.iter().map(divided).collect())
}

/// The longest time that this request waits for a pause. Waiting for its limits comes on top.
fn wait_of(rules: &LimitMatcher, request_key: &RequestKey<'_>) -> Duration {
    let waits = rules.about(request_key).map(|(_, limit)| limit.wait);
    waits.fold(PAUSE_WAIT, Duration::max).min(PAUSE_WAIT_MAX)
}

fn asked<'a>(request_key: &RequestKey<'a>) -> pauses::Asked<'a> {
    let RequestKey { identity_number: identity, user, class, operation, .. } = *request_key;
    pauses::Asked { identity, user, class, operation }
}

fn exceeded(headers: &RateLimitHeaders, retry_after: Duration) -> Refusal {
    Refusal::RateLimitExceeded {
        limit: headers.limit.clone(),
        retry_after: whole_seconds(retry_after).max(1),
        fields: Box::new((headers.state(), headers.policy())),
    }
}

fn paused(left: Duration) -> Refusal {
    // No call is allowed in the remaining time.
    let policy = format!("\"{}\";q=0;w={}", pauses::NAME, whole_seconds(left).max(1));
    let state = rate_limit_state(pauses::NAME, left);
    Refusal::PausedByBox { retry_after: whole_seconds(left).max(1), fields: Box::new((state, policy)) }
}

/// The `RateLimit` field of a refusal that is not by a count of calls.
fn rate_limit_state(name: &str, left: Duration) -> String {
    format!("\"{name}\";r=0;t={}", whole_seconds(left).max(1))
}

/// A refusal that is not by a count of calls.
fn unnumbered(name: &str, left: Duration, policy: String) -> Refusal {
    let retry_after = whole_seconds(left).max(1);
    let fields = Box::new((rate_limit_state(name, left), policy));
    Refusal::RateLimitExceeded { limit: name.into(), retry_after, fields }
}
