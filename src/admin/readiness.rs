//! Whether the gateway is ready, and why not: for `/readyz` and `/status.json`.

use std::sync::atomic::Ordering;

use super::Overview;
use crate::limits::redis::replicas::Health;

/// The gateway is ready if there are no reasons. Neither has line breaks.
pub(super) struct Readiness {
    /// Why it is not.
    pub(super) reasons: Vec<String>,
    /// What does not make it unready: limits that count for this process alone, a refused reload, counts that cannot be
    /// written, or an address that nothing restricts.
    pub(super) notes: Vec<String>,
}

impl Readiness {
    pub(super) fn of(overview: &Overview) -> Self {
        let (mut reasons, mut notes) = (Vec::new(), Vec::new());
        if overview.process.draining.load(Ordering::Relaxed) {
            reasons.push("draining".to_owned());
        }
        let gateway = overview.gateway.load();
        for tokens in &gateway.tokens {
            if let Some(why) = tokens.why_not_ready() {
                reasons.push(one_line(&format!("identity {}: {why}", tokens.name())));
            }
        }
        if let Some(Health::Local { since, why }) =
            gateway.limiter.replicas().map(|replicas| replicas.health())
        {
            notes.push(one_line(&format!(
                "Redis has not been usable for {} s ({why}); limits count for this process alone",
                since.elapsed().as_secs()
            )));
        }
        // With its reason: the log may lie on the same disk, and not have it.
        if let Some(why) = gateway.ledger.counts().file.failure() {
            notes.push(one_line(&format!(
                "counts of calls cannot be written to [state] dir ({why}); a restart now would lose those since then"
            )));
        }
        notes.extend(gateway.config.exposure.clone());
        notes.extend(overview.reloads.last_refused().map(|refused| refused.note()));
        Self { reasons, notes }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// A cause may quote what others sent.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
