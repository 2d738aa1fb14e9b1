//! The options of a sandbox.

use std::time::Duration;

use super::urls::Names;
use crate::sandbox::control::failures::Failure;

/// The client id of [`Options::default`].
pub const CLIENT_ID: &str = "sandbox-client";
/// The client secret of [`Options::default`].
pub const CLIENT_SECRET: &str = "sandbox-secret";
/// The enterprise of [`Options::default`].
pub const ENTERPRISE_ID: &str = "123456";
/// The user of [`Options::default`].
pub const USER_ID: &str = "789012";
/// Further users for whom the service account may act.
pub const MANAGED_USERS: [&str; 2] = ["11446498", "11446499"];

/// Which versions of HTTP the sandbox speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocols {
    /// The client's choice.
    #[default]
    Both,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
}

/// The options of a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which versions of HTTP it speaks.
    pub protocols: Protocols,
    /// The host names in URLs of its responses.
    pub names: Names,
    /// How long its tokens live.
    pub token_lifetime: Duration,
    /// The client id of the one app it knows.
    pub client_id: String,
    /// That app's secret.
    pub client_secret: String,
    /// The enterprise for whose service account the app gets tokens.
    pub enterprise_id: String,
    /// A managed user for whom the app gets tokens.
    pub user_id: String,
    /// Further managed users: the id and the login of each.
    pub users: Vec<(String, String)>,
    /// The size of the parts of an upload.
    pub part_size: u64,
    /// The smallest size of an upload in parts.
    pub smallest_session: u64,
    /// How many requests [`Sandbox::seen`](crate::sandbox::Sandbox::seen) remembers.
    pub remembered: usize,
    /// What goes wrong for as long as it runs.
    pub failures: Vec<Failure>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocols: Protocols::Both,
            names: Names::Local,
            token_lifetime: Duration::from_secs(3600),
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            enterprise_id: ENTERPRISE_ID.to_owned(),
            user_id: USER_ID.to_owned(),
            users: Vec::new(),
            part_size: 8 * 1024 * 1024,
            smallest_session: 20_000_000,
            remembered: 1024,
            failures: Vec::new(),
        }
    }
}
