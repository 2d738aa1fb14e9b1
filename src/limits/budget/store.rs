//! The file of the counts: `budgets.redb` in the state folder. Only the thread of [`super::writer`] writes it.
//!
//! A file that redb cannot read is renamed, never overwritten, since it may still be needed to find out what was spent.
//! Every opening verifies all pages: after a clean shutdown redb would otherwise trust the file, and panic if it is
//! damaged. Why redb: `docs/decisions/redb.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use tracing::{error, info, warn};

use super::account::{Account, Entry, Sheet};
use super::counts::CallCounts;
use super::definition::Key;
use super::period::Span;
use crate::net::file_identity::FileIdentity;

/// Span (a day, or a month for calls of no known day), app, identity, class.
const CALLS: TableDefinition<'_, (&str, &str, &str, &str), u64> = TableDefinition::new("calls");
/// Span, name, key, key value.
const BUDGETS: TableDefinition<'_, (&str, &str, &str, &str), u64> = TableDefinition::new("budgets");
const ABOUT: TableDefinition<'_, &str, i64> = TableDefinition::new("about");

const FILE: &str = "budgets.redb";
/// The version of the tables. A higher one was written by a later boxgate. Version 1 counted calls by month: its rows are
/// read as calls of no known day. A file gets this version with the first change, so that until then the earlier boxgate
/// can go back to it.
const FORMAT: i64 = 2;
/// redb's cache in bytes; the whole file has some hundreds of KiB, or a few MiB with many apps.
const CACHE: usize = 1024 * 1024;

/// The counts in the file.
type Stored = BTreeMap<Sheet, BTreeMap<Account, u64>>;

