//! Locks for state that tasks and tests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, ignoring poisoning: a panic leaves no half-done change behind these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
