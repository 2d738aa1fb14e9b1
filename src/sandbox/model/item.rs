//! A folder, a file or a web link, by itself.

use jiff::Timestamp;

use super::{content::Content, shared_link::SharedLink};

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
    pub(super) fn new(id: u64, number: u64, sha1: String, content: Content, user_id: &str) -> Self {
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
        self.parent.is_none()
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
