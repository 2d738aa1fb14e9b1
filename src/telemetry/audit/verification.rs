//! Reads audit files and says where their chain is broken. Files of any size, in constant memory.

use std::fmt::Write as _;
use std::io::{self, BufRead};

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::chain::{self, Hash, Link};

/// A longer line is no audit line, and is not kept.
const LONGEST: usize = 1024 * 1024;
/// How a file begins that is compressed, as logrotate does it.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The most findings that are kept.
const MOST: usize = 100;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// The name of the file.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: u64,
}

/// Something that was found at a line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    #[serde(flatten)]
    pub(crate) place: Place,
    /// In words for operators.
    pub(crate) what: String,
}

/// Findings, of which the first are kept.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) first: Vec<Finding>,
    pub(crate) count: u64,
}

/// What was read so far.
#[derive(Debug)]
pub(crate) struct Verification {
    /// Lines in the chain.
    pub(crate) lines: u64,
    /// How many lines of requests are lost, as these lines tell.
    pub(crate) lost: u64,
    /// The times of the first and the last line.
    pub(crate) times: Option<(String, String)>,
    /// The `previous` of the first line.
    pub(crate) first_previous: Option<Hash>,
    /// The hash of the last line.
    pub(crate) last: Option<Hash>,
    /// A hash that was noted as the last one, where it was found, and how many lines of the chain follow.
    pub(crate) noted: Option<(Hash, Option<(Place, u64)>)>,
    /// Where the chain is broken.
    pub(crate) problems: Findings,
    /// What is no fault of the chain.
    pub(crate) notes: Findings,
    /// Bytes that are no line, and where they begin.
    stray: Option<(Place, u64)>,
}

/// The fields that matter here.
#[derive(Debug, Default, Deserialize)]
struct Fields {
    time: Option<String>,
    lost: Option<u64>,
    cut: Option<u64>,
}

impl Findings {
    fn add(&mut self, place: Place, what: String) {
        self.count += 1;
        if self.first.len() < MOST {
            self.first.push(Finding { place, what });
        }
    }
}

impl Verification {
    /// `noted`: a hash that must be in the chain.
    pub(crate) fn new(noted: Option<Hash>) -> Self {
        Self {
            lines: 0,
            lost: 0,
            times: None,
            first_previous: None,
            last: None,
            noted: noted.map(|hash| (hash, None)),
            problems: Findings::default(),
            notes: Findings::default(),
            stray: None,
        }
    }

    /// Reads a file, which continues the one before.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(&mut self, file: &str, mut input: impl BufRead) -> io::Result<()> {
        let (mut text, mut line, mut is_compressed) = (Vec::new(), 0, false);
        while let Some(length) = next(&mut input, &mut text)? {
            line += 1;
            is_compressed |= line == 1 && text.starts_with(GZIP);
            let place = Place { file: file.to_owned(), line };
            let whole = text.strip_suffix(b"\n").unwrap_or(&text);
            match chain::link(whole) {
                Some(link) => self.add(place, link, whole),
                None => self.stray.get_or_insert((place, 0)).1 += length,
            }
        }
        if let Some((place, bytes)) = self.stray.take() {
            let words = match is_compressed {
                true => "the file is compressed: give what zcat prints of it, with - in place of the file"
                    .to_owned(),
                false => format!(
                    "{bytes} bytes at the end of the file are no audit line: a line that is being written, that a crash \
                     cut off, or that was changed"
                ),
            };
            self.problems.add(place, words);
        }
        Ok(())
    }

    /// Whether nothing is wrong with what was read.
    pub(crate) fn is_whole(&self) -> bool {
        self.problems.count == 0 && !matches!(self.noted, Some((_, None)))
    }

    fn add(&mut self, place: Place, link: Link, text: &[u8]) {
        let fields: Fields = serde_json::from_slice(text).unwrap_or_default();
        let told = fields.cut.filter(|_| link.fits).unwrap_or(0);
        match self.stray.take() {
            Some((stray, bytes)) if bytes == told => {
                self.notes
                    .add(stray, format!("{bytes} bytes are a line that was cut off, as the next line tells"));
            }
            Some((stray, bytes)) => self.problems.add(
                stray,
                format!("{bytes} bytes are no audit line: they were inserted, or a line was changed"),
            ),
            None if told > 0 => self.problems.add(
                place.clone(),
                format!("it tells of {told} bytes before it that are no audit line, and they are missing"),
            ),
            None => {}
        }
        if let Some(last) = self.last.filter(|last| *last != link.previous) {
            let mut words =
                format!("its previous is {}, but the line before has the hash {last}: ", link.previous);
            let _ = match link.previous {
                Hash::NONE => write!(words, "another chain begins here"),
                _ => write!(words, "lines were removed, inserted or moved, or the line before was changed"),
            };
            self.problems.add(place.clone(), words);
        }
        if !link.fits {
            self.problems.add(place.clone(), "its bytes do not have its hash: it was changed".to_owned());
        }
        if *self.first_previous.get_or_insert(link.previous) != Hash::NONE && self.lines == 0 {
            let words = "the chain began before this line: earlier lines are in files that are not given, or were removed";
            self.notes.add(place.clone(), words.to_owned());
        }
        match &mut self.noted {
            Some((hash, found @ None)) if *hash == link.hash && link.fits => *found = Some((place, 0)),
            Some((_, Some((_, behind)))) => *behind += 1,
            _ => {}
        }
        let time = fields.time.unwrap_or_else(|| "-".to_owned());
        match &mut self.times {
            Some((_, last)) => *last = time,
            None => self.times = Some((time.clone(), time)),
        }
        self.last = Some(link.hash);
        self.lines += 1;
        self.lost = self.lost.saturating_add(fields.lost.unwrap_or(0));
    }
}

