//! Access tokens: one valid token for each identity, renewed in the background.
//!
//! A request reads the current token without a lock. Only if there is none does it wait for the identity's single
//! renewing task, so a hundred first requests make one call (single flight by construction: no request ever calls
//! the endpoint itself). The task publishes its [`Phase`]; a request that finds no token while the task pauses is
//! refused at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::http::error::Refusal;
use crate::net::clock::{Clock, Moment};
use crate::net::secret::Secret;
use crate::oauth::grant::{self, Fetched, Granted, Tracing};
use crate::oauth::identity::{Downscope, Identity};
use crate::oauth::token_endpoint::{Fault, GrantType, Refused, TokenEndpoint};
use crate::telemetry::outages::Outages;
use crate::telemetry::repeats::{LeftOut, Repeats};
use crate::telemetry::trace::tracer::CurrentTracer;

mod failure; // when to ask again, and what is logged
mod rejection; // what a 401 does to a token
mod renewal; // on request
mod status; // what operators are told

pub(crate) use rejection::Rejected;
pub(crate) use renewal::NotRenewed;
pub(crate) use status::TokenStatus;

pub(super) use failure::growing;
use failure::{Failing, Failures};
use rejection::Unhelpful;
use renewal::Calls;

/// How long before a token's end the renewal starts; or at half its lifetime, if that is later.
const MARGIN: Duration = Duration::from_secs(300);
/// How many earlier tokens are still blanked in all output: Box may accept them until they expire. More than operators can have
/// renewed in the hour that Box's tokens are valid (one renewal in 10 s, of two tokens where one is exchanged for the other).
const EARLIER: usize = 800;

/// A token that may be sent to Box.
#[derive(Debug)]
pub(crate) struct Token {
    authorization: HeaderValue,
    /// Blanked in all output as long as a request uses the token.
    secret: Secret,
    expires: Moment,
    number: u64,
    /// It was requested because of a 401.
    forced: bool,
    accepted: AtomicBool,
    /// It got a 401 too, which was counted.
    unhelpful: AtomicBool,
}

impl Token {
    /// Records that Box answered other than 401 to it.
    pub(crate) fn accepted(&self) {
        // Read first: all workers share the token, and a store would invalidate their cache lines.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// The value of `Authorization`; marked sensitive.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    fn is_valid(&self, now: Moment) -> bool {
        !self.expires.has_come(now)
    }
}

/// What an identity's renewing task is doing.
#[derive(Debug, Clone)]
enum Phase {
    /// A request to the token endpoint is in progress.
    Asking,
    /// A token was obtained; the next request follows when it is due, or when a caller finds no valid token.
    Holding,
    /// The endpoint failed; the next attempt is at `until`.
    Down { until: Moment, cause: String, failing: Failing },
    /// Box refused the identity; the next attempt is at `until`.
    Refused { until: Moment, refused: Refused },
}

/// The token of one identity.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The identity's name. It never changes; credentials may.
    name: String,
    /// The credentials and endpoint for the next token.
    means: ArcSwap<Means>,
    clock: Clock,
    current: ArcSwapOption<Token>,
    phase: watch::Sender<Phase>,
    /// Wakes the task: a request found no valid token.
    missed: Notify,
    /// Wakes the task: it must request a token now, whatever it waits for.
    renewed: Notify,
    /// The next token is requested because of a 401.
    forced: AtomicBool,
    unhelpful: Mutex<VecDeque<Unhelpful>>,
    /// Earlier tokens that have not expired, those that were exchanged, and the current one, newest last.
    blanked: Mutex<VecDeque<(Moment, Secret)>>,
    obtained: AtomicU64,
    failed: AtomicU64,
    /// Token exchanges that succeeded, and that failed.
    exchanges: (AtomicU64, AtomicU64),
    /// When the last token was obtained, by the wall clock.
    last_obtained: Mutex<Option<SystemTime>>,
    /// Host and port of the token endpoint, for the log.
    endpoint: String,
    outages: Arc<Outages>,
    repeats: Repeats,
    /// The calls of the token endpoint, for whoever waits for the outcome of one.
    calls: watch::Sender<Calls>,
}

/// The credentials and endpoint for a token.
#[derive(Debug)]
struct Means {
    identity: Identity,
    token_endpoint: Arc<TokenEndpoint>,
}

