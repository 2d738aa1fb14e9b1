//! The command that sends a request again. Operators copy it into a shell, and its path is a caller's text: it must be one
//! request, to the path as it was sent.

use maud::{Markup, html};

use super::super::Asked;
use super::blank;
use crate::admin::Overview;
use crate::admin::request_entry::Entry;
use crate::net::peer::Here;
use crate::routing::app::{App, Apps};

/// curl would take `[1-9]` and `{a,b}` in a URL for several URLs, and take `..` and `.` out of its path.
const AS_IT_IS: &str = "--globoff --path-as-is";

/// Where callers send their requests.
pub(super) struct Callers<'a> {
    /// The base URL of their listener.
    pub(super) base: String,
    /// It leads there from the gateway's machine alone, and the operator is on another one.
    is_elsewhere: bool,
    apps: &'a Apps,
}

impl<'a> Callers<'a> {
    /// As whoever asked for the page can reach them.
    pub(super) fn of(overview: &Overview, apps: &'a Apps, asked: &Asked) -> Self {
        let on_its_machine = || overview.callers.map_or_else(|| "http://localhost".to_owned(), Here::url);
        let base = asked.help_base.clone().unwrap_or_else(on_its_machine);
        Self { base, is_elsewhere: asked.help_base.is_none(), apps }
    }

    /// The remark on a command that can be run on the gateway's machine only.
    pub(super) fn words(&self) -> Markup {
        html! { @if self.is_elsewhere { span.dim { "on the gateway's machine" } } }
    }

    fn app(&self, name: Option<&str>) -> Option<&App> {
        self.apps.iter().find(|known| Some(&*known.name) == name)
    }
}

/// A command that sends the same request to the callers' listener, as far as it is known.
pub(super) fn command(entry: &Entry<'_>, callers: &Callers<'_>) -> Markup {
    if !entry.is_whole_path || blank(entry.path) != entry.path {
        return html! { p.dim { "There is no command to repeat it: its path is not kept, or not all of it." } };
    }
    let url = blank(&format!("{}{}", callers.base, entry.path));
    let app = callers.app(entry.app);
    // A `Host` that leads to the app, if it does not take any.
    let host = app.and_then(|app| app.hosts.names().next()).map(|host| ("Host", host));
    let as_user = entry.as_user.map(|user| ("As-User", user));
    let fields: Vec<(&str, &str)> = host.into_iter().chain(as_user).collect();
    let line = blank(&line(entry.method, &fields, &url));
    html! {
        p.curl {
            code { (line) }
            " " button.scripted type="button" data-copy=(line) { "Copy as curl" }
            (callers.words())
            span.dim { "without its query and body" }
            @if app.is_some_and(|app| app.keys.is_some()) {
                span.dim { "add " code { "-H 'X-Boxgate-Key: KEY'" } " with a key of the app" }
            }
            @if !only_reads(entry.method) {
                strong.warn { "Running it may change something at Box." }
            }
        }
    }
}

fn only_reads(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// The command, for a POSIX shell. `fields`: those that decide which app and which user it is.
fn line(method: &str, fields: &[(&str, &str)], url: &str) -> String {
    let method = match method {
        "GET" => String::new(),
        "HEAD" => " --head".to_owned(),
        other => format!(" -X {}", quoted(other)),
    };
    let field = |(name, value): &(&str, &str)| format!(" -H {}", quoted(&format!("{name}: {value}")));
    let fields: String = fields.iter().map(field).collect();
    format!("curl {AS_IT_IS}{method}{fields} {}", quoted(url))
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
        let to = |method, path| line(method, &[], &format!("http://a{path}"));
        assert_eq!(to("GET", "/2.0/x/../y"), "curl --globoff --path-as-is http://a/2.0/x/../y");
        assert_eq!(
            line("GET", &[("Host", "b.example"), ("As-User", "33'")], "http://a/"),
            r"curl --globoff --path-as-is -H 'Host: b.example' -H 'As-User: 33'\''' http://a/"
        );
        assert_eq!(to("HEAD", "/b"), "curl --globoff --path-as-is --head http://a/b");
        assert_eq!(
            to("DELETE", "/2.0/files/[100-999]"),
            "curl --globoff --path-as-is -X DELETE 'http://a/2.0/files/[100-999]'"
        );
        assert_eq!(to("PUT", "/{a,b}'"), r"curl --globoff --path-as-is -X PUT 'http://a/{a,b}'\'''");
    }
}
