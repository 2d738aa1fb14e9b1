//! Whether the gateway is ready, and why not: for `/readyz` and `/status.json`.

use std::sync::atomic::Ordering;

use super::Overview;
use crate::limits::redis::replicas::Health;
use crate::oauth::login_lookup::LoginStatus;
use crate::proxy::gateway::Gateway;
use crate::telemetry::audit::audit_log::AuditLog;

/// The gateway is ready if there are no reasons. Neither has line breaks.
pub(super) struct Readiness {
    /// Why it is not.
    pub(super) reasons: Vec<String>,
    /// What does not make it unready: limits that count for this process alone, a refused reload, counts or audit lines that
    /// cannot be written, logins without an id, or an address that nothing restricts.
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
        notes.extend(login_notes(&gateway));
        let audit = overview.process.audit.as_ref().and_then(AuditLog::trouble);
        notes.extend(audit.map(|note| one_line(&note)));
        notes.extend(gateway.config.exposure.clone());
        notes.extend(overview.reloads.last_refused().map(|refused| refused.note()));
        Self { reasons, notes }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// What is wrong with the logins in `as_user`. Without the logins, which stand for persons: anyone who can connect may read
/// `/readyz`.
fn login_notes(gateway: &Gateway) -> Vec<String> {
    let mut notes = Vec::new();
    for (app, lookups) in gateway.config.apps.iter().zip(&gateway.logins) {
        let all: Vec<LoginStatus> = lookups.iter().map(|lookup| lookup.status()).collect();
        for (state, words) in [
            ("unknown", "name no user that Box knows"),
            ("refused", "cannot be looked up, since Box refuses it (403)"),
            ("waiting", "could not be looked up yet"),
        ] {
            let count = all.iter().filter(|login| login.state == state && login.reason.is_some()).count();
            if count > 0 {
                let (name, of) = (&app.name, all.len());
                notes.push(format!(
                    "as_user of app {name}: {count} of {of} logins {words}; /status.json and the log have their names and why"
                ));
            }
        }
    }
    notes
}

/// A cause may quote what others sent.
pub(super) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
