//! Named groups of operations, in Box's own terms, so that rules need no list of patterns.
//!
//! The table `operation_groups.tsv` is derived from Box's OpenAPI documents by `tests/operations/derive`. Its lines are in
//! the order of their paths, in which a literal segment comes before a placeholder: the first line that fits an operation
//! is the most specific one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

use super::operation::{Operation, plain, plain_path, segments_of};

const TABLE: &str = include_str!("operation_groups.tsv");

/// A named group of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Looks at items, without their content.
    Read,
    /// Sends content.
    Upload,
    /// Fetches content.
    Download,
    /// Makes and changes items.
    Write,
    /// Decides who else may reach an item.
    Share,
    /// Removes items.
    Delete,
    /// Manages the enterprise.
    Admin,
    /// Box Sign.
    Sign,
    /// Box AI.
    Ai,
}

impl Group {
    /// All groups, in the order in which they are listed.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Upload,
        Self::Download,
        Self::Write,
        Self::Share,
        Self::Delete,
        Self::Admin,
        Self::Sign,
        Self::Ai,
    ];

    /// The group of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.as_str() == name)
    }

    /// Its name in `allow` and `deny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Write => "write",
            Self::Share => "share",
            Self::Delete => "delete",
            Self::Admin => "admin",
            Self::Sign => "sign",
            Self::Ai => "ai",
        }
    }

    /// What its operations do, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Read => "look at items, users, metadata and events, and search; no content",
            Self::Upload => "send content: new files, new versions, uploads in parts",
            Self::Download => "fetch content: files, zip files, thumbnails",
            Self::Write => "make and change items, comments, tasks and metadata; start workflows",
            Self::Share => "collaborations, shared links and file requests",
            Self::Delete => "remove items, versions, comments, tasks and metadata",
            Self::Admin => "manage users, groups, policies, webhooks and other settings of the enterprise",
            Self::Sign => "Box Sign: requests and templates",
            Self::Ai => "Box AI: questions, extraction and agents",
        }
    }
}

/// A set of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Groups(u16);

impl Groups {
    fn contains(self, group: Group) -> bool {
        self.0 & (1 << group as u16) != 0
    }
}

/// One line of the table.
#[derive(Debug)]
struct Line {
    method: Method,
    /// Without the version. `None`: any one segment.
    segments: Vec<Option<&'static str>>,
    groups: Groups,
}

impl Line {
    /// `is`: compares a literal segment.
    fn fits(&self, method: &Method, path: &str, is: fn(&str, &str) -> bool) -> bool {
        let mut have = segments_of(path).skip(1);
        (self.method == method || (self.method == Method::GET && method == Method::HEAD))
            && self.segments.iter().all(|wanted| match (wanted, have.next()) {
                (_, None) => false,
                (None, Some(segment)) => !segment.is_empty(),
                (Some(wanted), Some(segment)) => is(wanted, segment),
            })
            && have.next().is_none()
    }
}

/// The lines by their first segment after the version, which is always literal.
static LINES: LazyLock<HashMap<&'static str, Vec<Line>>> = LazyLock::new(|| {
    let mut lines: HashMap<_, Vec<Line>> = HashMap::new();
    for (method, path, groups) in rows() {
        let line = Line { method, segments: segments(path), groups };
        if let Some(&Some(first)) = line.segments.first() {
            lines.entry(first).or_default().push(line);
        }
    }
    lines
});

/// Of a path of the table, without the version.
fn segments(path: &'static str) -> Vec<Option<&'static str>> {
    segments_of(path).skip(1).map(|segment| (!segment.starts_with('{')).then_some(segment)).collect()
}

/// Representations of a file, such as its pages as pictures: Box names them by the URLs in answers, and its documents have no
/// operation for them.
static REPRESENTATIONS: LazyLock<Line> = LazyLock::new(|| Line {
    method: Method::GET,
    segments: vec![Some("internal_files")],
    groups: Groups(1 << Group::Download as u16),
});

/// The lines of the table. A test reads all of it, so none is left out.
fn rows() -> impl Iterator<Item = (Method, &'static str, Groups)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        let method = Method::from_bytes(columns.next()?.as_bytes()).ok()?;
        let path = columns.next()?;
        let groups = columns.next()?.split(',').filter_map(Group::parse);
        Some((method, path, Groups(groups.fold(0, |all, group| all | 1 << group as u16))))
    })
}

