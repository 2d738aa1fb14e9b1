//! The shared link of an item.

use serde_json::Value;

use crate::sandbox::http::random::random_text;

/// The link of one item.
#[derive(Debug, Clone)]
pub(crate) struct SharedLink {
    pub(crate) id: String,
    pub(crate) access: String,
    pub(crate) password: Option<String>,
    pub(crate) can_download: bool,
    pub(crate) unshared_at: Value,
}

impl SharedLink {
    /// The URL that people pass on.
    pub(crate) fn url(&self) -> String {
        format!("https://app.box.com/s/{}", self.id)
    }

    pub(crate) fn new() -> Self {
        Self {
            id: random_text(32).to_ascii_lowercase(),
            access: "open".to_owned(),
            password: None,
            can_download: true,
            unshared_at: Value::Null,
        }
    }
}
