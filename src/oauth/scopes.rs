//! The scopes that Box documents, and what each permits in words.
//!
//! Sources: `docs/box-api.md#downscoped-tokens`.

/// By name, in the order of the alphabet.
const SCOPES: [(&str, &str); 29] = [
    ("ai.readwrite", "ask Box AI"),
    ("annotation_edit", "change and delete annotations"),
    ("annotation_view_all", "read everyone's annotations"),
    ("annotation_view_self", "read its own annotations"),
    ("base_explorer", "list folders and read what describes items, as the Content Explorer does"),
    ("base_picker", "list folders and read what describes items, as the Content Picker does"),
    ("base_preview", "preview files, as Content Preview does"),
    ("base_sidebar", "read what describes files, as the Content Sidebar does"),
    ("base_upload", "upload files and new versions, as the Content Uploader does"),
    ("enterprise_content", "reach all content of the enterprise"),
    ("item_delete", "delete files and folders"),
    ("item_download", "download files"),
    ("item_preview", "preview files"),
    ("item_read", "list folders and read what describes items"),
    ("item_rename", "rename files and folders"),
    ("item_share", "make and change shared links"),
    ("item_upload", "upload files and new versions"),
    ("manage_app_users", "manage app users"),
    ("manage_data_retention", "manage retention policies"),
    ("manage_enterprise_properties", "manage the enterprise's attributes and read its events"),
    ("manage_groups", "manage groups"),
    ("manage_legal_hold", "manage legal hold policies"),
    ("manage_legal_holds", "manage legal hold policies"),
    ("manage_managed_users", "manage users"),
    ("manage_triggers", "start workflows"),
    ("manage_webhook", "manage webhooks"),
    ("root_readonly", "read files and folders"),
    ("root_readwrite", "read and change files and folders"),
    ("sign_requests.readwrite", "make and read sign requests"),
];

/// The names of all scopes that Box documents.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SCOPES.iter().map(|(name, _)| *name)
}

/// What a scope permits, as in "download files"; `None`: Box does not document it.
pub(crate) fn permits(scope: &str) -> Option<&'static str> {
    SCOPES.iter().find(|(name, _)| *name == scope).map(|(_, words)| *words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_is_there_once_and_documented() {
        assert!(names().is_sorted_by(|a, b| a < b), "in the order of the alphabet");
        let page = include_str!("../../docs/access-and-rules.md");
        for (name, words) in SCOPES {
            assert!(page.contains(&format!("| `{name}` | {words} |")), "| `{name}` | {words} |");
        }
    }
}
