//! Folders, files and web links: one tree and its trash, the same for every user of the sandbox.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    content::Content,
    item::{FileVersion, Item, ItemKind},
    trash::{Trash, Trashed},
};

const ROOT: u64 = 0;
const FIRST_ID: u64 = 12_345_678_901;
/// The limit that Box has for an enterprise.
const KEPT_VERSIONS: usize = 100;
const LONGEST_NAME: usize = 255;

/// Why an item is not found, or not changed.
#[derive(Debug)]
pub(crate) enum Error {
    /// With the id that was asked for.
    NoSuchItem(String),
    /// It is in the trash, or in a folder that is.
    InTrash,
    /// It was asked for in the trash, and is not there.
    NotInTrash,
    /// The token is restricted to another item.
    OutOfReach,
    /// The root is neither changed nor removed.
    RootIsFixed,
    /// A folder would be below itself.
    FolderCycle,
    FolderNotEmpty,
    NameTooLong,
    NameInvalid,
    NameInUse {
        /// The item that has the name.
        holder: Box<Item>,
        /// Whether a folder was to have it.
        by_folder: bool,
    },
}

/// What an update may change; `None` leaves it as it is.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) description: Option<String>,
    /// Of a web link.
    pub(crate) url: Option<String>,
}

/// Everything that is stored.
pub(crate) struct Store {
    /// What is not in the trash.
    items: BTreeMap<u64, Item>,
    trash: Trash,
    next_id: u64,
}

impl Store {
    pub(crate) fn new(owner: &str) -> Self {
        let mut store = Self { items: BTreeMap::new(), trash: Trash::default(), next_id: FIRST_ID };
        let root = store.item(ROOT, None, "All Files", owner, ItemKind::Folder);
        store.items.insert(ROOT, root);
        store
    }

    pub(crate) fn folder(&self, id: &str) -> Result<&Item, Error> {
        self.find(id, "folder")
    }

    pub(crate) fn file(&self, id: &str) -> Result<&Item, Error> {
        self.find(id, "file")
    }

    pub(crate) fn web_link(&self, id: &str) -> Result<&Item, Error> {
        self.find(id, "web_link")
    }

