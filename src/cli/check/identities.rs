//! Identities: does Box give a token, and to whom?

use std::rc::Rc;

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::Value;

use super::call::{self, Answer, Caller, PATIENCE};
use super::findings::{About, Row, State};
use super::online::Online;
use super::{downscope, rights};
use crate::oauth::grant::{self, Fetched, Granted};
use crate::oauth::identity::{Identity, IdentityId, Subject};
use crate::oauth::token_endpoint::{Fault, GrantType};

const ME: &str = "/2.0/users/me?fields=login,name,status,enterprise";

/// Gets a token for an identity, asks Box whose it is, and what it may do.
pub(super) async fn check(online: Rc<Online>, id: IdentityId) -> Vec<Row> {
    let Some(identity) = online.config.identities.get(id.index()) else { return Vec::new() };
    let about = About::new("identity", &identity.name);
    let _turn = online.turns.acquire().await;
    let endpoint = online.token_endpoint.authority();
    let fetching = grant::fetch(&online.token_endpoint, identity, None, || {});
    let Ok(Fetched { outcome, parent: _parent }) = tokio::time::timeout(PATIENCE, fetching).await else {
        return vec![not_checked(&about, &format!("{endpoint} does not answer in {PATIENCE:?}"))];
    };
    let granted = match outcome {
        Ok(granted) => granted,
        Err(fault) => return vec![without_token(&about, &fault, identity, endpoint)],
    };
    // The tokens are kept until all rows are made, so that they are blanked in Box's words.
    let Granted { authorization, token: _token, restricted_to, .. } = granted;
    let caller = Caller { authorization: &authorization, user: None };
    let answer = call::get(&online.pool, &online.config.hosts.api, ME, Some(caller)).await;
    let host = online.config.hosts.api.as_str();
    let who = match answer {
        Ok(answer) => who_is_it(&about, identity, &answer, host),
        Err(cause) => about.failed(
            cause,
            "the token is valid; look at the row of this host, and check again once it can be reached",
        ),
    };
    let is_usable = matches!(who.state(), State::Ok | State::Info);
    let mut rows = vec![who];
    if let Some(asked) = &identity.downscope {
        rows.push(downscope::row(&about, asked, &restricted_to));
    }
    if is_usable {
        rows.extend(rights::check(&online, id, &about, &authorization).await);
    }
    rows
}

fn not_checked(about: &About, what: &str) -> Row {
    about.failed(
        format!("not checked: {what}"),
        "Box has not checked this identity yet; check again once its token endpoint answers",
    )
}

fn without_token(about: &About, fault: &Fault, identity: &Identity, endpoint: &str) -> Row {
    match fault {
        Fault::Transient { cause, .. } => {
            let what = match cause.strip_prefix("the token endpoint ") {
                Some(words) => format!("the token endpoint {endpoint} {words}"),
                None => format!("{endpoint}: {cause}"),
            };
            not_checked(about, &what)
        }
        Fault::NotNarrowed(cause) => about.failed(
            cause.clone(),
            format!(
                "the gateway uses no such token: see that the account has the file or folder of downscope.resource of [identity.{}]; scopes that are not for files and folders belong in an identity without resource",
                identity.name
            ),
        ),
        Fault::Loop(cause) => about.failed(
            format!("the gateway would call itself at {endpoint}: {cause}"),
            "correct [box] token_url, [upstream] proxy or HTTPS_PROXY, whichever leads back here",
        ),
        Fault::Refused(refused) => {
            let at = match refused.grant_type {
                GrantType::ClientCredentials => endpoint.to_owned(),
                GrantType::TokenExchange => format!("{endpoint}, at the token exchange for downscope"),
            };
            about.refused(format!("{refused} ({at})"), refused.advice(identity))
        }
    }
}

/// `ok` where Box knows the token and it is the configured account's. A downscoped token need not be allowed to ask.
fn who_is_it(about: &About, identity: &Identity, answer: &Answer, host: &str) -> Row {
    if !answer.status.is_success() || answer.is_html() {
        if identity.downscope.is_some() && answer.status == StatusCode::FORBIDDEN && !answer.is_html() {
            let words = format!("Box gives a token, which may not ask whose it is (403 {})", answer.reason());
            return about.info("unknown", words, "the account is not compared with the configuration");
        }
        return refused(about, answer, host);
    }
    let Some(me) = answer.json() else {
        return about.failed(
            format!("{host} answers GET /2.0/users/me with what is not JSON"),
            "something between here and Box may have answered; look at the proxy or firewall on the way",
        );
    };
    let text = |pointer: &str| me.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let (login, id, enterprise) = (text("/login"), text("/id"), text("/enterprise/id"));
    match &identity.subject {
        Subject::Enterprise(expected) if enterprise != "?" && enterprise != expected => about.failed(
            format!("the token belongs to enterprise {enterprise}, but the configuration says {expected}"),
            "correct enterprise_id, or take client_id and client_secret of an app of that enterprise",
        ),
        Subject::User(expected) if id != expected => about.failed(
            format!("the token belongs to user {id} ({login}), but the configuration says {expected}"),
            "correct user_id: the digits in the user's URL in the Admin Console",
        ),
        Subject::Enterprise(_) | Subject::User(_) => {
            about.ok(format!("{login} ({id}), enterprise {enterprise}"))
        }
    }
}

fn refused(about: &About, answer: &Answer, host: &str) -> Row {
    let status = answer.status.as_u16();
    let challenge = answer.headers.get(WWW_AUTHENTICATE).and_then(|why| why.to_str().ok());
    let why = challenge.map(|why| format!(" ({why})")).unwrap_or_default();
    let asked = format!("{host} answers {status} to GET /2.0/users/me{why}");
    match status {
        500.. => about.failed(
            asked,
            "the fault is at Box (status.box.com) or a proxy on the way there; the token is valid, check again later",
        ),
        _ if answer.is_html() => about.failed(
            format!("{asked} with HTML in place of JSON"),
            "something between here and Box may have answered: look at the proxy, firewall or login page on the way",
        ),
        401 => about.failed(
            format!("{host} answers 401 to a token it has just given{why}"),
            "the user or the app may be deactivated: Admin Console → Users, and Apps → Platform Apps Manager",
        ),
        403 => about.refused(
            asked,
            "the app lacks a scope (Developer Console → the app → Configuration → Application Scopes, then authorize again), or an IP rule of the enterprise forbids it",
        ),
        429 => about.failed(
            asked,
            "this account has made too many calls; the token is valid, check again later",
        ),
        _ => about.failed(
            asked,
            "this is no answer that is known of Box: look at [box] api and at the proxy or firewall on the way",
        ),
    }
}
