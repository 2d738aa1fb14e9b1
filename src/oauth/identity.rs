//! Accounts at Box that the gateway can act as.

use crate::net::secret::Secret;

/// An identity's number in its configuration; another configuration may give it to another identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId(usize);

impl IdentityId {
    /// The number in the order of the identities' names, from 0.
    pub fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index in lists with one entry for each identity.
    pub fn index(self) -> usize {
        self.0
    }
}

/// An account at Box and the app's credentials for it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name in the configuration; a label of metrics and access lines.
    pub name: String,
    /// Of the Box app.
    pub client_id: String,
    /// Of the Box app.
    pub client_secret: Secret,
    /// The account for which tokens are requested.
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
