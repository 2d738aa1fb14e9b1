//! Reads files with secrets in them without leaving copies behind: a buffer that grows is copied, and what it was before is freed
//! with its content.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// The first buffer of what has no size, such as a pipe, in bytes.
const FIRST: usize = 4096;

/// At most so many bytes of a file, which are wiped when they are dropped.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    // One more, to see the end without growing.
    read_from(&mut file, size.max(FIRST).saturating_add(1).min(most), most)
}

fn read_from(source: &mut impl Read, first: usize, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; first]);
    let mut length = 0;
    loop {
        if length == bytes.len() {
            if length >= most {
                break;
            }
            let mut larger = Zeroizing::new(vec![0; bytes.len().saturating_mul(2).min(most)]);
            larger.iter_mut().zip(bytes.iter()).for_each(|(new, old)| *new = *old);
            bytes = larger;
        }
        match source.read(bytes.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most three bytes at once.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(3);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn a_source_is_read_to_its_end_or_to_the_bound() {
        let all: Vec<u8> = (0..200).collect();
        for (first, most) in [(1, 1000), (7, 201), (200, 200), (201, 1000), (1, 13), (13, 13)] {
            let read = read_from(&mut Slow(&all), first, most).unwrap();
            assert_eq!(*read, all[..all.len().min(most)], "{first} {most}");
        }
        assert!(read_from(&mut Slow(b""), 1, 10).unwrap().is_empty());
    }

    #[test]
    fn a_file_and_what_has_no_size_are_read() {
        let file = std::env::temp_dir().join(format!("boxgate-file-{}", std::process::id()));
        std::fs::write(&file, [b'x'; 10_000]).unwrap();
        assert_eq!((read(&file, usize::MAX).unwrap().len(), read(&file, 5).unwrap().len()), (10_000, 5));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read(Path::new("/dev/zero"), 70_000).unwrap().len(), 70_000);
        assert_eq!(read(&file, 5).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