/// The file, locked.
pub(crate) struct Store {
    folder: PathBuf,
    /// `None` after a failed write, after which redb must be opened again.
    database: Option<Database>,
    /// The file that it has open.
    file: Option<FileIdentity>,
    /// The counts in the file.
    stored: Stored,
    since: Timestamp,
    /// The number of this replica, by which the others know its counts.
    replica: u64,
    /// Whether the file has that number.
    is_replica_stored: bool,
    /// The number of corrupt files found.
    set_aside: u64,
    /// Locked before the file is opened, so that two gateways do not both create or rename it.
    _lock: File,
}

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Another process has locked it.
    InUse(PathBuf),
    /// A later version of boxgate wrote it.
    TooNew(PathBuf),
    /// The folder or the file cannot be created, read or written.
    Unusable(PathBuf, String),
    /// No thread could be started.
    Thread(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "{} is in use by another process: each gateway needs a [state] dir of its own; to count together, set [state] redis",
                path.display()
            ),
            Self::TooNew(path) => write!(
                f,
                "{} was written by a later version of boxgate: run that one, or choose another [state] dir",
                path.display()
            ),
            Self::Unusable(path, why) => write!(
                f,
                "counts of calls cannot be stored in {}: {why}; set [state] dir to a folder that this user may write to",
                path.display()
            ),
            Self::Thread(why) => {
                write!(f, "the thread that writes the counts of calls cannot be started: {why}")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// What is wrong with a file.
enum Fault {
    Open(OpenError),
    Corrupt(String),
}

impl Store {
    /// Opens the file, or creates it; renames a corrupt one and logs an error.
    ///
    /// # Errors
    /// The file is in use, from a later version, or the folder cannot be written.
    pub(crate) fn open(folder: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let unusable = |path: &Path, why: io::Error| OpenError::Unusable(path.to_owned(), why.to_string());
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|why| unusable(folder, why))?;
        let lock_path = folder.join("budgets.lock");
        let lock = private_file(&lock_path).map_err(|why| unusable(&lock_path, why))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.join(FILE))),
            // The file system does not support these locks; redb's own lock remains.
            Err(TryLockError::Error(why)) if why.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(why)) => return Err(unusable(&lock_path, why)),
        }
        let mut store = Self {
            folder: folder.to_owned(),
            database: None,
            file: None,
            stored: Stored::new(),
            since: now,
            replica: fastrand::u64(..),
            is_replica_stored: false,
            set_aside: 0,
            _lock: lock,
        };
        store.reopen(now)?;
        Ok(store)
    }

    /// The counts in the file.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.stored.iter().flat_map(|(sheet, counts)| {
            counts.iter().map(|(account, count)| ((sheet.span, account.clone()), *count))
        })
    }

    /// When counting began.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// The number of this replica, which lasts as long as the counts in the file. `None`: it is not in the file yet, which
    /// it is after the first write that changes something.
    pub(super) fn replica(&self) -> Option<u64> {
        self.is_replica_stored.then_some(self.replica)
    }

    /// The number of corrupt files found since the start.
    pub(crate) fn set_aside(&self) -> u64 {
        self.set_aside
    }

    /// Replaces the counts in the file; returns once they are synced to disk. Only rows that have changed are written, and
    /// only sheets that may have changed are looked at. A count in the file never becomes smaller. Returns the sheets that
    /// were looked at and had not changed.
    ///
    /// # Errors
    /// The reason, for the log. The next write tries again.
    pub(super) fn write(&mut self, counts: &CallCounts, now: Timestamp) -> Result<Vec<Sheet>, String> {
        let path = self.folder.join(FILE);
        let is_elsewhere = match fs::metadata(&path) {
            Ok(found) => self.file != Some(FileIdentity::of(&found)),
            Err(why) => why.kind() == io::ErrorKind::NotFound,
        };
        if self.database.is_some() && is_elsewhere {
            // What is written to a file without a name is lost at the end.
            warn!(file = %path.display(), "the file of the counts of calls was removed or replaced while the gateway runs; the counts are written again");
            self.database = None;
        }
        if self.database.is_none() {
            self.reopen(now).map_err(|why| why.to_string())?;
        }
        let sheets = counts.sheet_states();
        let (mut changed, mut unchanged): (Vec<Entry>, Vec<Sheet>) = (Vec::new(), Vec::new());
        for (sheet, may_have_changed) in &sheets {
            let stored = self.stored.get(sheet);
            // A file that has been begun anew has none of them.
            if stored.is_some() && !may_have_changed {
                continue;
            }
            let known = |account: &Account| stored.and_then(|counts| counts.get(account)).copied();
            let rows = counts.entries(*sheet).into_iter();
            let before = changed.len();
            changed.extend(
                rows.filter(|(account, count)| *count > known(account).unwrap_or_default())
                    .map(|(account, count)| ((sheet.span, account), count)),
            );
            if changed.len() == before {
                unchanged.push(*sheet);
            }
        }
        let is_gone = |sheet: &Sheet| sheets.binary_search_by_key(sheet, |(sheet, _)| *sheet).is_err();
        let gone: Vec<Sheet> = self.stored.keys().copied().filter(is_gone).collect();
        let gone_rows: Vec<(Span, Account)> = gone
            .iter()
            .filter_map(|sheet| Some((sheet, self.stored.get(sheet)?)))
            .flat_map(|(sheet, counts)| counts.keys().map(|account| (sheet.span, account.clone())))
            .collect();
        let Some(database) = self.database.as_ref().filter(|_| !changed.is_empty() || !gone_rows.is_empty())
        else {
            return Ok(unchanged);
        };
        if let Err(why) = commit(database, self.since, self.replica, &changed, &gone_rows) {
            self.database = None;
            return Err(format!("{}: {why}", path.display()));
        }
        self.is_replica_stored = true;
        for ((span, account), count) in changed {
            self.stored.entry(Sheet::of(span, &account)).or_default().insert(account, count);
        }
        for sheet in gone {
            self.stored.remove(&sheet);
        }
        Ok(unchanged)
    }

    fn reopen(&mut self, now: Timestamp) -> Result<(), OpenError> {
        let path = self.folder.join(FILE);
        let unusable = |why: io::Error| OpenError::Unusable(path.clone(), why.to_string());
        if fs::exists(&path).map_err(unusable)? {
            match open(&path) {
                Ok((database, Contents { since, replica, stored, .. })) => {
                    (self.database, self.since, self.stored) = (Some(database), since, stored);
                    self.file = Some(FileIdentity::of(&fs::metadata(&path).map_err(unusable)?));
                    self.is_replica_stored = replica.is_some();
                    self.replica = replica.unwrap_or(self.replica);
                    return Ok(());
                }
                Err(Fault::Open(why)) => return Err(why),
                Err(Fault::Corrupt(why)) => {
                    let aside = aside(&path, now);
                    fs::rename(&path, &aside).map_err(unusable)?;
                    self.set_aside += 1;
                    error!(
                        file = %path.display(), kept = %aside.display(), reason = %why,
                        "the file of the calls counted so far is corrupt and was set aside: budgets begin at zero, and the calls of the last 13 months are not known here. Box's admin console has the month's API calls; lower `calls` of the budgets by these until the month ends. Look for a failing disk"
                    );
                }
            }
        }
        // Created under another name, so that a file with the final name is always complete.
        let begun = path.with_extension("redb.new");
        match fs::remove_file(&begun) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(unusable(why)),
            _ => {}
        }
        let file = private_file(&begun).map_err(unusable)?;
        let database = database(file).map_err(|fault| match fault {
            Fault::Open(why) => why,
            Fault::Corrupt(why) => OpenError::Unusable(begun.clone(), why),
        })?;
        commit(&database, self.since, self.replica, &[], &[])
            .map_err(|why| OpenError::Unusable(begun.clone(), why.to_string()))?;
        fs::rename(&begun, &path).map_err(unusable)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
        (self.database, self.stored, self.is_replica_stored) = (Some(database), Stored::new(), true);
        self.file = Some(FileIdentity::of(&fs::metadata(&path).map_err(unusable)?));
        info!(file = %path.display(), "counts of calls begin at zero in a new file");
        Ok(())
    }
}

/// The content of a valid file.
struct Contents {
    format: i64,
    since: Timestamp,
    replica: Option<u64>,
    stored: Stored,
}

