//! Items in Box's JSON format.

use jiff::{Timestamp, tz};
use serde_json::{Map, Value, json};

use super::{
    representations,
    request::{ApiRequest, Paging},
};
use crate::sandbox::model::{
    item::{Item, ItemKind},
    items::Store,
    scopes::Privilege,
    shared_link::SharedLink,
    state::State,
    users::{User, Users},
};

/// The fields that Box always adds.
const ALWAYS: [&str; 3] = ["type", "id", "etag"];

const USERS_CREATED: &str = "2024-02-12T10:53:43-08:00";

/// An item with all of Box's standard fields, or with those that the caller asks for.
pub(crate) fn item(request: &ApiRequest<'_>, store: &Store, item: &Item) -> Value {
    let mut full = shown(request, standard(request.state, store, item));
    let Some(object) = full.as_object_mut() else { return full };
    let fields = request.fields();
    if item.is_folder() {
        // Fields requested for a folder also apply to its items.
        let page = request.paging().unwrap_or(Paging { offset: 0, limit: 100 });
        let items = items(request, store, item, &page, fields.as_deref());
        object.insert("item_collection".to_owned(), items);
    }
    match fields {
        None => full,
        Some(fields) => chosen(request, item, full, &fields),
    }
}

/// An item in a list: its mini form, or the fields that the caller asks for.
pub(crate) fn listed(request: &ApiRequest<'_>, store: &Store, item: &Item, fields: Option<&[&str]>) -> Value {
    match fields {
        None => mini(item),
        Some(fields) => chosen(request, item, shown(request, standard(request.state, store, item)), fields),
    }
}

/// A folder's items by offset.
pub(crate) fn items(
    request: &ApiRequest<'_>,
    store: &Store,
    folder: &Item,
    page: &Paging,
    fields: Option<&[&str]>,
) -> Value {
    let children = store.children(folder.id);
    let shown = children.iter().skip(page.offset).take(page.limit);
    json!({
        "total_count": children.len(),
        "entries": shown.map(|child| listed(request, store, child, fields)).collect::<Vec<_>>(),
        "offset": page.offset,
        "limit": page.limit,
        "order": [{ "by": "type", "direction": "ASC" }, { "by": "name", "direction": "ASC" }],
    })
}

/// `fields=` as Box takes it: only these, and always type, id and etag.
pub(crate) fn picked(full: Value, fields: &[&str]) -> Value {
    let Value::Object(full) = full else { return full };
    let wanted = |name: &str| ALWAYS.contains(&name) || fields.contains(&name);
    Value::Object(full.into_iter().filter(|(name, _)| wanted(name)).collect())
}

fn chosen(request: &ApiRequest<'_>, item: &Item, mut full: Value, fields: &[&str]) -> Value {
    if let Some(object) = full.as_object_mut() {
        for field in fields {
            if let Some(value) = extra(request, item, field) {
                object.insert((*field).to_owned(), value);
            }
        }
    }
    picked(full, fields)
}

/// The mini form of an item, inside of others.
pub(crate) fn mini(item: &Item) -> Value {
    // The root has neither.
    let etag = (!item.is_root()).then(|| item.etag.to_string());
    match &item.kind {
        ItemKind::Folder => json!({
            "type": "folder",
            "id": item.id.to_string(),
            "sequence_id": etag,
            "etag": etag,
            "name": item.name,
        }),
        ItemKind::File(version) => json!({
            "type": "file",
            "id": item.id.to_string(),
            "file_version": { "type": "file_version", "id": version.id.to_string(), "sha1": version.sha1 },
            "sequence_id": etag,
            "etag": etag,
            "sha1": version.sha1,
            "name": item.name,
        }),
        ItemKind::WebLink(url) => json!({
            "type": "web_link",
            "id": item.id.to_string(),
            "sequence_id": etag,
            "etag": etag,
            "name": item.name,
            "url": url,
        }),
    }
}

