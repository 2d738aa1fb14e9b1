//! Problems of a configuration: what is wrong, where, and what to do. All problems are reported in one run.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::net::file_exposure::{readable_by_all, writable_by_all};
use crate::net::file_fingerprint::FileRead;

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug)]
pub struct Problems {
    list: Vec<Problem>,
    files: Vec<FileRead>,
}

impl Problems {
    /// The number of problems, at least 1.
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is at least one, or there would be a configuration"
    )]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The problems; each is displayed as one block.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.list.iter()
    }

    /// The files that were read, or looked for: a change of one may mend the configuration.
    pub(crate) fn files(&self) -> &[FileRead] {
        &self.files
    }

    /// With the lines of the file. `frame_of`: of a byte of the file and the dotted key that the message names.
    pub(super) fn with_frames(mut self, frame_of: impl Fn(usize, &str) -> Option<Frame>) -> Self {
        for problem in &mut self.list {
            problem.frame = problem.offset.and_then(|offset| frame_of(offset, &problem.key));
        }
        self
    }

    /// One more of them.
    pub(super) fn with_file(mut self, file: FileRead) -> Self {
        self.files.push(file);
        self
    }
}

/// One problem to a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `proxy.toml:12:5: listen.adress: unknown key; …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    line: String,
    source: String,
    key: String,
    what: String,
    /// The byte of the file.
    offset: Option<usize>,
    frame: Option<Frame>,
}

/// A line of the file and the part of it that a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// From 1.
    pub(crate) line: usize,
    /// As far as it may be shown, and safe for a terminal.
    pub(crate) text: String,
    /// The key or value, as bytes of the text.
    pub(crate) mark: Range<usize>,
}