    pub(crate) fn get(&self, key: u64) -> Option<&Item> {
        self.items.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Item> {
        self.items.get_mut(&key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    fn find(&self, id: &str, type_name: &str) -> Result<&Item, Error> {
        let unknown = || Error::NoSuchItem(id.to_owned());
        let key = id.parse().map_err(|_| unknown())?;
        match self.items.get(&key).filter(|item| item.type_name() == type_name) {
            Some(item) => Ok(item),
            None if self.trash.holds(key, type_name) => Err(Error::InTrash),
            None => Err(unknown()),
        }
    }

    /// Whether there is an item of this id, in the tree or the trash.
    pub(crate) fn holds(&self, id: u64) -> bool {
        self.items.contains_key(&id) || self.trash.find(id).is_some()
    }

    /// Whether an item is this one or below it; an item in the trash is where it was.
    pub(crate) fn is_within(&self, id: u64, top: u64) -> bool {
        let mut next = Some(id);
        while let Some(id) = next.filter(|id| *id != top) {
            next = self.items.get(&id).or_else(|| self.trash.find(id)).and_then(|item| item.parent);
        }
        // Folders above may have been deleted permanently, but never the root.
        next.is_some() || top == ROOT
    }

    /// What was moved to the trash itself, not by way of a folder that it was in.
    pub(crate) fn trashed(&self, id: &str, type_name: &str) -> Result<&Trashed, Error> {
        let key = id.parse().map_err(|_| Error::NoSuchItem(id.to_owned()))?;
        match self.trash.get(key).filter(|trashed| trashed.item.type_name() == type_name) {
            Some(trashed) => Ok(trashed),
            None if self.find(id, type_name).is_ok() => Err(Error::NotInTrash),
            None => Err(Error::NoSuchItem(id.to_owned())),
        }
    }

    /// Everything that was moved to the trash itself, folders before files before web links, each by name.
    pub(crate) fn trash(&self) -> Vec<&Trashed> {
        let mut all: Vec<&Trashed> = self.trash.all().collect();
        all.sort_by_key(|trashed| order(&trashed.item));
        all
    }

    /// Folders before files before web links, each by name.
    pub(crate) fn children(&self, folder: u64) -> Vec<&Item> {
        let mut children: Vec<&Item> =
            self.items.values().filter(|item| item.parent == Some(folder)).collect();
        children.sort_by_key(|item| order(item));
        children
    }

    /// The folders above an item, the root first.
    pub(crate) fn ancestors(&self, item: &Item) -> Vec<&Item> {
        let mut above = Vec::new();
        let mut parent = item.parent;
        while let Some(folder) = parent.and_then(|id| self.items.get(&id)) {
            above.push(folder);
            parent = folder.parent;
        }
        above.reverse();
        above
    }

    /// The bytes in a file or below a folder.
    pub(crate) fn size(&self, item: &Item) -> u64 {
        match &item.kind {
            ItemKind::File(version) => version.content.size(),
            ItemKind::WebLink(_) => 0,
            ItemKind::Folder => self.children(item.id).into_iter().map(|child| self.size(child)).sum(),
        }
    }

    /// Everything but the root and the trash whose name contains this text.
    pub(crate) fn search(&self, text: &str) -> Vec<&Item> {
        let text = text.to_lowercase();
        let found = |item: &&Item| item.id != ROOT && item.name.to_lowercase().contains(&text);
        self.items.values().filter(found).collect()
    }

    /// The same of what was moved to the trash itself.
    pub(crate) fn search_trash(&self, text: &str) -> Vec<&Trashed> {
        let text = text.to_lowercase();
        self.trash.all().filter(|trashed| trashed.item.name.to_lowercase().contains(&text)).collect()
    }

    pub(crate) fn create_folder(&mut self, parent: &str, name: &str, user_id: &str) -> Result<&Item, Error> {
        self.create(parent, name, user_id, |_| ItemKind::Folder)
    }

    pub(crate) fn create_file(
        &mut self,
        parent: &str,
        name: &str,
        user_id: &str,
        content: Content,
        sha1: String,
    ) -> Result<&Item, Error> {
        self.create(parent, name, user_id, |id| {
            ItemKind::File(FileVersion::new(id, 1, sha1, content, user_id))
        })
    }

    pub(crate) fn create_web_link(
        &mut self,
        parent: &str,
        name: &str,
        user_id: &str,
        url: &str,
    ) -> Result<&Item, Error> {
        self.create(parent, name, user_id, |_| ItemKind::WebLink(url.to_owned()))
    }

    /// Another content for the same file.
    pub(crate) fn new_version(
        &mut self,
        id: &str,
        user_id: &str,
        content: Content,
        sha1: String,
    ) -> Result<&Item, Error> {
        let key = self.file(id)?.id;
        let version_id = self.fresh_id();
        let item = self.items.get_mut(&key).ok_or_else(|| Error::NoSuchItem(id.to_owned()))?;
        if let ItemKind::File(version) = &mut item.kind {
            let new = FileVersion::new(version_id, version.number + 1, sha1, content, user_id);
            item.history.push(std::mem::replace(version, new));
            if item.history.len() > KEPT_VERSIONS {
                item.history.remove(0);
            }
        }
        touch(item, user_id);
        Ok(item)
    }

    pub(crate) fn update(&mut self, id: u64, change: Change, user_id: &str) -> Result<&Item, Error> {
        let item = self.items.get(&id).ok_or_else(|| Error::NoSuchItem(id.to_string()))?;
        let Some(old_parent) = item.parent else { return Err(Error::RootIsFixed) };
        let parent = match &change.parent {
            Some(parent) => self.folder(parent)?,
            None => self.folder(&old_parent.to_string())?,
        };
        if parent.id == id || self.ancestors(parent).iter().any(|folder| folder.id == id) {
            return Err(Error::FolderCycle);
        }
        let parent = parent.id;
        let name = change.name.unwrap_or_else(|| item.name.clone());
        self.vacant(parent, &name, item.type_name(), Some(id))?;
        let item = self.items.get_mut(&id).ok_or_else(|| Error::NoSuchItem(id.to_string()))?;
        item.parent = Some(parent);
        item.name = name;
        if let Some(description) = change.description {
            item.description = description;
        }
        if let (ItemKind::WebLink(url), Some(changed)) = (&mut item.kind, change.url) {
            *url = changed;
        }
        touch(item, user_id);
        Ok(item)
    }

    /// Moves an item to the trash, with what is below it.
    pub(crate) fn move_to_trash(&mut self, id: u64, recursive: bool) -> Result<(), Error> {
        if id == ROOT {
            return Err(Error::RootIsFixed);
        }
        let mut taken = self.children(id).into_iter().map(|child| child.id).collect::<Vec<u64>>();
        if !taken.is_empty() && !recursive {
            return Err(Error::FolderNotEmpty);
        }
        let mut below = Vec::new();
        while let Some(child) = taken.pop() {
            taken.extend(self.children(child).into_iter().map(|grandchild| grandchild.id));
            below.extend(self.items.remove(&child));
        }
        let item = self.items.remove(&id).ok_or_else(|| Error::NoSuchItem(id.to_string()))?;
        self.trash.put(item, below);
        Ok(())
    }

    /// Takes an item and what is below it from the trash: to the folder where it was, or to `otherwise` where that
    /// folder is gone; under its name or another one.
    pub(crate) fn restore(
        &mut self,
        id: &str,
        type_name: &str,
        name: Option<String>,
        otherwise: Option<&str>,
        user_id: &str,
    ) -> Result<&Item, Error> {
        let item = &self.trashed(id, type_name)?.item;
        let (key, old_parent, old_name) = (item.id, item.parent.unwrap_or(ROOT), item.name.clone());
        let parent = match (self.items.get(&old_parent), otherwise) {
            (Some(folder), _) => folder.id,
            (None, Some(other)) => self.folder(other)?.id,
            (None, None) => self.folder(&old_parent.to_string())?.id,
        };
        let name = name.unwrap_or_else(|| old_name.clone());
        self.vacant(parent, &name, type_name, None)?;
        let Trashed { mut item, below, .. } =
            self.trash.take(key).ok_or_else(|| Error::NoSuchItem(id.to_owned()))?;
        let is_changed = (parent, &name) != (old_parent, &old_name);
        item.parent = Some(parent);
        item.name = name;
        if is_changed {
            touch(&mut item, user_id);
        }
        self.items.extend(below.into_iter().map(|child| (child.id, child)));
        Ok(self.items.entry(key).or_insert(item))
    }

    /// Permanently deletes an item in the trash and what is below it.
    pub(crate) fn purge(&mut self, id: &str, type_name: &str) -> Result<Trashed, Error> {
        let key = self.trashed(id, type_name)?.item.id;
        self.trash.take(key).ok_or_else(|| Error::NoSuchItem(id.to_owned()))
    }

    /// Whether a name is valid and free in a folder.
    pub(crate) fn vacant(
        &self,
        parent: u64,
        name: &str,
        type_name: &str,
        except: Option<u64>,
    ) -> Result<(), Error> {
        if name.chars().count() > LONGEST_NAME {
            return Err(Error::NameTooLong);
        }
        let bad = name.is_empty()
            || name == "."
            || name == ".."
            || name.contains(['/', '\\'])
            || name.trim() != name;
        if bad {
            return Err(Error::NameInvalid);
        }
        let lower = name.to_lowercase();
        let taken = |item: &&Item| item.name.to_lowercase() == lower && Some(item.id) != except;
        match self.children(parent).into_iter().find(taken) {
            None => Ok(()),
            Some(item) => {
                Err(Error::NameInUse { holder: Box::new(item.clone()), by_folder: type_name == "folder" })
            }
        }
    }

    fn create(
        &mut self,
        parent: &str,
        name: &str,
        user_id: &str,
        kind: impl FnOnce(u64) -> ItemKind,
    ) -> Result<&Item, Error> {
        let parent = self.folder(parent)?.id;
        let id = self.fresh_id();
        let version_id = self.fresh_id();
        let item = self.item(id, Some(parent), name, user_id, kind(version_id));
        self.vacant(parent, name, item.type_name(), None)?;
        Ok(self.items.entry(id).or_insert(item))
    }

    fn item(&self, id: u64, parent: Option<u64>, name: &str, user_id: &str, kind: ItemKind) -> Item {
        let now = Timestamp::now();
        Item {
            id,
            parent,
            name: name.to_owned(),
            description: String::new(),
            etag: 0,
            created_at: now,
            modified_at: now,
            created_by: user_id.to_owned(),
            modified_by: user_id.to_owned(),
            kind,
            history: Vec::new(),
            shared_link: None,
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Folders before files before web links, each by name.
fn order(item: &Item) -> (u8, String) {
    let rank = match item.kind {
        ItemKind::Folder => 0,
        ItemKind::File(_) => 1,
        ItemKind::WebLink(_) => 2,
    };
    (rank, item.name.to_lowercase())
}

fn touch(item: &mut Item, user_id: &str) {
    item.etag += 1;
    item.modified_at = Timestamp::now();
    user_id.clone_into(&mut item.modified_by);
}
