//! Redis, which replicas share: can it be used?

use super::call::PATIENCE;
use super::findings::{About, Row};
use super::online::Online;
use crate::limits::redis::reachability::{Unusable, check as try_out};

/// A gateway without Redis goes on with limits of its own, so this is never a failure.
const ADVICE: &str =
    "until it answers, each replica counts for itself; look at [state] redis and at the server";

/// `None` where none is configured.
pub(super) async fn check(online: &Online) -> Option<Row> {
    let url = online.config.state.redis.as_ref()?;
    let about = About::new("redis", "redis");
    Some(match tokio::time::timeout(PATIENCE, try_out(url, &online.trust)).await {
        Ok(Ok(name)) => about.ok(name),
        Ok(Err(Unusable::Url(cause))) => about.failed(format!("[state] redis {cause}"), ""),
        Ok(Err(Unusable::Server { name, cause })) => about.warning(format!("{name}: {cause}"), ADVICE),
        Err(_) => about.warning(format!("it does not answer in {PATIENCE:?}"), ADVICE),
    })
}
