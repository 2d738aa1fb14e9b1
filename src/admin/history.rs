//! `GET /history.json`: what was counted in each five minutes of the last day, of all requests, of an app or of a host of Box.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use url::form_urlencoded;

use super::status::Requests;
use super::{Overview, json_page, text_page};
use crate::telemetry::history::{Of, SLOT};
use crate::telemetry::words::rfc_3339;

/// The document.
#[derive(Serialize)]
struct History {
    slot_seconds: i64,
    slots: Vec<Slot>,
}

/// Five minutes with requests.
#[derive(Serialize)]
struct Slot {
    begins: String,
    #[serde(flatten)]
    requests: Requests,
}

/// The answer to a request with this query.
pub(super) fn page(overview: &Overview, query: Option<&str>) -> Response<Bytes> {
    let of = match of(overview, query.unwrap_or_default()) {
        Ok(of) => of,
        Err((status, problem)) => return text_page(status, problem),
    };
    let slots = overview.history.day(&overview.metrics, of, overview.process.clock.now()).into_iter();
    let slots = slots
        .map(|(begins, counts)| Slot { begins: rfc_3339(begins), requests: Requests::of(&counts) })
        .collect();
    json_page(&History { slot_seconds: SLOT, slots })
}

/// What the query asks for; else the status and the problem.
fn of(overview: &Overview, query: &str) -> Result<Of, (StatusCode, String)> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let of = match parameters.next() {
        None => return Ok(Of::All),
        Some((name, app)) if name == "app" && app.is_empty() => Of::App(None),
        Some((name, app)) if name == "app" => {
            // Names of earlier configurations too, since what was counted of them stays.
            let label = overview.process.app_labels.known(&app);
            let unknown = || format!("app={app:?}: no app has this name; /status.json lists the apps\n");
            Of::App(Some(label.ok_or_else(|| (StatusCode::NOT_FOUND, unknown()))?))
        }
        Some((name, host)) if name == "host" => {
            let gateway = overview.gateway.load();
            let known = gateway.host_labels.iter().find(|(known, _)| known.as_str() == host);
            let unknown = || format!("host={host:?}: not in [box]; /status.json lists the hosts under box\n");
            Of::Host(known.ok_or_else(|| (StatusCode::NOT_FOUND, unknown()))?.1)
        }
        Some((name, _)) => {
            let problem =
                format!("{name:?} is no parameter; there are app=NAME and host=HOST, one at most\n");
            return Err((StatusCode::BAD_REQUEST, problem));
        }
    };
    match parameters.next() {
        None => Ok(of),
        Some((name, _)) => {
            let problem =
                format!("{name:?} is one parameter too many; there may be one of app=NAME and host=HOST\n");
            Err((StatusCode::BAD_REQUEST, problem))
        }
    }
}
