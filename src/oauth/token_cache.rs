//! Tokens: with what? One live token for each identity, renewed in the background.
//!
//! A request reads the current token without a lock. Only where there is none does it wait for the identity's one
//! renewing task, so a hundred first requests make one call (single flight by construction: no request ever asks
//! the endpoint itself). The task publishes its [`Phase`]; a request that finds no token and a phase of pause is
//! refused at once, from memory.
//!
//! A 401 from Box retires that very token, never a newer one. Where Box says 401 to the fresh token too, the renewal
//! did not help; after [`UNHELPFUL`] of these in [`UNHELPFUL_WINDOW`] nothing is retired any more until Box has accepted
//! a token again, or the time is over: a path where Box always says 401 must not become a storm of token calls, and a token that Box has
//! really revoked is replaced at once, every time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::info;

use crate::http::error::Refusal;
use crate::net::clock::{Clock, Moment};
use crate::net::secret::Secret;
use crate::oauth::client_credentials::{Fault, Grant, Granted};
use crate::oauth::identity::Identity;
use crate::telemetry::outages::{Outages, Party};
use crate::telemetry::repeats::{LeftOut, Repeats};
use crate::telemetry::words::short;

/// Renewal starts so long before a token's end, or at half its life where that is later.
const MARGIN: Duration = Duration::from_secs(300);
/// Renewals that 401s may force on one identity without being of any help …
const UNHELPFUL: usize = 3;
/// … within this time.
const UNHELPFUL_WINDOW: Duration = Duration::from_secs(30);
/// And so many in all, where Box accepts tokens in between. None is forced beyond.
const UNHELPFUL_KNOWN: usize = 6;
/// Pauses after passing faults grow from the first to the second.
const FAULT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Pauses after a refusal of the identity: only a person can mend it.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// For operators: when it is asked again, and what takes effect only then.
const REFUSED_NEXT: &str = "Box is asked again every 10 minutes at the latest, and at once after a reload (boxgate reload, or SIGHUP)";
/// So many earlier tokens are still blanked in what leaves the program: Box may take them until their end.
const EARLIER: usize = 8;

/// A token that may be sent to Box.
#[derive(Debug)]
pub(crate) struct Token {
    authorization: HeaderValue,
    /// Blanked as long as a request uses it.
    secret: Secret,
    expires: Moment,
    number: u64,
    /// A 401 made the gateway ask for it.
    forced: bool,
    accepted: AtomicBool,
    /// It got a 401 too, which was noted.
    unhelpful: AtomicBool,
}

impl Token {
    /// Box answered something else than 401 to it.
    pub(crate) fn accepted(&self) {
        // Read first: all workers share the token, and a store would take its cache line from the others.
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
    /// The question is under way.
    Asking,
    /// A token was obtained; the next question follows in its time, or when one is missed.
    Holding,
    /// The endpoint failed; it is asked again then.
    Down { until: Moment, cause: String, is_loop: bool },
    /// Box refused the identity; it is asked again then.
    Refused { until: Moment, cause: String },
}

/// What became of a token that Box answered with 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It was the current one and is not any more, or a newer one has replaced it already: get the current one.
    Retired,
    /// Nothing was retired: a fresh token has just failed, or too many of late.
    Spared,
}

/// A forced renewal that did not help.
#[derive(Debug)]
struct Unhelpful {
    at: Instant,
    /// What kind of request got the 401.
    kind: u64,
}

/// The token of one identity.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Does not change; credentials do.
    name: String,
    /// How the next token is asked for.
    means: ArcSwap<Means>,
    clock: Clock,
    current: ArcSwapOption<Token>,
    phase: watch::Sender<Phase>,
    /// Wakes the task: a request found no valid token.
    missed: Notify,
    /// Wakes the task: it is to ask now, whatever it waits for.
    renewed: Notify,
    /// The next token to come is asked for because of a 401.
    forced: AtomicBool,
    unhelpful: Mutex<VecDeque<Unhelpful>>,
    /// Tokens of before that have not ended, and the current one, the newest last.
    blanked: Mutex<VecDeque<(Moment, Secret)>>,
    obtained: AtomicU64,
    failed: AtomicU64,
    /// Host and port of the token endpoint, for the log.
    endpoint: String,
    outages: Arc<Outages>,
    repeats: Repeats,
}

/// With what a token is asked for.
#[derive(Debug)]
struct Means {
    identity: Identity,
    grant: Arc<Grant>,
}