/// The operations of a group: method and path, with placeholders in braces.
pub fn operations(group: Group) -> impl Iterator<Item = (Method, &'static str)> {
    rows().filter(move |(_, _, groups)| groups.contains(group)).map(|(method, path, _)| (method, path))
}

/// The groups of an operation.
#[derive(Debug)]
pub struct Found {
    as_sent: Option<&'static Line>,
    /// As Box may read the path, in any spelling.
    in_any_spelling: Option<&'static Line>,
}

impl Found {
    /// Looks the operation up.
    pub fn of(operation: Operation<'_>) -> Self {
        let as_sent = find(operation.method, operation.path, |wanted, have| wanted == have);
        let plain = plain_path(operation.path);
        let in_any_spelling = if plain == operation.path {
            as_sent
        } else {
            // The table has literal segments with capital letters.
            find(operation.method, &plain, str::eq_ignore_ascii_case)
        };
        Self { as_sent, in_any_spelling }
    }

    /// Whether the operation is in the group, and no spelling makes it another operation.
    pub fn is_in(&self, group: Group) -> bool {
        let (Some(as_sent), Some(any)) = (self.as_sent, self.in_any_spelling) else { return false };
        std::ptr::eq(as_sent, any) && as_sent.groups.contains(group)
    }

    /// Whether Box may read the operation as one of the group.
    pub fn may_be_in(&self, group: Group) -> bool {
        [self.as_sent, self.in_any_spelling].into_iter().flatten().any(|line| line.groups.contains(group))
    }

    /// The segments of the operation's path that name something of Box: those in place of the placeholders of Box's documents,
    /// as Box reads them. `None`: the documents have no such operation.
    pub(crate) fn placeholders<'p>(&self, path: &'p str) -> Option<Vec<Cow<'p, str>>> {
        let line = self.as_sent.or(self.in_any_spelling)?;
        let segments = line.segments.iter().zip(segments_of(path).skip(1));
        Some(segments.filter(|(literal, _)| literal.is_none()).map(|(_, segment)| plain(segment)).collect())
    }

    /// The names of its groups, as far as they are certain.
    pub fn names(&self) -> Vec<&'static str> {
        Group::ALL.into_iter().filter(|group| self.is_in(*group)).map(Group::as_str).collect()
    }
}

fn find(method: &Method, path: &str, is: fn(&str, &str) -> bool) -> Option<&'static Line> {
    let mut segments = segments_of(path);
    let first = (segments.next() == Some("2.0")).then(|| segments.next())??;
    if first == "internal_files" {
        return Some(&*REPRESENTATIONS).filter(|_| method == Method::GET || method == Method::HEAD);
    }
    LINES.get(first)?.iter().find(|line| line.fits(method, path, is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_found_again() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(rows().count(), lines);
        assert!(lines > 300, "{lines}");
        for (method, path, groups) in rows() {
            assert_ne!(groups.0, 0, "{method} {path}");
            let sent = path.replace(['{', '}'], "");
            let found = Found::of(Operation { method: &method, path: &sent });
            assert_eq!(found.as_sent.map(|line| &line.segments), Some(&segments(path)), "{method} {sent}");
            assert!(Group::ALL.into_iter().all(|group| found.is_in(group) == groups.contains(group)));
        }
    }

    #[test]
    fn what_stands_in_place_of_placeholders_is_found() {
        let of = |method: &str, path: &'static str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            Found::of(Operation { method: &method, path }).placeholders(path)
        };
        let these = |segments: &[&'static str]| Some(segments.iter().map(|text| Cow::from(*text)).collect());
        assert_eq!(of("DELETE", "/2.0/files/17/versions/abc"), these(&["17", "abc"]));
        assert_eq!(of("DELETE", "/2.0/FILES/%31%37;v=1/"), these(&["17"]), "in any spelling");
        assert_eq!(of("POST", "/2.0/folders"), these(&[]));
        assert_eq!(of("POST", "/2.0/nothing/17"), None);
    }

    /// The first line that fits is the most specific one only in this order.
    #[test]
    fn literal_segments_come_before_placeholders() {
        let paths: Vec<&str> = rows().map(|(_, path, _)| path).collect();
        assert!(paths.is_sorted());
        for group in Group::ALL {
            assert!(operations(group).next().is_some(), "{group:?}");
            assert_eq!(Group::parse(group.as_str()), Some(group));
        }
    }
}
