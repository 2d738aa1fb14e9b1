//! Box's errors for objects that do not exist and changes that are not allowed.

use http::StatusCode;
use serde_json::json;

use super::json;
use crate::sandbox::{
    http::response::Refusal,
    model::{items, objects::NoSuchObject, upload_sessions},
};

impl From<items::Error> for Refusal {
    fn from(error: items::Error) -> Self {
        match error {
            items::Error::NoSuchItem(id) => Self::no_such_item(&id),
            items::Error::InTrash => Self::error(404, "trashed", "Item is trashed"),
            items::Error::NotInTrash => Self::error(404, "not_trashed", "Item is not trashed"),
            items::Error::RootIsFixed | items::Error::OutOfReach => Self::denied(),
            items::Error::FolderCycle => {
                let message = "Moving a folder into one of its own subfolders is not possible";
                Self::error(400, "cyclical_folder_structure", message)
            }
            items::Error::FolderNotEmpty => {
                Self::error(400, "folder_not_empty", "Cannot delete - folder not empty")
            }
            items::Error::NameTooLong => Self::error(400, "item_name_too_long", "Item name too long"),
            items::Error::NameInvalid => Self::error(400, "item_name_invalid", "Item name invalid"),
            // Box is inconsistent here: the conflict of a folder is an array.
            items::Error::NameInUse { holder, by_folder: true } => {
                Self::name_in_use(json!([json::mini(&holder)]))
            }
            items::Error::NameInUse { holder, by_folder: false } => Self::name_in_use(json::mini(&holder)),
        }
    }
}

impl From<NoSuchObject> for Refusal {
    fn from(NoSuchObject(id): NoSuchObject) -> Self {
        Self::no_such_item(&id)
    }
}

impl From<upload_sessions::Error> for Refusal {
    fn from(error: upload_sessions::Error) -> Self {
        match error {
            upload_sessions::Error::Unknown => Self::not_found(),
            upload_sessions::Error::Foreign => Self::usual(StatusCode::FORBIDDEN),
            upload_sessions::Error::Over => {
                Self::error(410, "session_expired", "The upload session has expired")
            }
        }
    }
}
