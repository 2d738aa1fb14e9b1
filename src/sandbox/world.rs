//! All the state of one sandbox, shared by its connections and by the handle that tests hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    control::Control,
    http::{lock::lock, random::random_text},
    ledger::Ledger,
    model::{events::Events, metadata::Metadata, options::Options, upload_sessions::Sessions, zips::Zips},
    names::Hosts,
    role::Each,
    shelf::Shelf,
    store::Store,
    tokens::Tokens,
    users::Users,
};

/// How long a pre-signed URL works.
const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);

/// What everything in the sandbox can see.
pub(super) struct World {
    pub(super) options: Options,
    /// Scheme and authority of each host, where it really is.
    pub(super) urls: Each<String>,
    /// The same as answers say it.
    pub(super) hosts: Hosts,
    pub(super) users: Users,
    pub(super) ledger: Arc<Ledger>,
    pub(super) control: Control,
    pub(super) events: Events,
    pub(super) sessions: Sessions,
    pub(super) zips: Zips,
    pub(super) comments: Shelf,
    pub(super) collaborations: Shelf,
    pub(super) webhooks: Shelf,
    pub(super) metadata: Metadata,
    store: Mutex<Store>,
    tokens: Mutex<Tokens>,
    tickets: Mutex<HashMap<String, Ticket>>,
    /// The targets of CONNECT.
    pub(super) tunnelled: Mutex<Vec<String>>,
}

struct Ticket {
    file: String,
    version: Option<u64>,
    expires: Instant,
}

impl World {
    pub(super) fn new(options: Options, urls: Each<String>) -> Self {
        let users = Users::new(&options);
        Self {
            hosts: Hosts::new(options.names, &urls),
            urls,
            ledger: Arc::new(Ledger::new(options.remembered)),
            control: Control::default(),
            events: Events::default(),
            sessions: Sessions::default(),
            zips: Zips::default(),
            comments: Shelf::default(),
            collaborations: Shelf::default(),
            webhooks: Shelf::default(),
            metadata: Metadata::default(),
            store: Mutex::new(Store::new(users.service_account())),
            tokens: Mutex::new(Tokens::new(options.token_lifetime)),
            tickets: Mutex::default(),
            tunnelled: Mutex::default(),
            users,
            options,
        }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    /// A pre-signed URL for this file's content, or for that of an older version.
    pub(super) fn ticket_url(&self, file: &str, version: Option<u64>) -> String {
        let ticket = random_text(48);
        let now = Instant::now();
        let mut tickets = lock(&self.tickets);
        tickets.retain(|_, ticket| ticket.expires > now);
        let url = format!("{}/d/1/{ticket}/download", self.hosts.presigned);
        tickets.insert(ticket, Ticket { file: file.to_owned(), version, expires: now + TICKET_LIFE });
        url
    }

    /// The file that a pre-signed URL is for, and the version.
    pub(super) fn ticketed(&self, ticket: &str) -> Option<(String, Option<u64>)> {
        lock(&self.tickets)
            .get(ticket)
            .filter(|ticket| ticket.expires > Instant::now())
            .map(|ticket| (ticket.file.clone(), ticket.version))
    }
}
