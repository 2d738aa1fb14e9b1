//! Edits selected strings of a streamed JSON text (RFC 8259) and leaves every other byte unchanged.
//!
//! Values are found by their JSON pointer, not by their content: a [`Node`] says which keys lead to a string to be
//! edited. Nothing is parsed into a tree, so numbers, white space, escapes and repeated keys stay unchanged, and at
//! most one string is in memory. A text that is not JSON passes unchanged.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The longest string to be edited, which is held until its end. A longer one is not a URL and passes, or is dropped as
/// a secret.
const LONGEST_STRING: usize = 64 * 1024;
/// The longest key that is compared: longer than any relevant key with every letter escaped.
const LONGEST_KEY: usize = 256;
/// The deepest nesting in which strings are edited.
const DEEPEST: usize = 128;

/// What to edit in a value: in an object by key, in an array for each item, in a string the string itself.
#[derive(Debug)]
pub(crate) struct Node {
    /// Tables of keys, searched in order.
    pub keys: &'static [&'static [(&'static str, &'static Node)]],
    /// For the items of an array.
    pub items: Option<&'static Node>,
    /// For a string.
    pub string: Option<Edit>,
}

/// What is done to a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// A URL that may be rewritten.
    Url,
    /// A secret that must not pass.
    Blank,
}

impl Node {
    /// The node of a key. `raw`: the key as written, without quotes.
    fn key(&self, raw: &[u8]) -> Option<&'static Self> {
        let name = unescaped(raw)?;
        let mut entries = self.keys.iter().flat_map(|table| table.iter());
        entries.find(|(key, _)| *key == name).map(|(_, node)| *node)
    }
}

/// The value of a string as written, without quotes.
pub(crate) fn unescaped(raw: &[u8]) -> Option<Cow<'_, str>> {
    if raw.contains(&b'\\') {
        serde_json::from_slice(&[b"\"", raw, b"\""].concat()).ok().map(Cow::Owned)
    } else {
        std::str::from_utf8(raw).ok().map(Cow::Borrowed)
    }
}

/// Edits one streamed text.
pub(crate) struct Editor {
    state: State,
    levels: Vec<Level>,
    /// The number of open containers beyond [`DEEPEST`].
    beyond: usize,
    /// What to edit in the next value.
    next: Option<&'static Node>,
    /// The part received so far of a key or of a string to be edited, as written.
    held: Vec<u8>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    is_object: bool,
    expects_key: bool,
    node: Option<&'static Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    /// In a string; `escaped`: after a backslash.
    In {
        string: Inside,
        escaped: bool,
    },
}

/// How a string is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Passing,
    Key,
    Held(Edit),
    /// The rest of a secret that is longer than [`LONGEST_STRING`].
    Dropped,
}

/// The output for one piece: the piece itself, unless something in it had to be held or replaced.
struct Output<'p> {
    piece: &'p [u8],
    made: Option<BytesMut>,
    /// How much of the piece is in `made`, held, or dropped.
    taken: usize,
}

impl Output<'_> {
    fn take_to(&mut self, end: usize) {
        let passing = self.piece.get(self.taken..end).unwrap_or_default();
        self.made
            .get_or_insert_with(|| BytesMut::with_capacity(self.piece.len() + 256))
            .extend_from_slice(passing);
        self.taken = end;
    }

    fn skip_to(&mut self, end: usize) {
        self.made.get_or_insert_default();
        self.taken = end;
    }

    fn put(&mut self, text: &[u8]) {
        self.made.get_or_insert_default().extend_from_slice(text);
    }
}

impl Editor {
    /// An editor at the beginning of a text; `root` says what to edit in it.
    pub(crate) fn new(root: &'static Node) -> Self {
        Self {
            state: State::Between,
            levels: Vec::with_capacity(8),
            beyond: 0,
            next: Some(root),
            held: Vec::new(),
            changed: false,
        }
    }

