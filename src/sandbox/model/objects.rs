//! JSON objects by id that belong to items, such as comments.

use std::{collections::BTreeMap, sync::Mutex};

use serde_json::Value;

use crate::sandbox::http::lock::lock;

const FIRST_ID: u64 = 11_446_500;

/// There is no object of this id.
#[derive(Debug)]
pub(crate) struct NoSuchObject(pub(crate) String);

struct Entry {
    /// The item to which it belongs.
    owner: String,
    value: Value,
}

/// Objects of one type, in the order in which they were put here.
#[derive(Default)]
pub(crate) struct Objects(Mutex<BTreeMap<u64, Entry>>);

impl Objects {
    /// Adds the object that `make` creates for a new id.
    pub(crate) fn add(&self, owner: &str, make: impl FnOnce(&str) -> Value) -> Value {
        let mut all = lock(&self.0);
        let id = all.last_key_value().map_or(FIRST_ID, |(last, _)| last + 1);
        let value = make(&id.to_string());
        all.insert(id, Entry { owner: owner.to_owned(), value: value.clone() });
        value
    }

    pub(crate) fn get(&self, id: &str) -> Result<Value, NoSuchObject> {
        lock(&self.0)
            .get(&key(id)?)
            .map(|entry| entry.value.clone())
            .ok_or_else(|| NoSuchObject(id.to_owned()))
    }

    pub(crate) fn owner(&self, id: &str) -> Result<String, NoSuchObject> {
        lock(&self.0)
            .get(&key(id)?)
            .map(|entry| entry.owner.clone())
            .ok_or_else(|| NoSuchObject(id.to_owned()))
    }

    /// Sets those of these members that `from` has.
    pub(crate) fn change(&self, id: &str, from: &Value, members: &[&str]) -> Result<Value, NoSuchObject> {
        let mut all = lock(&self.0);
        let entry = all.get_mut(&key(id)?).ok_or_else(|| NoSuchObject(id.to_owned()))?;
        if let Some(object) = entry.value.as_object_mut() {
            for member in members {
                if let Some(value) = from.get(member) {
                    object.insert((*member).to_owned(), value.clone());
                }
            }
        }
        Ok(entry.value.clone())
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), NoSuchObject> {
        lock(&self.0).remove(&key(id)?).map(drop).ok_or_else(|| NoSuchObject(id.to_owned()))
    }

    /// The objects of this owner.
    pub(crate) fn of(&self, owner: &str) -> Vec<Value> {
        let all = lock(&self.0);
        all.values().filter(|entry| entry.owner == owner).map(|entry| entry.value.clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<Value> {
        lock(&self.0).values().map(|entry| entry.value.clone()).collect()
    }
}

fn key(id: &str) -> Result<u64, NoSuchObject> {
    id.parse().map_err(|_| NoSuchObject(id.to_owned()))
}
