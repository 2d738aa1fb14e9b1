//! Throttling: may this request go to Box now, or must it wait, or come back later?
//!
//! Three things are asked, each of which charges nothing to the others where it says no: what is in flight, pauses
//! that Box asked for, limits. Where replicas share them, Redis is asked for pauses and limits in one round trip; while
//! it has no say, the limits of this process alone hold, each divided by the number of replicas.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::http::error::Refusal;
use crate::limits::concurrency::{self, Guard, InFlight, Kind};
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
mod successor;
mod upstream_response;

use numbers::Numbers;

pub(crate) use attempts::{Attempts, Reservation};

/// A request waits so long for a pause to end, and for its turn after one, where no limit lets it wait longer: a
/// page or SDK that comes back in time, with a few requests at once, is not sent away again.
const PAUSE_WAIT: Duration = Duration::from_secs(2);
/// And not longer than this, whatever its limits allow: it may wait for those too, and SDKs give up at 60 s.
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Everything that can hold a request of one configuration back, shared by the workers. Counts, lines, pauses and what is
/// in flight are shared with the configurations before and after it ([`Limiter::successor`]).
pub(crate) struct Limiter {
    limits: Arc<Limits>,
    /// Where replicas share: what holds while Redis has no say.
    alone: Option<Mutex<Alone>>,
    pauses: Arc<Pauses>,
    in_flight: Arc<InFlight>,
    replicas: Option<Arc<Replicas>>,
    /// Of the limits, whoever has the say.
    tallies: Tallies,
    numbers: Numbers,
    settings: Settings,
    /// Pauses that Box asks for again and again.
    repeats: Arc<Repeats>,
    clock: Clock,
}

/// The limits of this process alone.
struct Alone {
    /// The number of replicas by which the limits are divided.
    share: NonZeroU32,
    limits: Arc<Limits>,
}

/// What holds requests back.
#[derive(Debug, Clone)]
pub struct Settings {
    /// As configured; Box's own are not among them.
    pub limits: Vec<Limit>,
    /// Whether Box's published limits are kept to.
    pub box_defaults: bool,
    /// The longest that a `Retry-After` of Box holds others.
    pub max_pause: Duration,
    /// Whose calls are counted, by the identities' numbers.
    pub identities: Vec<Identity>,
    /// Who calls, by the apps' numbers.
    pub apps: Vec<App>,
}

/// An identity, as limits know it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name in the configuration.
    pub name: String,
    /// Of the Box app.
    pub client_id: String,
    /// Whose token it is.
    pub subject: Subject,
}

/// An app, as limits know it.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name in the configuration.
    pub name: String,
    /// So many of its requests may be in flight at once; `None`: any number.
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
    /// `As-User`.
    pub as_user: Option<&'a str>,
    /// A call of Box's API, as its limits count them.
    pub counted: bool,
}

/// A request that may go to Box. What it takes of what may be in flight is free again when this is dropped.
#[derive(Default)]
pub(crate) struct Permit {
    /// Its first call, where a limit of Box's counts it.
    pub reservation: Option<Reservation>,
    /// Held for its `Drop` alone.
    pub slots: Option<Guard>,
    /// So long it had to wait.
    pub waited: Duration,
    /// The limits that would have refused it, were they enforced.
    pub shadow: Vec<Arc<str>>,
}

pub(crate) struct Figures {
    pub limit: Arc<str>,
    pub refused: u64,
    /// Requests that it would have refused, were it enforced.
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
            in_flight: Arc::default(),
            replicas,
            numbers: Numbers::new(&settings.apps, &settings.identities),
            tallies,
            settings,
            repeats: Arc::new(Repeats::new(clock.clone())),
            clock,
        }
    }

    /// What replicas share, where they do.
    pub(crate) fn replicas(&self) -> Option<&Arc<Replicas>> {
        self.replicas.as_ref()
    }

    /// Lets a request go, after a wait where a limit has one, or says why not. `gone`: returns with a refusal when the caller has left, or sent what is no body; asked for only where the
    /// request waits.
    ///
    /// # Errors
    /// Too much is in flight, Box asked for a pause, or a limit has nothing left. No limit was charged then, except
    /// where a pause began while the request stood in line.
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
                        // Box may have asked for a pause meanwhile.
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
                        // Where Redis is lost, what has passed here has been charged here too: no second burst.
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

    /// By limits, in their order, then what may be in flight, Box's own pauses last.
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

    /// How many pauses hold or have just ended.
    pub(crate) fn paused(&self) -> usize {
        self.pauses.live().0
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

    fn slots(&self, request_key: &RequestKey<'_>) -> Result<Option<Guard>, Refusal> {
        let of_app = self.settings.apps.get(request_key.app.index()).and_then(|app| app.max_in_flight);
        let of_box =
            concurrency::of_box(request_key.operation, request_key.identity_number, request_key.enterprise)
                .filter(|_| self.settings.box_defaults);
        let mut wanted = [(Kind::App(request_key.app_number), 0); 3];
        let mut count = 0;
        let of_app = of_app.map(|most| (Kind::App(request_key.app_number), most.get() as usize));
        for (slot, kind) in wanted.iter_mut().zip(of_app.into_iter().chain(of_box.into_iter().flatten())) {
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

/// Boxed: few requests wait, and the whole of a request's state is moved for each one.
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

/// The configured limits, then Box's own, each divided.
fn rules(settings: &Settings, share: NonZeroU32) -> LimitMatcher {
    let divided = |limit: &Limit| Limit { quota: limit.quota.divided(share), ..limit.clone() };
    let of_box = if settings.box_defaults { box_limits::limits() } else { Vec::new() };
    LimitMatcher::new(settings.limits.iter().map(divided).collect(), of_box.iter().map(divided).collect())
}

/// The longest that this request waits for a pause. Its limits' own waiting comes on top.
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
    // Not one call in the time that is left.
    let policy = format!("\"{}\";q=0;w={}", pauses::NAME, whole_seconds(left).max(1));
    let state = rate_limit_state(pauses::NAME, left);
    Refusal::PausedByBox { retry_after: whole_seconds(left).max(1), fields: Box::new((state, policy)) }
}

/// `RateLimit` of what counts no calls.
fn rate_limit_state(name: &str, left: Duration) -> String {
    format!("\"{name}\";r=0;t={}", whole_seconds(left).max(1))
}

/// A refusal by what counts no calls.
fn unnumbered(name: &str, left: Duration, policy: String) -> Refusal {
    let retry_after = whole_seconds(left).max(1);
    let fields = Box::new((rate_limit_state(name, left), policy));
    Refusal::RateLimitExceeded { limit: name.into(), retry_after, fields }
}
