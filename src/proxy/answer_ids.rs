//! The ids of what a call has made or changed, as Box's JSON answer says them: `id` of the outermost object, and `id` of
//! each object in its list `entries`, in which uploads answer.
//!
//! The beginning of the answer is copied while it passes to the caller, and read once the request has ended.

use std::fmt;

use http::HeaderValue;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::http::content_encoding;

/// How much of an answer is read. Box's objects begin with their ids.
const LOOKED_AT: usize = 64 * 1024;
/// A text that is longer is no id.
const LONGEST: usize = 64;

/// The beginning of an answer.
pub(crate) struct AnswerBeginning {
    encoding: Option<HeaderValue>,
    bytes: Vec<u8>,
}

impl AnswerBeginning {
    /// Of an answer with this coding.
    pub(crate) fn new(encoding: Option<HeaderValue>) -> Self {
        Self { encoding, bytes: Vec::new() }
    }

    /// Copies the next piece, as far as it is still the beginning.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let room = LOOKED_AT - self.bytes.len();
        self.bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    /// The ids in it, in their order; at most so many.
    pub(crate) fn ids(&self, most: usize) -> Vec<String> {
        match &self.encoding {
            None => ids(&self.bytes, most),
            Some(encoding) => ids(&content_encoding::beginning(encoding, &self.bytes, LOOKED_AT), most),
        }
    }
}

/// Of a JSON text that may be cut off.
fn ids(text: &[u8], most: usize) -> Vec<String> {
    let mut found = Found { ids: Vec::new(), most };
    // The end of the text is an error, before which ids were found.
    let _ = Object { found: &mut found, has_entries: true }
        .deserialize(&mut serde_json::Deserializer::from_slice(text));
    found.ids
}

struct Found {
    ids: Vec<String>,
    most: usize,
}

impl Found {
    fn add(&mut self, id: Value) {
        let id = match id {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        if !id.is_empty() && id.len() <= LONGEST && self.ids.len() < self.most {
            self.ids.push(id);
        }
    }
}

/// An object with an id. `has_entries`: the outermost one.
struct Object<'f> {
    found: &'f mut Found,
    has_entries: bool,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => self.found.add(map.next_value()?),
                "entries" if self.has_entries => map.next_value_seed(Entries(self.found))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Entries<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Object { found: self.0, has_entries: false })?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const FILE: &str = r#"{"type":"file","id":"17","parent":{"id":"0"},"version":{"id":"3"}}"#;

    #[test]
    fn ids_of_the_outermost_object_and_of_entries_are_found_and_no_others() {
        for (text, wanted) in [
            (FILE, &["17"][..]),
            (&*format!(r#"{{"total_count":2,"entries":[{FILE},{{"id":18}}],"id":"x"}}"#), &["17", "18", "x"]),
            (r#"{"file":{"id":"1"},"entries":[{"entries":[{"id":"2"}]}]}"#, &[]),
            (r#"{"id":null,"name":"id","entries":"no list"}"#, &[]),
            (r#"[{"id":"1"}]"#, &[]),
            ("", &[]),
        ] {
            assert_eq!(ids(text.as_bytes(), 20), wanted, "{text}");
        }
        let long = format!(r#"{{"id":"{}"}}"#, "1".repeat(LONGEST + 1));
        assert_eq!(ids(long.as_bytes(), 20), [""; 0]);
        assert_eq!(ids(br#"{"entries":[{"id":"1"},{"id":"2"},{"id":"3"}]}"#, 2), ["1", "2"]);
    }

    #[test]
    fn an_answer_that_is_longer_than_what_is_read_or_was_cut_off_has_the_ids_of_its_beginning() {
        let long = format!(r#"{{"id":"17","name":"{}","entries":[{{"id":"18"}}]}}"#, "x".repeat(LOOKED_AT));
        let mut beginning = AnswerBeginning::new(None);
        long.as_bytes().chunks(1000).for_each(|piece| beginning.feed(piece));
        assert_eq!(beginning.bytes.len(), LOOKED_AT);
        assert_eq!(beginning.ids(20), ["17"]);
    }

    #[test]
    fn a_compressed_answer_is_read_also_where_it_was_cut_off() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        write!(gzip, "{FILE}").unwrap();
        let whole = gzip.finish().unwrap();
        for bytes in [&whole[..], &whole[..whole.len() - 8]] {
            let mut beginning = AnswerBeginning::new(Some(HeaderValue::from_static("gzip")));
            beginning.feed(bytes);
            assert_eq!(beginning.ids(20), ["17"]);
        }
    }
}
