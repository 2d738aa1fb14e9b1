//! Tells operators which web page was refused and how to let it call. Only an origin that could stand in the
//! configuration is named, so no other text of a page gets into the log.

use http::header::ORIGIN;
use http::request::Parts;
use tracing::warn;

use crate::access::admission;
use crate::access::caller::Caller;
use crate::http::origin::{Origin, Pattern};
use crate::proxy::gateway::Gateway;
use crate::proxy::local_response::OwnPage;
use crate::proxy::process::Process;

/// Logs the origin of a request that was refused for it, once for all that repeat it.
pub(crate) fn log(process: &Process, gateway: &Gateway, caller: &Caller, head: &Parts) {
    let Some((origin, text)) = listable(gateway, caller, head) else { return };
    let Some(left_out) = process.refused_origins.note(text) else { return };
    let mut apps = gateway.config.apps.iter().filter(|app| app.origins.admits(origin));
    match apps.next().map(|app| &app.name) {
        None => warn!("origin {text} is in no app; to allow it: origins = [\"{text}\"]{left_out}"),
        Some(app) => warn!(
            "origin {text} is in app {app:?}, but not in the app that was called; to allow it there: origins = [\"{text}\"]{left_out}"
        ),
    }
}

/// The origin, parsed and as sent, if listing it in `origins` would change the answer.
fn listable<'a>(gateway: &Gateway, caller: &Caller, head: &'a Parts) -> Option<(Origin<'a>, &'a str)> {
    let mut values = head.headers.get_all(ORIGIN).iter();
    let text = values.next()?.to_str().ok()?;
    let origin = Origin::parse(text)?;
    let (_, authority) = admission::authority(&head.uri, &head.headers).ok()?;
    let secure = admission::uses_https(&gateway.config.trusted_proxies, caller, &head.headers);
    let may_be_listed = values.next().is_none()
        && Pattern::parse(text).is_ok()
        && !origin.is_own(authority, secure)
        // No page may ask for these.
        && OwnPage::at(head.uri.path(), &gateway.config.apps).is_none();
    may_be_listed.then_some((origin, text))
}
