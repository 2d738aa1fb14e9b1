//! The trash: deleted items that can be restored.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::item::{Item, ItemKind};

/// How long Box keeps what is in the trash, unless an administrator says otherwise.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// One item that was deleted.
pub(crate) struct Trashed {
    /// The item as it was; its parent may no longer exist.
    pub(crate) item: Item,
    /// What was below it. It can be reached only by restoring the item.
    pub(super) below: Vec<Item>,
    pub(crate) at: Timestamp,
}

impl Trashed {
    /// When Box would delete it permanently. The sandbox does not.
    pub(crate) fn purged_at(&self) -> Timestamp {
        self.at + KEPT
    }

    /// Its bytes and those of everything that went with it.
    pub(crate) fn size(&self) -> u64 {
        let bytes = |item: &Item| match &item.kind {
            ItemKind::File(version) => version.content.size(),
            ItemKind::Folder | ItemKind::WebLink(_) => 0,
        };
        bytes(&self.item) + self.below.iter().map(bytes).sum::<u64>()
    }
}

/// Everything that was deleted, by the id of what was deleted itself.
#[derive(Default)]
pub(super) struct Trash(BTreeMap<u64, Trashed>);

impl Trash {
    pub(super) fn put(&mut self, item: Item, below: Vec<Item>) {
        self.0.insert(item.id, Trashed { item, below, at: Timestamp::now() });
    }

    pub(super) fn get(&self, id: u64) -> Option<&Trashed> {
        self.0.get(&id)
    }

    pub(super) fn take(&mut self, id: u64) -> Option<Trashed> {
        self.0.remove(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Trashed> {
        self.0.values()
    }

    /// An item that is here by itself or below another one.
    pub(super) fn find(&self, id: u64) -> Option<&Item> {
        let mut all = self.0.values().flat_map(|trashed| trashed.below.iter().chain([&trashed.item]));
        all.find(|item| item.id == id)
    }

    /// Whether an item of this type is here, by itself or below another one.
    pub(super) fn holds(&self, id: u64, type_name: &str) -> bool {
        self.find(id).is_some_and(|item| item.type_name() == type_name)
    }
}
