//! Templates of operations: the path with `*` for each thing that it names, so that requests for many things are told
//! as one.

use std::borrow::Cow;

use crate::routing::operation::{plain, plain_path};

/// Segments that are longer than this are ids, tokens or names, not parts of Box's API.
const LONGEST: usize = 40;

/// Appends the template of an operation's path, in any of its spellings: `/2.0/files/17` becomes `/2.0/files/*`.
pub(crate) fn push(path: &str, text: &mut String) {
    let path = plain_path(path);
    match path.strip_prefix("/2.0") {
        None => push_segments(&path, text),
        Some(below) => {
            text.push_str("/2.0");
            push_segments(below, text);
        }
    }
}

/// The template of an operation's path without its version: `/2.0/files/17` becomes `/files/*`.
pub(crate) fn below_version(path: &str) -> String {
    let path = plain_path(path);
    let mut text = String::with_capacity(path.len());
    push_segments(path.strip_prefix("/2.0").unwrap_or(&path), &mut text);
    text
}

/// The segments for which a template has `*`, as Box reads them.
pub(crate) fn named(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    path.strip_prefix("/2.0").unwrap_or(path).split('/').map(plain).filter(|segment| is_name(segment))
}

/// Each segment with a digit in it, and each long one, names one thing of many.
fn is_name(segment: &str) -> bool {
    segment.len() > LONGEST || segment.bytes().any(|byte| byte.is_ascii_digit())
}

fn push_segments(path: &str, text: &mut String) {
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            text.push('/');
        }
        text.push_str(if is_name(segment) { "*" } else { segment });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_stable() {
        let long = format!("/2.0/users/{}", "a".repeat(LONGEST + 1));
        for (path, wanted) in [
            ("/2.0/files/17/comments", "/files/*/comments"),
            ("/2.0/FILES/17/comments/", "/files/*/comments"),
            ("/2.0/folders/0/items", "/folders/*/items"),
            ("/2.0/files/*/content", "/files/*/content"),
            ("/2.0/sign_requests/a1b2-c3", "/sign_requests/*"),
            ("/2.0/files/1/metadata/global/properties", "/files/*/metadata/global/properties"),
            (&*long, "/users/*"),
        ] {
            assert_eq!(below_version(path), wanted);
            let mut text = String::from("GET ");
            push(path, &mut text);
            assert_eq!(text, format!("GET /2.0{wanted}"));
        }
    }
}
