//! What the scopes of downscoped tokens permit. Sources: the guides api-calls/permissions-and-errors/scopes and
//! authentication/tokens/downscope. They say in a sentence what a scope is for, and do not list operations; where a
//! sentence leaves a choice, the narrower meaning is taken, so that what works here is not more than what works at Box.

use self::{Need::*, Privilege::*};

/// What a scope permits, and an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// Name and details of a file.
    FileInfo,
    /// Details of folders and web links, and what is in folders.
    Browse,
    Search,
    /// Thumbnails, representations, preview sessions.
    Preview,
    /// Content and zips.
    Download,
    /// New files, versions and folders.
    Upload,
    Rename,
    /// Moving to the trash.
    Delete,
    /// Shared links.
    Share,
    Annotate,
    /// Everything else that can be read of items: versions, comments, collaborations, metadata, trash, events.
    Read,
    /// Everything else that can be changed of items.
    Write,
    Users,
    Webhooks,
    Ai,
}

/// One scope.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) permits: &'static [Privilege],
}

/// What a token must have for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every token may.
    Nothing,
    Only(Privilege),
    /// It depends on the members of the body: [`to_change`].
    Members,
}

const READS: &[Privilege] = &[FileInfo, Browse, Search, Preview, Read];

/// Every scope that a token can be downscoped to.
static SCOPES: [Scope; 29] = [
    // The sandbox has no annotations; the permissions of a file tell of these scopes.
    scope("annotation_edit", &[Annotate]),
    scope("annotation_view_all", &[]),
    scope("annotation_view_self", &[]),
    scope("base_explorer", &[FileInfo, Browse, Search]),
    scope("base_picker", &[FileInfo, Browse, Search]),
    // "Preview the file, nothing else"; the representations are in the details of the file.
    scope("base_preview", &[FileInfo, Preview]),
    scope("base_sidebar", &[FileInfo]),
    scope("base_upload", &[Upload]),
    scope("item_delete", &[Delete]),
    scope("item_download", &[Download]),
    scope("item_preview", &[FileInfo, Preview]),
    // In the OpenAPI document alone (schema `ResourceScope`).
    scope("item_read", &[FileInfo, Browse]),
    scope("item_rename", &[Rename]),
    scope("item_share", &[Share]),
    scope("item_upload", &[Upload]),
    // Downloads need root_readwrite, as the guide says of that scope.
    scope("root_readonly", READS),
    scope(
        "root_readwrite",
        &[FileInfo, Browse, Search, Preview, Download, Upload, Rename, Delete, Share, Annotate, Read, Write],
    ),
    scope("ai.readwrite", &[Ai]),
    scope("enterprise_content", READS),
    scope("manage_app_users", &[Users]),
    scope("manage_managed_users", &[Users]),
    scope("manage_webhook", &[Webhooks]),
    // The sandbox has nothing that these are for.
    scope("manage_data_retention", &[]),
    scope("manage_enterprise_properties", &[]),
    scope("manage_groups", &[]),
    // The OpenAPI document's name, and the guide's.
    scope("manage_legal_hold", &[]),
    scope("manage_legal_holds", &[]),
    scope("manage_triggers", &[]),
    scope("sign_requests.readwrite", &[]),
];