impl Problem {
    /// The file, flag or environment variable in which it is.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Dotted; empty for a flag or the source as a whole.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong and what to do.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The line of the file; `None` where the problem is in none.
    pub(crate) fn frame(&self) -> Option<&Frame> {
        self.frame.as_ref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Position {
    /// The source as a whole, for a key that is missing.
    Whole,
    /// At this byte of the file.
    At(usize),
    /// Outside of the file: a flag, or an environment variable.
    Outside(&'static str),
}

/// The position and the key of a value.
#[derive(Debug, Clone)]
pub(super) struct Location {
    pub(super) position: Position,
    /// Dotted; empty for a flag.
    pub(super) key: String,
}

impl Location {
    /// A key that is not in the file.
    pub(super) fn unwritten(key: &str) -> Self {
        Self { position: Position::Whole, key: key.to_owned() }
    }

    /// A flag or an environment variable.
    pub(super) fn outside(name: &'static str) -> Self {
        Self { position: Position::Outside(name), key: String::new() }
    }

    /// A key below this one.
    pub(super) fn below(&self, key: &str) -> Self {
        Self { position: self.position, key: dotted(&self.key, key) }
    }
}

/// `key` below `path`, quoted where TOML would need it.
pub(super) fn dotted(path: &str, key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Collects problems and warnings during the reading of a configuration.
#[derive(Debug)]
pub(super) struct Notes<'t> {
    name: String,
    text: &'t str,
    problems: Vec<(Position, Problem)>,
    warnings: Vec<(Position, String)>,
    files: Vec<FileRead>,
    secret_files: Vec<PathBuf>,
    exposed: Vec<PathBuf>,
    unread_secrets: Vec<UnreadSecret>,
}

/// A secret that cannot be read by this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadSecret {
    /// Such as `identity.service.client_secret`.
    pub key: String,
    /// Why it cannot be read.
    pub why: String,
}

/// What was noted while a configuration without problems was read.
#[derive(Debug)]
pub(super) struct Noted {
    /// In the order of the file.
    pub(super) warnings: Vec<String>,
    /// The files that it names.
    pub(super) files: Vec<FileRead>,
    /// Those of them that hold secrets.
    pub(super) secret_files: Vec<PathBuf>,
    /// Secrets for which another text stands.
    pub(super) unread_secrets: Vec<UnreadSecret>,
}

impl<'t> Notes<'t> {
    /// For a source of this name and text.
    pub(super) fn new(name: &Path, text: &'t str) -> Self {
        let name = name.display().to_string();
        Self {
            name,
            text,
            problems: Vec::new(),
            warnings: Vec::new(),
            files: Vec::new(),
            secret_files: Vec::new(),
            exposed: Vec::new(),
            unread_secrets: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, location: &Location, what: impl fmt::Display) {
        let (source, offset) = match location.position {
            Position::Whole => (self.name.clone(), None),
            Position::At(offset) => (self.name.clone(), Some(offset)),
            Position::Outside(name) => (name.to_owned(), None),
        };
        let (line, key, what) = (self.line(location, &what), location.key.clone(), what.to_string());
        let problem = Problem { line, source, key, what, offset, frame: None };
        self.problems.push((location.position, problem));
    }

    /// Records a warning: something allowed but not advised.
    pub(super) fn warning(&mut self, location: &Location, what: impl fmt::Display) {
        let warning = self.line(location, &what);
        self.warnings.push((location.position, warning));
    }

    /// Returns the value; records the error as a problem.
    pub(super) fn take<T>(&mut self, location: &Location, value: Result<T, String>) -> Option<T> {
        value.map_err(|what| self.problem(location, what)).ok()
    }

    /// The number of problems so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// Notes a file that is read next.
    pub(super) fn file(&mut self, path: &Path) {
        self.files.push(FileRead::now(path));
    }

    /// Notes that a file, which [`Self::file`] noted before it was read, holds a secret. Warns if every user can read it.
    pub(super) fn secret_file(&mut self, location: &Location, path: &Path) {
        if self.secret_files.iter().any(|noted| noted == path) {
            return;
        }
        self.secret_files.push(path.to_owned());
        if let Some(mode) = readable_by_all(path) {
            let shown = path.display();
            self.warning(
                location,
                format_args!(
                    "{shown} holds a secret, and every user of this machine can read it (mode {mode:04o}): chmod 600 {shown}, or 640 where the gateway reads it by its group; on Kubernetes, set defaultMode: 0440 of the volume"
                ),
            );
        }
    }

    /// Warns if every user can replace this file of the configuration, or change it.
    pub(super) fn judge_writable(&mut self, location: &Location, path: &Path) {
        let Some((open, mode)) = writable_by_all(path) else { return };
        // A folder is named once, whatever is in it.
        if self.exposed.contains(&open) {
            return;
        }
        let (shown, file) = (open.display(), path.display());
        self.warning(
            location,
            format_args!(
                "every user of this machine can write to {shown} (mode {mode:04o}), and thereby change or replace {file}: chmod o-w {shown}"
            ),
        );
        self.exposed.push(open);
    }

    /// Notes a secret that cannot be read, for which another text stands. Returns how many there were before.
    pub(super) fn unread(&mut self, location: &Location, why: &str) -> usize {
        self.unread_secrets.push(UnreadSecret { key: location.key.clone(), why: why.to_owned() });
        self.unread_secrets.len() - 1
    }

    /// Returns the warnings and files if there was no problem, else the problems.
    pub(super) fn conclude(mut self) -> Result<Noted, Problems> {
        if !self.problems.is_empty() {
            return Err(self.into_problems());
        }
        self.warnings.sort_by_key(|(position, _)| *position);
        let warnings = self.warnings.into_iter().map(|(_, warning)| warning).collect();
        let Self { files, secret_files, unread_secrets, .. } = self;
        Ok(Noted { warnings, files, secret_files, unread_secrets })
    }

    /// Returns the problems; there must be at least one.
    pub(super) fn into_problems(mut self) -> Problems {
        self.problems.sort_by_key(|(position, _)| *position);
        self.problems.dedup();
        let list = self.problems.into_iter().map(|(_, problem)| problem).collect();
        Problems { list, files: self.files }
    }

    fn line(&self, location: &Location, what: &dyn fmt::Display) -> String {
        let position = match location.position {
            Position::Whole => self.name.clone(),
            Position::At(offset) => {
                let (line, column) = line_and_column(self.text, offset);
                format!("{}:{line}:{column}", self.name)
            }
            Position::Outside(name) => name.to_owned(),
        };
        if location.key.is_empty() {
            format!("{position}: {what}")
        } else {
            format!("{position}: {}: {what}", location.key)
        }
    }
}

/// Line and column, both from 1; the column counts characters, as editors do.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column =
        before.rsplit('\n').next().unwrap_or(before).trim_start_matches('\u{feff}').chars().count() + 1;
    (line, column)
}

/// The most similar known word, if one is similar enough to suggest.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_counts_characters() {
        let text = "\u{feff}a = 1\r\nä = \"ö\" # x\n";
        assert_eq!(line_and_column(text, text.find('a').unwrap()), (1, 1));
        assert_eq!(line_and_column(text, text.find('#').unwrap()), (2, 9));
        assert_eq!(line_and_column(text, 9999), (3, 1));
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_once() {
        let mut notes = Notes::new(Path::new("p.toml"), "a\nb\n");
        let at = |position, key: &str| Location { position, key: key.to_owned() };
        notes.problem(&Location::outside("--listen"), "third");
        notes.problem(&at(Position::At(2), "b"), "second");
        notes.problem(&at(Position::At(0), "a"), "first");
        notes.problem(&at(Position::At(0), "a"), "first");
        let problems = notes.conclude().unwrap_err();
        assert_eq!(problems.len(), 3);
        assert_eq!(problems.to_string(), "p.toml:1:1: a: first\np.toml:2:1: b: second\n--listen: third");
    }

    #[test]
    fn only_a_similar_word_is_suggested() {
        let known = ["address", "hosts", "sources"];
        for (word, want) in
            [("adress", "address"), ("Hosts", "hosts"), ("hsots", "hosts"), ("source", "sources")]
        {
            assert_eq!(nearest(word, known), Some(want), "{word}");
        }
        assert_eq!(nearest("port", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_key_that_is_not_bare_is_quoted() {
        assert_eq!(dotted("app", "a.b"), "app.\"a.b\"");
        assert_eq!(dotted("", "a\n"), "\"a\\n\"");
    }
}
