//! What Box's error says about itself, for the access line: its code and its request id, by which Box's support finds
//! the request.
//!
//! A body is read while it passes, in pieces of any size, and nothing of it is kept but the two values.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName};

/// Box's name for a request, on every answer.
const BOX_REQUEST_ID: HeaderName = HeaderName::from_static("box-request-id");
/// A value that is longer is no code and no id, and neither is one with other characters than they have.
const LONGEST: usize = 64;
/// The code of an answer to a token that lacks a scope (RFC 6750 §3.1).
const INSUFFICIENT_SCOPE: &str = "insufficient_scope";
/// The fields come first in Box's errors. What follows this many bytes is not searched.
const SEARCHED: usize = 64 * 1024;

/// The code and the request id of an error of Box, as far as it has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BoxError {
    /// `not_found` for example.
    pub(crate) code: Option<Box<str>>,
    pub(crate) request_id: Option<Box<str>>,
}

impl BoxError {
    /// Reads the head of an error. Some errors have no body, but `WWW-Authenticate` (RFC 6750 §3), which says
    /// `invalid_token` or `insufficient_scope`.
    pub(crate) fn of_head(headers: &HeaderMap) -> Self {
        let code = headers.get_all(WWW_AUTHENTICATE).iter().find_map(|value| {
            let (_, rest) = value.to_str().ok()?.split_once("error=\"")?;
            usable(rest.split('"').next()?.as_bytes())
        });
        let request_id = headers.get(BOX_REQUEST_ID).and_then(|value| usable(value.as_bytes()));
        Self { code, request_id }
    }

    /// Adds what the body says. Its code is the one that Box documents; the request id of the head is on every answer,
    /// so it stays.
    pub(crate) fn add_body(&mut self, of_body: Self) {
        self.code = of_body.code.or(self.code.take());
        self.request_id = self.request_id.take().or(of_body.request_id);
    }

    /// Whether the token lacks a scope, as Box says in `WWW-Authenticate` or in the body.
    pub(crate) fn is_of_scope(&self) -> bool {
        self.code.as_deref() == Some(INSUFFICIENT_SCOPE)
    }

    fn is_complete(&self) -> bool {
        self.code.is_some() && self.request_id.is_some()
    }
}

/// Box's name for a request, from the head of an answer; `None` also of one that is longer than any of Box's. It is copied,
/// since a clone of the field would keep the read buffer of the connection to Box.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    // Cheaper than a look-up, which would have to hash the name: nearly all other names are standard ones.
    let (_, value) = headers.iter().find(|(name, _)| **name == BOX_REQUEST_ID)?;
    let mut bytes = [0; LONGEST];
    let length = value.len();
    bytes.get_mut(..length)?.copy_from_slice(value.as_bytes());
    Some(RequestId { bytes, length })
}

/// Box's name for a request. Its bytes are in the value itself: every request has one, and would allocate for it.
pub(crate) struct RequestId {
    bytes: [u8; LONGEST],
    length: usize,
}

impl RequestId {
    /// As Box wrote it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// A code or id has none of the characters that a log line or a terminal would have to escape.
fn usable(value: &[u8]) -> Option<Box<str>> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:/=+".contains(byte);
    let text = std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.len() <= LONGEST)?;
    text.bytes().all(|byte| fits(&byte)).then(|| text.into())
}

/// Finds the strings `code` and `request_id` of the outermost object of a JSON text.
#[derive(Debug, Default)]
pub(crate) struct BoxErrorReader {
    found: BoxError,
    read: usize,
    /// How many objects and arrays are open.
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
    /// What stands next in the outermost object is a value, not a name.
    is_value: bool,
    /// The string under way, where it is in the outermost object; longer ones are cut after [`LONGEST`] + 1 bytes.
    string: Vec<u8>,
    wanted: Wanted,
    /// Everything that is wanted was found, or it is no object.
    done: bool,
}

/// What the name before the value is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    #[default]
    Nothing,
    Code,
    RequestId,
}

