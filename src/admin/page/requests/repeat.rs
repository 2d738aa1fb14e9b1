//! The command that sends a request again. Operators copy it into a shell, and its path is a caller's text: it must be one
//! request, to the path as it was sent.

use maud::{Markup, html};

use super::super::Asked;
use super::blank;
use crate::admin::request_entry::Entry;

/// curl would take `[1-9]` and `{a,b}` in a URL for several URLs, and take `..` and `.` out of its path.
const AS_IT_IS: &str = "--globoff --path-as-is";

/// A command that sends the same request to the callers' listener, as far as it is known.
pub(super) fn command(entry: &Entry<'_>, asked: &Asked) -> Markup {
    if !entry.is_whole_path {
        return html! { p.dim { "There is no command to repeat it: its path is not kept, or not all of it." } };
    }
    let url = blank(&format!("{}{}", asked.help_base, entry.path));
    let line = line(&blank(entry.method), &url);
    html! {
        p.curl {
            code { (line) }
            " " button.scripted type="button" data-copy=(line) { "Copy as curl" }
            span.dim { "without its query and body" }
            @if !only_reads(entry.method) {
                strong.warn { "Running it may change something at Box." }
            }
        }
    }
}

fn only_reads(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// The command, for a POSIX shell.
fn line(method: &str, url: &str) -> String {
    let method = match method {
        "GET" => String::new(),
        "HEAD" => " --head".to_owned(),
        other => format!(" -X {}", quoted(other)),
    };
    format!("curl {AS_IT_IS}{method} {}", quoted(url))
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:%@,+=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_word() {
        assert_eq!(quoted("http://127.0.0.1:8080/2.0/users/me"), "http://127.0.0.1:8080/2.0/users/me");
        assert_eq!(quoted("/a;b"), "'/a;b'");
        assert_eq!(quoted("/a';rm -r b;'"), r"'/a'\'';rm -r b;'\'''");
        assert_eq!(quoted("/$(a)`b`"), "'/$(a)`b`'");
    }

    #[test]
    fn curl_sends_one_request_to_the_path_as_it_is() {
        let to = |method, path| line(method, &format!("http://a{path}"));
        assert_eq!(to("GET", "/2.0/x/../y"), "curl --globoff --path-as-is http://a/2.0/x/../y");
        assert_eq!(to("HEAD", "/b"), "curl --globoff --path-as-is --head http://a/b");
        assert_eq!(
            to("DELETE", "/2.0/files/[100-999]"),
            "curl --globoff --path-as-is -X DELETE 'http://a/2.0/files/[100-999]'"
        );
        assert_eq!(to("PUT", "/{a,b}'"), r"curl --globoff --path-as-is -X PUT 'http://a/{a,b}'\'''");
    }
}
