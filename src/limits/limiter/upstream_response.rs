//! Pauses that Box requests in a response: recorded, shared with other replicas and logged.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tracing::warn;

use super::{Limiter, Request, asked};
use crate::http::retry_after;
use crate::limits::pauses::Noted;
use crate::limits::rate::matcher::{RequestKey, User};
use crate::routing::operation_template;
use crate::telemetry::words::short;

impl Limiter {
    /// Records the pause that Box's response requests, if any.
    pub(crate) fn record_upstream_response(
        &self,
        request: Request<'_>,
        request_id: &str,
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
            return;
        }
        let Some(asked_for) = retry_after::read(headers, Some(self.clock.wall())) else { return };
        let pause = asked_for.min(self.settings.max_pause);
        let request_key = self.request_key(request);
        let Noted { alone, begins, scope } =
            self.pauses.box_said(asked(&request_key), status.as_u16(), pause);
        if begins && let Some(identity) = self.settings.identities.get(request_key.identity.index()) {
            self.pause_counts.count(&identity.name, request_key.class);
        }
        self.log_pause(&request_key, request_id, alone, (status, asked_for));
        if let Some(replicas) = self.replicas.clone() {
            let [class, operation] = self.pause_keys(&request_key);
            let key = if alone { operation } else { class };
            let pauses = self.pauses.clone();
            tokio::task::spawn_local(async move {
                // While Redis is unavailable, each replica learns of it from Box.
                if let Ok(left) = replicas.pause(&key, pause).await {
                    // In Redis it ends later, by the time that this took, or since Box asked another replica for more.
                    // Requests that wait here for the earlier end would be told there to wait on, and lose their turns.
                    pauses.prolong(scope, left);
                }
            });
        }
    }

    /// Logs what Box paused, once for all repeats.
    fn log_pause(
        &self,
        request_key: &RequestKey<'_>,
        request_id: &str,
        alone: bool,
        (status, asked_for): (StatusCode, Duration),
    ) {
        let RequestKey { operation, class, identity, identity_number, user, .. } = *request_key;
        let method = operation.method;
        // A template may contain decoded characters of the path, such as a line feed.
        let template = format!("/2.0{}", operation_template::below_version(operation.path).escape_debug());
        let who = match user {
            User::Id(id) => format!("user {id}"),
            User::Service => {
                let name = self.settings.identities.get(identity.index()).map(|identity| &*identity.name);
                format!("service account of identity {:?}", name.unwrap_or_default())
            }
        };
        let what =
            if alone { format!("{method} {template} alone") } else { format!("class {}", class.as_str()) };
        if let Some(left_out) = self.repeats.note(&format!("{identity_number:x} {who} {what}")) {
            let (status, max_pause) = (status.as_u16(), self.settings.max_pause);
            // Box may request any number of seconds.
            let asked_for = match asked_for > max_pause {
                true => format!("longer than [upstream] max_pause, so it is {}", short(max_pause)),
                false => short(asked_for),
            };
            warn!(
                "Box asked for {asked_for}: {who}, {what} ({status} on {method} {template}, request {request_id}){left_out}"
            );
        }
    }
}
