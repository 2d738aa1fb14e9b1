//! A renewal that an operator requests. The identity's task carries it out as any other, at once: while it holds a token, and
//! while it pauses after a failure. A token that is valid stays in use until the next one is there.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Means, Tokens};
use crate::oauth::identity::Identity;
use crate::oauth::token_endpoint::Fault;

/// Why a renewal gave no token, in words for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotRenewed {
    /// Box refuses the credentials or the exchange, with what to do.
    Refused(String),
    /// The token endpoint failed.
    Failed(String),
}

impl NotRenewed {
    pub(super) fn of(fault: &Fault, identity: &Identity) -> Self {
        match fault {
            Fault::Refused(refused) => {
                Self::Refused(format!("{}: {refused}; {}", refused.what(), refused.advice(identity)))
            }
            Fault::Transient { cause, .. } | Fault::NotNarrowed(cause) | Fault::Loop(cause) => {
                Self::Failed(cause.clone())
            }
        }
    }
}

/// The calls of the token endpoint for an identity, one after the other.
#[derive(Debug)]
pub(super) struct Calls {
    /// What the call that is under way uses; `None` between two.
    under_way: Option<Arc<Means>>,
    /// How many have ended.
    ended: u64,
    /// The outcome of the last: when its token expires.
    last: Option<Result<SystemTime, NotRenewed>>,
}

impl Calls {
    /// The first one is under way.
    pub(super) fn begun(means: Arc<Means>) -> Self {
        Self { under_way: Some(means), ended: 0, last: None }
    }
}

impl Tokens {
    pub(super) fn call_begins(&self, means: &Arc<Means>) {
        self.calls.send_modify(|calls| calls.under_way = Some(means.clone()));
    }

    pub(super) fn call_ended(&self, outcome: Result<SystemTime, NotRenewed>) {
        self.calls.send_modify(|calls| {
            *calls = Calls { under_way: None, ended: calls.ended + 1, last: Some(outcome) };
        });
    }

    /// Requests a new token now and waits for the outcome: when the new token expires. Shares a call that is under way, unless it
    /// uses credentials that a reload has replaced.
    ///
    /// # Errors
    /// There is no new token. One that is valid stays in use.
    pub(crate) async fn renew(&self) -> Result<SystemTime, NotRenewed> {
        let mut calls = self.calls.subscribe();
        let awaited = {
            let calls = calls.borrow_and_update();
            match &calls.under_way {
                Some(means) if Arc::ptr_eq(means, &self.means.load()) => calls.ended + 1,
                under_way => {
                    self.renewed.notify_one();
                    calls.ended + if under_way.is_some() { 2 } else { 1 }
                }
            }
        };
        let ended = calls.wait_for(|calls| calls.ended >= awaited).await;
        let last = ended.ok().and_then(|calls| calls.last.clone());
        last.unwrap_or_else(|| Err(NotRenewed::Failed("the gateway is stopping".to_owned())))
    }
}
