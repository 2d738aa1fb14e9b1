//! The page at `/` of the callers' listener: what this is, and where one reads on, for a person who opens the base URL.
//!
//! Box has nothing at `/`, so nothing of Box is hidden by it. The page says nothing about the configuration: whoever can
//! reach the port can read it. It has no links to other pages of the gateway, since following one is a request of a
//! page, which the gateway refuses; what the pages of error codes say is on it.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use crate::http::error_codes::{self, ERROR_CODES};
use crate::proxy::local_response::made;

/// Nothing is loaded or framed; the page's own style and an empty icon are all it has.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The form in which the page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrontPage {
    /// For browsers.
    Html,
    /// For curl and the like.
    Text,
}

impl FrontPage {
    /// The page that this request is for: GET or HEAD of `/`. `None`: the request is for something else, or its `Accept`
    /// admits no text, as that of a program that wants JSON.
    pub(crate) fn asked_for(head: &Parts) -> Option<Self> {
        if head.uri.path() != "/" || (head.method != Method::GET && head.method != Method::HEAD) {
            return None;
        }
        let mut admitted = (!head.headers.contains_key(ACCEPT)).then_some(Self::Text);
        for value in head.headers.get_all(ACCEPT) {
            // What is no text says nothing.
            let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
            for range in value.split(',').map(str::trim) {
                if range.starts_with("text/html") {
                    return Some(Self::Html);
                } else if range.starts_with("text/") || range.starts_with("*/*") {
                    admitted = Some(Self::Text);
                }
            }
        }
        admitted
    }

    /// The page.
    pub(crate) fn response(self) -> Response<Bytes> {
        let mut response = match self {
            Self::Html => made(html().into(), "text/html; charset=utf-8"),
            Self::Text => made(text().into(), "text/plain; charset=utf-8"),
        };
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
        response
    }
}

/// What this is.
const WHAT: &str = concat!("boxgate ", env!("CARGO_PKG_VERSION"), ", a gateway to the Box API");

fn text() -> String {
    format!(
        "\
{WHAT}

Call it as you would call https://api.box.com, with this address in its place.
It adds the access token and sends requests on to Box; callers send no token.

  /2.0/users/me                        as whom it acts
  /2.0/folders/0/items                 what that account sees
  {pages}CODE    what an error code means

An app may have a base path of its own, which then stands in front of /2.0.
The documents are in the folder docs of boxgate's sources, of which
docs/getting-started.md is the first.
",
        pages = error_codes::PAGES,
    )
}

fn html() -> String {
    let mut codes = String::new();
    for entry in &ERROR_CODES {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            codes,
            "<details id=\"{code}\"><summary>{status} <code>{code}</code></summary>\
             <p>{meaning}</p><p><b>If you call the gateway:</b> {caller}</p>\
             <p><b>If you run the gateway:</b> {operator}</p></details>",
            code = entry.code,
            status = entry.status,
            meaning = marked_up(entry.meaning),
            caller = marked_up(entry.caller),
            operator = marked_up(entry.operator),
        );
    }
    format!(
        "\
<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>boxgate</title>
<link rel=\"icon\" href=\"data:,\">
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; }}
td {{ padding: 0 1.5rem 0 0; vertical-align: top; }}
code {{ font-size: 0.95em; overflow-wrap: anywhere; }}
details p {{ margin: 0.3rem 0 0.3rem 1.1rem; }}
</style>
<h1>{WHAT}</h1>
<p>Call it as you would call <code>https://api.box.com</code>, with this address in its place. It adds the access token
and sends requests on to Box; callers send no token.</p>
<table>
<tr><td><code>/2.0/users/me</code></td><td>as whom it acts</td></tr>
<tr><td><code>/2.0/folders/0/items</code></td><td>what that account sees</td></tr>
</table>
<p>An app may have a base path of its own, which then stands in front of <code>/2.0</code>. The documents are in the
folder <code>docs</code> of boxgate’s sources, of which <code>docs/getting-started.md</code> is the first.</p>
<h2>What an error’s code means</h2>
<p>The <code>help_url</code> of an error leads to the same text, as <code>{pages}CODE</code>.</p>
{codes}</html>
",
        pages = error_codes::PAGES,
    )
}

/// Text that names keys in backticks.
fn marked_up(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut html = String::new();
    for (number, part) in escaped.split('`').enumerate() {
        html.push_str(match number {
            0 => "",
            odd if odd % 2 == 1 => "<code>",
            _ => "</code>",
        });
        html.push_str(part);
    }
    html
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn asked(method: &str, target: &str, accept: &[&str]) -> Option<FrontPage> {
        let mut request = Request::builder().method(method).uri(target);
        for value in accept {
            request = request.header(ACCEPT, *value);
        }
        FrontPage::asked_for(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn it_is_for_whoever_can_read_text() {
        use FrontPage::{Html, Text};
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (method, target, accept, want) in [
            ("GET", "/", &[browser][..], Some(Html)),
            ("GET", "/", &["application/json", "TEXT/HTML"], Some(Html)),
            ("GET", "/", &["*/*"], Some(Text)),
            ("HEAD", "/?a=b", &[], Some(Text)),
            ("GET", "/", &["application/json, text/plain, */*"], Some(Text)),
            ("GET", "/", &["application/json"], None),
            ("GET", "/", &["application/json;q=1, image/*"], None),
            ("GET", "/", &[""], None),
            ("POST", "/", &["*/*"], None),
            ("GET", "/index.html", &[browser], None),
            ("GET", "//", &[browser], None),
            ("OPTIONS", "*", &["*/*"], None),
        ] {
            assert_eq!(asked(method, target, accept), want, "{method} {target} {accept:?}");
        }
    }

    #[test]
    fn the_text_fits_a_terminal_and_the_page_has_every_code() {
        assert!(text().lines().all(|line| line.len() <= 80), "{}", text());
        let html = html();
        for entry in &ERROR_CODES {
            assert!(html.contains(&format!("id=\"{}\"", entry.code)), "{}", entry.code);
        }
        assert!(!html.contains('`') && !html.contains("href=\"http"), "{html}");
        assert_eq!(html.matches("<code>").count(), html.matches("</code>").count());
    }

    #[test]
    fn backticks_and_signs_of_html_are_marked_up() {
        assert_eq!(marked_up("a `b <c>` & `d`"), "a <code>b &lt;c&gt;</code> &amp; <code>d</code>");
        assert_eq!(marked_up("`a`"), "<code>a</code>");
    }
}
