//! Tells operators that Box refuses requests since the app at Box or a downscoped token lacks a scope: callers get Box's 403,
//! which says so in a header that few of them show.

use tracing::warn;

use crate::oauth::identity::Downscope;
use crate::telemetry::repeats::Repeats;

/// A request that Box refused for a missing scope.
pub(crate) struct Refused<'a> {
    /// The app that sent it.
    pub(crate) app: &'a str,
    pub(crate) identity: &'a str,
    /// Of the identity.
    pub(crate) downscope: Option<&'a Downscope>,
    /// Method and template, such as `DELETE /2.0/files/*`.
    pub(crate) operation: &'a str,
    pub(crate) request_id: &'a str,
}

/// Logs it, once for all of the same app that follow soon.
pub(crate) fn log(repeats: &Repeats, refused: &Refused<'_>) {
    let Refused { app, identity, downscope, operation, request_id } = *refused;
    let Some(left_out) = repeats.note(&format!("scope {app}")) else { return };
    let why = match downscope {
        Some(downscope) => format!(
            "the token is downscoped to {downscope}, or lacks the right to act as a user. If callers need the operation, add its \
             scope to downscope.scopes of [identity.{identity}]; boxgate check says what the token may do"
        ),
        None => "the app at Box lacks a scope, or the right to act as a user. Compare Application Scopes in the Developer Console \
                 with the operation, have an admin reauthorize the app in the Admin Console, and then renew the token"
            .to_owned(),
    };
    warn!(request_id, app, identity, "Box refused {operation} with 403 insufficient_scope: {why}{left_out}");
}
