//! What an identity may do at Box, found out by reading only: its root folder or what it is downscoped to, its users, and the
//! users as whom its apps may act.

use std::collections::BTreeSet;
use std::rc::Rc;

use http::HeaderValue;
use serde_json::Value;
use tokio::task::spawn_local;

use super::call::{self, Answer, Caller};
use super::findings::{About, Row};
use super::online::Online;
use crate::oauth::identity::{Identity, IdentityId, Subject};
use crate::oauth::user::{Login, User};
use crate::oauth::users_api::{self, Owner};
use crate::routing::as_user::AsUser;

/// Each is a call at Box. An app may list hundreds.
const MOST_USERS: usize = 20;

/// One row for each thing that was tried, in a fixed order.
pub(super) async fn check(
    online: &Rc<Online>,
    id: IdentityId,
    about: &About,
    authorization: &HeaderValue,
) -> Vec<Row> {
    let Some(identity) = online.config.identities.get(id.index()) else { return Vec::new() };
    let users = users(online, id);
    let mut tried = match identity.downscope.as_ref().and_then(|downscope| downscope.resource.as_ref()) {
        Some(resource) => {
            vec![Tried { about: about.part(resource.to_string()), what: What::Resource(resource.path()) }]
        }
        None => vec![
            Tried { about: about.part("root folder"), what: What::RootFolder },
            Tried { about: about.part("users"), what: What::Users },
        ],
    };
    for user in users.iter().take(MOST_USERS) {
        tried.push(Tried { about: about.part(format!("as-user {user}")), what: What::AsUser(user.clone()) });
    }
    let tasks: Vec<_> = tried
        .into_iter()
        .map(|tried| {
            let (online, identity, authorization) = (online.clone(), identity.clone(), authorization.clone());
            spawn_local(async move { tried.row(&online, &identity, &authorization).await })
        })
        .collect();
    let mut rows = Vec::new();
    for task in tasks {
        if let Ok(row) = task.await {
            rows.push(row);
        }
    }
    if let Some(left) = users.len().checked_sub(MOST_USERS).filter(|left| *left > 0) {
        rows.push(about.part("as-user").info(
            "info",
            format!("{left} more users that apps may act as were not tried"),
            "",
        ));
    }
    rows
}

/// The users as whom apps of this identity may act.
fn users(online: &Online, id: IdentityId) -> BTreeSet<User> {
    let apps = online.config.apps.iter().filter(|app| app.enabled && app.identity == id);
    let listed = apps.filter_map(|app| match &app.as_user {
        AsUser::Only(users) => Some(users),
        AsUser::Any => None,
    });
    listed.flatten().cloned().collect()
}

struct Tried {
    about: About,
    what: What,
}

enum What {
    /// The path of what a downscoped token is for.
    Resource(String),
    RootFolder,
    Users,
    AsUser(User),
}

impl Tried {
    async fn row(self, online: &Online, identity: &Identity, authorization: &HeaderValue) -> Row {
        let Self { about, what } = self;
        let found = match &what {
            What::AsUser(User::Login(login)) => {
                match id_of(online, identity, authorization, login, &about).await {
                    Ok(id) => Some(id),
                    Err(row) => return row,
                }
            }
            What::Resource(_) | What::RootFolder | What::Users | What::AsUser(User::Id(_)) => None,
        };
        let resource;
        let (path, user) = match &what {
            What::Resource(path) => {
                resource = format!("{path}?fields=name");
                (resource.as_str(), None)
            }
            What::RootFolder => ("/2.0/folders/0/items?limit=1&fields=id", None),
            What::Users => ("/2.0/users?limit=1&fields=id", None),
            What::AsUser(User::Id(id)) => ("/2.0/users/me?fields=id,login", Some(id.as_str())),
            What::AsUser(User::Login(_)) => ("/2.0/users/me?fields=id,login", found.as_deref()),
        };
        let caller = Caller { authorization, user };
        let answer = match call::get(&online.pool, &online.config.hosts.api, path, Some(caller)).await {
            Ok(answer) => answer,
            Err(cause) => return about.failed(cause, "check again once this host can be reached"),
        };
        match answer.status.as_u16() {
            200 => {}
            429 | 500.. => {
                let words = format!("answered {}", answer.status.as_u16());
                return match what {
                    What::AsUser(_) => about.failed(words, "check again later"),
                    What::Resource(_) | What::RootFolder | What::Users => {
                        about.info("unknown", words, "check again later")
                    }
                };
            }
            _ => return refused(&about, &what, &answer, identity),
        }
        let json = answer.json().unwrap_or_default();
        match what {
            What::Resource(_) => about.ok(json.get("name").and_then(Value::as_str).unwrap_or("may be read")),
            What::RootFolder => root_folder(&about, &json),
            What::Users => about.ok("may be listed"),
            What::AsUser(User::Id(_)) => {
                about.ok(json.get("login").and_then(Value::as_str).unwrap_or_default())
            }
            What::AsUser(User::Login(_)) => about.ok(found.unwrap_or_default()),
        }
    }
}

