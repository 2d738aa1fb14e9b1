//! Requested zip archives.

use std::{collections::HashMap, sync::Mutex};

use super::{item::Item, items::Store};
use crate::sandbox::http::lock::lock;

/// An entry's name in the archive, and the file; none where it is a folder.
pub(crate) type Entry = (String, Option<String>);

/// One requested zip archive.
pub(crate) struct Zip {
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) skipped_files: usize,
    pub(crate) skipped_folders: usize,
    pub(crate) is_fetched: bool,
}

impl Zip {
    /// An empty zip of this name.
    pub(crate) fn new(name: String) -> Self {
        Self { name, entries: Vec::new(), skipped_files: 0, skipped_folders: 0, is_fetched: false }
    }

    /// How many files it has.
    pub(crate) fn files(&self) -> usize {
        self.entries.iter().filter(|(_, file)| file.is_some()).count()
    }

    /// Adds an item and all that is below it.
    pub(crate) fn add(&mut self, store: &Store, item: &Item, name: String) {
        if item.version().is_some() {
            self.entries.push((name, Some(item.id.to_string())));
            return;
        }
        self.entries.push((format!("{name}/"), None));
        for child in store.children(item.id) {
            self.add(store, child, format!("{name}/{}", child.name));
        }
    }
}

/// Every zip by its id.
#[derive(Default)]
pub(crate) struct Zips(Mutex<HashMap<String, Zip>>);

impl Zips {
    pub(crate) fn add(&self, id: String, zip: Zip) {
        lock(&self.0).insert(id, zip);
    }

    /// The result of `then` for the zip of this id.
    pub(crate) fn with<T>(&self, id: &str, then: impl FnOnce(&mut Zip) -> T) -> Option<T> {
        lock(&self.0).get_mut(id).map(then)
    }
}