    /// Whether the output differs from the input.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Takes the next piece of the text and returns what can be passed on. `url` gets a URL as written, without quotes,
    /// and returns its replacement in the same form; `None`: the URL stays.
    pub(crate) fn feed(&mut self, piece: Bytes, url: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Bytes {
        let mut out = Output { piece: &piece, made: None, taken: 0 };
        let mut at = 0;
        while at < piece.len() {
            at = match self.state {
                State::Between => self.between(&mut out, at),
                State::In { string, escaped } => self.inside(&mut out, at, string, escaped, url),
            };
        }
        let end = if self.is_holding() { out.taken } else { piece.len() };
        match out.made {
            None => piece,
            Some(mut made) => {
                made.extend_from_slice(piece.get(out.taken..end).unwrap_or_default());
                made.freeze()
            }
        }
    }

    /// The held rest of a text that ends within a string.
    pub(crate) fn finish(&mut self) -> Bytes {
        match self.state {
            State::In { string: Inside::Held(Edit::Url), .. } => std::mem::take(&mut self.held).into(),
            _ => Bytes::new(),
        }
    }

    fn is_holding(&self) -> bool {
        matches!(self.state, State::In { string: Inside::Held(_) | Inside::Dropped, .. })
    }

    /// Proceeds to the beginning of the next string.
    fn between(&mut self, out: &mut Output<'_>, from: usize) -> usize {
        let rest = out.piece.get(from..).unwrap_or_default();
        for (offset, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    let inside = from + offset + 1;
                    self.held.clear();
                    let string = self.begin();
                    if let Inside::Held(_) = string {
                        out.take_to(inside);
                    }
                    self.state = State::In { string, escaped: false };
                    return inside;
                }
                b'{' => self.open(true),
                b'[' => self.open(false),
                b'}' | b']' => self.close(),
                b',' => self.separate(),
                _ => {}
            }
        }
        out.piece.len()
    }

    fn begin(&mut self) -> Inside {
        if self.beyond > 0 {
            return Inside::Passing;
        }
        match self.levels.last_mut() {
            Some(level) if level.expects_key => {
                level.expects_key = false;
                if level.node.is_some() { Inside::Key } else { Inside::Passing }
            }
            _ => self.next.and_then(|node| node.string).map_or(Inside::Passing, Inside::Held),
        }
    }

    fn open(&mut self, is_object: bool) {
        if self.levels.len() == DEEPEST {
            self.beyond += 1;
            return;
        }
        let node = self.next.take();
        self.levels.push(Level { is_object, expects_key: is_object, node });
        if !is_object {
            self.next = node.and_then(|node| node.items);
        }
    }

    fn close(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        self.levels.pop();
        self.next = None;
    }

    fn separate(&mut self) {
        if self.beyond > 0 {
            return;
        }
        if let Some(level) = self.levels.last_mut() {
            level.expects_key = level.is_object;
            self.next = if level.is_object { None } else { level.node.and_then(|node| node.items) };
        }
    }

    /// Proceeds to the next backslash, past the closing quote, or to the end of the piece.
    fn inside(
        &mut self,
        out: &mut Output<'_>,
        from: usize,
        string: Inside,
        escaped: bool,
        url: &mut impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> usize {
        let rest = out.piece.get(from..).unwrap_or_default();
        let stop = if escaped { None } else { memchr2(b'"', b'\\', rest) };
        let closes = stop.is_some_and(|stop| rest.get(stop) == Some(&b'"'));
        let length = match stop {
            Some(stop) if closes => stop,
            Some(backslash) => backslash + 1,
            None if escaped => 1,
            None => rest.len(),
        };
        let end = from + length;
        let string = self.hold(out, string, rest.get(..length).unwrap_or_default(), end);
        if !closes {
            self.state = State::In { string, escaped: stop.is_some() };
            return end;
        }
        match string {
            Inside::Passing => {}
            Inside::Key => {
                let node = self.levels.last().and_then(|level| level.node);
                self.next = node.and_then(|node| node.key(&self.held));
            }
            Inside::Held(Edit::Url) => {
                let instead = url(&self.held);
                self.changed |= instead.is_some();
                out.put(instead.as_deref().unwrap_or(&self.held));
            }
            Inside::Held(Edit::Blank) => self.changed |= !self.held.is_empty(),
            Inside::Dropped => self.changed = true,
        }
        self.state = State::Between;
        end + 1
    }

    /// Holds a part of a string if necessary, and returns how the string is handled from now on.
    fn hold(&mut self, out: &mut Output<'_>, string: Inside, part: &[u8], end: usize) -> Inside {
        match string {
            Inside::Passing => return string,
            Inside::Key => {
                if self.held.len() + part.len() > LONGEST_KEY {
                    return Inside::Passing;
                }
                self.held.extend_from_slice(part);
                return string;
            }
            Inside::Held(_) => self.held.extend_from_slice(part),
            Inside::Dropped => {}
        }
        out.skip_to(end);
        if self.held.len() <= LONGEST_STRING {
            return string;
        }
        let held = std::mem::take(&mut self.held);
        if string == Inside::Held(Edit::Blank) {
            return Inside::Dropped;
        }
        out.put(&held);
        Inside::Passing
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    static URL: Node = Node { keys: &[], items: None, string: Some(Edit::Url) };
    static SECRET: Node = Node { keys: &[], items: None, string: Some(Edit::Blank) };
    static ITEM: Node = Node { keys: &[&[("url", &URL), ("token", &SECRET)]], items: None, string: None };
    static EACH: Node = Node { keys: &[], items: Some(&ITEM), string: None };
    static ROOT: Node = Node {
        keys: &[&[("url", &URL), ("token", &SECRET)], &[("entries", &EACH)]],
        items: None,
        string: None,
    };

    /// Edited in pieces of this size.
    fn edited(text: &str, size: usize) -> (String, bool) {
        let mut editor = Editor::new(&ROOT);
        let mut url = |raw: &[u8]| raw.starts_with(b"https:").then(|| [b"<", raw, b">"].concat());
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            out.extend_from_slice(&editor.feed(Bytes::copy_from_slice(piece), &mut url));
        }
        out.extend_from_slice(&editor.finish());
        (String::from_utf8(out).unwrap(), editor.has_changed())
    }

    fn check(text: &str, want: &str) {
        for size in [1, 2, 3, 5, 7, 16, text.len().max(1)] {
            let (have, changed) = edited(text, size);
            assert_eq!(have, want, "in pieces of {size}");
            assert_eq!(changed, text != want, "{text} in pieces of {size}");
        }
    }

    #[test]
    fn selected_strings_are_edited_and_every_other_byte_stays() {
        check(r#"{"url":"https:a"}"#, r#"{"url":"<https:a>"}"#);
        check(r#" { "url" : "https:a\/\"b" , "n":1.0e5}"#, r#" { "url" : "<https:a\/\"b>" , "n":1.0e5}"#);
        check(r#"{"url":"http:a"}"#, r#"{"url":"http:a"}"#);
        check(r#"{"token":"t\"o","x":"https:a"}"#, r#"{"token":"","x":"https:a"}"#);
        check(r#"{"token":"","url":null}"#, r#"{"token":"","url":null}"#);
        check(
            r#"{"entries":[{"url":"https:1","y":{"url":"https:2"}},3,[{"url":"https:3"}],{"url":"https:4"}]}"#,
            r#"{"entries":[{"url":"<https:1>","y":{"url":"https:2"}},3,[{"url":"https:3"}],{"url":"<https:4>"}]}"#,
        );
        check(
            r#"{"url":{"url":"https:a"},"entries":{"url":"https:b"},"url":"https:c"}"#,
            r#"{"url":{"url":"https:a"},"entries":{"url":"https:b"},"url":"<https:c>"}"#,
        );
        check(
            r#"{"a":"url","b":"{\"url\":\"https:a\"}","\u0075rl":"https:a"}"#,
            r#"{"a":"url","b":"{\"url\":\"https:a\"}","\u0075rl":"<https:a>"}"#,
        );
        check(r#"[{"url":"https:a"}]"#, r#"[{"url":"https:a"}]"#);
        check(r#"{"url":["https:a"],"k":"https:b"}"#, r#"{"url":["https:a"],"k":"https:b"}"#);
    }

    #[test]
    fn texts_that_are_not_json_pass_unchanged() {
        for text in [
            "",
            "no",
            "}}]]\"a\"",
            r#"{"url":"https:br"#,
            r#"{"url":"https:br\"#,
            "{\"entries\":[",
            "\"https:a\"",
        ] {
            check(text, text);
        }
        // Nothing of an incomplete secret passes.
        for size in [1, 3, 100] {
            assert_eq!(edited(r#"{"token":"sec"#, size).0, r#"{"token":""#);
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!(
            "{{\"a\":{}{{\"url\":\"https:a\"}}{},\"url\":\"https:b\"}}",
            "[".repeat(300),
            "]".repeat(300)
        );
        check(&deep, &deep.replace("https:b", "<https:b>"));
        let long = "x".repeat(LONGEST_STRING + 10);
        let text = format!(r#"{{"url":"https:{long}","token":"{long}","entries":[{{"url":"https:a"}}]}}"#);
        let want = format!(r#"{{"url":"https:{long}","token":"","entries":[{{"url":"<https:a>"}}]}}"#);
        for size in [1000, 4096, text.len()] {
            assert_eq!(edited(&text, size).0, want);
        }
    }

    fn random(rng: &mut fastrand::Rng, depth: u32) -> Value {
        let text = |rng: &mut fastrand::Rng| {
            let parts = ["https:", "a", "\"", "\\", "é", "{", "]", ",", ":", "\n", "url", "\u{1f600}"];
            (0..rng.usize(0..5)).map(|_| parts[rng.usize(0..parts.len())]).collect::<String>()
        };
        match rng.u32(0..if depth > 4 { 4 } else { 8 }) {
            0 => Value::Null,
            1 => rng.i64(..).into(),
            2 | 3 => text(rng).into(),
            4 | 5 => (0..rng.usize(0..4)).map(|_| random(rng, depth + 1)).collect(),
            _ => {
                let keys = ["url", "token", "entries", "x", "urls", "u\"rl"];
                let entry = |rng: &mut fastrand::Rng| {
                    (keys[rng.usize(0..keys.len())].to_owned(), random(rng, depth + 1))
                };
                Value::Object((0..rng.usize(0..5)).map(|_| entry(rng)).collect())
            }
        }
    }

    /// The edits of [`ROOT`], done on a parsed tree.
    fn edit_tree(value: &mut Value, entries: bool) {
        let Value::Object(object) = value else { return };
        if let Some(Value::String(url)) = object.get_mut("url")
            && url.starts_with("https:")
        {
            *url = format!("<{url}>");
        }
        if let Some(Value::String(token)) = object.get_mut("token") {
            token.clear();
        }
        if let Some(Value::Array(items)) = object.get_mut("entries").filter(|_| entries) {
            items.iter_mut().for_each(|item| edit_tree(item, false));
        }
    }

    #[test]
    fn random_texts_are_edited_as_a_parser_would_read_them() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..3000 {
            let mut tree = random(&mut rng, 0);
            let text = match rng.bool() {
                true => serde_json::to_string(&tree).unwrap(),
                false => serde_json::to_string_pretty(&tree).unwrap(),
            };
            let (have, _) = edited(&text, rng.usize(1..40));
            edit_tree(&mut tree, true);
            assert_eq!(serde_json::from_str::<Value>(&have).unwrap(), tree, "seed {seed}: {text}");
        }
    }
}