/// An item without the folders that the caller's token does not reach.
pub(crate) fn shown(request: &ApiRequest<'_>, item: Value) -> Value {
    below_top(request, item).unwrap_or_default()
}

/// An item with its standard fields, its path and parent beginning with the item to which the caller's token is
/// restricted; `None` where it is not below that.
pub(crate) fn below_top(request: &ApiRequest<'_>, mut item: Value) -> Option<Value> {
    let Some(top) = request.top() else { return Some(item) };
    let is_top = |item: &Value| item.get("id").and_then(Value::as_str) == Some(&top.to_string());
    let path = item.pointer("/path_collection/entries").and_then(Value::as_array);
    let path: Vec<Value> = path.into_iter().flatten().skip_while(|folder| !is_top(folder)).cloned().collect();
    if path.is_empty() && !is_top(&item) {
        return None;
    }
    let object = item.as_object_mut()?;
    object.insert("parent".to_owned(), path.last().cloned().unwrap_or_default());
    object.insert("path_collection".to_owned(), json!({ "total_count": path.len(), "entries": path }));
    Some(item)
}

/// The standard fields of an item.
pub(crate) fn standard(state: &State, store: &Store, item: &Item) -> Value {
    let users = &state.users;
    let above: Vec<Value> = store.ancestors(item).into_iter().map(mini).collect();
    let is_root = item.parent.is_none();
    let created = (!is_root).then(|| stamp(item.created_at));
    let modified = (!is_root).then(|| stamp(item.modified_at));
    let mut object = match mini(item) {
        Value::Object(mini) => mini,
        _ => Map::new(),
    };
    let more = json!({
        "created_at": created,
        "modified_at": modified,
        "description": item.description,
        "size": store.size(item),
        "path_collection": { "total_count": above.len(), "entries": above },
        "created_by": user_mini(users, &item.created_by),
        "modified_by": user_mini(users, &item.modified_by),
        "trashed_at": null,
        "purged_at": null,
        "content_created_at": created,
        "content_modified_at": modified,
        "owned_by": user_mini(users, &item.created_by),
        "shared_link": item.shared_link.as_ref().map(|link| shared_link(link, item)),
        "parent": above.last(),
        "item_status": "active",
    });
    if let Value::Object(more) = more {
        object.extend(more);
    }
    if item.is_folder() {
        object.insert("folder_upload_email".to_owned(), Value::Null);
    }
    if matches!(item.kind, ItemKind::WebLink(_)) {
        object.retain(|name, _| {
            !["size", "content_created_at", "content_modified_at"].contains(&name.as_str())
        });
    }
    Value::Object(object)
}

/// The shared link of an item.
fn shared_link(link: &SharedLink, item: &Item) -> Value {
    let download_url = item.version().map(|_| {
        let extension = item.name.rsplit_once('.').map_or("", |(_, extension)| extension);
        format!("https://app.box.com/shared/static/{}.{extension}", link.id)
    });
    json!({
        "url": link.url(),
        "download_url": download_url,
        "vanity_url": null,
        "vanity_name": null,
        "effective_access": link.access,
        "effective_permission": if link.can_download { "can_download" } else { "can_preview" },
        "is_password_enabled": link.password.is_some(),
        "unshared_at": link.unshared_at,
        "download_count": 0,
        "preview_count": 0,
        "access": link.access,
        "permissions": { "can_preview": true, "can_download": link.can_download, "can_edit": false },
    })
}

