//! All the state of one sandbox, shared by its connections and by the handle that tests hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    events::Events, items::Store, metadata::Metadata, objects::Objects, options::Options, tokens::Tokens,
    upload_sessions::UploadSessions, urls::Hosts, users::Users, zips::Zips,
};
use crate::sandbox::{
    control::faults::Control,
    http::{host::PerRole, lock::lock, random::random_text, recorder::Recorder},
};

/// How long a pre-signed URL works.
const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);

/// What everything in the sandbox can see.
pub(crate) struct State {
    pub(crate) options: Options,
    /// Scheme and authority of each host, where it really is.
    pub(crate) urls: PerRole<String>,
    /// The same as answers say it.
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
    tickets: Mutex<HashMap<String, Ticket>>,
    /// The targets of CONNECT.
    pub(crate) tunnelled: Mutex<Vec<String>>,
}

struct Ticket {
    file: String,
    version: Option<u64>,
    expires: Instant,
}

impl State {
    pub(crate) fn new(options: Options, urls: PerRole<String>) -> Self {
        let users = Users::new(&options);
        Self {
            hosts: Hosts::new(options.names, &urls),
            urls,
            recorder: Arc::new(Recorder::new(options.remembered)),
            control: Control::default(),
            events: Events::default(),
            sessions: UploadSessions::default(),
            zips: Zips::default(),
            comments: Objects::default(),
            collaborations: Objects::default(),
            webhooks: Objects::default(),
            metadata: Metadata::default(),
            store: Mutex::new(Store::new(users.service_account())),
            tokens: Mutex::new(Tokens::new(options.token_lifetime)),
            tickets: Mutex::default(),
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
    pub(crate) fn ticket_url(&self, file: &str, version: Option<u64>) -> String {
        let ticket = random_text(48);
        let now = Instant::now();
        let mut tickets = lock(&self.tickets);
        tickets.retain(|_, ticket| ticket.expires > now);
        let url = format!("{}/d/1/{ticket}/download", self.hosts.presigned);
        tickets.insert(ticket, Ticket { file: file.to_owned(), version, expires: now + TICKET_LIFE });
        url
    }

    /// The file that a pre-signed URL is for, and the version.
    pub(crate) fn ticketed(&self, ticket: &str) -> Option<(String, Option<u64>)> {
        lock(&self.tickets)
            .get(ticket)
            .filter(|ticket| ticket.expires > Instant::now())
            .map(|ticket| (ticket.file.clone(), ticket.version))
    }
}
