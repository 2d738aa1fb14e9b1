//! Numbers of apps, identities and enterprises that are the same in all configurations of the process, which indices
//! are not: counts, pauses and requests in flight are kept by these numbers.
//!
//! A number is a hash of what identifies the thing, under a random key that each configuration passes on. So no list of
//! earlier configurations is needed; collisions are as rare as those of two keys of a limit.

use std::hash::{BuildHasher, RandomState};

use super::{App, Identity};
use crate::oauth::identity::{IdentityId, Subject};
use crate::routing::app::AppId;

/// The numbers of one configuration's apps and identities, by their indices.
#[derive(Debug)]
pub(super) struct Numbers {
    hasher: RandomState,
    apps: Vec<u64>,
    /// The number of each identity, with that of its client id.
    identities: Vec<(u64, u64)>,
}

impl Numbers {
    /// The numbers of the first configuration.
    pub(super) fn new(apps: &[App], identities: &[Identity]) -> Self {
        Self::under(RandomState::new(), apps, identities)
    }

    /// The numbers of the next configuration. Equal numbers: apps of the same name, identities of the same name,
    /// client id and subject, and enterprises of the same client id.
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

    /// The number of the identity's client id.
    pub(super) fn enterprise(&self, identity: IdentityId) -> u64 {
        self.identities.get(identity.index()).map_or(0, |(_, enterprise)| *enterprise)
    }
}