impl BoxErrorReader {
    /// Reads the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        for byte in piece {
            if self.done {
                return;
            }
            self.read += 1;
            self.byte(*byte);
            self.done |= self.read >= SEARCHED || self.found.is_complete();
        }
    }

    /// What was found since the last call.
    pub(crate) fn take(&mut self) -> Option<BoxError> {
        (self.found != BoxError::default()).then(|| std::mem::take(&mut self.found))
    }

    fn byte(&mut self, byte: u8) {
        if self.in_string {
            return self.byte_of_string(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.string.clear();
            }
            b'{' | b'[' => {
                self.done |= self.depth == 0 && byte == b'[';
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.done |= self.depth == 0;
            }
            b':' if self.depth == 1 => self.is_value = true,
            b',' if self.depth == 1 => (self.is_value, self.wanted) = (false, Wanted::Nothing),
            _ => self.done |= self.depth == 0 && !byte.is_ascii_whitespace(),
        }
    }

    fn byte_of_string(&mut self, byte: u8) {
        if byte == b'"' && !self.escaped {
            self.in_string = false;
            if self.depth == 1 {
                self.string_ended();
            }
            return;
        }
        self.escaped = byte == b'\\' && !self.escaped;
        if self.depth == 1 && self.string.len() <= LONGEST {
            self.string.push(byte);
        }
    }

    fn string_ended(&mut self) {
        match (self.is_value, self.wanted) {
            (false, _) => {
                self.wanted = match &*self.string {
                    b"code" => Wanted::Code,
                    b"request_id" => Wanted::RequestId,
                    _ => Wanted::Nothing,
                }
            }
            (true, Wanted::Code) => self.found.code = usable(&self.string),
            (true, Wanted::RequestId) => self.found.request_id = usable(&self.string),
            (true, Wanted::Nothing) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(body: &str, pieces: usize) -> (Option<String>, Option<String>) {
        let mut reader = BoxErrorReader::default();
        body.as_bytes().chunks(pieces).for_each(|piece| reader.feed(piece));
        assert!(reader.string.capacity() <= 2 * LONGEST + 16, "{}", reader.string.capacity());
        let found = reader.take().unwrap_or_default();
        assert_eq!(reader.take(), None);
        (found.code.map(Into::into), found.request_id.map(Into::into))
    }

    #[test]
    fn code_and_request_id_are_found_in_pieces_of_any_size() {
        let body = r#" {"type":"error","status":404,"context_info":{"errors":[{"code":"inner","request_id":"x"}]},
            "message":"say \"code\": \"no\", \\","code" : "not_found","help_url":"http:\/\/x","request_id":"ab1-2.c="}"#;
        for pieces in [1, 2, 7, 1000] {
            assert_eq!(read(body, pieces), (Some("not_found".into()), Some("ab1-2.c=".into())), "{pieces}");
        }
    }

    #[test]
    fn what_is_no_error_of_box_has_neither() {
        let long = format!("{{\"code\":\"{}\"}}", "a".repeat(LONGEST + 1));
        let late = format!("{{\"message\":\"{}\",\"code\":\"late\"}}", "a".repeat(SEARCHED));
        for body in [
            "",
            "<html>\"code\":\"x\"</html>",
            "[{\"code\":\"x\"}]",
            "{\"code\":17,\"request_id\":null}",
            "{\"code\":{\"code\":\"x\"}}",
            "{\"a\":\"code\",\"b\":\"x\"}",
            "{\"code\":\"a b\"}",
            "{\"code\":\"a\\u001b[31m\"}",
            "{\"code\":\"\"}",
            "{} {\"code\":\"x\"}",
            "\"code\":\"x\"",
            "{\"code",
            "}}}}{\"code\":\"x\"",
            &long,
            &late,
        ] {
            assert_eq!(read(body, 3), (None, None), "{}", body.get(..40).unwrap_or(body));
        }
    }

    #[test]
    fn every_answer_has_an_id_that_is_not_too_long() {
        let mut headers = HeaderMap::new();
        assert!(request_id(&headers).is_none());
        headers.insert("content-type", HeaderValue::from_static("a"));
        headers.insert("box-request-id", HeaderValue::from_static("0ab"));
        assert_eq!(request_id(&headers).map(|id| id.as_bytes().to_vec()).as_deref(), Some(&b"0ab"[..]));
        headers.insert("box-request-id", HeaderValue::from_str(&"a".repeat(LONGEST + 1)).unwrap());
        assert!(request_id(&headers).is_none());
    }

    #[test]
    fn the_head_has_an_id_and_where_there_is_no_body_a_code() {
        let mut headers = HeaderMap::new();
        headers.insert("box-request-id", HeaderValue::from_static("0ab"));
        let refused = "Bearer realm=\"Service\", error=\"insufficient_scope\", error_description=\"no\"";
        headers.insert("www-authenticate", HeaderValue::from_static(refused));
        let mut error = BoxError::of_head(&headers);
        assert_eq!(
            (error.code.as_deref(), error.request_id.as_deref()),
            (Some("insufficient_scope"), Some("0ab"))
        );
        error.add_body(BoxError { code: Some("access_denied".into()), request_id: Some("other".into()) });
        assert_eq!(
            (error.code.as_deref(), error.request_id.as_deref()),
            (Some("access_denied"), Some("0ab"))
        );
    }
}
