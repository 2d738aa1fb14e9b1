//! A writer of zip files: stored, below 4 GiB, names in UTF-8.

use bytes::{BufMut, Bytes, BytesMut};

use super::content::Content;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// The zip version that readers need: 2.0, for folders.
const NEEDS: u16 = 20;
/// Names are in UTF-8.
const FLAGS: u16 = 1 << 11;
/// 1 January 1980, the earliest date in a zip.
const DATE: u16 = 0x21;

/// How much below 4 GiB is reserved for the directory.
const RESERVE: u64 = 64 * 1024 * 1024;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// An archive being written.
#[derive(Default)]
pub(crate) struct Archive {
    pieces: Vec<Bytes>,
    length: u64,
    directory: BytesMut,
    entries: u16,
}

impl Archive {
    /// Adds a file, or a folder where the name ends in a slash. `false` when there is no room for it.
    pub(crate) fn add(&mut self, name: &str, content: &Content) -> bool {
        let size = content.size();
        let fits = self.length.saturating_add(size) < u64::from(u32::MAX) - RESERVE;
        let (true, Ok(size), Ok(offset), Ok(name_length), Some(entries)) = (
            fits,
            u32::try_from(size),
            u32::try_from(self.length),
            u16::try_from(name.len()),
            self.entries.checked_add(1),
        ) else {
            return false;
        };
        let pieces = pieces(content);
        let mut crc = Crc::default();
        pieces.iter().for_each(|piece| crc.update(piece));

        let mut common = BytesMut::new();
        common.put_u16_le(NEEDS);
        common.put_u16_le(FLAGS);
        common.put_u16_le(0); // stored
        common.put_u16_le(0); // midnight
        common.put_u16_le(DATE);
        common.put_u32_le(crc.finish());
        common.put_u32_le(size); // compressed
        common.put_u32_le(size);
        common.put_u16_le(name_length);
        common.put_u16_le(0); // nothing extra

        let mut head = BytesMut::new();
        head.put_u32_le(LOCAL);
        head.put_slice(&common);
        head.put_slice(name.as_bytes());
        self.length += head.len() as u64 + u64::from(size);
        self.pieces.push(head.freeze());
        self.pieces.extend(pieces);

        self.directory.put_u32_le(CENTRAL);
        self.directory.put_u16_le(NEEDS);
        self.directory.put_slice(&common);
        self.directory.put_u16_le(0); // no comment
        self.directory.put_u16_le(0); // first disk
        self.directory.put_u16_le(0); // no text
        self.directory.put_u32_le(0); // no attributes
        self.directory.put_u32_le(offset);
        self.directory.put_slice(name.as_bytes());
        self.entries = entries;
        true
    }

    /// All its bytes, in order.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        let (begin, length) = (self.length, self.directory.len() as u64);
        let mut end = self.directory;
        end.put_u32_le(END);
        end.put_u32_le(0); // one disk
        end.put_u16_le(self.entries);
        end.put_u16_le(self.entries);
        end.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        end.put_u32_le(u32::try_from(begin).unwrap_or(u32::MAX));
        end.put_u16_le(0); // no comment
        self.pieces.push(end.freeze());
        self.pieces
    }
}

fn pieces(content: &Content) -> Vec<Bytes> {
    let mut left = match content {
        Content::Bytes(bytes) => return vec![bytes.clone()],
        Content::Zeros(length) => *length,
    };
    let mut pieces = Vec::new();
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
        pieces.push(Bytes::from_static(&ZEROS).slice(..length));
        left -= length as u64;
    }
    pieces
}

/// CRC-32 as zip has it.
struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let index = (self.0 ^ u32::from(*byte)) & 0xff;
            self.0 = TABLE.get(index as usize).copied().unwrap_or_default() ^ (self.0 >> 8);
        }
    }

    fn finish(self) -> u32 {
        !self.0
    }
}

static TABLE: [u32; 256] = table();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which would say so")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_standard() {
        let mut crc = Crc::default();
        crc.update(b"123456789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
    }

    #[test]
    fn offsets_and_sizes_are_where_readers_look_for_them() {
        let mut archive = Archive::default();
        assert!(archive.add("folder/", &Content::Bytes(Bytes::new())));
        assert!(archive.add("folder/a.txt", &Content::Bytes("hello".into())));
        assert!(archive.add("zeros", &Content::Zeros(100_000)));
        assert!(!archive.add("too large", &Content::Zeros(1 << 32)));
        let all = archive.finish().concat();
        let end = &all[all.len() - 22..];
        assert_eq!(end[..12], [0x50, 0x4b, 5, 6, 0, 0, 0, 0, 3, 0, 3, 0]);
        let number = |at: usize| u32::from_le_bytes(all[at..at + 4].try_into().unwrap()) as usize;
        let (length, begin) = (number(all.len() - 10), number(all.len() - 6));
        assert_eq!(begin + length + 22, all.len());
        // The second entry of the directory, after 46 bytes and the first one's name.
        let second = begin + 46 + "folder/".len();
        assert_eq!(number(second), CENTRAL as usize);
        let local = number(second + 42);
        assert_eq!(number(local), LOCAL as usize);
        assert_eq!(&all[local + 30..local + 47], b"folder/a.txthello");
        assert_eq!((number(local + 14), number(local + 18)), (0x3610_a686, 5));
    }
}