/// Fields that Box returns only on request, including all with URLs or tokens.
fn extra(request: &ApiRequest<'_>, item: &Item, field: &str) -> Option<Value> {
    match field {
        "permissions" => return Some(permissions(request, item)),
        "download_url" | "authenticated_download_url" if !request.may(Privilege::Download) => return None,
        "expiring_embed_link" | "representations" if !request.may(Privilege::Preview) => return None,
        "has_collaborations" | "is_externally_owned" if item.is_folder() => return Some(json!(false)),
        _ => {}
    }
    let ItemKind::File(version) = &item.kind else { return None };
    let (urls, id) = (&request.state.hosts, item.id);
    Some(match field {
        "extension" => json!(item.name.rsplit_once('.').map_or("", |(_, extension)| extension)),
        "version_number" => json!(version.number.to_string()),
        "lock" => Value::Null,
        "is_download_available" => json!(true),
        "download_url" => json!(request.state.presigned_url(&id.to_string(), None)),
        "authenticated_download_url" => json!(format!("{}/api/2.0/files/{id}/content", urls.download)),
        "expiring_embed_link" => embed_link(request),
        "representations" => representations::all(request, id, version.id),
        _ => return None,
    })
}

/// The caller's permissions on an item: all that the token has scopes for.
fn permissions(request: &ApiRequest<'_>, item: &Item) -> Value {
    use Privilege::{Annotate, Delete, Download, Preview, Rename, Share, Upload, Write};
    let mut names = vec![
        ("can_delete", Delete),
        ("can_rename", Rename),
        ("can_share", Share),
        ("can_set_share_access", Share),
    ];
    if !matches!(item.kind, ItemKind::WebLink(_)) {
        names.extend([
            ("can_download", Download),
            ("can_upload", Upload),
            ("can_invite_collaborator", Write),
        ]);
    }
    if matches!(item.kind, ItemKind::File(_)) {
        names.extend([("can_preview", Preview), ("can_comment", Write), ("can_annotate", Annotate)]);
    }
    let permission = |(name, needed): (&str, Privilege)| (name.to_owned(), Value::Bool(request.may(needed)));
    names.into_iter().map(permission).collect::<Map<_, _>>().into()
}

/// A preview session with a live token in it, in both fields where Box has been seen to put one.
fn embed_link(request: &ApiRequest<'_>) -> Value {
    let (token, expires_in) = request.issue_token();
    json!({
        "url": format!("https://app.box.com/preview/expiring_embed/{token}"),
        "access_token": token,
        "token": {
            "access_token": token,
            "expires_in": expires_in,
            "token_type": "bearer",
            "restricted_to": [],
        },
    })
}

/// A time in Box's format: to the second, with California's offset.
pub(crate) fn stamp(time: Timestamp) -> String {
    let california = tz::TimeZone::fixed(tz::offset(-8));
    time.to_zoned_datetime(california).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The mini form of a user; `null` for an unknown one.
pub(crate) fn user_mini(users: &Users, id: &str) -> Value {
    users.find(id).map_or(
        Value::Null,
        |user| json!({ "type": "user", "id": user.id, "name": user.name, "login": user.login }),
    )
}

/// A user with Box's standard fields, or with those that the caller asks for.
pub(crate) fn user(users: &Users, user: &User, fields: Option<&[&str]>) -> Value {
    let mut full = json!({
        "type": "user",
        "id": user.id,
        "name": user.name,
        "login": user.login,
        "created_at": USERS_CREATED,
        "modified_at": USERS_CREATED,
        "language": "en",
        "timezone": "America/Los_Angeles",
        "space_amount": 10_737_418_240_u64,
        "space_used": 0,
        "max_upload_size": 53_687_091_200_u64,
        "status": "active",
        "job_title": "",
        "phone": "",
        "address": "",
        "avatar_url": format!("https://app.box.com/api/avatar/large/{}", user.id),
        "notification_email": null,
    });
    if let (Some(fields), Some(object)) = (fields, full.as_object_mut()) {
        let enterprise = json!({ "type": "enterprise", "id": users.enterprise_id, "name": "Sandbox" });
        object.insert("enterprise".to_owned(), enterprise);
        object.insert("role".to_owned(), json!(user.role));
        return picked(full, fields);
    }
    full
}
