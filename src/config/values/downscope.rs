//! Scopes, and the URLs of what a token is narrowed to.

use super::addresses::{after_https, authority};
use crate::oauth::identity::{Resource, ResourceKind};
use crate::oauth::user::is_id;

/// The form of a resource's URL, for messages.
pub(in crate::config) const A_RESOURCE: &str =
    "\"https://api.box.com/2.0/folders/ID\" or \"https://api.box.com/2.0/files/ID\"";
/// The host of Box's API: tokens are narrowed to what is there, also where the gateway reaches it at another address.
pub(in crate::config) const BOX_API: &str = "api.box.com";

/// Checks the name of a scope (RFC 6749 §3.3).
pub(in crate::config) fn scope(text: &str) -> Result<(), String> {
    let is_of_scopes = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    if !text.is_empty() && text.bytes().all(is_of_scopes) {
        return Ok(());
    }
    let several = match text.split_ascii_whitespace().count() {
        0 | 1 => "",
        _ => "each scope is a string of its own; ",
    };
    Err(format!(
        "{text:?} is not a scope; {several}allowed: one name without spaces, such as \"base_explorer\""
    ))
}

/// Parses the URL of a file or folder of Box's API. Whether its host is Box's is up to the caller.
pub(in crate::config) fn resource(text: &str) -> Result<Resource, String> {
    let rest = after_https(text, A_RESOURCE)?;
    if rest.contains('@') {
        return Err(format!("no user or password belongs in this URL; allowed: {A_RESOURCE}"));
    }
    let bad = |why: &str| format!("{text:?}: {why}; allowed: {A_RESOURCE}");
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority(host).ok_or_else(|| bad("it has no valid host"))?;
    let (kind, id) = match path.strip_prefix("/2.0/").and_then(|path| path.split_once('/')) {
        Some(("files", id)) => (ResourceKind::File, id),
        Some(("folders", id)) => (ResourceKind::Folder, id),
        _ => return Err(bad("its path is not that of a file or a folder")),
    };
    // The root folder has the id 0.
    let is_root = kind == ResourceKind::Folder && id == "0";
    if !is_root && !is_id(id) {
        return Err(bad("its path does not end with an id, 1 to 20 digits"));
    }
    Ok(Resource { host, kind, id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_name() {
        for good in ["base_explorer", "ai.readwrite", "x:y/z"] {
            assert_eq!(scope(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "a\tb", "ä", "a\"b", "a\\b"] {
            assert!(scope(bad).unwrap_err().contains("\"base_explorer\""), "{bad:?}");
        }
        assert!(scope("base_explorer item_upload").unwrap_err().contains("a string of its own"));
    }

    #[test]
    fn a_resource_is_the_url_of_a_file_or_folder() {
        let is = |text: &str, want: &str| assert_eq!(resource(text).unwrap().url(), want);
        is("https://api.box.com/2.0/folders/42", "https://api.box.com/2.0/folders/42");
        is(
            "HTTPS://API.box.com:443/2.0/files/12345678901234567890",
            "https://api.box.com/2.0/files/12345678901234567890",
        );
        is("https://api.box.com/2.0/folders/0", "https://api.box.com/2.0/folders/0");
        is("https://127.0.0.1:8443/2.0/folders/42", "https://127.0.0.1:8443/2.0/folders/42");
        for bad in [
            "",
            "42",
            "folders/42",
            "https://api.box.com",
            "https://api.box.com/",
            "https://api.box.com/folders/42",
            "https://api.box.com/2.0/folders",
            "https://api.box.com/2.0/folders/",
            "https://api.box.com/2.0/folders/42/",
            "https://api.box.com/2.0/folders/42/items",
            "https://api.box.com/2.0/folders/42?fields=id",
            "https://api.box.com/2.0/folders/42#x",
            "https://api.box.com/2.0//folders/42",
            "https://api.box.com/2.0/2.0/folders/42",
            "https://api.box.com/2.0//2.0/folders/42",
            "https://api.box.com/x/2.0/folders/42",
            "https://api.box.com/2.0/web_links/42",
            "https://api.box.com/2.0/Folders/42",
            "https://api.box.com/2.0/files/0",
            "https://api.box.com/2.0/folders/x",
            "https://api.box.com/2.0/folders/042",
            "https://api.box.com/2.0/folders/42%2f",
            "https://u:hunter2@api.box.com/2.0/folders/42",
            "https://api.box.com?/2.0/folders/42",
            "https:///2.0/folders/42",
            "ftp://api.box.com/2.0/folders/42",
        ] {
            let error = resource(bad).unwrap_err();
            assert!(error.contains("allowed: ") && !error.contains("hunter2"), "{bad}: {error}");
        }
        assert!(resource("http://api.box.com/2.0/folders/42").unwrap_err().contains("over TLS only"));
        assert!(resource("https://app.box.com/folder/42").unwrap_err().contains("/2.0/folders/ID"));
    }
}
