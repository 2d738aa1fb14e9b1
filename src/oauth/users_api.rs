//! `GET /2.0/users`: which id has the user with a login? The request, and what Box's answers mean.
//!
//! `filter_term` finds every user whose name or login begins with it (`docs/box-api.md#apps-accounts-and-authorization`), so
//! the login of each is compared here.

use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::http::retry_after;
use crate::net::error_chain::chain;
use crate::oauth::user::{Login, is_id};

/// Nothing waits for the answer but the lookup itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Users in one answer. Hardly any other login begins with a whole one.
const MOST_USERS: usize = 100;
/// Far above what Box sends for so many.
const LARGEST_ANSWER: usize = 128 * 1024;
const REFUSED_ADVICE: &str = "the app at Box needs the scope Manage users, and a token of the service account or of an admin: Developer Console → the app → Configuration → Application Scopes, then authorize it again in the Admin Console and renew the token; or list the user's id in as_user";

const DOWNSCOPED_ADVICE: &str = "the identity has downscope, which leaves the users out, and Box may refuse As-User to such a token, too: give the app an identity without downscope, or take the user out of as_user";

/// What to do where Box refuses to list users.
pub(crate) fn refused_advice(is_downscoped: bool) -> &'static str {
    if is_downscoped { DOWNSCOPED_ADVICE } else { REFUSED_ADVICE }
}

/// The users of Box's API, as one identity sees them.
#[derive(Debug, Clone)]
pub(crate) struct UsersApi {
    client: reqwest::Client,
    /// `[box] api`: host and port.
    host: String,
}

/// What Box says of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The id of the one user who has it.
    User(String),
    /// No user has it.
    Nobody,
    /// So many users have it.
    Several(usize),
}

/// Why Box does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 401: Box does not accept the token.
    TokenRejected,
    /// 403: the identity may not list users; in words.
    Refused(String),
    /// The network, Box or its answer failed: a retry may succeed.
    Failed {
        cause: String,
        /// Box's `Retry-After`.
        retry_after: Option<Duration>,
    },
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    login: Option<String>,
}

/// The path and query that find the user with a login.
pub(crate) fn path_of(login: &Login) -> String {
    let term = utf8_percent_encode(login.as_str(), NON_ALPHANUMERIC);
    format!("/2.0/users?filter_term={term}&user_type=managed&fields=id,login&limit={MOST_USERS}")
}

/// Who has the login, by the body of a 200; `None`: it is not Box's list of users.
pub(crate) fn owner_of(login: &Login, body: &[u8]) -> Option<Owner> {
    let page: Page = serde_json::from_slice(body).ok()?;
    let is_it = |entry: &Entry| entry.login.as_deref().is_some_and(|found| login.is(found));
    let mut ids: Vec<String> = page.entries.into_iter().filter(is_it).map(|entry| entry.id).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.len() {
        0 => Some(Owner::Nobody),
        1 => ids.pop().filter(|id| is_id(id)).map(Owner::User),
        several => Some(Owner::Several(several)),
    }
}

impl UsersApi {
    /// `client` must follow no redirect, since the request carries a token. `host`: `[box] api`.
    pub(crate) fn new(client: reqwest::Client, host: String) -> Self {
        Self { client, host }
    }

    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Asks Box who has the login. `sent` is called if the request has reached Box.
    ///
    /// # Errors
    /// Box does not say it.
    pub(crate) async fn owner_of(
        &self,
        login: &Login,
        authorization: &HeaderValue,
        sent: impl Fn(),
    ) -> Result<Owner, Fault> {
        let host = &self.host;
        let request = self.client.get(format!("https://{host}{}", path_of(login)));
        let answered = request.header(AUTHORIZATION, authorization.clone()).timeout(PATIENCE).send().await;
        if !answered.as_ref().is_err_and(reqwest::Error::is_connect) {
            sent();
        }
        let mut answer = answered.map_err(|error| self.failed(&error))?;
        let status = answer.status().as_u16();
        match status {
            200 => {}
            401 => return Err(Fault::TokenRejected),
            403 => {
                let challenge = answer.headers().get(WWW_AUTHENTICATE).and_then(|why| why.to_str().ok());
                let lacks_scope = challenge.is_some_and(|why| why.contains("insufficient_scope"));
                let why = if lacks_scope { " insufficient_scope" } else { "" };
                return Err(Fault::Refused(format!("{host} answers 403{why} to GET /2.0/users")));
            }
            _ => {
                return Err(Fault::Failed {
                    cause: format!("{host} answers {status} to GET /2.0/users"),
                    retry_after: retry_after::read(answer.headers(), None),
                });
            }
        }
        let unusable =
            || failed(format!("{host} answers GET /2.0/users with what is not Box's list of users"));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failed(&error))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(unusable());
            }
            body.extend_from_slice(&chunk);
        }
        owner_of(login, &body).ok_or_else(unusable)
    }

    /// reqwest's own message would show the URL, and with it the login.
    fn failed(&self, error: &reqwest::Error) -> Fault {
        let words = match () {
            () if error.is_timeout() => "did not answer in time",
            () if error.is_connect() => "cannot be reached",
            () => "did not answer",
        };
        let cause = std::error::Error::source(error).map(|cause| format!(": {}", chain(cause)));
        failed(format!("{} {words}{}", self.host, cause.unwrap_or_default()))
    }
}

fn failed(cause: String) -> Fault {
    Fault::Failed { cause, retry_after: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn owner(entries: &Value) -> Option<Owner> {
        let ann = Login::parse("ann@corp.com").unwrap();
        owner_of(&ann, json!({ "total_count": 9, "entries": entries }).to_string().as_bytes())
    }

    fn user(id: &str, login: &str) -> Value {
        json!({ "type": "user", "id": id, "login": login })
    }

    #[test]
    fn only_the_whole_login_counts_in_any_case() {
        let found = |id: &str| Some(Owner::User(id.to_owned()));
        assert_eq!(owner(&json!([user("1", "ann@corp.com.evil"), user("2", "Ann@Corp.com")])), found("2"));
        assert_eq!(owner(&json!([user("1", "ann@corp.com.evil"), { "id": "3" }])), Some(Owner::Nobody));
        assert_eq!(owner(&json!([])), Some(Owner::Nobody));
        // The same user twice is one.
        assert_eq!(owner(&json!([user("2", "ann@corp.com"), user("2", "ANN@corp.com")])), found("2"));
        let two = json!([user("2", "ann@corp.com"), user("3", "ANN@corp.com")]);
        assert_eq!(owner(&two), Some(Owner::Several(2)));
    }

    #[test]
    fn an_answer_that_is_not_boxs_is_none() {
        assert_eq!(owner(&json!([user("0x2", "ann@corp.com")])), None);
        assert_eq!(owner(&json!([user("", "ann@corp.com")])), None);
        let ann = Login::parse("ann@corp.com").unwrap();
        for body in
            ["", "<html>", "{}", "[]", r#"{"entries":{}}"#, r#"{"entries":[{"login":"ann@corp.com"}]}"#]
        {
            assert_eq!(owner_of(&ann, body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn the_login_is_encoded_in_the_query() {
        let path = path_of(&Login::parse("ann+a&b=%@corp.com").unwrap());
        assert!(
            path.starts_with("/2.0/users?filter_term=ann%2Ba%26b%3D%25%40corp%2Ecom&user_type="),
            "{path}"
        );
    }
}
