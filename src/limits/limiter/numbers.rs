//! Numbers of apps, identities and enterprises that are alike in all configurations of the process, where indices are
//! not: counts, pauses and what is in flight go by these.
//!
//! A number is a hash of what tells the thing from others, under a random key that configurations hand on. So there is
//! no list to keep of what earlier configurations had; two things fall together as rarely as two keys of a limit do.

use std::hash::{BuildHasher, RandomState};

use super::{App, Identity};
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AppId;

/// The numbers of one configuration's apps and identities, by their indices.
#[derive(Debug)]
pub(super) struct Numbers {
    hasher: RandomState,
    apps: Vec<u64>,
    /// Each with that of its client id.
    identities: Vec<(u64, u64)>,
}

impl Numbers {
    /// Of the first configuration.
    pub(super) fn new(apps: &[App], identities: &[Identity]) -> Self {
        Self::under(RandomState::new(), apps, identities)
    }

    /// Of the next configuration: an app of the same name has the same number, so has an identity of the same name,
    /// client id and subject, and so has an enterprise of the same client id.
    pub(super) fn successor(&self, apps: &[App], identities: &[Identity]) -> Self {
        Self::under(self.hasher.clone(), apps, identities)
    }

    fn under(hasher: RandomState, apps: &[App], identities: &[Identity]) -> Self {
        let identity = |Identity { name, client_id, subject }: &Identity| {
            let subject = match subject {
                Subject::Enterprise(id) => ("enterprise", id),
                Subject::User(id) => ("user", id),
            };
            (hasher.hash_one((name, client_id, subject)), hasher.hash_one(client_id))
        };
        let identities = identities.iter().map(identity).collect();
        let apps = apps.iter().map(|app| hasher.hash_one(&app.name)).collect();
        Self { hasher, apps, identities }
    }

    pub(super) fn app(&self, app: AppId) -> u64 {
        self.apps.get(app.index()).copied().unwrap_or_default()
    }

    pub(super) fn identity(&self, identity: IdentityId) -> u64 {
        self.identities.get(identity.index()).map_or(0, |(identity, _)| *identity)
    }

    /// Of the identity's client id.
    pub(super) fn enterprise(&self, identity: IdentityId) -> u64 {
        self.identities.get(identity.index()).map_or(0, |(_, enterprise)| *enterprise)
    }
}
