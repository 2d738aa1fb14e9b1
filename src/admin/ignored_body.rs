//! Bodies of `POST` requests, which mean nothing on this listener. Some clients always send one.

use std::error::Error;
use std::time::Duration;

use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::http::error::Refusal;

/// The longest body.
pub(super) const LIMIT: usize = 64 * 1024;
/// The longest time to read it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a body to its end: an incomplete request must not change anything.
pub(super) async fn read<B>(body: B) -> Result<(), Refusal>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let mut body = std::pin::pin!(Limited::new(body, LIMIT));
    let reading = async {
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Refusal::BadRequest(
                    "A POST here accepts a body of at most 64 KiB, which it ignores; send none.",
                ),
                None => Refusal::CallerLeft,
            })?;
        }
        Ok(())
    };
    tokio::time::timeout(TIMEOUT, reading).await.unwrap_or(Err(Refusal::RequestTimeout))
}
