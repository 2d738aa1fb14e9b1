//! Token exchange (RFC 8693): a downscoped token for another token, as the guide authentication/tokens/downscope has it.
//! No client credentials are needed.

use serde_json::{Value, json};

use super::{
    json,
    oauth_errors::{
        BAD_FIELD, INVALID_GRANT, INVALID_RESOURCE, INVALID_SCOPE, OauthError, SCOPE_NOT_GRANTED,
    },
};
use crate::sandbox::{
    http::form::Form,
    model::{
        item::Item,
        items::Store,
        restriction::{Resource, Restriction},
        scopes::{self, Scope},
        state::State,
    },
};

/// The grant type.
pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const BOX_API: &str = "https://api.box.com";

/// The answer to an exchange.
pub(crate) fn exchanged(state: &State, form: &Form) -> Result<Value, OauthError> {
    // A field must not come twice (RFC 6749 §3.2). An actor's token would be for annotations, which are left out here.
    if form.has_repeated() || form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
        return Err(BAD_FIELD);
    }
    if form.get("subject_token_type") != Some(ACCESS_TOKEN) {
        return Err(BAD_FIELD);
    }
    let scopes = asked_scopes(form.get("scope").ok_or(BAD_FIELD)?)?;
    let subject_token = form.get("subject_token").ok_or(BAD_FIELD)?;
    let subject = state.tokens().grant(subject_token).ok_or(INVALID_GRANT)?;
    let within = subject.restriction.as_ref();
    if within.is_some_and(|within| !scopes.iter().all(|scope| within.includes(scope))) {
        return Err(SCOPE_NOT_GRANTED);
    }
    let store = state.store();
    let item = match (form.get("resource"), form.get("box_shared_link")) {
        (Some(_), Some(_)) => return Err(BAD_FIELD),
        (Some(url), None) => Some(item_at(state, &store, url)?),
        (None, Some(link)) => Some(item_behind(&store, link)?),
        (None, None) => None,
    };
    let top = within.and_then(|within| within.resource);
    if let (Some(item), Some(top)) = (item, top)
        && !store.is_within(item.id, top.id)
    {
        return Err(INVALID_RESOURCE);
    }
    // Without a resource of its own, it has that of the token that it is made from.
    let item = item.or_else(|| store.get(top?.id));
    let resource = item.map(|item| Resource { id: item.id, is_folder: item.is_folder() }).or(top);
    let restricted_to: Vec<Value> = scopes
        .iter()
        .map(|scope| match item {
            Some(item) => json!({ "scope": scope.name, "object": json::mini(item) }),
            None => json!({ "scope": scope.name }),
        })
        .collect();
    let restriction = Restriction { scopes, resource };
    let (token, expires_in) = state.tokens().downscope(subject_token, &subject.subject, restriction);
    Ok(json!({
        "access_token": token,
        "expires_in": expires_in,
        "issued_token_type": ACCESS_TOKEN,
        "restricted_to": restricted_to,
        "token_type": "bearer",
    }))
}

/// The scopes of a list with spaces between them, each once.
fn asked_scopes(list: &str) -> Result<Vec<&'static Scope>, OauthError> {
    let mut asked: Vec<&'static Scope> = Vec::new();
    for name in list.split(' ').filter(|name| !name.is_empty()) {
        let scope = scopes::find(name).ok_or(INVALID_SCOPE)?;
        if !asked.iter().any(|one| one.name == scope.name) {
            asked.push(scope);
        }
    }
    if asked.is_empty() { Err(INVALID_SCOPE) } else { Ok(asked) }
}

/// The file or folder of a resource's URL, which has this sandbox's host or Box's own.
fn item_at<'s>(state: &State, store: &'s Store, url: &str) -> Result<&'s Item, OauthError> {
    let hosts = [state.urls.api.as_str(), BOX_API];
    let path = hosts.iter().find_map(|host| url.strip_prefix(host)?.strip_prefix("/2.0/"));
    let (kind, id) = path.and_then(|path| path.split_once('/')).ok_or(INVALID_RESOURCE)?;
    let item = match kind {
        "files" => store.file(id),
        "folders" => store.folder(id),
        _ => return Err(INVALID_RESOURCE),
    };
    // Not `+42` and the like, which are read as numbers elsewhere.
    item.ok().filter(|item| item.id.to_string() == id).ok_or(INVALID_RESOURCE)
}

/// The file or folder behind a shared link. Links with a password and links of web links do not do.
fn item_behind<'s>(store: &'s Store, url: &str) -> Result<&'s Item, OauthError> {
    let is_it = |item: &&Item| {
        item.shared_link.as_ref().is_some_and(|link| link.url() == url && link.password.is_none())
    };
    let item = store.all().find(is_it).filter(|item| item.is_folder() || item.version().is_some());
    item.ok_or(INVALID_RESOURCE)
}