/// What each operation needs: methods, the path after `/2.0/` with `*` for one segment and `**` for any number. The first
/// row that fits counts.
const OPERATIONS: &[(&str, &str, Need)] = &[
    ("GET", "users/me", Nothing),
    ("GET", "users", Only(Users)),
    ("GET", "users/*", Only(Users)),
    ("GET", "search", Only(Search)),
    ("GET OPTIONS", "events", Only(Read)),
    ("GET", "folders/trash/items", Only(Read)),
    ("GET", "*/*/trash", Only(Read)),
    ("GET", "folders/*", Only(Browse)),
    ("GET", "folders/*/items", Only(Browse)),
    ("GET", "web_links/*", Only(Browse)),
    ("GET", "shared_items", Only(Browse)),
    ("POST", "folders", Only(Upload)),
    ("PUT", "folders/*", Members),
    ("PUT", "web_links/*", Members),
    ("DELETE", "folders/*", Only(Delete)),
    ("DELETE", "web_links/*", Only(Delete)),
    ("OPTIONS", "files/content/**", Only(Upload)),
    ("OPTIONS", "files/*/content/**", Only(Upload)),
    ("POST", "files/content", Only(Upload)),
    ("POST", "files/*/content", Only(Upload)),
    ("POST", "files/upload_sessions", Only(Upload)),
    ("POST", "files/*/upload_sessions", Only(Upload)),
    ("GET PUT DELETE POST", "files/upload_sessions/*/**", Only(Upload)),
    ("GET HEAD", "files/*/content", Only(Download)),
    ("POST", "zip_downloads", Only(Download)),
    ("GET", "zip_downloads/*/status", Only(Download)),
    ("GET", "files/*/thumbnail.png", Only(Preview)),
    ("GET", "files/*/thumbnail.jpg", Only(Preview)),
    ("GET HEAD", "internal_files/**", Only(Preview)),
    ("GET", "files/*", Only(FileInfo)),
    ("PUT", "files/*", Members),
    ("DELETE", "files/*", Only(Delete)),
    ("GET", "files/*/versions", Only(Read)),
    ("GET", "files/*/comments", Only(Read)),
    ("GET", "*/*/collaborations", Only(Read)),
    ("GET", "*/*/metadata/**", Only(Read)),
    ("GET", "comments/*", Only(Read)),
    ("GET", "collaborations/**", Only(Read)),
    ("GET POST", "webhooks", Only(Webhooks)),
    ("GET PUT DELETE", "webhooks/*", Only(Webhooks)),
    ("GET", "ai_agent_default", Only(Ai)),
    ("POST", "ai/*", Only(Ai)),
];

const fn scope(name: &'static str, permits: &'static [Privilege]) -> Scope {
    Scope { name, permits }
}

/// The scope of this name.
pub(crate) fn find(name: &str) -> Option<&'static Scope> {
    SCOPES.iter().find(|scope| scope.name == name)
}

/// What an operation needs. One without a row, such as copying, needs the right to write, so that a forgotten row opens
/// nothing.
pub(crate) fn needed(method: &str, segments: &[&str]) -> Need {
    let row = OPERATIONS.iter().find(|(methods, pattern, _)| {
        methods.split(' ').any(|one| one == method) && fits(&pattern.split('/').collect::<Vec<_>>(), segments)
    });
    row.map_or(Only(Write), |(.., need)| *need)
}

/// What the change of one member of an item needs.
pub(crate) fn to_change(member: &str) -> Privilege {
    match member {
        "name" => Rename,
        "shared_link" => Share,
        _ => Write,
    }
}

