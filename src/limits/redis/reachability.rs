//! Whether Redis can be used: what `boxgate check` asks.

use super::connection::Target;
use super::scripts::{Call, NOTHING};
use crate::net::secret::Secret;
use crate::net::tls_client::Trust;

/// Why Redis cannot be used.
pub(crate) enum Unusable {
    /// The URL is none.
    Url(String),
    /// No connection, no login, or no right to run scripts. In words that show no password.
    Server {
        /// The server, as in the log.
        name: String,
        cause: String,
    },
}

/// Connects, logs in and runs a script that does nothing. Returns the server's name.
///
/// # Errors
/// The first of them that failed. It has no timeout of its own.
pub(crate) async fn check(url: &Secret, trust: &Trust) -> Result<String, Unusable> {
    let target = Target::new(url, trust).map_err(Unusable::Url)?;
    let failed = |cause| Unusable::Server { name: target.name(), cause };
    let (connection, carrying) = target.open(None).await.map_err(failed)?;
    let ran = NOTHING.run(&connection, &Call::default()).await;
    carrying.abort();
    ran.map(|_| target.name()).map_err(|error| failed(target.words(&error)))
}
