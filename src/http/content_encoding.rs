//! Content codings of responses. An error response of Box is searched for secrets, so Box is asked only for codings
//! that the gateway can decode.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};

use crate::http::field_list::tokens;

/// Codings that [`decoded`] reads (RFC 9110 §8.4.1); `identity` means no coding.
const READABLE: [&str; 4] = ["gzip", "x-gzip", "deflate", "identity"];

/// Removes from `Accept-Encoding` the codings that [`decoded`] cannot read. If none is left, asks for `identity`.
pub(crate) fn accept_readable(fields: &mut HeaderMap) {
    let is_readable = |coding: &&str| {
        let name = coding.split(';').next().unwrap_or_default().trim();
        READABLE.iter().any(|readable| readable.eq_ignore_ascii_case(name))
    };
    let accepted = fields.get_all(ACCEPT_ENCODING);
    let codings = || accepted.iter().flat_map(tokens);
    if codings().all(|coding| coding.is_empty() || is_readable(&coding)) {
        return;
    }
    let left = codings().filter(is_readable).collect::<Vec<_>>().join(", ");
    let left = if left.is_empty() { "identity" } else { &left };
    if let Ok(value) = HeaderValue::from_str(left) {
        fields.insert(ACCEPT_ENCODING, value);
    }
}

/// The codings of a body in one value, if it has any but `identity`. All fields are read as one list (RFC 9110 §8.4): a
/// coding that was overlooked could hide a secret.
pub(crate) fn of(fields: &HeaderMap) -> Option<HeaderValue> {
    let fields = fields.get_all(CONTENT_ENCODING).iter();
    let codings =
        fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let codings: Vec<&[u8]> =
        codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")).collect();
    let joined = (!codings.is_empty()).then(|| codings.join(&b", "[..]));
    // Every part of a valid header value is valid.
    joined.and_then(|codings| HeaderValue::from_bytes(&codings).ok())
}

/// The text of an answer that has this `Content-Encoding`; `None` where it cannot be read or is longer than `most` bytes.
pub(crate) fn decoded(encoding: &HeaderValue, body: &[u8], most: usize) -> Option<Vec<u8>> {
    let coding = encoding.to_str().ok()?.trim().to_ascii_lowercase();
    match coding.as_str() {
        "" | "identity" => Some(body.to_vec()),
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(body), most),
        // The standard wraps deflate in zlib's format; some servers omit that.
        "deflate" => read(ZlibDecoder::new(body), most).or_else(|| read(DeflateDecoder::new(body), most)),
        _ => None,
    }
}

/// The beginning of the text of an answer that has this `Content-Encoding`, from the beginning of its body: at most `most`
/// bytes, and nothing where it cannot be read.
pub(crate) fn beginning(encoding: &HeaderValue, body: &[u8], most: usize) -> Vec<u8> {
    let readable = |decoder: &mut dyn Read| {
        let mut text = Vec::new();
        // What was decoded before an error is kept.
        let _ = decoder.take(most as u64).read_to_end(&mut text);
        text
    };
    let coding = encoding.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    match coding.as_str() {
        "gzip" | "x-gzip" => readable(&mut MultiGzDecoder::new(body)),
        "deflate" => match readable(&mut ZlibDecoder::new(body)) {
            text if text.is_empty() => readable(&mut DeflateDecoder::new(body)),
            text => text,
        },
        _ => Vec::new(),
    }
}

fn read(decoder: impl Read, most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= most).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn only_readable_codings_are_requested() {
        for (asked, want) in [
            ("gzip", "gzip"),
            ("gzip, deflate", "gzip, deflate"),
            ("gzip, deflate, br, zstd", "gzip, deflate"),
            ("br;q=1.0, GZIP;q=0.8, *;q=0.1", "GZIP;q=0.8"),
            ("br", "identity"),
            ("*", "identity"),
            ("identity;q=0, br", "identity;q=0"),
            ("", ""),
        ] {
            let mut fields = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(asked))]);
            accept_readable(&mut fields);
            assert_eq!(fields[ACCEPT_ENCODING], want, "{asked}");
        }
        let mut fields = HeaderMap::new();
        for value in ["br", "gzip"] {
            fields.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        accept_readable(&mut fields);
        assert_eq!(fields.get_all(ACCEPT_ENCODING).iter().collect::<Vec<_>>(), ["gzip"]);
        let mut none = HeaderMap::new();
        accept_readable(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn every_requested_coding_is_decoded_up_to_the_limit() {
        let text = b"an error of Box".repeat(100);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        zlib.write_all(&text).unwrap();
        raw.write_all(&text).unwrap();
        let (gzip, zlib, raw) = (gzip.finish().unwrap(), zlib.finish().unwrap(), raw.finish().unwrap());
        let is = |encoding: &'static str, body: &[u8], most| {
            decoded(&HeaderValue::from_static(encoding), body, most)
        };
        for (encoding, body) in
            [("gzip", &gzip), ("X-GZip", &gzip), ("deflate", &zlib), ("deflate", &raw), ("identity", &text)]
        {
            assert_eq!(is(encoding, body, text.len()).as_deref(), Some(&text[..]), "{encoding}");
        }
        assert_eq!(is("gzip", &gzip, text.len() - 1), None);
        for (encoding, body) in [
            ("br", &gzip),
            ("gzip, gzip", &gzip),
            ("gzip", &text),
            ("gzip", &gzip[..gzip.len() - 1].to_vec()),
        ] {
            assert_eq!(is(encoding, body, text.len()), None, "{encoding}");
        }
    }

    #[test]
    fn all_codings_of_all_fields_count() {
        for (fields, want) in [
            (&[][..], None),
            (&["identity"], None),
            (&["", " Identity ,"], None),
            (&["GZIP"], Some("GZIP")),
            (&["identity", "gzip"], Some("gzip")),
            (&["gzip", "identity"], Some("gzip")),
            (&["gzip, identity", "br"], Some("gzip, br")),
        ] {
            let mut map = HeaderMap::new();
            for field in fields {
                map.append(CONTENT_ENCODING, HeaderValue::from_static(field));
            }
            assert_eq!(of(&map), want.map(HeaderValue::from_static), "{fields:?}");
        }
    }
}
