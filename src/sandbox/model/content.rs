//! The content of files.

use bytes::Bytes;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// The content of a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes, in memory.
    Bytes(Bytes),
    /// This many zero bytes, which take no memory. Beyond 1 MiB the SHA-1 shown is not that of the zeros.
    Zeros(u64),
}

impl Content {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// The hex SHA-1 that Box shows. For more than 1 MiB of zeros only their number is hashed, since hashing gigabytes
    /// would take too long.
    pub(crate) fn sha1(&self) -> String {
        let mut hash = Sha1::new();
        match self {
            Self::Bytes(bytes) => hash.update(bytes),
            Self::Zeros(length) if *length > SUMMED_ZEROS => hash.update(&length.to_be_bytes()),
            Self::Zeros(length) => {
                let zeros = [0_u8; 64 * 1024];
                let mut left = *length;
                while left > 0 {
                    let piece = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
                    hash.update(zeros.get(..piece).unwrap_or(&zeros));
                    left -= piece as u64;
                }
            }
        }
        hash.finish()
    }
}

/// How much of an upload is kept; of a larger one only size and SHA-1 are, and it is served as zeros.
pub(crate) const KEPT_CONTENT: u64 = 64 * 1024 * 1024;

const SUMMED_ZEROS: u64 = 1024 * 1024;

/// SHA-1, Box's check sum of files.
#[derive(Clone)]
pub(crate) struct Sha1(Context);

impl Sha1 {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As `Digest` headers have it.
    pub(crate) fn finish_base64(self) -> String {
        base64(self.0.finish().as_ref())
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * at) & 63) as usize).copied();
            text.push(if at <= group.len() { char::from(letter.unwrap_or(b'=')) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_what_is_no_multiple_of_three() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
