//! Names of Redis keys: `{PREFIX}KIND:…`. The prefix is the hash tag, so that all keys are in one slot of a cluster,
//! which scripts require.
//!
//! Only names from the configuration appear unchanged. User ids, addresses and operations are hashed, which bounds
//! their length and hides from readers of the keys who called what.

use std::fmt::Write;

use ring::digest::{SHA256, digest};

use crate::limits::budget::definition::Budget;
use crate::limits::rate::limit::{Limit, Quota};

/// Identifies what is paused, for example an identity, a user and a class. The parts are hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PauseKey(String);

impl PauseKey {
    /// Made of these parts, in this order.
    pub fn new(parts: &[&str]) -> Self {
        let mut text = String::new();
        for part in parts {
            // With their lengths, so that different lists of parts give different texts.
            let _ = write!(text, "{}:{part}", part.len());
        }
        Self(hashed(&text))
    }
}

/// The names under one prefix.
pub(super) struct Keys {
    tag: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, String> {
        // An empty hash tag has no effect, and a brace would end it early.
        if prefix.is_empty()
            || prefix.len() > 64
            || prefix.contains(['{', '}'])
            || prefix.contains(char::is_control)
        {
            return Err(
                "the prefix of the keys has 1 to 64 bytes, without braces and control characters".into()
            );
        }
        Ok(Self { tag: format!("{{{prefix}}}") })
    }

    /// The count of a limit. Its rate is part of the name, so that a changed limit begins a new count and replicas with
    /// different configurations do not misread each other's counts.
    pub(super) fn cell(&self, limit: &Limit, key: &str) -> String {
        let (tag, name, key) = (&self.tag, label(&limit.name), hashed(key));
        match limit.quota {
            Quota::Bucket { interval, burst } => {
                format!("{tag}l:{name}:{}:{burst}:{key}", interval.as_nanos())
            }
            Quota::Window { calls, length } => format!("{tag}w:{name}:{}:{calls}:{key}", length.as_nanos()),
        }
    }

    /// The count of a budget in a period.
    pub(super) fn budget(&self, budget: &Budget, period: &str, key: &str) -> String {
        format!("{}b:{}:{}:{}", self.tag, label(&budget.account()), label(period), hashed(key))
    }

    /// Marks that a replica's batch of calls has been counted.
    pub(super) fn batch(&self, replica: &str, number: u64) -> String {
        format!("{}m:{replica}:{number:016x}", self.tag)
    }

    /// The calls of all replicas on a day.
    pub(super) fn calls(&self, span: &str) -> String {
        format!("{}c:{}", self.tag, label(span))
    }

    /// Which replicas have told their calls, and of which months.
    pub(super) fn call_register(&self) -> String {
        format!("{}calls", self.tag)
    }

    pub(super) fn pause(&self, key: &PauseKey) -> String {
        format!("{}p:{}", self.tag, key.0)
    }

    /// The set of the replicas.
    pub(super) fn replicas(&self) -> String {
        format!("{}replicas", self.tag)
    }
}

/// A name unchanged if it is short and plain, else hashed.
fn label(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() <= 64 && name.bytes().all(plain) { name.to_owned() } else { hashed(name) }
}

/// 128 bits of SHA-256.
fn hashed(text: &str) -> String {
    let mut hex = String::with_capacity(32);
    for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(16) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_callers_are_hashed_and_parts_do_not_run_together() {
        let keys = Keys::new("boxgate:").unwrap();
        let name = keys.pause(&PauseKey::new(&["service", "11446498", "search"]));
        assert!(name.starts_with("{boxgate:}p:") && !name.contains("11446498"), "{name}");
        assert_eq!(name.len(), "{boxgate:}p:".len() + 32);
        assert_ne!(PauseKey::new(&["a", "b"]), PauseKey::new(&["ab", ""]));
        assert_ne!(PauseKey::new(&["1:a"]), PauseKey::new(&["1", "a"]));
        assert_eq!(label("per-caller"), "per-caller");
        assert_ne!(label("per caller:"), "per caller:");
    }

    #[test]
    fn a_prefix_that_cannot_be_a_hash_tag_is_refused() {
        for bad in ["", "{a}", "a}", "a\n", &"a".repeat(65)] {
            assert!(Keys::new(bad).is_err(), "{bad:?}");
        }
    }
}
