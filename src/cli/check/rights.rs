//! What an identity may do at Box, found out by reading only: its root folder, its users, and the users as whom its apps
//! may act.

use std::collections::BTreeSet;
use std::rc::Rc;

use http::HeaderValue;
use serde_json::Value;
use tokio::task::spawn_local;

use super::call::{self, Answer, Caller};
use super::findings::{About, Row};
use super::online::Online;
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AsUser;

/// Each is a call at Box. An app may list hundreds.
const MOST_USERS: usize = 20;

/// One row for each thing that was tried, in a fixed order.
pub(super) async fn check(
    online: &Rc<Online>,
    id: IdentityId,
    about: &About,
    authorization: &HeaderValue,
) -> Vec<Row> {
    let users = users(online, id);
    let mut tried = vec![
        Tried { about: about.part("root folder"), what: What::RootFolder },
        Tried { about: about.part("users"), what: What::Users },
    ];
    // Only the service account may act as others, so only it is asked for whom.
    let is_service_account = online
        .config
        .identities
        .get(id.index())
        .is_some_and(|identity| matches!(identity.subject, Subject::Enterprise(_)));
    for user in users.iter().take(MOST_USERS) {
        tried.push(Tried { about: about.part(format!("as-user {user}")), what: What::AsUser(user.clone()) });
    }
    let tasks: Vec<_> = tried
        .into_iter()
        .map(|tried| {
            let (online, authorization) = (online.clone(), authorization.clone());
            spawn_local(async move { tried.row(&online, &authorization, is_service_account).await })
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
fn users(online: &Online, id: IdentityId) -> BTreeSet<String> {
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
    RootFolder,
    Users,
    AsUser(String),
}

impl Tried {
    async fn row(self, online: &Online, authorization: &HeaderValue, is_service_account: bool) -> Row {
        let Self { about, what } = self;
        let (path, user) = match &what {
            What::RootFolder => ("/2.0/folders/0/items?limit=1&fields=id", None),
            What::Users => ("/2.0/users?limit=1&fields=id", None),
            What::AsUser(user) => ("/2.0/users/me?fields=id,login", Some(user.as_str())),
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
                    What::RootFolder | What::Users => about.info("unknown", words, "check again later"),
                };
            }
            _ => return refused(&about, &what, &answer, is_service_account),
        }
        let json = answer.json().unwrap_or_default();
        match what {
            What::RootFolder => root_folder(&about, &json),
            What::Users => about.ok("may be listed"),
            What::AsUser(_) => about.ok(json.get("login").and_then(Value::as_str).unwrap_or_default()),
        }
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
fn refused(about: &About, what: &What, answer: &Answer, is_service_account: bool) -> Row {
    const SCOPES: &str = "Developer Console → the app → Configuration → Application Scopes";
    let words = match answer.reason().as_str() {
        "" => format!("answered {}", answer.status.as_u16()),
        reason => format!("{} {reason}", answer.status.as_u16()),
    };
    match what {
        What::RootFolder => about.info(
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
