//! What is in a file.

use bytes::Bytes;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::body::Body;

/// The content of a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// These bytes, in memory.
    Bytes(Bytes),
    /// So many zero bytes, which take no memory. Beyond 1 MiB the SHA-1 shown is not that of the zeros.
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

    /// The hex SHA-1 that Box shows. Of more than 1 MiB of zeros only the number is hashed: summing up
    /// gigabytes would take longer than the test that wants them.
    pub(super) fn sha1(&self) -> String {
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

    /// The bytes from `start` on, `length` of them, as far as there are so many.
    pub(super) fn part(&self, start: u64, length: u64) -> Body {
        let length = length.min(self.size().saturating_sub(start));
        match self {
            Self::Zeros(_) => Body::zeros(length),
            Self::Bytes(bytes) => {
                let start = usize::try_from(start).unwrap_or(bytes.len()).min(bytes.len());
                let length = usize::try_from(length).unwrap_or(0);
                Body::bytes(bytes.slice(start..start + length))
            }
        }
    }
}

/// How much of an upload is kept; of a larger one only size and SHA-1 are, and it is served as zeros.
pub(super) const KEPT_CONTENT: u64 = 64 * 1024 * 1024;

const SUMMED_ZEROS: u64 = 1024 * 1024;

/// SHA-1, Box's check sum of files.
pub(super) struct Sha1(Context);

impl Sha1 {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