fn fits(pattern: &[&str], segments: &[&str]) -> bool {
    match (pattern, segments) {
        (["**"], _) | ([], []) => true,
        ([one, pattern @ ..], [segment, segments @ ..]) => {
            (*one == "*" || one == segment) && fits(pattern, segments)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::model::restriction::Restriction;

    /// The operations of the sandbox, in groups that the same scopes permit. A member after `#` is in the body of a PUT.
    const FILE_INFO: &[&str] = &["GET files/1"];
    const BROWSE: &[&str] = &["GET folders/1", "GET folders/1/items", "GET web_links/1", "GET shared_items"];
    const SEARCH: &[&str] = &["GET search"];
    const PREVIEW: &[&str] = &[
        "GET files/1/thumbnail.png",
        "GET files/1/thumbnail.jpg",
        "GET internal_files/1/versions/2/representations/pdf",
        "HEAD internal_files/1/versions/2/representations/pdf/content/",
    ];
    const DOWNLOAD: &[&str] =
        &["GET files/1/content", "HEAD files/1/content", "POST zip_downloads", "GET zip_downloads/a/status"];
    const UPLOAD: &[&str] = &[
        "POST folders",
        "OPTIONS files/content",
        "OPTIONS files/content/",
        "OPTIONS files/1/content",
        "POST files/content",
        "POST files/1/content",
        "POST files/upload_sessions",
        "POST files/1/upload_sessions",
        "GET files/upload_sessions/A",
        "PUT files/upload_sessions/A",
        "DELETE files/upload_sessions/A",
        "GET files/upload_sessions/A/parts",
        "POST files/upload_sessions/A/commit",
        "POST files/upload_sessions/A/log",
    ];
    const RENAME: &[&str] = &["PUT files/1#name", "PUT folders/1#name", "PUT web_links/1#name"];
    const DELETE: &[&str] = &["DELETE files/1", "DELETE folders/1", "DELETE web_links/1"];
    const SHARE: &[&str] =
        &["PUT files/1#shared_link", "PUT folders/1#shared_link", "PUT web_links/1#shared_link"];
    const READ: &[&str] = &[
        "GET events",
        "OPTIONS events",
        "GET folders/trash/items",
        "GET files/1/trash",
        "GET folders/1/trash",
        "GET web_links/1/trash",
        "GET files/1/versions",
        "GET files/1/comments",
        "GET comments/1",
        "GET files/1/collaborations",
        "GET folders/1/collaborations",
        "GET collaborations",
        "GET collaborations/1",
        "GET files/1/metadata",
        "GET folders/1/metadata/global/properties",
    ];
    const WRITE: &[&str] = &[
        "PUT files/1#parent",
        "PUT folders/1#parent",
        "PUT files/1#description",
        "PUT web_links/1#url",
        "POST files/1",
        "POST folders/1",
        "POST web_links/1",
        "POST files/1/copy",
        "POST web_links",
        "DELETE files/1/trash",
        "DELETE folders/1/trash",
        "POST comments",
        "PUT comments/1",
        "DELETE comments/1",
        "POST collaborations",
        "PUT collaborations/1",
        "DELETE collaborations/1",
        "POST files/1/metadata/global/properties",
        "PUT files/1/metadata/global/properties",
        "DELETE folders/1/metadata/global/properties",
        "POST an/operation/of/tomorrow",
    ];
    const USERS: &[&str] = &["GET users", "GET users/1"];
    const WEBHOOKS: &[&str] =
        &["GET webhooks", "POST webhooks", "GET webhooks/1", "PUT webhooks/1", "DELETE webhooks/1"];
    const AI: &[&str] = &["GET ai_agent_default", "POST ai/ask"];
    const GROUPS: [&[&str]; 14] = [
        FILE_INFO, BROWSE, SEARCH, PREVIEW, DOWNLOAD, UPLOAD, RENAME, DELETE, SHARE, READ, WRITE, USERS,
        WEBHOOKS, AI,
    ];

    /// The need of one of the operations above by method and path alone, and by the member in its body.
    fn needs(operation: &str) -> Vec<Need> {
        let (operation, member) = operation.split_once('#').unwrap_or((operation, ""));
        let (method, path) = operation.split_once(' ').unwrap();
        let by_path = needed(method, &path.split('/').collect::<Vec<_>>());
        if by_path == Members { vec![by_path, Only(to_change(member))] } else { vec![by_path] }
    }

    #[test]
    fn each_scope_permits_its_operations_and_no_other() {
        let explorer = [FILE_INFO, BROWSE, SEARCH].concat();
        let preview = [FILE_INFO, PREVIEW].concat();
        let read_only = [FILE_INFO, BROWSE, SEARCH, PREVIEW, READ].concat();
        let read_write = GROUPS[..11].concat();
        for (name, permitted) in [
            ("annotation_edit", &[][..]),
            ("annotation_view_all", &[]),
            ("annotation_view_self", &[]),
            ("base_explorer", &explorer),
            ("base_picker", &explorer),
            ("base_preview", &preview),
            ("base_sidebar", FILE_INFO),
            ("base_upload", UPLOAD),
            ("item_delete", DELETE),
            ("item_download", DOWNLOAD),
            ("item_preview", &preview),
            ("item_read", &[FILE_INFO, BROWSE].concat()),
            ("item_rename", RENAME),
            ("item_share", SHARE),
            ("item_upload", UPLOAD),
            ("root_readonly", &read_only),
            ("root_readwrite", &read_write),
            ("ai.readwrite", AI),
            ("enterprise_content", &read_only),
            ("manage_app_users", USERS),
            ("manage_managed_users", USERS),
            ("manage_webhook", WEBHOOKS),
            ("manage_data_retention", &[]),
            ("manage_enterprise_properties", &[]),
            ("manage_groups", &[]),
            ("manage_legal_hold", &[]),
            ("manage_legal_holds", &[]),
            ("manage_triggers", &[]),
            ("sign_requests.readwrite", &[]),
        ] {
            let scope = find(name).unwrap_or_else(|| panic!("{name} is a scope"));
            let token = Restriction { scopes: vec![scope], resource: None };
            for operation in GROUPS.concat() {
                let is_permitted = needs(operation).into_iter().all(|need| token.satisfies(need));
                assert_eq!(is_permitted, permitted.contains(&operation), "{name}: {operation}");
            }
            assert!(token.satisfies(needed("GET", &["users", "me"])), "{name}");
        }
        assert_eq!(SCOPES.len(), 29, "a new scope belongs into this test");
    }

    #[test]
    fn every_row_is_the_first_that_fits_some_operation() {
        let operations = [GROUPS.concat(), vec!["GET users/me"]].concat();
        for (index, (methods, pattern, _)) in OPERATIONS.iter().enumerate() {
            for one in methods.split(' ') {
                let is_first = operations.iter().any(|operation| {
                    let (method, path) = operation.split_once(' ').unwrap();
                    let segments: Vec<&str> = path.split('#').next().unwrap().split('/').collect();
                    let found = OPERATIONS.iter().position(|(methods, pattern, _)| {
                        methods.split(' ').any(|one| one == method)
                            && fits(&pattern.split('/').collect::<Vec<_>>(), &segments)
                    });
                    method == one && found == Some(index)
                });
                assert!(is_first, "{one} {pattern}");
            }
        }
    }

    #[test]
    fn several_scopes_add_up_and_users_are_below_no_folder() {
        use crate::sandbox::model::restriction::Resource;
        let scopes = ["item_download", "base_explorer", "manage_managed_users"]
            .map(|name| find(name).unwrap())
            .to_vec();
        let mut token = Restriction { scopes, resource: None };
        assert!([Download, Browse, Users].into_iter().all(|one| token.permits(one)));
        assert!(![Preview, Upload, Write].into_iter().any(|one| token.permits(one)));
        token.resource = Some(Resource { id: 1, is_folder: true });
        assert!(token.permits(Browse) && !token.permits(Users));
    }

    #[test]
    fn a_scope_is_included_by_name_or_by_what_it_permits() {
        let of = |names: &[&str]| {
            let scopes = names.iter().map(|name| find(name).unwrap()).collect();
            Restriction { scopes, resource: None }
        };
        let includes = |names: &[&str], name: &str| of(names).includes(find(name).unwrap());
        assert!(includes(&["base_explorer"], "base_explorer"));
        assert!(includes(&["base_explorer"], "item_read"));
        assert!(includes(&["root_readwrite"], "item_upload"));
        assert!(includes(&["manage_groups"], "manage_groups"));
        assert!(!includes(&["base_explorer"], "item_download"));
        assert!(!includes(&["root_readonly"], "root_readwrite"));
        // It permits nothing here, but something at Box.
        assert!(!includes(&["root_readwrite"], "manage_groups"));
    }
}
