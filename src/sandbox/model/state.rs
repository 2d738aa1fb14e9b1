//! All the state of one sandbox, shared by its connections and by the handle that tests hold.

use std::sync::{Arc, Mutex, MutexGuard};

use super::{
    events::Events, items::Store, metadata::Metadata, objects::Objects, options::Options, tickets::Tickets,
    tokens::Tokens, upload_sessions::UploadSessions, urls::Hosts, users::Users, zips::Zips,
};
use crate::sandbox::{
    control::script::Control,
    http::{host::PerRole, lock::lock, recorder::Recorder},
};

/// The shared state.
pub(crate) struct State {
    pub(crate) options: Options,
    /// Scheme and authority of each host at its own port.
    pub(crate) urls: PerRole<String>,
    /// Scheme and authority of each host in responses.
    pub(crate) hosts: Hosts,
    pub(crate) users: Users,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) control: Control,
    pub(crate) events: Events,
    pub(crate) sessions: UploadSessions,
    pub(crate) zips: Zips,
    pub(crate) comments: Objects,
    pub(crate) collaborations: Objects,
    pub(crate) webhooks: Objects,
    pub(crate) metadata: Metadata,
    store: Mutex<Store>,
    tokens: Mutex<Tokens>,
    client_secrets: Mutex<Vec<String>>,
    /// The pre-signed URLs.
    pub(crate) tickets: Tickets,
    /// The targets of CONNECT.
    pub(crate) tunnelled: Mutex<Vec<String>>,
}

impl State {
    /// Whether a token is given for this client secret.
    pub(crate) fn accepts_secret(&self, secret: &str) -> bool {
        lock(&self.client_secrets).iter().any(|accepted| accepted == secret)
    }

    pub(crate) fn accept_secrets(&self, secrets: Vec<String>) {
        *lock(&self.client_secrets) = secrets;
    }

    pub(crate) fn new(options: Options, urls: PerRole<String>) -> Self {
        let users = Users::new(&options);
        Self {
            hosts: Hosts::new(options.names, &urls),
            urls,
            recorder: Arc::new(Recorder::new(options.remembered)),
            control: Control::new(&options.failures),
            events: Events::default(),
            sessions: UploadSessions::default(),
            zips: Zips::default(),
            comments: Objects::default(),
            collaborations: Objects::default(),
            webhooks: Objects::default(),
            metadata: Metadata::default(),
            store: Mutex::new(Store::new(users.service_account())),
            tokens: Mutex::new(Tokens::new(options.token_lifetime)),
            client_secrets: Mutex::new(vec![options.client_secret.clone()]),
            tickets: Tickets::default(),
            tunnelled: Mutex::default(),
            users,
            options,
        }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    /// A pre-signed URL for this file's content, or for that of an older version.
    pub(crate) fn presigned_url(&self, file: &str, version: Option<u64>) -> String {
        format!("{}/d/1/{}/download", self.hosts.presigned, self.tickets.issue(file, version))
    }
}
