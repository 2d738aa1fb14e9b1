//! All the state of one sandbox, shared by its connections and by the handle that tests hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    events::Events, items::Store, metadata::Metadata, objects::Shelf, options::Options, tokens::Tokens,
    upload_sessions::Sessions, urls::Hosts, users::Users, zips::Zips,
};
use crate::sandbox::{
    control::faults::Control,
    http::{host::Each, lock::lock, random::random_text, recorder::Ledger},
};

/// How long a pre-signed URL works.
const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);

/// What everything in the sandbox can see.
pub(crate) struct World {
    pub(crate) options: Options,
    /// Scheme and authority of each host, where it really is.
    pub(crate) urls: Each<String>,
    /// The same as answers say it.
    pub(crate) hosts: Hosts,
    pub(crate) users: Users,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) control: Control,
    pub(crate) events: Events,
    pub(crate) sessions: Sessions,
    pub(crate) zips: Zips,
    pub(crate) comments: Shelf,
    pub(crate) collaborations: Shelf,
    pub(crate) webhooks: Shelf,
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

impl World {
    pub(crate) fn new(options: Options, urls: Each<String>) -> Self {
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
