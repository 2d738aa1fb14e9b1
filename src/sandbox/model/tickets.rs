//! The tickets in pre-signed URLs, each for the content of one file.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use tokio::time::Instant;

use crate::sandbox::http::{lock::lock, random::random_text};

/// How long a pre-signed URL works.
const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);

struct Ticket {
    file: String,
    version: Option<u64>,
    expires: Instant,
}

/// All valid tickets.
#[derive(Default)]
pub(crate) struct Tickets(Mutex<HashMap<String, Ticket>>);

impl Tickets {
    /// A ticket for this file, or for an older version of it.
    pub(crate) fn issue(&self, file: &str, version: Option<u64>) -> String {
        let text = random_text(48);
        let now = Instant::now();
        let mut tickets = lock(&self.0);
        tickets.retain(|_, ticket| ticket.expires > now);
        let ticket = Ticket { file: file.to_owned(), version, expires: now + TICKET_LIFE };
        tickets.insert(text.clone(), ticket);
        text
    }

    /// The file and version of a ticket, while it is valid.
    pub(crate) fn file(&self, ticket: &str) -> Option<(String, Option<u64>)> {
        lock(&self.0)
            .get(ticket)
            .filter(|ticket| ticket.expires > Instant::now())
            .map(|ticket| (ticket.file.clone(), ticket.version))
    }
}
