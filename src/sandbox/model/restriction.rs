//! What a downscoped token is restricted to: scopes, and at most one item with what is below it.

use super::scopes::{Need, Privilege, Scope};
use crate::sandbox::http::recorder::Downscoped;

/// The restriction of one downscoped token.
#[derive(Debug, Clone)]
pub(crate) struct Restriction {
    pub(crate) scopes: Vec<&'static Scope>,
    pub(crate) resource: Option<Resource>,
}

/// A file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) id: u64,
    pub(crate) is_folder: bool,
}

impl Restriction {
    pub(crate) fn permits(&self, privilege: Privilege) -> bool {
        // A scope holds for its object (schema `ResourceScope`), and users are not below a file or folder.
        let is_elsewhere = privilege == Privilege::Users && self.resource.is_some();
        !is_elsewhere && self.scopes.iter().any(|scope| scope.permits.contains(&privilege))
    }

    /// Whether it is enough for an operation, as far as method and path tell.
    pub(crate) fn satisfies(&self, need: Need) -> bool {
        match need {
            Need::Nothing | Need::Members => true,
            Need::Only(privilege) => self.permits(privilege),
        }
    }

    /// Whether this scope adds nothing to what is permitted already.
    pub(crate) fn includes(&self, scope: &'static Scope) -> bool {
        let is_named = self.scopes.iter().any(|one| one.name == scope.name);
        let permits_all = || scope.permits.iter().all(|privilege| self.permits(*privilege));
        // What a scope without privileges stands for at Box is not known here.
        is_named || (!scope.permits.is_empty() && permits_all())
    }

    /// As tests see it.
    pub(crate) fn told(&self) -> Downscoped {
        Downscoped {
            scopes: self.scopes.iter().map(|scope| scope.name.to_owned()).collect(),
            resource: self.resource.map(|Resource { id, is_folder }| {
                format!("{}/{id}", if is_folder { "folders" } else { "files" })
            }),
        }
    }
}