impl Tokens {
    /// No token yet; [`Tokens::renew_forever`] gets it.
    pub(crate) fn new(
        identity: Identity,
        grant: Arc<Grant>,
        clock: Clock,
        outages: Arc<Outages>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: identity.name.clone(),
            endpoint: grant.authority().to_owned(),
            means: ArcSwap::from_pointee(Means { identity, grant }),
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
        })
    }

    /// Of the identity.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether tokens of this identity, asked for at this endpoint, are those of these: the same account at Box, by the
    /// same app.
    pub(crate) fn are_of(&self, identity: &Identity, grant: &Grant) -> bool {
        let means = self.means.load();
        means.identity.name == identity.name
            && means.identity.client_id == identity.client_id
            && means.identity.subject == identity.subject
            && means.grant.url() == grant.url()
    }

    /// From now on tokens are asked for so. A token that is good stays. One is asked for at once where the secret is
    /// another, so that the log tells now whether it works, and where there is none, since that may be over.
    pub(crate) fn ask_by(&self, identity: &Identity, grant: &Arc<Grant>) {
        let next = Arc::new(Means { identity: identity.clone(), grant: grant.clone() });
        let before = self.means.swap(next);
        if before.identity.client_secret != identity.client_secret || self.cached().is_none() {
            self.renewed.notify_one();
        }
    }

    /// The valid token at hand, without waiting.
    pub(crate) fn cached(&self) -> Option<Arc<Token>> {
        self.current.load_full().filter(|token| token.is_valid(self.clock.now()))
    }

    /// A valid token; waits where the question for one is under way.
    pub(crate) async fn current(&self) -> Result<Arc<Token>, Refusal> {
        if let Some(token) = self.cached() {
            return Ok(token);
        }
        let mut phase = self.phase.subscribe();
        loop {
            let refusal = match &*phase.borrow_and_update() {
                Phase::Asking | Phase::Holding => None,
                Phase::Down { cause, is_loop: true, .. } => Some(Refusal::LoopDetected(cause.clone())),
                Phase::Down { until, cause, .. } => Some(self.unavailable(*until, cause)),
                Phase::Refused { cause, .. } => Some(Refusal::CredentialsRefused {
                    identity: self.name().to_owned(),
                    cause: cause.clone(),
                }),
            };
            // After the phase was read: the token is stored before the phase that tells of it.
            if let Some(token) = self.cached() {
                return Ok(token);
            }
            if let Some(refusal) = refusal {
                self.outages.request_failed(match refusal {
                    Refusal::CredentialsRefused { .. } => self.credentials(),
                    _ => self.token_endpoint(true),
                });
                return Err(refusal);
            }
            self.missed.notify_one();
            if phase.changed().await.is_err() {
                return Err(self.unavailable(self.clock.now(), "the gateway is stopping"));
            }
        }
    }

    fn unavailable(&self, until: Moment, cause: &str) -> Refusal {
        let left = until.left(self.clock.now());
        let retry_after = left.as_secs_f64().ceil().max(1.0) as u64;
        Refusal::TokenUnavailable { retry_after, cause: cause.to_owned() }
    }

    fn token_endpoint(&self, reached: bool) -> Party<'_> {
        Party::TokenEndpoint { authority: &self.endpoint, reached }
    }

    fn credentials(&self) -> Party<'_> {
        Party::Credentials { identity: self.name() }
    }

    /// The endpoint has given no token: folded into one outage with the requests that this costs.
    fn no_token(&self, reached: bool, cause: &str) {
        // The line begins with the endpoint.
        let cause = cause.strip_prefix("the token endpoint ").unwrap_or(cause);
        let cause = cause.strip_prefix("cannot be reached: ").unwrap_or(cause);
        let identity = self.name();
        let detail = match self.expires_in() {
            Some(left) => format!("the token of identity {identity:?} is valid for another {}", short(left)),
            None => {
                format!("identity {identity:?} has no valid token, its requests get 503 token_unavailable")
            }
        };
        self.outages.failed(self.token_endpoint(reached), cause, 0, &detail);
    }

    /// Box answered 401 to this token. `kind`: the same for requests that differ in ids alone. `replayed`: the request
    /// was sent with another token before.
    pub(crate) fn reject(&self, token: &Token, kind: u64, replayed: bool) -> Rejected {
        let mut unhelpful = self.unhelpful.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.mono();
        while unhelpful.front().is_some_and(|first| now.duration_since(first.at) >= UNHELPFUL_WINDOW) {
            unhelpful.pop_front();
        }
        let accepted = token.accepted.load(Ordering::Relaxed);
        let did_not_help = replayed || token.forced && !accepted;
        if did_not_help && unhelpful.len() < UNHELPFUL_KNOWN && !token.unhelpful.swap(true, Ordering::Relaxed)
        {
            unhelpful.push_back(Unhelpful { at: now, kind });
        }
        if replayed {
            return Rejected::Spared;
        }
        let current = self.current.load();
        if current.as_ref().is_none_or(|current| current.number != token.number) {
            return Rejected::Retired;
        }
        // Where Box has accepted the token elsewhere, only requests of a kind that no fresh token helped are spared.
        let may_help = unhelpful.len() < UNHELPFUL
            || accepted
                && unhelpful.len() < UNHELPFUL_KNOWN
                && unhelpful.iter().all(|unhelpful| unhelpful.kind != kind);
        if !may_help {
            return Rejected::Spared;
        }
        self.forced.store(true, Ordering::Relaxed);
        // Only this very token: should the task have stored a newer one in between, that one stays.
        self.current.compare_and_swap(&*current, None);
        self.missed.notify_one();
        if let Some(left_out) = self.repeats.note("retired") {
            info!(
                identity = self.name(),
                "Box answered 401 to the current token; it is retired and a fresh one is asked for{left_out}"
            );
        }
        Rejected::Retired
    }

    /// Why there is no valid token, in words for `/readyz`; `None` when there is one.
    pub(crate) fn why_not_ready(&self) -> Option<String> {
        if self.cached().is_some() {
            return None;
        }
        Some(match &*self.phase.borrow() {
            Phase::Asking | Phase::Holding => "the first token is being obtained".to_owned(),
            Phase::Down { cause, .. } => format!("no valid token: {cause}"),
            Phase::Refused { cause, .. } => format!("Box refuses the credentials: {cause}"),
        })
    }

    /// Until the token's end; `None` without a valid one.
    pub(crate) fn expires_in(&self) -> Option<Duration> {
        self.cached().map(|token| token.expires.left(self.clock.now()))
    }

    /// How many questions brought a token, and how many did not.
    pub(crate) fn outcomes(&self) -> (u64, u64) {
        (self.obtained.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Obtains the token and keeps it fresh; never returns. `sent` is called for each question that has reached Box,
    /// `refused` where Box refuses the credentials.
    pub(crate) async fn renew_forever(&self, sent: impl Fn(), refused: impl Fn()) {
        let mut faults = 0;
        let mut refusals = 0;
        loop {
            let asked = self.clock.now();
            let means = self.means.load_full();
            match means.grant.fetch(&means.identity, &sent).await {
                Ok(granted) => {
                    (faults, refusals) = (0, 0);
                    let renew = self.store(granted, asked);
                    self.until_due_or_missed(renew).await;
                    self.phase.send_replace(Phase::Asking);
                }
                Err(fault) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    let phase = match fault {
                        Fault::Refused(refusal) => {
                            refusals += 1;
                            let pause = growing(REFUSED_PAUSE, refusals);
                            let advice = refusal.advice(&means.identity);
                            self.outages.answered(self.token_endpoint(true), "");
                            let next = format!("{advice}. {REFUSED_NEXT}");
                            self.outages.failed(self.credentials(), &refusal.to_string(), 0, &next);
                            refused();
                            let cause = format!("{} ({})", refusal.error, refusal.description);
                            Phase::Refused { until: self.clock.now().after(pause), cause }
                        }
                        Fault::Transient { cause, retry_after, reached } => {
                            faults += 1;
                            let pause = growing(FAULT_PAUSE, faults)
                                .max(retry_after.unwrap_or_default().min(FAULT_PAUSE.1));
                            self.no_token(reached, &cause);
                            Phase::Down { until: self.clock.now().after(pause), cause, is_loop: false }
                        }
                        Fault::Loop(cause) => {
                            faults += 1;
                            let pause = growing(FAULT_PAUSE, faults);
                            self.no_token(true, &cause);
                            Phase::Down { until: self.clock.now().after(pause), cause, is_loop: true }
                        }
                    };
                    let until = match &phase {
                        Phase::Down { until, .. } | Phase::Refused { until, .. } => *until,
                        Phase::Asking | Phase::Holding => asked,
                    };
                    self.phase.send_replace(phase);
                    let renewed = tokio::select! {
                        () = self.renewed.notified() => true,
                        () = self.clock.sleep_until(until) => false,
                    };
                    if renewed {
                        (faults, refusals) = (0, 0);
                    }
                    // A refusal is served from memory while the same is asked again: nothing is known to be better.
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

    /// Returns when to renew.
    fn store(&self, granted: Granted, asked: Moment) -> Moment {
        let number = self.obtained.fetch_add(1, Ordering::Relaxed);
        let lifetime = granted.lifetime;
        let forced = self.forced.swap(false, Ordering::Relaxed);
        // Counted from before the question was sent, so the true end is never earlier than what is noted.
        let token = Token {
            authorization: granted.authorization,
            secret: granted.token,
            expires: asked.after(lifetime),
            number,
            forced,
            accepted: AtomicBool::new(false),
            unhelpful: AtomicBool::new(false),
        };
        self.keep_blanked(&token, asked);
        self.current.store(Some(Arc::new(token)));
        self.phase.send_replace(Phase::Holding);
        self.outages.answered(self.token_endpoint(true), "");
        self.outages.answered(self.credentials(), "");
        // Those that a 401 has forced follow each other quickly where no token helps.
        let left_out = if forced { self.repeats.note("forced") } else { Some(LeftOut::default()) };
        if let Some(left_out) = left_out {
            let valid_for_s = lifetime.as_secs();
            info!(identity = self.name(), valid_for_s, "a token was obtained{left_out}");
        }
        asked.after(lifetime - MARGIN.min(lifetime / 2))
    }

    /// Box may take a token until its end, also where another has replaced it.
    fn keep_blanked(&self, token: &Token, now: Moment) {
        let mut blanked = self.blanked.lock().unwrap_or_else(PoisonError::into_inner);
        blanked.retain(|(expires, _)| !expires.has_come(now));
        blanked.push_back((token.expires, token.secret.clone()));
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
                    // Whoever missed it may have looked before the token came.
                    if self.cached().is_none() {
                        return;
                    }
                }
            }
        }
    }
}

/// Keeps the token of an identity fresh until it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal(AbortHandle);

impl Renewal {
    /// Begins on the current runtime; for `sent` and `refused` see [`Tokens::renew_forever`].
    pub(crate) fn begin(
        tokens: Arc<Tokens>,
        sent: impl Fn() + Send + Sync + 'static,
        refused: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self(tokio::spawn(async move { tokens.renew_forever(sent, refused).await }).abort_handle())
    }

    /// Ends it before it is dropped.
    pub(crate) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.end();
    }
}

