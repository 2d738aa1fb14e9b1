//! The state of uploads in parts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::content::{Content, KEPT_CONTENT, Sha1};
use crate::sandbox::http::lock::lock;

/// How many bytes of parts all sessions keep. Beyond, bytes are dropped once they are hashed, and the file consists of
/// zeros.
const KEPT_PARTS: usize = 256 * 1024 * 1024;

/// The file that the parts will form.
#[derive(Clone)]
pub(crate) enum Target {
    New { parent: String, name: String },
    Version { file: String, name: Option<String> },
}

pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) size: u64,
    pub(crate) sha1: String,
    /// Empty when they are kept no longer.
    pub(crate) bytes: Bytes,
}

pub(crate) struct UploadSession {
    pub(crate) target: Target,
    pub(crate) user_id: String,
    pub(crate) size: u64,
    pub(crate) part_size: u64,
    pub(crate) expires: Timestamp,
    /// By offset.
    pub(crate) parts: BTreeMap<u64, Part>,
    /// Over the parts from the beginning up to the first gap, which is where the file was summed up to.
    pub(crate) hash: Sha1,
    pub(crate) summed: u64,
    /// Committed or aborted.
    pub(crate) is_over: bool,
}

impl UploadSession {
    /// Hashes the parts that follow without a gap. The caller knows how many bytes may be kept.
    pub(crate) fn sum_up(&mut self, kept: usize) {
        let is_kept = self.size <= KEPT_CONTENT && kept <= KEPT_PARTS;
        while let Some(part) = self.parts.get_mut(&self.summed) {
            self.hash.update(&part.bytes);
            self.summed += part.size;
            if !is_kept {
                part.bytes = Bytes::new();
            }
        }
    }

    fn kept(&self) -> usize {
        self.parts.values().map(|part| part.bytes.len()).sum()
    }

    /// The file, once nothing is missing.
    pub(crate) fn content(&self) -> Content {
        let mut all = BytesMut::new();
        for part in self.parts.values() {
            if part.bytes.len() as u64 != part.size {
                return Content::Zeros(self.size);
            }
            all.extend_from_slice(&part.bytes);
        }
        Content::Bytes(all.freeze())
    }

    pub(crate) fn end(&mut self) {
        self.is_over = true;
        self.parts.clear();
    }
}

/// Every session, the ended ones too.
#[derive(Default)]
pub(crate) struct UploadSessions(Mutex<HashMap<String, UploadSession>>);

/// Why a session cannot be used.
#[derive(Debug)]
pub(crate) enum Error {
    Unknown,
    /// It is another user's.
    Foreign,
    /// Committed, aborted or expired.
    Over,
}

impl UploadSessions {
    pub(crate) fn add(&self, id: String, session: UploadSession) {
        lock(&self.0).insert(id, session);
    }

    /// The result of `then` for a session that this user may use and the number of bytes that all sessions keep.
    pub(crate) fn with<T>(
        &self,
        id: &str,
        user_id: &str,
        then: impl FnOnce(&mut UploadSession, usize) -> T,
    ) -> Result<T, Error> {
        let mut all = lock(&self.0);
        let kept = all.values().map(UploadSession::kept).sum();
        let session = all.get_mut(id).ok_or(Error::Unknown)?;
        if session.user_id != user_id {
            return Err(Error::Foreign);
        }
        if session.is_over || session.expires < Timestamp::now() {
            return Err(Error::Over);
        }
        Ok(then(session, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_up_to_a_limit() {
        for (size, kept, are_kept) in
            [(10, 0, true), (KEPT_CONTENT + 1, 0, false), (10, KEPT_PARTS + 1, false)]
        {
            let mut session = UploadSession {
                target: Target::Version { file: String::new(), name: None },
                user_id: String::new(),
                size,
                part_size: 5,
                expires: Timestamp::now(),
                parts: BTreeMap::new(),
                hash: Sha1::new(),
                summed: 0,
                is_over: false,
            };
            for (offset, bytes) in [(5, "56789"), (0, "01234")] {
                let part = Part { id: String::new(), size: 5, sha1: String::new(), bytes: bytes.into() };
                session.parts.insert(offset, part);
                session.sum_up(kept);
            }
            // Kept or not, they are hashed in the order of the file.
            assert_eq!(session.hash.clone().finish(), "87acec17cd9dcd20a716cc2cf67417b71c8a7016");
            assert_eq!(matches!(session.content(), Content::Bytes(bytes) if bytes == "0123456789"), are_kept);
        }
    }
}