impl Tokens {
    /// No token yet; [`Tokens::renew_forever`] gets it.
    pub(crate) fn new(
        identity: Identity,
        token_endpoint: Arc<TokenEndpoint>,
        clock: Clock,
        outages: Arc<Outages>,
    ) -> Arc<Self> {
        let name = identity.name.clone();
        let endpoint = token_endpoint.authority().to_owned();
        let means = Arc::new(Means { identity, token_endpoint });
        Arc::new(Self {
            name,
            endpoint,
            // The task begins with one.
            calls: watch::Sender::new(Calls::begun(means.clone())),
            means: ArcSwap::new(means),
            outages,
            repeats: Repeats::new(clock.clone()),
            clock,
            current: ArcSwapOption::empty(),
            phase: watch::Sender::new(Phase::Asking),
            missed: Notify::new(),
            renewed: Notify::new(),
            forced: AtomicBool::new(false),
            unhelpful: Mutex::new(VecDeque::new()),
            blanked: Mutex::new(VecDeque::new()),
            obtained: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            exchanges: Default::default(),
            last_obtained: Mutex::new(None),
        })
    }

    /// The identity's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether these are tokens for the same account at Box with the same rights, from this endpoint, by the same app.
    pub(crate) fn are_of(&self, identity: &Identity, token_endpoint: &TokenEndpoint) -> bool {
        let means = self.means.load();
        means.identity.name == identity.name
            && means.identity.client_id == identity.client_id
            && means.identity.subject == identity.subject
            && means.identity.downscope == identity.downscope
            && means.token_endpoint.url() == token_endpoint.url()
    }

    /// Requests tokens by these credentials from now on. A valid token stays. One is requested at once if the secret
    /// has changed, so that the log shows now whether it works, and if there is no token, since the cause may be fixed.
    pub(crate) fn ask_by(&self, identity: &Identity, token_endpoint: &Arc<TokenEndpoint>) {
        let next = Arc::new(Means { identity: identity.clone(), token_endpoint: token_endpoint.clone() });
        let before = self.means.swap(next);
        if before.identity.client_secret != identity.client_secret || self.cached().is_none() {
            self.renewed.notify_one();
        }
    }

    /// The current token if it is valid; does not wait.
    pub(crate) fn cached(&self) -> Option<Arc<Token>> {
        self.current.load_full().filter(|token| token.is_valid(self.clock.now()))
    }

    /// A valid token; waits while one is being requested.
    pub(crate) async fn current(&self) -> Result<Arc<Token>, Refusal> {
        if let Some(token) = self.cached() {
            return Ok(token);
        }
        let mut phase = self.phase.subscribe();
        loop {
            let refusal = self.refusal(&phase.borrow_and_update());
            // Checked after reading the phase, because a token is stored before its phase is published.
            if let Some(token) = self.cached() {
                return Ok(token);
            }
            if let Some((refusal, party)) = refusal {
                self.outages.request_failed(party);
                return Err(refusal);
            }
            self.missed.notify_one();
            if phase.changed().await.is_err() {
                return Err(self.unavailable(self.clock.now(), "the gateway is stopping"));
            }
        }
    }

    /// A valid token, however long it takes to get one.
    pub(super) async fn until_valid(&self) -> Arc<Token> {
        let mut phase = self.phase.subscribe();
        loop {
            let holds = matches!(*phase.borrow_and_update(), Phase::Holding);
            if let Some(token) = self.cached() {
                return token;
            }
            if holds {
                self.missed.notify_one();
            }
            // It cannot fail: the sender is in `self`.
            let _ = phase.changed().await;
        }
    }

    /// The time until the token expires; `None` without a valid one.
    pub(crate) fn expires_in(&self) -> Option<Duration> {
        self.cached().map(|token| token.expires.left(self.clock.now()))
    }