/// Reads the next line with its line feed, at most [`LONGEST`] bytes of it, and returns its length; `None` at the end.
fn next(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    line.clear();
    let mut length = 0;
    loop {
        let piece = match input.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = memchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
        let piece = piece.get(..end).unwrap_or_default();
        let kept = piece.len().min(LONGEST.saturating_sub(line.len()));
        line.extend_from_slice(piece.get(..kept).unwrap_or_default());
        let is_end = piece.is_empty() || piece.ends_with(b"\n");
        length += end as u64;
        input.consume(end);
        if is_end {
            return Ok((length > 0).then_some(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain_of(objects: &[&str]) -> Vec<Vec<u8>> {
        let mut head = Hash::NONE;
        let object = |object: &&str| {
            let mut line = Vec::new();
            head = chain::push(&mut line, format!("{{\"time\":\"t\",{object}").as_bytes(), head);
            line
        };
        objects.iter().map(object).collect()
    }

    fn five() -> Vec<Vec<u8>> {
        chain_of(&["\"n\":1", "\"n\":2", "\"n\":3", "\"n\":4", "\"n\":5"])
    }

    fn hash_of(line: &[u8]) -> Hash {
        chain::link(line.strip_suffix(b"\n").unwrap()).unwrap().hash
    }

    fn read(noted: Option<Hash>, files: &[Vec<Vec<u8>>]) -> Verification {
        let mut verification = Verification::new(noted);
        for (number, file) in files.iter().enumerate() {
            verification.read(&format!("file{number}"), &file.concat()[..]).unwrap();
        }
        verification
    }

    /// The lines of a single file with problems.
    fn broken_at(lines: Vec<Vec<u8>>) -> Vec<u64> {
        let found = read(None, &[lines]);
        assert_eq!(found.is_whole(), found.problems.count == 0);
        found.problems.first.iter().map(|problem| problem.place.line).collect()
    }

    #[test]
    fn a_whole_chain_is_whole_in_one_file_and_in_several() {
        let lines = five();
        for files in [vec![lines.clone()], vec![lines[..2].to_vec(), vec![], lines[2..].to_vec()]] {
            let found = read(None, &files);
            assert!(found.is_whole(), "{found:?}");
            assert_eq!((found.lines, found.first_previous), (5, Some(Hash::NONE)));
            assert_eq!(found.last, Some(hash_of(&lines[4])));
        }
        let later = read(None, &[lines[2..].to_vec()]);
        assert!(later.is_whole(), "the files before may be elsewhere");
        assert_eq!(later.first_previous, Some(hash_of(&lines[1])));
    }

    #[test]
    fn a_first_line_that_is_not_that_of_a_chain_is_told() {
        let lines = five();
        let notes = |files: &[Vec<Vec<u8>>]| read(None, files).notes.first;
        assert_eq!(notes(&[lines[..2].to_vec(), lines[2..].to_vec()]), []);
        let told = notes(&[lines[2..3].to_vec(), lines[3..].to_vec()]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].place.file.as_str(), told[0].place.line), ("file0", 1));
        assert!(told[0].what.contains("began before this line"), "{told:?}");
    }

    #[test]
    fn a_compressed_file_is_told_as_such() {
        let found = read(None, &[vec![b"\x1f\x8b\x08\0\n".to_vec(), b"more".to_vec()], five()]);
        assert_eq!((found.problems.count, found.lines), (1, 5), "{found:?}");
        let Finding { place, what } = &found.problems.first[0];
        assert!(place.line == 1 && what.contains("zcat"), "{found:?}");
    }

    #[test]
    fn every_change_shows_at_its_line() {
        assert_eq!(broken_at(five()), [] as [u64; 0]);
        let mut edited = five();
        edited[2] = String::from_utf8(edited[2].clone()).unwrap().replace("\"n\":3", "\"n\":9").into_bytes();
        assert_eq!(broken_at(edited), [3]);
        let mut replaced = five();
        let previous = hash_of(&replaced[1]);
        replaced[2].clear();
        chain::push(&mut replaced[2], b"{\"time\":\"t\",\"n\":9", previous);
        assert_eq!(broken_at(replaced), [4], "with a hash of its own");
        let mut removed = five();
        removed.remove(2);
        assert_eq!(broken_at(removed), [3]);
        let mut inserted = five();
        inserted.insert(2, inserted[0].clone());
        assert_eq!(broken_at(inserted), [3, 4]);
        let mut swapped = five();
        swapped.swap(1, 2);
        assert_eq!(broken_at(swapped), [2, 3, 4]);
        let mut stray = five();
        stray.insert(2, b"{\"time\":\"t\",\"n\":9}\n".to_vec());
        assert_eq!(broken_at(stray), [3]);
        let mut other = five();
        other.extend(five());
        assert_eq!(broken_at(other), [6], "another chain");
        let mut open = five();
        open[4].truncate(20);
        assert_eq!(broken_at(open), [5]);
    }

    #[test]
    fn a_tail_that_was_cut_shows_only_against_a_noted_hash() {
        let lines = five();
        let (third, last) = (hash_of(&lines[2]), hash_of(&lines[4]));
        let cut = lines[..4].to_vec();
        assert!(read(None, std::slice::from_ref(&cut)).is_whole());
        assert!(!read(Some(last), &[cut]).is_whole());
        assert!(!read(Some(last), &[vec![]]).is_whole());
        assert!(read(Some(last), std::slice::from_ref(&lines)).is_whole());
        let grown = read(Some(third), &[lines]);
        assert!(grown.is_whole(), "lines may have been added since");
        let place = Place { file: "file0".to_owned(), line: 3 };
        assert_eq!(grown.noted, Some((third, Some((place, 2)))));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_named_and_no_fault_where_the_next_line_tells_it() {
        let told = chain_of(&["\"n\":1", "\"lost\":1,\"cut\":31", "\"n\":3"]);
        let with = |stray: &[u8]| {
            let mut lines = told.clone();
            lines.insert(1, stray.to_vec());
            read(None, &[lines])
        };
        let found = with(b"{\"time\":\"2026-11-26T09:10:00.0\n");
        assert!(found.is_whole(), "{found:?}");
        assert_eq!((found.lost, found.notes.first[0].place.line), (1, 2));
        assert!(!with(b"{\"time\":\"2026-11-26T09:10:00.\n").is_whole(), "of another length");
        assert_eq!(broken_at(told), [2], "it is gone");
    }

    #[test]
    fn a_file_without_line_feeds_takes_no_memory() {
        let mut verification = Verification::new(None);
        let endless = io::BufReader::new(io::Read::take(io::repeat(b'x'), 3 * LONGEST as u64));
        verification.read("file", endless).unwrap();
        assert_eq!(verification.problems.count, 1);
    }
}
