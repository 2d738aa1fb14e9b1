//! Representations of a file for viewing: always ready, and always the file itself, or a grey pixel if a picture is
//! needed and the file is none.

use serde_json::{Value, json};

use super::request::ApiRequest;
use crate::sandbox::http::response::{self, Answer, Refusal};

/// From this size in pixels on it is a page, not a thumbnail.
const PAGE_WIDTH: u32 = 1024;

/// The representations without `X-Rep-Hints`.
const USUAL: &str = "[jpg?dimensions=32x32][png?dimensions=1024x1024][pdf][extracted_text]";

/// A kind of representation, and its size in pixels where it is a picture.
#[derive(Debug, PartialEq)]
struct Kind<'a> {
    name: &'a str,
    dimensions: Option<&'a str>,
}

impl<'a> Kind<'a> {
    /// The first choice in a hint: `jpg?dimensions=32x32&paged=false`.
    fn of_hint(hint: &'a str) -> Self {
        let first = hint.split(',').next().unwrap_or_default().trim();
        let (name, query) = first.split_once('?').unwrap_or((first, ""));
        let dimensions = query.split('&').find_map(|pair| pair.strip_prefix("dimensions="));
        Self { name, dimensions }
    }

    /// From the last part of the path.
    fn of_path(path: &'a str) -> Self {
        let picture = path.split_once("_thumb_").or_else(|| path.split_once("_paged_"));
        let (name, dimensions) = picture.map_or((path, None), |(name, size)| (name, Some(size)));
        Self { name, dimensions }
    }

    fn is_paged(&self) -> bool {
        let width = self.dimensions.and_then(|size| size.split('x').next()?.parse().ok()).unwrap_or(0);
        width >= PAGE_WIDTH
    }

    fn path(&self) -> String {
        match self.dimensions {
            Some(size) if self.is_paged() => format!("{}_paged_{size}", self.name),
            Some(size) => format!("{}_thumb_{size}", self.name),
            None => self.name.to_owned(),
        }
    }

    fn json(&self, request: &ApiRequest<'_>, file: &str, version: &str) -> Value {
        let hosts = &request.state.hosts;
        let path = format!("2.0/internal_files/{file}/versions/{version}/representations/{}", self.path());
        let properties = match self.dimensions {
            Some(size) => json!({
                "dimensions": size,
                "paged": self.is_paged().to_string(),
                "thumb": (!self.is_paged()).to_string(),
            }),
            None => json!({}),
        };
        json!({
            "representation": self.name,
            "properties": properties,
            "info": { "url": format!("{}/{path}", hosts.api) },
            "status": { "state": "success" },
            "content": { "url_template": format!("{}/api/{path}/content/{{+asset_path}}", hosts.download) },
        })
    }
}

/// One for each hint in `X-Rep-Hints`.
pub(crate) fn all(request: &ApiRequest<'_>, file: u64, version: u64) -> Value {
    let hints =
        request.head.headers.get("x-rep-hints").and_then(|value| value.to_str().ok()).unwrap_or(USUAL);
    let hints = hints.split(['[', ']']).map(str::trim).filter(|hint| !hint.is_empty());
    let (file, version) = (file.to_string(), version.to_string());
    let entries: Vec<Value> = hints.map(|hint| Kind::of_hint(hint).json(request, &file, &version)).collect();
    json!({ "entries": entries })
}

/// What `info.url` leads to.
pub(crate) fn info(
    request: &ApiRequest<'_>,
    file: &str,
    version: &str,
    path: &str,
) -> Result<Answer, Refusal> {
    request.store().file(file)?;
    let representation = Kind::of_path(path).json(request, file, version);
    Ok(response::json(http::StatusCode::OK, &representation))
}

/// Whether it is for `<img>`, from the last part of its path.
pub(crate) fn is_picture(path: &str) -> bool {
    matches!(Kind::of_path(path).name, "jpg" | "png" | "webp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_and_paths_name_the_same() {
        for (hint, path) in [
            ("jpg?dimensions=32x32&paged=false", "jpg_thumb_32x32"),
            ("png?dimensions=2048x2048,jpg?dimensions=1024x1024", "png_paged_2048x2048"),
            ("pdf,hls", "pdf"),
            ("extracted_text", "extracted_text"),
        ] {
            let kind = Kind::of_hint(hint);
            assert_eq!(kind.path(), path);
            assert_eq!(Kind::of_path(path), kind);
        }
    }
}