fn open(path: &Path) -> Result<(Database, Contents), Fault> {
    let unusable = |why: io::Error| Fault::Open(OpenError::Unusable(path.to_owned(), why.to_string()));
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(unusable)?;
    let about = file.metadata().map_err(unusable)?;
    if !about.is_file() {
        return Err(unusable(io::Error::other("it is not a regular file")));
    }
    // redb treats an empty file as new, but this one must have had content.
    if about.len() == 0 {
        return Err(Fault::Corrupt("it is empty".to_owned()));
    }
    let database = database(file).map_err(|fault| match fault {
        Fault::Open(OpenError::InUse(_)) => Fault::Open(OpenError::InUse(path.to_owned())),
        Fault::Open(OpenError::Unusable(_, why)) => Fault::Open(OpenError::Unusable(path.to_owned(), why)),
        other => other,
    })?;
    let contents = read(&database).map_err(|why| match why {
        redb::Error::Io(why) if !is_of_content(&why) => unusable(why),
        why => Fault::Corrupt(why.to_string()),
    })?;
    if contents.format > FORMAT {
        return Err(Fault::Open(OpenError::TooNew(path.to_owned())));
    }
    Ok((database, contents))
}

fn database(file: File) -> Result<Database, Fault> {
    let unusable = |why: String| Fault::Open(OpenError::Unusable(PathBuf::new(), why));
    let backend = FileBackend::new(file).map_err(|why| unusable(why.to_string()))?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder.create_with_backend(backend).map_err(|why| match why {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Fault::Open(OpenError::InUse(PathBuf::new()))
        }
        DatabaseError::Storage(StorageError::Io(why)) if !is_of_content(&why) => unusable(why.to_string()),
        why => Fault::Corrupt(why.to_string()),
    })
}

/// Whether an I/O error is about the file's content, not the disk or permissions.
fn is_of_content(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn read(database: &Database) -> Result<Contents, redb::Error> {
    let reading = database.begin_read()?;
    let about = reading.open_table(ABOUT)?;
    let missing = || redb::Error::Corrupted("it is not from boxgate".to_owned());
    let format = about.get("format")?.ok_or_else(missing)?.value();
    let since = about.get("since")?.ok_or_else(missing)?.value();
    let since = Timestamp::from_second(since).map_err(|_| missing())?;
    let replica = about.get("replica")?.map(|number| number.value().cast_unsigned());
    let mut stored = Stored::new();
    if format > FORMAT {
        return Ok(Contents { format, since, replica, stored });
    }
    let mut names = Names::default();
    let mut note = |span: &str, account: Account, count: u64| {
        let span = Span::read(span).ok_or_else(missing)?;
        stored.entry(Sheet::of(span, &account)).or_default().insert(account, count);
        Ok::<_, redb::Error>(())
    };
    for row in reading.open_table(CALLS)?.iter()? {
        let (at, count) = row?;
        let (span, app, identity, class) = at.value();
        let (app, identity, class) = (names.get(app), names.get(identity), names.get(class));
        note(span, Account::Calls { app, identity, class }, count.value())?;
    }
    for row in reading.open_table(BUDGETS)?.iter()? {
        let (at, count) = row?;
        let (span, name, key, value) = at.value();
        let key = Key::named(key).ok_or_else(missing)?;
        let (name, value) = (names.get(name), names.get(value));
        note(span, Account::Budget { name, key, value }, count.value())?;
    }
    Ok(Contents { format, since, replica, stored })
}

/// Each name once, since every day has the same ones.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.0.insert(new.clone());
        new
    }
}

/// Writes in one transaction; redb syncs the file before it returns.
fn commit(
    database: &Database,
    since: Timestamp,
    replica: u64,
    changed: &[Entry],
    gone: &[(Span, Account)],
) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    {
        let mut about = writing.open_table(ABOUT)?;
        about.insert("format", FORMAT)?;
        about.insert("since", since.as_second())?;
        about.insert("replica", replica.cast_signed())?;
        let mut calls = writing.open_table(CALLS)?;
        let mut budgets = writing.open_table(BUDGETS)?;
        let rows = changed.iter().map(|(at, count)| (at, Some(*count)));
        for ((span, account), count) in rows.chain(gone.iter().map(|at| (at, None))) {
            let span = span.to_string();
            let (table, at) = match account {
                Account::Calls { app, identity, class } => {
                    (&mut calls, (&*span, &**app, &**identity, &**class))
                }
                Account::Budget { name, key, value } => {
                    (&mut budgets, (&*span, &**name, key.as_str(), &**value))
                }
            };
            match count {
                Some(count) => table.insert(at, count)?,
                None => table.remove(at)?,
            };
        }
    }
    Ok(writing.commit()?)
}

/// A free name for a corrupt file.
fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let mut aside = path.with_extension(format!("redb.corrupt-{time}"));
    let mut more = 1;
    while fs::exists(&aside).unwrap_or(false) {
        more += 1;
        aside = path.with_extension(format!("redb.corrupt-{time}.{more}"));
    }
    aside
}

/// Opens a file that only this user can access.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
pub(super) mod tests;
