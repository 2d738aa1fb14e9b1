//! Accounts at Box that the gateway can act as.

use crate::net::secret::Secret;

/// An account at Box and the app's credentials for it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// As written; a label of metrics and access lines.
    pub name: String,
    /// Of the Box app.
    pub client_id: String,
    /// Of the Box app.
    pub client_secret: Secret,
    /// Whose token it is.
    pub subject: Subject,
}

/// `box_subject_type` and `box_subject_id` of the Client Credentials Grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The service account of this enterprise id.
    Enterprise(String),
    /// The user with this id.
    User(String),
}
