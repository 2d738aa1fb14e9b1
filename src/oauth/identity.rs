//! Accounts at Box that the gateway can act as.

use std::fmt;

use http::uri::Authority;

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
    /// What each token is narrowed to before it is used; `None`: it is used as Box's app and the account allow.
    pub downscope: Option<Downscope>,
}

/// `box_subject_type` and `box_subject_id` of the Client Credentials Grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The service account of this enterprise id.
    Enterprise(String),
    /// The user with this id.
    User(String),
}

/// The rights that are left to a token by a token exchange (RFC 8693).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downscope {
    /// As Box names them: at least one, none twice.
    pub scopes: Vec<String>,
    /// What the token reaches; `None`: all that the account reaches.
    pub resource: Option<Resource>,
}

/// As in `base_explorer, item_upload on folder 42`.
impl fmt::Display for Downscope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scopes.join(", "))?;
        match &self.resource {
            Some(resource) => write!(f, " on {resource}"),
            None => Ok(()),
        }
    }
}

/// One file, or one folder with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The host of the API.
    pub host: Authority,
    /// Whether it is a file or a folder.
    pub kind: ResourceKind,
    /// Digits.
    pub id: String,
}

/// What a [`Resource`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

impl ResourceKind {
    /// As Box names it in `type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
        }
    }
}

impl Resource {
    /// As the token endpoint wants it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}{}", self.host, self.path())
    }

    /// The path at which the API has it.
    pub(crate) fn path(&self) -> String {
        let collection = match self.kind {
            ResourceKind::File => "files",
            ResourceKind::Folder => "folders",
        };
        format!("/2.0/{collection}/{}", self.id)
    }
}

/// As in `folder 42`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}