/// The id of the user with a login, asked for as a gateway does.
async fn id_of(
    online: &Online,
    identity: &Identity,
    authorization: &HeaderValue,
    login: &Login,
    about: &About,
) -> Result<String, Row> {
    let (path, host) = (users_api::path_of(login), &online.config.hosts.api);
    let caller = Caller { authorization, user: None };
    let answer = match call::get(&online.pool, host, &path, Some(caller)).await {
        Ok(answer) => answer,
        Err(cause) => return Err(about.failed(cause, "check again once this host can be reached")),
    };
    let status = answer.status.as_u16();
    let owner = answer.json().and_then(|json| users_api::owner_of(login, json.to_string().as_bytes()));
    match (status, owner) {
        (200, Some(Owner::User(id))) => Ok(id),
        (200, Some(Owner::Nobody)) => Err(about.refused(
            "Box knows no managed user or app user with this login",
            "correct the login in as_user, or list the user's id: Admin Console → Users",
        )),
        (200, Some(Owner::Several(users))) => Err(about.refused(
            format!("Box knows {users} users with this login"),
            "list the id of the one who is meant in as_user",
        )),
        (401 | 403, _) => {
            let reason = answer.reason();
            let space = if reason.is_empty() { "" } else { " " };
            let words = format!("{status}{space}{reason}: its id cannot be looked up");
            Err(about.refused(words, users_api::refused_advice(identity.downscope.is_some())))
        }
        (200, None) => Err(about.failed(
            format!("{host} answers GET /2.0/users with what is not Box's list of users"),
            "something between here and Box may have answered; look at the proxy or firewall on the way",
        )),
        _ => Err(about.failed(format!("answered {status}"), "check again later")),
    }
}

fn root_folder(about: &About, json: &Value) -> Row {
    match json.get("total_count").and_then(Value::as_u64) {
        Some(0) => about.info(
            "empty",
            "",
            "invite this login to folders as a collaborator, or it sees nothing but its own content",
        ),
        Some(1) => about.ok("1 item"),
        Some(count) => about.ok(format!("{count} items")),
        None => about.ok("may be read"),
    }
}

/// What Box says, and the scope or right that is missing. That apps need it is not known, but for As-User.
fn refused(about: &About, what: &What, answer: &Answer, identity: &Identity) -> Row {
    const SCOPES: &str = "Developer Console → the app → Configuration → Application Scopes";
    let words = match answer.reason().as_str() {
        "" => format!("answered {}", answer.status.as_u16()),
        reason => format!("{} {reason}", answer.status.as_u16()),
    };
    let is_service_account = matches!(identity.subject, Subject::Enterprise(_));
    let is_downscoped = identity.downscope.is_some();
    match what {
        What::AsUser(_) if is_downscoped => about.refused(
            words,
            "Box may refuse As-User to a downscoped token: give the app an identity without downscope, or take this user out of as_user",
        ),
        What::Resource(_) | What::RootFolder | What::Users if is_downscoped => about.info(
            "refused",
            words,
            format!(
                "its downscope leaves that out; where apps need it, add a scope to downscope.scopes of [identity.{}]",
                identity.name
            ),
        ),
        What::Resource(_) | What::RootFolder => about.info(
            "refused",
            words,
            format!(
                "where apps read content: {SCOPES} → Read all files and folders stored in Box, then authorize again"
            ),
        ),
        What::Users => about.info(
            "refused",
            words,
            format!("where apps manage users: {SCOPES} → Manage users, then authorize again"),
        ),
        What::AsUser(_) if !is_service_account => about.refused(
            words,
            "only a service account or an admin may act as others: set enterprise_id in place of user_id, or take this user out of as_user",
        ),
        What::AsUser(user) => about.refused(
            words,
            format!(
                "the app needs \"App + Enterprise Access\" and \"Make API calls using the as-user header\" (Developer Console → the app → Configuration), then a new authorization; {user} must be an active user of this enterprise"
            ),
        ),
    }
}
