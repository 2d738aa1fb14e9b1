//! Folders, files and web links: one tree, seen alike by every user of the sandbox.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{content::Content, shared_link::SharedLink};

const ROOT: u64 = 0;
const FIRST_ID: u64 = 12_345_678_901;
/// As many as Box keeps for an enterprise.
const KEPT_VERSIONS: usize = 100;
const LONGEST_NAME: usize = 255;

/// One state of a file's content.
#[derive(Debug, Clone)]
pub(crate) struct FileVersion {
    pub(crate) id: u64,
    pub(crate) number: u64,
    pub(crate) sha1: String,
    pub(crate) content: Content,
    pub(crate) created_at: Timestamp,
    /// The id of a user.
    pub(crate) created_by: String,
}

impl FileVersion {
    fn new(id: u64, number: u64, sha1: String, content: Content, user_id: &str) -> Self {
        Self { id, number, sha1, content, created_at: Timestamp::now(), created_by: user_id.to_owned() }
    }
}

/// What tells files from folders and from web links.
#[derive(Debug, Clone)]
pub(crate) enum ItemKind {
    Folder,
    File(FileVersion),
    /// With its URL.
    WebLink(String),
}

/// A folder, a file or a web link.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) etag: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) modified_at: Timestamp,
    /// The ids of users.
    pub(crate) created_by: String,
    pub(crate) modified_by: String,
    pub(crate) kind: ItemKind,
    /// What a file was before, oldest first.
    pub(crate) history: Vec<FileVersion>,
    pub(crate) shared_link: Option<SharedLink>,
}

impl Item {
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind {
            ItemKind::Folder => "folder",
            ItemKind::File(_) => "file",
            ItemKind::WebLink(_) => "web_link",
        }
    }

    pub(crate) fn version(&self) -> Option<&FileVersion> {
        match &self.kind {
            ItemKind::File(version) => Some(version),
            ItemKind::Folder | ItemKind::WebLink(_) => None,
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.id == ROOT
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.kind, ItemKind::Folder)
    }

    /// The version of this id, or the newest where there is none such.
    pub(crate) fn version_or_newest(&self, id: Option<u64>) -> Option<&FileVersion> {
        let old = self.history.iter().find(|version| Some(version.id) == id);
        old.or_else(|| self.version())
    }
}

/// Why an item is not found, or not changed.
#[derive(Debug)]
pub(crate) enum Error {
    /// With the id that was asked for.
    NoSuchItem(String),
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
    items: BTreeMap<u64, Item>,
    next_id: u64,
}

impl Store {
    pub(crate) fn new(owner: &str) -> Self {
        let mut store = Self { items: BTreeMap::new(), next_id: FIRST_ID };
        let root = store.item(ROOT, None, "All Files", owner, ItemKind::Folder);
        store.items.insert(ROOT, root);
        store
    }

    pub(crate) fn folder(&self, id: &str) -> Result<&Item, Error> {
        self.find(id).filter(|item| item.is_folder()).ok_or_else(|| Error::NoSuchItem(id.to_owned()))
    }

    pub(crate) fn file(&self, id: &str) -> Result<&Item, Error> {
        self.find(id).filter(|item| item.version().is_some()).ok_or_else(|| Error::NoSuchItem(id.to_owned()))
    }

    pub(crate) fn web_link(&self, id: &str) -> Result<&Item, Error> {
        let is_link = |item: &&Item| matches!(item.kind, ItemKind::WebLink(_));
        self.find(id).filter(is_link).ok_or_else(|| Error::NoSuchItem(id.to_owned()))
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

    fn find(&self, id: &str) -> Option<&Item> {
        self.items.get(&id.parse().ok()?)
    }

    /// Folders before files before web links, each by name.
    pub(crate) fn children(&self, folder: u64) -> Vec<&Item> {
        let mut children: Vec<&Item> =
            self.items.values().filter(|item| item.parent == Some(folder)).collect();
        let rank = |item: &Item| match item.kind {
            ItemKind::Folder => 0,
            ItemKind::File(_) => 1,
            ItemKind::WebLink(_) => 2,
        };
        children.sort_by_key(|item| (rank(item), item.name.to_lowercase()));
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

    /// Everything but the root whose name contains this text.
    pub(crate) fn search(&self, text: &str) -> Vec<&Item> {
        let text = text.to_lowercase();
        let found = |item: &&Item| item.id != ROOT && item.name.to_lowercase().contains(&text);
        self.items.values().filter(found).collect()
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

    /// Removes an item and what is below it. Box's trash is not modelled.
    pub(crate) fn remove(&mut self, id: u64, recursive: bool) -> Result<(), Error> {
        if id == ROOT {
            return Err(Error::RootIsFixed);
        }
        let below: Vec<u64> = self.children(id).into_iter().map(|child| child.id).collect();
        if !below.is_empty() && !recursive {
            return Err(Error::FolderNotEmpty);
        }
        for child in below {
            self.remove(child, true)?;
        }
        self.items.remove(&id);
        Ok(())
    }

    /// Whether a name is good and free in a folder.
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

fn touch(item: &mut Item, user_id: &str) {
    item.etag += 1;
    item.modified_at = Timestamp::now();
    user_id.clone_into(&mut item.modified_by);
}
