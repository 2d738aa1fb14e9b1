//! `GET /history.json`: what was counted in each five minutes of the last day, of all requests, of an app or of a host of Box.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::status::Requests;
use super::{Overview, json_page};
use crate::http::error::Refusal;
use crate::http::query::{self, shortened};
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
///
/// # Errors
/// A parameter or a name is unknown, or there is more than one.
pub(super) fn page(overview: &Overview, query: &str) -> Result<Response<Bytes>, Refusal> {
    let of = of_query(overview, query)?;
    let slots = overview.history.day(&overview.metrics, of, overview.process.clock.now()).into_iter();
    let slots = slots
        .map(|(begins, counts)| Slot { begins: rfc_3339(begins), requests: Requests::of(&counts) })
        .collect();
    Ok(json_page(&History { slot_seconds: SLOT, slots }))
}

fn of_query(overview: &Overview, query: &str) -> Result<Of, Refusal> {
    let mut parameters = query::parameters(query);
    let of = match parameters.next() {
        None => return Ok(Of::All),
        Some((name, value)) => of(overview, &name, &value).unwrap_or_else(|| {
            Err(Refusal::BadQuery(format!(
                "The query parameter {:?} is not known here; allowed: app and host, one at most.",
                shortened(&name)
            )))
        })?,
    };
    match parameters.next() {
        None => Ok(of),
        Some((name, _)) => Err(Refusal::BadQuery(format!(
            "The query parameter {:?} is one too many; allowed: one of app and host, once.",
            shortened(&name)
        ))),
    }
}

/// What `app=NAME` or `host=HOST` asks for; `None` for any other parameter.
pub(super) fn of(overview: &Overview, parameter: &str, value: &str) -> Option<Result<Of, Refusal>> {
    let unknown = |why: &str| Refusal::UnknownName(format!("{parameter}={:?}: {why}.", shortened(value)));
    match (parameter, value) {
        ("app", "") => Some(Ok(Of::App(None))),
        ("app", app) => {
            // Names of earlier configurations too, since what was counted of them stays.
            let label = overview.process.app_labels.known(app).map(|label| Of::App(Some(label)));
            Some(label.ok_or_else(|| unknown("no app has this name; /status.json lists the apps")))
        }
        ("host", host) => {
            let gateway = overview.gateway.load();
            let known = gateway.host_labels.iter().find(|(known, _)| known.as_str() == host);
            let known = known.map(|(_, label)| Of::Host(*label));
            Some(known.ok_or_else(|| {
                unknown(
                    "this host is not in [box] of the configuration; /status.json lists the hosts under box",
                )
            }))
        }
        _ => None,
    }
}