    /// The numbers of renewals that succeeded and failed.
    pub(crate) fn outcomes(&self) -> (u64, u64) {
        (self.obtained.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Whether they are exchanged for ones with fewer rights.
    pub(super) fn are_downscoped(&self) -> bool {
        self.means.load().identity.downscope.is_some()
    }

    /// The numbers of token exchanges that succeeded and failed; `None` for an identity that is not downscoped.
    pub(crate) fn exchanges(&self) -> Option<(u64, u64)> {
        let (exchanged, failed) = &self.exchanges;
        self.are_downscoped().then(|| (exchanged.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)))
    }

    /// Obtains the token and renews it in time; never returns. `sent` is called for each request that has reached Box,
    /// `refused` when Box refuses the credentials. `tracer`: what traces the requests, if anything does.
    pub(crate) async fn renew_forever(&self, tracer: &CurrentTracer, sent: impl Fn(), refused: impl Fn()) {
        let mut failures = Failures::default();
        loop {
            let asked = self.clock.now();
            let means = self.means.load_full();
            self.call_begins(&means);
            let tracing = Tracing { tracer, clock: &self.clock };
            let Fetched { outcome, parent } =
                grant::fetch(&means.token_endpoint, &means.identity, Some(tracing), &sent).await;
            let at_exchange = parent.is_some();
            if let Some(parent) = parent {
                let (exchanged, failed) = &self.exchanges;
                if outcome.is_ok() { exchanged } else { failed }.fetch_add(1, Ordering::Relaxed);
                self.keep_blanked(asked.after(parent.lifetime), parent.token, asked);
            }
            match outcome {
                Ok(granted) => {
                    failures = Failures::default();
                    if let Some(asked) = &means.identity.downscope {
                        self.tell_if_unknown(&granted, asked);
                    }
                    let renew = self.store(granted, asked);
                    self.call_ended(Ok(self.clock.wall() + self.expires_in().unwrap_or_default()));
                    self.until_due_or_missed(renew).await;
                    self.phase.send_replace(Phase::Asking);
                }
                Err(fault) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    let not_renewed = NotRenewed::of(&fault, &means.identity);
                    // After a refused exchange, another secret would not help.
                    if matches!(&fault, Fault::Refused(of) if of.grant_type == GrantType::ClientCredentials) {
                        refused();
                    }
                    let (phase, until) = self.failed(fault, at_exchange, &means.identity, &mut failures);
                    self.phase.send_replace(phase);
                    self.call_ended(Err(not_renewed));
                    let renewed = tokio::select! {
                        () = self.renewed.notified() => true,
                        () = self.clock.sleep_until(until) => false,
                    };
                    if renewed {
                        failures = Failures::default();
                    }
                    // During the retry, requests still get the last refusal: there is no sign yet that it is over.
                    self.phase.send_if_modified(|phase| {
                        let down = renewed || matches!(phase, Phase::Down { .. });
                        if down {
                            *phase = Phase::Asking;
                        }
                        down
                    });
                }
            }
        }
    }

    /// Warns of a downscoped token of which Box does not say what it reaches.
    fn tell_if_unknown(&self, granted: &Granted, asked: &Downscope) {
        if granted.restricted_to.is_empty()
            && let Some(left_out) = self.repeats.note("unknown reach")
        {
            let identity = self.name();
            warn!(
                "Box does not say what the token of identity {identity:?} reaches, since restricted_to is empty or missing in its answer; {asked} was asked for, and the token is used{left_out}"
            );
        }
    }

    /// Returns when to renew.
    fn store(&self, granted: Granted, asked: Moment) -> Moment {
        let number = self.obtained.fetch_add(1, Ordering::Relaxed);
        let lifetime = granted.lifetime;
        let forced = self.forced.swap(false, Ordering::Relaxed);
        // Counted from before the request was sent, so the token never expires before the recorded end.
        let token = Token {
            authorization: granted.authorization,
            secret: granted.token,
            expires: asked.after(lifetime),
            number,
            forced,
            accepted: AtomicBool::new(false),
            unhelpful: AtomicBool::new(false),
        };
        self.keep_blanked(token.expires, token.secret.clone(), asked);
        self.current.store(Some(Arc::new(token)));
        *self.last_obtained.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.wall());
        self.phase.send_replace(Phase::Holding);
        self.outages.answered(self.token_endpoint(true), "");
        self.outages.answered(self.credentials(), "");
        self.outages.answered(self.downscope(true), "");
        // Renewals forced by a 401 may follow each other quickly if no token helps.
        let left_out = if forced { self.repeats.note("forced") } else { Some(LeftOut::default()) };
        if let Some(left_out) = left_out {
            let valid_for_s = lifetime.as_secs();
            info!(identity = self.name(), valid_for_s, "a token was obtained{left_out}");
        }
        asked.after(lifetime - MARGIN.min(lifetime / 2))
    }

    /// Blanks the token until its end: Box may accept it even after another has replaced it.
    fn keep_blanked(&self, expires: Moment, token: Secret, now: Moment) {
        let mut blanked = self.blanked.lock().unwrap_or_else(PoisonError::into_inner);
        blanked.retain(|(expires, _)| !expires.has_come(now));
        blanked.push_back((expires, token));
        if blanked.len() > EARLIER + 1 {
            blanked.pop_front();
        }
    }

    async fn until_due_or_missed(&self, renew: Moment) {
        loop {
            tokio::select! {
                () = self.clock.sleep_until(renew) => return,
                () = self.renewed.notified() => return,
                () = self.missed.notified() => {
                    // The caller may have looked before the token was stored.
                    if self.cached().is_none() {
                        return;
                    }
                }
            }
        }
    }
}

/// The task that renews the token of an identity, until this is dropped.
#[derive(Debug)]
pub(crate) struct Renewal(AbortHandle);

impl Renewal {
    /// Starts it on the current runtime; for the others see [`Tokens::renew_forever`].
    pub(crate) fn begin(
        tokens: Arc<Tokens>,
        tracer: CurrentTracer,
        sent: impl Fn() + Send + Sync + 'static,
        refused: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self(tokio::spawn(async move { tokens.renew_forever(&tracer, sent, refused).await }).abort_handle())
    }

    /// Ends it early.
    pub(crate) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
