//! Instances of metadata on files and folders.

use std::{collections::BTreeMap, sync::Mutex};

use serde_json::Value;

use crate::sandbox::http::lock::lock;

/// Which instance: an item has one of each template.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InstanceKey {
    /// `file_ID` or `folder_ID`.
    pub(crate) item: String,
    pub(crate) scope: String,
    pub(crate) template: String,
}

/// Every instance, by item, scope and template.
#[derive(Default)]
pub(crate) struct Metadata(Mutex<BTreeMap<InstanceKey, Value>>);

impl Metadata {
    pub(crate) fn get(&self, key: &InstanceKey) -> Option<Value> {
        lock(&self.0).get(key).cloned()
    }

    /// All that an item has.
    pub(crate) fn of(&self, item: &str) -> Vec<Value> {
        lock(&self.0).iter().filter(|(key, _)| key.item == item).map(|(_, value)| value.clone()).collect()
    }

    /// `false` where there is one of this key already, which stays.
    pub(crate) fn add(&self, key: InstanceKey, instance: Value) -> bool {
        let mut all = lock(&self.0);
        let is_new = !all.contains_key(&key);
        if is_new {
            all.insert(key, instance);
        }
        is_new
    }

    /// What `change` makes of an instance, if there is one.
    pub(crate) fn change<T>(&self, key: &InstanceKey, change: impl FnOnce(&mut Value) -> T) -> Option<T> {
        lock(&self.0).get_mut(key).map(change)
    }

    /// Removes an instance; `false` where there is none.
    pub(crate) fn remove(&self, key: &InstanceKey) -> bool {
        lock(&self.0).remove(key).is_some()
    }
}
