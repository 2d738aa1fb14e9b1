//! Asks the gateway for its status.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::document::{self, Status};
use crate::cli::Failure;
use crate::cli::admin_client::{AdminListener, printable};

const PATH: &str = "/status.json";
const ASKED: &str = "GET /status.json";
/// For all of it: the gateway answers at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A gateway's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    body: Bytes,
}

impl Answer {
    /// The document as it came, on one line that no terminal obeys.
    pub(super) fn json(&self) -> String {
        document::one_line(&self.body)
    }
}

/// Asks once. `is_silent`: prints nothing while the gateway takes long.
///
/// # Errors
/// There is no answer within 5 s, or one of another kind; in words for the user.
pub(super) async fn ask(listener: &AdminListener, is_silent: bool) -> Result<Answer, Failure> {
    let answer = if is_silent {
        listener.request_silently(Method::GET, PATH, TIMEOUT).await?
    } else {
        listener.request(Method::GET, PATH, TIMEOUT).await?
    };
    match answer.status {
        StatusCode::OK => match document::parse(&answer.body) {
            Ok(status) => Ok(Answer { status, body: answer.body }),
            Err(why) => Err(printable(&listener.is_another(&why)).into()),
        },
        // Of a gateway, but not of its admin listener, the body is JSON.
        StatusCode::NOT_FOUND if !answer.body.starts_with(b"{") => Err(format!(
            "the server at {listener} has no {PATH}: it is an older gateway, or not boxgate; update it, or name the admin listener with --admin"
        )
        .into()),
        _ => Err(listener.unexpected(ASKED, &answer)),
    }
}
