//! Calls summed over replicas: each replica tells Redis its own counts, aside from requests, and whoever is asked adds
//! those of the others to its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::account::{Account, Entry, Kind, Sheet};
use super::counts::CallCounts;
use super::period::{Span, timestamp};
use crate::limits::redis::replicas::{Replicas, ToldCalls};
use crate::net::clock::Clock;

/// The pause between two tellings.
const EVERY: Duration = Duration::from_secs(1);
/// The timeout of the last one, at the end of the process.
const LAST: Duration = Duration::from_secs(1);
/// The most counts in one operation, which holds up the operations of requests behind it.
const AT_ONCE: usize = 200;
/// For reading what the others have told.
const READING: Duration = Duration::from_secs(5);

/// Tells Redis the calls of this replica.
pub(crate) struct Teller {
    counts: Arc<CallCounts>,
    replicas: Arc<Replicas>,
    clock: Clock,
    /// What Redis was told of the sheets that may still change.
    told: BTreeMap<Sheet, BTreeMap<Account, u64>>,
    /// Redis has been told everything since it was last out of reach.
    is_complete: bool,
    /// The last telling failed, and the log says so.
    is_failing: bool,
}

impl Teller {
    pub(crate) fn new(counts: Arc<CallCounts>, replicas: Arc<Replicas>, clock: Clock) -> Self {
        Self { counts, replicas, clock, told: BTreeMap::new(), is_complete: false, is_failing: false }
    }

    /// Tells about once a second what has changed, until told to stop, and then once more.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            // A telling that is cut off is told again: counts are absolute.
            let telling = async {
                sleep(EVERY).await;
                self.tell_or_begin_anew().await;
            };
            tokio::select! {
                () = &mut stop => break,
                () = telling => {}
            }
        }
        let _ = timeout(LAST, self.tell_or_begin_anew()).await;
    }

    async fn tell_or_begin_anew(&mut self) {
        if let Err(why) = self.tell().await {
            (self.is_complete, self.told) = (false, BTreeMap::new());
            // An outage of Redis has a line of its own.
            if self.replicas.in_reach() && !std::mem::replace(&mut self.is_failing, true) {
                warn!(
                    "Redis does not take this replica's counts of calls, so that other replicas leave them out of /usage.json: {why}"
                );
            }
        } else {
            self.is_failing = false;
        }
    }

    async fn tell(&mut self) -> Result<(), String> {
        // Without a lasting name, the counts of the file would be told again under the next one.
        let Some(replica) = self.counts.replica() else { return Ok(()) };
        let since = self.counts.since().as_second();
        if self.is_complete && !self.replicas.is_registered(&replica, since).await? {
            // Redis has lost its data.
            (self.is_complete, self.told) = (false, BTreeMap::new());
        }
        let mut has_changed = !self.is_complete;
        let sheets: Vec<(Sheet, bool)> =
            self.counts.sheet_states().into_iter().filter(|(sheet, _)| sheet.kind == Kind::Calls).collect();
        for (sheet, is_open) in &sheets {
            if *is_open || !self.is_complete || self.told.contains_key(sheet) {
                has_changed |= self.tell_sheet(&replica, *sheet).await?;
            }
            if !is_open {
                self.told.remove(sheet);
            }
        }
        if has_changed {
            let months: Vec<String> = self.counts.months().iter().map(Span::to_string).collect();
            let now = timestamp(self.clock.wall()).as_second();
            self.replicas.register(&replica, since, &months, now).await?;
        }
        self.is_complete = true;
        Ok(())
    }

    /// Tells the counts of a sheet that have changed; whether there were any.
    async fn tell_sheet(&mut self, replica: &str, sheet: Sheet) -> Result<bool, String> {
        let told = self.told.entry(sheet).or_default();
        let has_changed =
            |(account, calls): &(Account, u64)| *calls != told.get(account).copied().unwrap_or(0);
        let changed: Vec<(Account, u64)> =
            self.counts.entries(sheet).into_iter().filter(has_changed).collect();
        let span = sheet.span.to_string();
        for part in changed.chunks(AT_ONCE) {
            let rows: Vec<ToldCalls<&str>> = part
                .iter()
                .filter_map(|(account, calls)| match account {
                    Account::Calls { app, identity, class } => {
                        Some(ToldCalls { replica, app, identity, class, calls: *calls })
                    }
                    Account::Budget { .. } => None,
                })
                .collect();
            self.replicas.tell_calls(&span, &rows).await?;
        }
        let is_any = !changed.is_empty();
        told.extend(changed);
        Ok(is_any)
    }
}

/// The calls of the other replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Others {
    pub(super) entries: Vec<Entry>,
    pub(super) months: BTreeSet<Span>,
    /// When the first of them began to count.
    pub(super) since: Option<Timestamp>,
}

/// The calls that the other replicas have told of a month.
///
/// # Errors
/// Why they are not known, for operators.
pub(crate) async fn others(counts: &CallCounts, replicas: &Replicas, month: Span) -> Result<Others, String> {
    // Without it, what Redis has of this replica would count as another's.
    let Some(own) = counts.replica() else {
        return Err("the file of this replica's counts is not open".to_owned());
    };
    let reading = timeout(READING, read(&own, replicas, month));
    reading.await.unwrap_or_else(|_| Err(format!("Redis has not told all within {READING:?}")))
}

async fn read(own: &str, replicas: &Replicas, month: Span) -> Result<Others, String> {
    let mut register = replicas.call_register().await?;
    register.replicas.retain(|replica, _| **replica != *own);
    let mut entries = Vec::new();
    for span in [month].into_iter().chain(month.days()) {
        for ToldCalls { replica, app, identity, class, calls } in
            replicas.told_calls(&span.to_string()).await?
        {
            if *replica != *own && [&app, &identity, &class].into_iter().all(|name| is_name(name)) {
                let (app, identity, class) = (app.into(), identity.into(), class.into());
                entries.push(((span, Account::Calls { app, identity, class }), calls));
            }
        }
    }
    let since = register.replicas.values().min().and_then(|since| Timestamp::from_second(*since).ok());
    let months = register.months.iter().filter_map(|month| Span::read_month(month)).collect();
    Ok(Others { entries, months, since })
}

/// Whether it can be a name of the configuration, or an empty one. Other programs may have written to Redis.
fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
