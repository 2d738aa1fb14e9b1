//! `POST /reload`: reads the configuration again and answers with the outcome.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use serde::Serialize;

use super::ignored_body;
use super::reloads::{Outcome, Reloads};
use crate::http::error::Refusal;

/// The cause of the reload, as the log and `/readyz` show it.
const WHY: &str = "POST /reload";
/// How long a caller waits for the outcome: less than a new connection lives, and less than `boxgate reload` waits, so that
/// the answer arrives.
pub(super) const TIMEOUT: Duration = Duration::from_secs(45);

/// The response body.
#[derive(Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Answer {
    #[serde(rename = "ok")]
    TakenOver {
        notes: Vec<String>,
    },
    Refused {
        problems: Vec<String>,
    },
}

/// Requests a reload and waits for its outcome: 200 with the notes, 422 with the problems. Requests that
/// arrive while a reload is under way share the next one. The request was admitted before; its body is ignored.
/// `within`: the longest wait, [`TIMEOUT`] outside tests.
///
/// # Errors
/// The body is too long, broken or slow; the process stops; or the outcome takes too long.
pub(super) async fn answer<B>(
    reloads: &Arc<Reloads>,
    body: B,
    within: Duration,
) -> Result<Response<Bytes>, Refusal>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    ignored_body::read(body).await?;
    let outcome = tokio::time::timeout(within, reloads.request_shared(WHY)).await.map_err(|_| {
        Refusal::ReloadUnavailable(
            "The reload is still under way after 45 s. The gateway's log will show its outcome; until then the previous configuration stays in use.",
        )
    })?;
    let (status, answer) = match outcome {
        None => return Err(STOPS),
        Some(Outcome::TakenOver { notes }) => (StatusCode::OK, Answer::TakenOver { notes }),
        Some(Outcome::Refused { problems }) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Answer::Refused { problems })
        }
    };
    let text = serde_json::to_vec(&answer).expect("lists of strings always serialize");
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The process is stopping, or was started without a source to reload.
pub(super) const STOPS: Refusal = Refusal::ReloadUnavailable(
    "This gateway cannot reload: it is stopping, or it runs without a configuration that can be read again.",
);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::SystemTime;

    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    /// A body that ends with an error.
    struct Broken;

    impl Body for Broken {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
        }
    }

    fn none() -> impl Body<Data = Bytes, Error = Infallible> {
        Full::default()
    }

    /// The response if every reload has this outcome.
    async fn answered(outcome: Outcome) -> (StatusCode, String) {
        let (reloads, mut asked) = Reloads::new(SystemTime::UNIX_EPOCH);
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                assert_eq!(ask.why, "POST /reload");
                let _ = ask.reply.send(outcome.clone());
            }
        });
        let body = Full::new(Bytes::from_static(b"{}"));
        let response = answer(&Arc::new(reloads), body, TIMEOUT).await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        (response.status(), String::from_utf8(response.into_body().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_outcome_is_answered_as_json() {
        let notes = vec!["[listen] address takes effect at a restart".to_owned()];
        let (status, text) = answered(Outcome::TakenOver { notes }).await;
        assert_eq!(status, 200);
        assert_eq!(text, r#"{"result":"ok","notes":["[listen] address takes effect at a restart"]}"#);
        let (_, text) = answered(Outcome::TakenOver { notes: Vec::new() }).await;
        assert_eq!(text, r#"{"result":"ok","notes":[]}"#);
        let problems = vec!["proxy.toml:1:1: \"a\"".to_owned(), "b".to_owned()];
        let (status, text) = answered(Outcome::Refused { problems }).await;
        assert_eq!(status, 422);
        assert_eq!(text, r#"{"result":"refused","problems":["proxy.toml:1:1: \"a\"","b"]}"#);
    }

    #[tokio::test]
    async fn an_incomplete_request_does_not_reload() {
        let (reloads, mut asked) = Reloads::new(SystemTime::UNIX_EPOCH);
        let reloads = Arc::new(reloads);
        let long =
            answer(&reloads, Full::new(Bytes::from(vec![b'x'; ignored_body::LIMIT + 1])), TIMEOUT).await;
        assert!(matches!(long, Err(Refusal::BadRequest(_))), "{long:?}");
        let broken = answer(&reloads, Broken, TIMEOUT).await;
        assert!(matches!(broken, Err(Refusal::CallerLeft)), "{broken:?}");
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_slow_reload_is_answered_after_a_time_limit() {
        let (reloads, mut asked) = Reloads::new(SystemTime::UNIX_EPOCH);
        let reloads = Arc::new(reloads);
        let waited = answer(&reloads, none(), Duration::ZERO).await;
        assert!(
            matches!(&waited, Err(Refusal::ReloadUnavailable(why)) if why.contains("45 s")),
            "{waited:?}"
        );
        drop(asked.recv().await);
        drop(asked);
        let stopped = answer(&reloads, none(), TIMEOUT).await;
        assert!(matches!(&stopped, Err(refusal) if *refusal == STOPS), "{stopped:?}");
    }
}
