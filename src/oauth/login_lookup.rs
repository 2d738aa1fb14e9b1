//! The id of a user whom `as_user` lists by login: Box is asked once, in the background.
//!
//! A request reads the id without a lock, and never asks Box itself. While there is no id, requests that need it are
//! refused; the lookup's task asks again, after pauses that grow. An id that was found is kept: the task ends.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::http::error::Refusal;
use crate::net::clock::{Clock, Moment};
use crate::oauth::token_cache::{Tokens, growing};
use crate::oauth::user::Login;
use crate::oauth::users_api::{Fault, Owner, UsersApi, refused_advice};
use crate::telemetry::repeats::Repeats;

/// How many lookups ask Box at the same time.
const AT_ONCE: usize = 4;
/// Pauses after a temporary fault grow from the first to the second.
const FAULT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// Pauses after 403, which only a person can fix.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Pauses after Box has named no user. With its jitter the first one is 10 minutes at least.
const UNKNOWN_PAUSE: (Duration, Duration) = (Duration::from_secs(14 * 60), Duration::from_secs(60 * 60));
/// Why there is no id, before Box's first answer: the identity may have no token yet.
pub(crate) const FIRST: &str = "the first lookup has not ended";
/// Stands for the path of the lookups, where a 401 is judged.
const KIND: u64 = 0;

/// What the lookups of a process share.
#[derive(Debug)]
pub(crate) struct Lookups {
    clock: Clock,
    turns: Semaphore,
    repeats: Repeats,
}

impl Lookups {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { turns: Semaphore::new(AT_ONCE), repeats: Repeats::new(clock.clone()), clock }
    }
}

/// The lookup of one login by one identity. Its task ends with it.
#[derive(Debug)]
pub(crate) struct LoginLookup {
    asked: Arc<Asked>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Asked {
    login: Login,
    /// Of the identity that asks.
    tokens: Arc<Tokens>,
    api: UsersApi,
    id: OnceLock<String>,
    /// Why there is no id.
    missing: ArcSwap<Missing>,
    lookups: Arc<Lookups>,
}

/// Why there is no id.
#[derive(Debug, Clone)]
struct Missing {
    kind: Kind,
    /// In words; `None` before the first answer.
    cause: Option<String>,
    /// When Box is asked again; `None` while it is asked, or as soon as there is a token.
    next: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Box has not answered yet.
    Waiting,
    /// Box answers 403.
    Refused,
    /// Box knows no user, or several, with this login.
    Unknown,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// What operators are told about a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginStatus {
    /// `found`, `waiting` for Box's answer, `refused` by Box, or `unknown` to it.
    pub state: &'static str,
    /// Once it is found.
    pub id: Option<String>,
    /// Why it is not found; `None` before Box's first answer.
    pub reason: Option<String>,
    /// When Box is asked again, by the wall clock.
    pub next_attempt: Option<SystemTime>,
}

impl LoginLookup {
    /// Starts the lookup on the current runtime. `sent` is called for each request that has reached Box.
    pub(crate) fn begin(
        lookups: Arc<Lookups>,
        tokens: Arc<Tokens>,
        api: UsersApi,
        login: Login,
        sent: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let missing = ArcSwap::from_pointee(Missing { kind: Kind::Waiting, cause: None, next: None });
        let asked = Arc::new(Asked { login, tokens, api, id: OnceLock::new(), missing, lookups });
        let asking = asked.clone();
        let task = tokio::spawn(async move { asking.ask(&sent).await }).abort_handle();
        Self { asked, task }
    }

    /// Ends the task early.
    pub(crate) fn end(&self) {
        self.task.abort();
    }

    pub(crate) fn login(&self) -> &Login {
        &self.asked.login
    }

    /// The user's id, once it is found.
    pub(crate) fn id(&self) -> Option<&str> {
        self.asked.id.get().map(String::as_str)
    }

    /// Whether it has found the id of this login for these tokens at this host.
    pub(crate) fn has_found(&self, login: &Login, tokens: &Arc<Tokens>, host: &str) -> bool {
        let asked = &self.asked;
        self.id().is_some()
            && asked.login == *login
            && Arc::ptr_eq(&asked.tokens, tokens)
            && asked.api.host() == host
    }

    /// Whether Box has not answered yet, so that any id may be this user's.
    pub(crate) fn is_waiting(&self) -> bool {
        self.id().is_none() && self.asked.missing.load().kind == Kind::Waiting
    }

    /// The refusal of a request that needs the id while there is none.
    pub(crate) fn refusal(&self) -> Refusal {
        let missing = self.asked.missing.load();
        if missing.kind == Kind::Unknown {
            return Refusal::AsUserUnknown;
        }
        let login = self.asked.login.as_str();
        let left = missing.next.map(|next| next.left(self.asked.lookups.clock.now())).unwrap_or_default();
        let why = missing.cause.as_deref().unwrap_or(FIRST);
        Refusal::AsUserNotLookedUp {
            retry_after: left.as_secs_f64().ceil().max(1.0) as u64,
            cause: format!("the id of the login {login:?} in as_user is not known yet: {why}"),
        }
    }

