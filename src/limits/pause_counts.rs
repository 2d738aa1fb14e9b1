//! How often Box asked for a pause, by identity and class.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::routing::operation_class::Class;

/// Counts of the process, which its configurations share. By name, since indices are another identity's after a reload;
/// only names of the configuration get in. A pause is rare, and has a lock of its own besides.
#[derive(Debug, Default)]
pub(crate) struct PauseCounts(Mutex<BTreeMap<(Arc<str>, Class), u64>>);

impl PauseCounts {
    /// A pause of requests of this class begins.
    pub(crate) fn count(&self, identity: &str, class: Class) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((identity.into(), class)).or_default() += 1;
    }

    /// Every class of these identities, from 0, and what was counted of identities that are in no configuration any
    /// more.
    pub(crate) fn with<'a>(
        &self,
        identities: impl Iterator<Item = &'a str>,
    ) -> BTreeMap<(Arc<str>, Class), u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for identity in identities {
            for class in Class::ALL {
                counts.entry((identity.into(), class)).or_default();
            }
        }
        counts
    }
}
