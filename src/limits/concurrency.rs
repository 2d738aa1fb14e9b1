//! Requests in flight: limits the number of concurrent requests of a kind, over all workers.
//!
//! Box allows 5 zip downloads at once for a user and 10 for an enterprise (`docs/box-api.md#redirects-and-downloads`). A
//! zip's pre-signed URL does not name the user, so the identity stands for the user, and the client id for the
//! enterprise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;

use crate::routing::operation::{Operation, plain_path};

/// The value of `Retry-After`: when a download ends is unknown.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The most zip downloads at once of a user …
pub(crate) const ZIPS_OF_USER: usize = 5;
/// … and of an enterprise.
pub(crate) const ZIPS_OF_ENTERPRISE: usize = 10;

/// What has its own count. Its numbers are the same in all configurations of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The requests of the app with this number.
    App(u64),
    /// Zip downloads of the identity with this number.
    ZipOfUser(u64),
    /// Zip downloads of the client id with this number.
    ZipOfEnterprise(u64),
}

impl Kind {
    /// The name in responses, access lines and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::App(_) => "max-in-flight",
            Self::ZipOfUser(_) => "box-zip-user",
            Self::ZipOfEnterprise(_) => "box-zip-enterprise",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::App(_) => 0,
            Self::ZipOfUser(_) => 1,
            Self::ZipOfEnterprise(_) => 2,
        }
    }
}

/// Box's limits on this operation, if it is the download of a zip archive.
pub(crate) fn of_box(operation: Operation<'_>, identity: u64, enterprise: u64) -> Option<[(Kind, usize); 2]> {
    if *operation.method != Method::GET || !operation.path.contains(['z', 'Z', '%']) {
        return None;
    }
    let path = plain_path(operation.path);
    let id = path.strip_prefix("/2.0/zip_downloads/").and_then(|below| below.strip_suffix("/content"));
    id.is_some_and(|id| !id.contains('/')).then_some([
        (Kind::ZipOfUser(identity), ZIPS_OF_USER),
        (Kind::ZipOfEnterprise(enterprise), ZIPS_OF_ENTERPRISE),
    ])
}

/// The requests in flight.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    counts: Mutex<HashMap<Kind, usize>>,
    /// Counts of refused requests, by [`Kind::index`].
    refused: [AtomicU64; 3],
}

impl InFlight {
    /// Takes a slot of each kind, or none: the error is the first kind at its limit. The slots are released
    /// when the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, wanted: &[(Kind, usize)]) -> Result<Guard, Kind> {
        let mut taken = Vec::new();
        if !wanted.is_empty() {
            let mut counts = self.lock();
            let full = |(kind, most): &&(Kind, usize)| counts.get(kind).copied().unwrap_or(0) >= *most;
            if let Some((kind, _)) = wanted.iter().find(full) {
                if let Some(refused) = self.refused.get(kind.index()) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                return Err(*kind);
            }
            for (kind, _) in wanted {
                *counts.entry(*kind).or_default() += 1;
                taken.push(*kind);
            }
        }
        Ok(Guard { all: Arc::clone(self), taken })
    }

    /// The number of requests in flight of this kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.lock().get(&kind).copied().unwrap_or(0)
    }

    /// The numbers of refused requests, by [`Kind::name`].
    pub(crate) fn refused(&self) -> [(&'static str, u64); 3] {
        [Kind::App(0), Kind::ZipOfUser(0), Kind::ZipOfEnterprise(0)].map(|kind| {
            let refused = self.refused.get(kind.index()).map_or(0, |count| count.load(Ordering::Relaxed));
            (kind.name(), refused)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Slots taken, from before a request is sent until the last byte of its response is delivered.
#[derive(Debug)]
#[must_use = "the slots are released when it is dropped"]
pub(crate) struct Guard {
    all: Arc<InFlight>,
    taken: Vec<Kind>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut counts = self.all.lock();
        for kind in &self.taken {
            if let Some(count) = counts.get_mut(kind) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(kind);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_zips_content_is_a_download() {
        let of = |method: &Method, path| of_box(Operation { method, path }, 0, 0).is_some();
        assert!(
            of(&Method::GET, "/2.0/zip_downloads/a/content")
                && of(&Method::GET, "/2.0/ZIP_downloads/*/content/")
        );
        assert!(!of(&Method::POST, "/2.0/zip_downloads") && !of(&Method::GET, "/2.0/zip_downloads/a/status"));
        assert!(!of(&Method::HEAD, "/2.0/zip_downloads/a/content"));
    }

    #[test]
    fn all_slots_are_taken_or_none_and_released_when_dropped() {
        let all = Arc::new(InFlight::default());
        let method = Method::GET;
        let zip = |identity| {
            let operation = Operation { method: &method, path: "/2.0/zip_downloads/a/content" };
            all.enter(&of_box(operation, identity, 0).unwrap())
        };
        let mut first: Vec<_> = (0..5).map(|_| zip(0).unwrap()).collect();
        assert_eq!(zip(0).unwrap_err(), Kind::ZipOfUser(0));
        let second: Vec<_> = (0..5).map(|_| zip(1).unwrap()).collect();
        assert_eq!(zip(2).unwrap_err(), Kind::ZipOfEnterprise(0));
        // The refused request took no slot.
        assert_eq!((all.count(Kind::ZipOfUser(2)), all.count(Kind::ZipOfEnterprise(0))), (0, 10));
        first.pop();
        drop(zip(2).unwrap());
        drop((first, second));
        assert!(all.lock().is_empty());
    }

    #[test]
    fn slots_are_counted_over_all_threads() {
        let all = Arc::new(InFlight::default());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let all = Arc::clone(&all);
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        if let Ok(_guard) = all.enter(&[(Kind::App(0), 3)]) {
                            assert!(all.count(Kind::App(0)) <= 3);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(all.lock().is_empty());
    }
}