    /// What operators are told now.
    pub(crate) fn status(&self) -> LoginStatus {
        if let Some(id) = self.id() {
            let id = Some(id.to_owned());
            return LoginStatus { state: "found", id, reason: None, next_attempt: None };
        }
        let Missing { kind, cause, next } = Missing::clone(&self.asked.missing.load());
        let clock = &self.asked.lookups.clock;
        let next_attempt = next.map(|next| clock.wall() + next.left(clock.now()));
        LoginStatus { state: kind.as_str(), id: None, reason: cause, next_attempt }
    }
}

impl Drop for LoginLookup {
    fn drop(&mut self) {
        self.end();
    }
}

impl Asked {
    /// Asks until the id is found.
    async fn ask(&self, sent: &(impl Fn() + Sync)) {
        let (mut faults, mut refusals, mut unknown) = (0, 0, 0);
        let mut replayed = false;
        loop {
            let token = self.tokens.until_valid().await;
            let owner = {
                let _turn = self.lookups.turns.acquire().await;
                self.api.owner_of(&self.login, token.authorization(), sent).await
            };
            let (kind, cause, pause) = match owner {
                Ok(Owner::User(id)) => {
                    token.accepted();
                    self.found(id);
                    return;
                }
                Ok(Owner::Nobody) => {
                    token.accepted();
                    unknown += 1;
                    let cause = "Box knows no managed user or app user with this login".to_owned();
                    (Kind::Unknown, cause, growing(UNKNOWN_PAUSE, unknown))
                }
                Ok(Owner::Several(users)) => {
                    token.accepted();
                    unknown += 1;
                    let cause = format!("Box knows {users} users with this login");
                    (Kind::Unknown, cause, growing(UNKNOWN_PAUSE, unknown))
                }
                Err(Fault::TokenRejected) => {
                    self.tokens.reject(&token, KIND, replayed);
                    if !replayed {
                        replayed = true;
                        continue;
                    }
                    faults += 1;
                    let cause =
                        format!("{} answers 401 to GET /2.0/users with a fresh token", self.api.host());
                    (Kind::Waiting, cause, growing(FAULT_PAUSE, faults))
                }
                Err(Fault::Refused(cause)) => {
                    token.accepted();
                    refusals += 1;
                    (Kind::Refused, cause, growing(REFUSED_PAUSE, refusals))
                }
                Err(Fault::Failed { cause, retry_after }) => {
                    faults += 1;
                    let least = retry_after.unwrap_or_default().min(FAULT_PAUSE.1);
                    (Kind::Waiting, cause, growing(FAULT_PAUSE, faults).max(least))
                }
            };
            replayed = false;
            // A pause may outlast the token, whose memory is wiped once nobody has it.
            drop(token);
            self.tell(kind, &cause);
            let until = self.lookups.clock.now().after(pause);
            self.missing.store(Arc::new(Missing { kind, cause: Some(cause), next: Some(until) }));
            self.lookups.clock.sleep_until(until).await;
        }
    }

    fn found(&self, id: String) {
        let (identity, login) = (self.tokens.name(), self.login.as_str());
        info!(identity, "the login {login:?} in as_user is that of user {id}");
        // Only this task sets it, and it ends here.
        let _ = self.id.set(id);
    }

    /// Logs why there is no id, unless it is the same as before. All logins of an identity share the lines about what fails
    /// for all of them.
    fn tell(&self, kind: Kind, cause: &str) {
        let before = self.missing.load();
        let is_same = match kind {
            Kind::Unknown => before.cause.as_deref() == Some(cause),
            Kind::Waiting | Kind::Refused => before.cause.is_some(),
        };
        if before.kind == kind && is_same {
            return;
        }
        let (identity, login) = (self.tokens.name(), self.login.as_str());
        let shared = format!("{} {identity}", kind.as_str());
        match kind {
            Kind::Unknown => warn!(
                identity,
                "the login {login:?} in as_user names no one: {cause}. Requests that name it get 403 as_user_not_allowed. Correct it, or list the user's id; Box is asked again at the latest every hour, and at once after a reload"
            ),
            Kind::Refused => {
                if let Some(left_out) = self.lookups.repeats.note(&shared) {
                    let advice = refused_advice(self.tokens.are_downscoped());
                    warn!(
                        identity,
                        "the id of the login {login:?} in as_user cannot be looked up: {cause}; requests that name it get 503 token_unavailable. {advice}{left_out}"
                    );
                }
            }
            Kind::Waiting => {
                if let Some(left_out) = self.lookups.repeats.note(&shared) {
                    warn!(
                        identity,
                        "the id of the login {login:?} in as_user cannot be looked up now: {cause}; requests that name it get 503 token_unavailable until Box has answered{left_out}"
                    );
                }
            }
        }
    }
}
