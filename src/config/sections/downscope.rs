//! `downscope` of an identity: the scopes and the file or folder to which its tokens are narrowed.

use http::uri::Authority;

use super::super::diagnostics::{Location, Notes, nearest};
use super::super::raw::{self, Entry};
use super::super::values;
use super::reader;
use crate::oauth::identity::{Downscope, Resource};
use crate::oauth::scopes;

/// An example of scopes, for messages.
const SCOPES: &str = "[\"base_explorer\", \"item_upload\"]";

/// Where a resource is written, and its host: whether that is Box's is known once `[box]` has been read.
pub(super) type Located = (Location, Authority);

/// Reads the table. `None`: it has a problem.
pub(super) fn read(
    entry: &Entry<'_>,
    resources: &mut Vec<Located>,
    notes: &mut Notes<'_>,
) -> Option<Downscope> {
    let before = notes.count();
    let written: raw::Downscope<'_> = raw::read(Some(entry), notes);
    let scopes = match &written.scopes {
        Some(entry) => self::scopes(entry, notes),
        // What is no table has been reported.
        None => {
            if notes.count() == before {
                let location = entry.location.below("scopes");
                notes.problem(&location, format_args!("is missing; write for example scopes = {SCOPES}"));
            }
            Vec::new()
        }
    };
    let resource = reader::parsed(written.resource.as_ref(), values::A_RESOURCE, values::resource, notes);
    if let (Some(Entry { location, .. }), Some(Resource { host, .. })) = (&written.resource, &resource) {
        resources.push((location.clone(), host.clone()));
    }
    (notes.count() == before).then_some(Downscope { scopes, resource })
}

fn scopes(entry: &Entry<'_>, notes: &mut Notes<'_>) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    let items = reader::list(Some(entry), SCOPES, notes).unwrap_or_default();
    if super::is_empty_list(entry) {
        notes.problem(
            &entry.location,
            format_args!("an empty list: the token could do nothing; write for example {SCOPES}, or leave downscope out for all rights of the account"),
        );
    }
    for item in items {
        let Some(()) = notes.take(&item.location, values::scope(item.text)) else { continue };
        if scopes.iter().any(|scope| scope == item.text) {
            notes.problem(&item.location, format_args!("{:?} is there twice; remove one of them", item.text));
            continue;
        }
        if scopes::permits(item.text).is_none() {
            let meant = match nearest(item.text, scopes::names()) {
                Some(scope) => format!("did you mean \"{scope}\"?"),
                None => "docs/access-and-rules.md lists them.".to_owned(),
            };
            notes.warning(
                &item.location,
                format_args!(
                    "{:?} is no scope that Box documents; {meant} Box refuses all tokens of this identity if it does not know one",
                    item.text
                ),
            );
        }
        scopes.push(item.text.to_owned());
    }
    scopes
}

/// Refuses resources at other hosts than Box's and the configured one: the token is for that API alone.
pub(super) fn judge_hosts(resources: &[Located], api: &Authority, notes: &mut Notes<'_>) {
    for (location, host) in resources {
        if host != values::BOX_API && host != api {
            let other = if api == values::BOX_API {
                String::new()
            } else {
                format!(" or https://{api}, the api of [box]")
            };
            notes.problem(
                location,
                format_args!(
                    "{:?} is not Box's API; the URL begins with https://{}{other}",
                    host.as_str(),
                    values::BOX_API
                ),
            );
        }
    }
}