/// The `nth` pause (from 1): doubled each time, with jitter so that replicas do not come back together.
fn growing((first, longest): (Duration, Duration), nth: u32) -> Duration {
    let whole = first.saturating_mul(1 << (nth.saturating_sub(1)).min(16)).min(longest);
    whole.mul_f64(0.75 + 0.25 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::egress_proxy::{Proxy, proxy_matcher};
    use crate::net::own_listeners::OwnListeners;
    use crate::net::secret_filter::{self, Audience};
    use crate::net::tls_client::Trust;
    use crate::oauth::http_client::token_client;
    use crate::oauth::identity::Subject;

    fn grant() -> Arc<Grant> {
        let trust = Trust::new(&[]).unwrap();
        let client = token_client(&trust, &Proxy::None, Duration::from_secs(1)).unwrap();
        let (proxies, own) = (proxy_matcher(&Proxy::None), OwnListeners::default());
        Arc::new(Grant::new(client, "https://api.box.com/oauth2/token".to_owned(), proxies, own))
    }

    fn tokens(clock: &Clock) -> Arc<Tokens> {
        let identity = Identity {
            name: "service".into(),
            client_id: "id".into(),
            client_secret: Secret::new("secret".into()),
            subject: Subject::Enterprise("1".into()),
        };
        Tokens::new(identity, grant(), clock.clone(), Arc::new(Outages::new(clock.clone())))
    }

    fn granted(text: &'static str, seconds: u64) -> Granted {
        let token = Secret::new(text.trim_start_matches("Bearer ").to_owned());
        let authorization = HeaderValue::from_static(text);
        Granted { authorization, token, lifetime: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_401_never_retires_a_newer_token() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        tokens.store(granted("Bearer 1", 3600), clock.now());
        let old = tokens.cached().unwrap();
        tokens.store(granted("Bearer 2", 3600), clock.now());
        assert_eq!(tokens.reject(&old, 1, false), Rejected::Retired);
        assert_eq!(tokens.cached().unwrap().authorization(), "Bearer 2");
    }

    #[test]
    fn a_token_is_blanked_until_its_end_also_after_it_was_replaced() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        let is_blanked = |number: usize| {
            secret_filter::blanked(format!("t0k3n-of-{number:04}").as_bytes(), Audience::Operators).is_some()
        };
        for text in ["Bearer t0k3n-of-0001", "Bearer t0k3n-of-0002"] {
            tokens.store(granted(text, 3600), clock.now());
        }
        assert!(is_blanked(1) && is_blanked(2) && !is_blanked(3));
        clock.advance(Duration::from_secs(3600));
        tokens.store(granted("Bearer t0k3n-of-0003", 3600), clock.now());
        assert!(!is_blanked(1) && !is_blanked(2) && is_blanked(3));
        // However often it is replaced, no more than a few are kept.
        for number in 4..=20 {
            let text: &'static str = format!("Bearer t0k3n-of-{number:04}").leak();
            tokens.store(granted(text, 3600), clock.now());
        }
        assert_eq!((3..=20).filter(|number| is_blanked(*number)).count(), EARLIER + 1);
    }

    #[test]
    fn renewals_that_do_not_help_are_bounded_in_a_window() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        let reject = || {
            tokens.store(granted("Bearer x", 3600), clock.now());
            tokens.reject(&tokens.cached().unwrap(), 1, false)
        };
        assert_eq!([reject(), reject(), reject(), reject()], {
            use Rejected::{Retired, Spared};
            [Retired, Retired, Retired, Spared]
        });
        assert!(tokens.cached().is_some(), "a spared token stays");
        clock.advance(UNHELPFUL_WINDOW);
        assert_eq!(reject(), Rejected::Retired);
    }

    #[test]
    fn a_token_that_was_accepted_and_then_revoked_is_replaced_every_time() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        for _ in 0..20 {
            tokens.store(granted("Bearer x", 3600), clock.now());
            let token = tokens.cached().unwrap();
            token.accepted();
            assert_eq!(tokens.reject(&token, 1, false), Rejected::Retired);
        }
    }

    #[test]
    fn after_a_storm_a_token_that_was_accepted_is_replaced_but_not_for_what_always_gets_401() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        let (bad, good) = (1, 2);
        let fresh = || {
            tokens.store(granted("Bearer x", 3600), clock.now());
            tokens.cached().unwrap()
        };
        let mut token = fresh();
        for _ in 0..3 {
            assert_eq!(tokens.reject(&token, bad, false), Rejected::Retired);
            token = fresh();
            assert_eq!(tokens.reject(&token, bad, true), Rejected::Spared, "it is the replay that failed");
        }
        assert_eq!(tokens.reject(&token, good, false), Rejected::Spared, "nothing is known to be good");
        token.accepted();
        assert_eq!(tokens.reject(&token, bad, false), Rejected::Spared);
        assert_eq!(tokens.reject(&token, good, false), Rejected::Retired);
    }

    #[test]
    fn a_token_is_not_at_hand_past_its_end_by_either_clock() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        let renew = tokens.store(granted("Bearer x", 3600), clock.now());
        assert!(renew.left(clock.now()) <= Duration::from_secs(3300));
        clock.advance(Duration::from_secs(3599));
        assert!(tokens.cached().is_some());
        clock.advance(Duration::from_secs(1));
        assert!(tokens.cached().is_none());
    }

    #[test]
    fn short_lives_are_renewed_at_their_half() {
        let clock = Clock::adjustable();
        let tokens = tokens(&clock);
        let left = tokens.store(granted("Bearer x", 60), clock.now()).left(clock.now());
        assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(28));
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        assert!(growing(FAULT_PAUSE, 1) <= Duration::from_secs(1));
        assert!(growing(FAULT_PAUSE, 3) > Duration::from_secs(2));
        for nth in [7, 40, u32::MAX] {
            let pause = growing(FAULT_PAUSE, nth);
            assert!(pause <= FAULT_PAUSE.1 && pause >= FAULT_PAUSE.1 / 2);
        }
    }
}
