//! The items that one token reaches: all, or one item with what is below it.

use std::{
    ops::{Deref, DerefMut},
    sync::MutexGuard,
};

use super::{
    content::Content,
    item::Item,
    items::{Change, Error, Store},
    trash::Trashed,
};

/// The store as one token sees it. Everything that takes an id from a caller, or lists items from all over the tree, is
/// here; what the store itself offers besides is for items that were found here.
pub(crate) struct View<'s> {
    store: MutexGuard<'s, Store>,
    /// The item to which the token is restricted.
    top: Option<u64>,
}

impl<'s> View<'s> {
    pub(crate) fn new(store: MutexGuard<'s, Store>, top: Option<u64>) -> Self {
        Self { store, top }
    }

    /// An error if there is an item of this id that the token does not reach. What there is not, is for others to say.
    pub(crate) fn reach(&self, id: &str) -> Result<(), Error> {
        let is_beyond = |key| !self.reaches(key) && self.store.holds(key);
        if id.parse().is_ok_and(is_beyond) { Err(Error::OutOfReach) } else { Ok(()) }
    }

    fn reaches(&self, key: u64) -> bool {
        self.top.is_none_or(|top| self.store.is_within(key, top))
    }

    pub(crate) fn folder(&self, id: &str) -> Result<&Item, Error> {
        self.reach(id)?;
        self.store.folder(id)
    }

    pub(crate) fn file(&self, id: &str) -> Result<&Item, Error> {
        self.reach(id)?;
        self.store.file(id)
    }

    pub(crate) fn web_link(&self, id: &str) -> Result<&Item, Error> {
        self.reach(id)?;
        self.store.web_link(id)
    }

    pub(crate) fn trashed(&self, id: &str, type_name: &str) -> Result<&Trashed, Error> {
        self.reach(id)?;
        self.store.trashed(id, type_name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Item> {
        self.store.all().filter(|item| self.reaches(item.id))
    }

    pub(crate) fn trash(&self) -> Vec<&Trashed> {
        let mut all = self.store.trash();
        all.retain(|trashed| self.reaches(trashed.item.id));
        all
    }

    pub(crate) fn search(&self, text: &str) -> Vec<&Item> {
        let mut found = self.store.search(text);
        found.retain(|item| self.reaches(item.id));
        found
    }

    pub(crate) fn search_trash(&self, text: &str) -> Vec<&Trashed> {
        let mut found = self.store.search_trash(text);
        found.retain(|trashed| self.reaches(trashed.item.id));
        found
    }

    pub(crate) fn create_folder(&mut self, parent: &str, name: &str, user_id: &str) -> Result<&Item, Error> {
        self.reach(parent)?;
        self.store.create_folder(parent, name, user_id)
    }

    pub(crate) fn create_file(
        &mut self,
        parent: &str,
        name: &str,
        user_id: &str,
        content: Content,
        sha1: String,
    ) -> Result<&Item, Error> {
        self.reach(parent)?;
        self.store.create_file(parent, name, user_id, content, sha1)
    }

    pub(crate) fn create_web_link(
        &mut self,
        parent: &str,
        name: &str,
        user_id: &str,
        url: &str,
    ) -> Result<&Item, Error> {
        self.reach(parent)?;
        self.store.create_web_link(parent, name, user_id, url)
    }

    pub(crate) fn new_version(
        &mut self,
        id: &str,
        user_id: &str,
        content: Content,
        sha1: String,
    ) -> Result<&Item, Error> {
        self.reach(id)?;
        self.store.new_version(id, user_id, content, sha1)
    }

    pub(crate) fn update(&mut self, key: u64, change: Change, user_id: &str) -> Result<&Item, Error> {
        if let Some(parent) = &change.parent {
            self.reach(parent)?;
        }
        self.store.update(key, change, user_id)
    }

    pub(crate) fn restore(
        &mut self,
        id: &str,
        type_name: &str,
        name: Option<String>,
        otherwise: Option<&str>,
        user_id: &str,
    ) -> Result<&Item, Error> {
        self.reach(id)?;
        if let Some(parent) = otherwise {
            self.reach(parent)?;
        }
        self.store.restore(id, type_name, name, otherwise, user_id)
    }

    pub(crate) fn purge(&mut self, id: &str, type_name: &str) -> Result<Trashed, Error> {
        self.reach(id)?;
        self.store.purge(id, type_name)
    }
}

impl Deref for View<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for View<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}
