use super::*;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

/// A temporary folder, removed when this is dropped.
pub(in crate::limits::budget) struct Folder(pub(in crate::limits::budget) PathBuf);

impl Folder {
    pub(in crate::limits::budget) fn new() -> Self {
        let name = format!("boxgate-budget-{}-{}", std::process::id(), fastrand::u64(..));
        Self(std::env::temp_dir().join(name).join("state"))
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// The corrupt files that were renamed.
    fn aside(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.to_string_lossy().contains(".redb.corrupt-")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn now() -> Timestamp {
    "2026-11-25T14:20:00.5Z".parse().unwrap()
}

fn entry(span: &str, app: &str, count: u64) -> Entry {
    let account = Account::Calls { app: app.into(), identity: "i".into(), class: "search".into() };
    ((Span::read(span).unwrap(), account), count)
}

/// Opens a file that nobody has open. A test that starts a process just now may hold copies of all descriptors for a
/// moment, and with them the lock of a file that was closed: until the new process executes its program.
pub(in crate::limits::budget) fn unless_in_use<T>(
    open: impl Fn() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    for _ in 0..10_000 {
        match open() {
            Err(OpenError::InUse(_)) => thread::sleep(Duration::from_millis(1)),
            opened => return opened,
        }
    }
    open()
}

fn opened(folder: &Path, now: Timestamp) -> Store {
    unless_in_use(|| Store::open(folder, now)).unwrap()
}

/// Writes these counts and no others.
fn write(store: &mut Store, entries: &[Entry]) -> Result<Vec<Sheet>, String> {
    store.write(&CallCounts::new(now(), entries.iter().cloned()), now())
}

/// In order.
fn all(store: &Store) -> Vec<Entry> {
    let mut entries: Vec<Entry> = store.entries().collect();
    entries.sort();
    entries
}

/// By hand, or by a program that tidies up. The open file would take the counts with it.
#[test]
fn a_file_that_is_removed_or_replaced_meanwhile_gets_the_counts_again() {
    let folder = Folder::new();
    let mut store = opened(&folder.0, now());
    let (first, second) = (entry("2026-11-25", "a", 3), entry("2026-11-25", "b", 4));
    write(&mut store, std::slice::from_ref(&first)).unwrap();
    fs::remove_file(folder.file()).unwrap();
    write(&mut store, &[first.clone(), second.clone()]).unwrap();
    assert!(folder.file().exists());
    // A link to a copy of before in its place: what that lacks is written to it.
    fs::copy(folder.file(), folder.0.join("copy")).unwrap();
    fs::remove_file(folder.file()).unwrap();
    symlink("copy", folder.file()).unwrap();
    let third = entry("2026-11-25", "c", 5);
    write(&mut store, &[first.clone(), second.clone(), third.clone()]).unwrap();
    let file = store.file;
    write(&mut store, std::slice::from_ref(&third)).unwrap();
    assert_eq!(store.file, file, "a link is no other file");
    drop(store);
    assert_eq!(all(&opened(&folder.0, now())), [first, second, third]);
    // Without the folder the reason is told.
    let mut store = opened(&folder.0, now());
    fs::remove_dir_all(&folder.0).unwrap();
    fs::create_dir_all(folder.0.parent().unwrap()).unwrap();
    let why = write(&mut store, &[entry("2026-11-25", "d", 1)]).unwrap_err();
    assert!(why.contains("budgets.redb"), "{why}");
}

#[test]
fn a_restart_keeps_the_counts() {
    let folder = Folder::new();
    let budget = |key, value: &str| Account::Budget { name: "plan".into(), key, value: value.into() };
    let month = Span::read("2026-11").unwrap();
    let mut entries = vec![
        entry("2026-11", "a", 5),
        entry("2026-10", "é \u{0}", u64::MAX),
        ((month, budget(Key::Global, "")), 5),
        ((month, budget(Key::App, "x")), 6),
        ((month, budget(Key::Identity, "x")), 7),
        ((Span::read("2026-11-25").unwrap(), budget(Key::Global, "")), 1),
    ];
    entries.sort();
    let mut store = opened(&folder.0, now());
    write(&mut store, &entries).unwrap();
    drop(store);
    let mut store = opened(&folder.0, Timestamp::MAX);
    assert_eq!((all(&store), store.since().as_second(), store.set_aside()), (entries, now().as_second(), 0));
    // A count never becomes smaller; dropped counts are removed.
    write(&mut store, &[entry("2026-11", "a", 4)]).unwrap();
    drop(store);
    assert_eq!(all(&opened(&folder.0, now())), [entry("2026-11", "a", 5)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.0), mode(&folder.file())), (0o700, 0o600));
}

#[test]
fn after_a_crash_the_file_has_all_that_was_written() {
    let (folder, crashed) = (Folder::new(), Folder::new());
    fs::create_dir_all(&crashed.0).unwrap();
    let mut store = opened(&folder.0, now());
    for count in 1..=20 {
        write(&mut store, &[entry("2026-11", "a", count)]).unwrap();
        fs::copy(folder.file(), crashed.file()).unwrap();
        let left = opened(&crashed.0, now());
        assert_eq!((all(&left), left.set_aside()), (vec![entry("2026-11", "a", count)], 0));
    }
    // A crash while the file is created.
    fs::remove_file(crashed.file()).unwrap();
    fs::write(crashed.0.join("budgets.redb.new"), "half").unwrap();
    assert_eq!(all(&opened(&crashed.0, now())), []);
}

#[test]
fn a_corrupt_file_is_renamed() {
    let folder = Folder::new();
    let good = || {
        let mut store = opened(&folder.0, now());
        let entries: Vec<Entry> = (10..60).map(|n| entry("2026-11", &format!("app-{n}"), n)).collect();
        write(&mut store, &entries).unwrap();
        drop(store);
        fs::read(folder.file()).unwrap()
    };
    let mut random = fastrand::Rng::with_seed(7);
    type Damage<'d> = &'d mut dyn FnMut(&mut Vec<u8>);
    let damages: [(&str, Damage<'_>); 7] = [
        ("empty", &mut |bytes| bytes.clear()),
        ("random", &mut |bytes| bytes.iter_mut().for_each(|byte| *byte = random.u8(..))),
        ("short text", &mut |bytes| *bytes = b"hello".to_vec()),
        ("half", &mut |bytes| bytes.truncate(bytes.len() / 2)),
        ("one byte short", &mut |bytes| bytes.truncate(bytes.len() - 1)),
        ("both commits", &mut |bytes| bytes[64..320].iter_mut().for_each(|byte| *byte ^= 0xff)),
        ("a name", &mut |bytes| {
            // Damages all pages, so that no older commit is intact.
            let offsets: Vec<usize> =
                (0..bytes.len() - 6).filter(|at| bytes[*at..].starts_with(b"app-42")).collect();
            assert!(!offsets.is_empty());
            offsets.into_iter().for_each(|at| bytes[at + 5] = b'3');
        }),
    ];
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        let mut bytes = good();
        damage(&mut bytes);
        fs::write(folder.file(), &bytes).unwrap();
        let store = opened(&folder.0, now());
        assert_eq!((all(&store), store.set_aside()), (Vec::new(), 1), "{what}");
        let aside = folder.aside();
        assert_eq!(aside.len(), number + 1, "{what}");
        assert!(aside.iter().any(|path| fs::read(path).unwrap() == bytes), "{what}");
    }
    assert!(folder.aside().contains(&folder.0.join("budgets.redb.corrupt-20261125T142000Z")));
    // A redb file of another program.
    fs::remove_file(folder.file()).unwrap();
    drop(Database::create(folder.file()).unwrap());
    assert_eq!(opened(&folder.0, now()).set_aside(), 1);
}

/// Wherever a byte is changed or the file is truncated, the counts are intact, those of the commit before, or the file
/// is renamed. Nothing panics, which would end the gateway at each start.
#[test]
fn no_damage_causes_a_panic_or_a_wrong_count() {
    let folder = Folder::new();
    let mut store = opened(&folder.0, now());
    let entries = |more: u64| -> Vec<Entry> {
        (10..40).map(|n| entry("2026-11", &format!("app-{n}"), n + more)).collect()
    };
    write(&mut store, &entries(0)).unwrap();
    write(&mut store, &entries(1)).unwrap();
    let unclean = fs::read(folder.file()).unwrap();
    drop(store);
    let clean = fs::read(folder.file()).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..100 {
        let mut bytes = if round % 2 == 0 { clean.clone() } else { unclean.clone() };
        match random.u8(0..8) {
            0 => bytes.truncate(random.usize(..bytes.len())),
            1 => {
                let (from, length) = (random.usize(..bytes.len()), random.usize(..5000));
                bytes.iter_mut().skip(from).take(length).for_each(|byte| *byte = 0);
            }
            2 => bytes[random.usize(..512)] ^= 1 << random.u8(..8),
            _ => {
                let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
                bytes[used[random.usize(..used.len())]] ^= 1 << random.u8(..8);
            }
        }
        fs::write(folder.file(), &bytes).unwrap();
        let store = opened(&folder.0, now());
        let found = all(&store);
        let whole = found == entries(1) || (round % 2 == 1 && found == entries(0));
        assert!(whole != (store.set_aside() == 1), "round {round}: {found:?}");
    }
}

#[test]
fn a_file_in_use_is_an_error_that_says_what_to_do() {
    let folder = Folder::new();
    let store = opened(&folder.0, now());
    let why = Store::open(&folder.0, now()).err().unwrap().to_string();
    assert!(why.contains(folder.file().to_str().unwrap()) && why.contains("[state] redis"), "{why}");
    drop(store);
    // Opened by a process that does not use the lock file.
    let other = Database::create(folder.file()).unwrap();
    assert!(matches!(Store::open(&folder.0, now()), Err(OpenError::InUse(path)) if path == folder.file()));
    drop(other);
    opened(&folder.0, now());
}

#[test]
fn the_file_of_a_later_version_is_not_changed() {
    let folder = Folder::new();
    let store = opened(&folder.0, now());
    let writing = store.database.as_ref().unwrap().begin_write().unwrap();
    writing.open_table(ABOUT).unwrap().insert("format", FORMAT + 1).unwrap();
    writing.commit().unwrap();
    drop(store);
    assert!(matches!(unless_in_use(|| Store::open(&folder.0, now())), Err(OpenError::TooNew(_))));
    assert_eq!(folder.aside(), Vec::<PathBuf>::new());
}

/// A file as version 1 wrote it: the same tables, with calls by month.
fn write_version_1(folder: &Folder) {
    fs::create_dir_all(&folder.0).unwrap();
    let database = Database::create(folder.file()).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut about = writing.open_table(ABOUT).unwrap();
        about.insert("format", 1).unwrap();
        about.insert("since", now().as_second()).unwrap();
        let mut calls = writing.open_table(CALLS).unwrap();
        calls.insert(("2026-10", "a", "i", "search"), 4).unwrap();
        calls.insert(("2026-11", "a", "i", "search"), 5).unwrap();
        calls.insert(("2026-11", "", "i", "token"), 1).unwrap();
        let mut budgets = writing.open_table(BUDGETS).unwrap();
        budgets.insert(("2026-11", "plan", "global", ""), 5).unwrap();
        budgets.insert(("2026-11-25", "day", "app", "a"), 2).unwrap();
    }
    writing.commit().unwrap();
}

fn format_of(store: &Store) -> i64 {
    let reading = store.database.as_ref().unwrap().begin_read().unwrap();
    reading.open_table(ABOUT).unwrap().get("format").unwrap().unwrap().value()
}

/// The calls of a month.
fn sum(counts: &CallCounts, month: &str) -> u64 {
    counts.calls(Span::read(month).unwrap()).iter().map(|(_, calls)| calls).sum()
}

#[test]
fn counts_of_version_1_stay_counts_of_their_months() {
    let folder = Folder::new();
    write_version_1(&folder);
    let mut store = opened(&folder.0, Timestamp::MAX);
    assert_eq!((store.since().as_second(), store.set_aside()), (now().as_second(), 0));
    let before = all(&store);
    assert_eq!(before.len(), 5);
    let counts = CallCounts::new(now(), []);
    counts.go_on_from(store.since(), store.entries());
    assert_eq!((sum(&counts, "2026-10"), sum(&counts, "2026-11")), (4, 6));
    // Nothing has changed, so version 1 can still read the file.
    store.write(&counts, now()).unwrap();
    assert_eq!((format_of(&store), store.replica()), (1, None));
    let ((day, account), _) = entry("2026-11-26", "a", 0);
    counts.count(day, account).fetch_add(7, Ordering::Relaxed);
    assert_eq!(sum(&counts, "2026-11"), 13);
    store.write(&counts, now()).unwrap();
    assert_eq!(format_of(&store), 2, "version 1 refuses it: it would read the day as a month");
    let replica = store.replica();
    assert!(replica.is_some(), "other replicas may know the counts by it");
    drop(store);
    let store = opened(&folder.0, now());
    assert_eq!(store.replica(), replica);
    let mut after = before;
    after.push(entry("2026-11-26", "a", 7));
    after.sort();
    assert_eq!(all(&store), after);
    let counts = CallCounts::new(now(), store.entries());
    assert_eq!((sum(&counts, "2026-10"), sum(&counts, "2026-11")), (4, 13));
}

#[test]
fn only_sheets_that_may_have_changed_are_looked_at_until_the_file_is_begun_anew() {
    let folder = Folder::new();
    let mut store = opened(&folder.0, now());
    let counts = CallCounts::new(now(), [entry("2026-09-30", "a", 3), entry("2026-11-25", "a", 1)]);
    let spans = [Span::read("2026-11-25").unwrap(), Span::read("2026-11").unwrap()];
    assert_eq!(store.write(&counts, now()).unwrap(), []);
    let unchanged = store.write(&counts, now()).unwrap();
    assert_eq!(unchanged.len(), 2);
    counts.close(&unchanged, spans);
    assert_eq!(store.write(&counts, now()).unwrap().len(), 1, "that of today");
    // After a failed write, the file turns out to be corrupt.
    let replica = store.replica();
    store.database = None;
    fs::write(folder.file(), "nothing").unwrap();
    store.write(&counts, now()).unwrap();
    assert_eq!((store.set_aside(), store.replica()), (1, replica), "the counts go on under their name");
    drop(store);
    let found = all(&opened(&folder.0, now()));
    assert_eq!(found, [entry("2026-09-30", "a", 3), entry("2026-11-25", "a", 1)]);
}

#[test]
fn an_unusable_folder_is_an_error() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.parent().unwrap()).unwrap();
    fs::write(&folder.0, "a file").unwrap();
    let why = unless_in_use(|| Store::open(&folder.0, now())).err().unwrap().to_string();
    assert!(why.contains("[state] dir") && why.contains(folder.0.to_str().unwrap()), "{why}");
    let folder = Folder::new();
    fs::create_dir_all(folder.file()).unwrap();
    assert!(matches!(unless_in_use(|| Store::open(&folder.0, now())), Err(OpenError::Unusable(..))));
}

/// A simulated disk that can be full.
#[derive(Debug)]
struct Disk(InMemoryBackend, Arc<AtomicBool>);

impl Disk {
    fn check(&self) -> Result<(), io::Error> {
        if self.1.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check()?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.check()?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check()?;
        self.0.write(offset, data)
    }
}

#[test]
fn a_failed_write_is_repeated() {
    let folder = Folder::new();
    let mut store = opened(&folder.0, now());
    write(&mut store, &[entry("2026-11", "a", 1)]).unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk(InMemoryBackend::new(), full.clone());
    store.database = Some(Database::builder().create_with_backend(disk).unwrap());
    full.store(true, Ordering::Relaxed);
    let why = write(&mut store, &[entry("2026-11", "a", 2)]).unwrap_err();
    assert!(why.contains(folder.file().to_str().unwrap()), "{why}");
    write(&mut store, &[entry("2026-11", "a", 3)]).unwrap();
    drop(store);
    assert_eq!(all(&opened(&folder.0, now())), [entry("2026-11", "a", 3)]);
}

const CHILD: &str = "BOXGATE_TEST_STORE_CHILD";

/// Not a test: [`a_file_that_could_not_grow_is_written_again`], in a process with a limit on file sizes.
#[test]
#[ignore = "a child process of another test"]
fn writes_files_that_cannot_grow() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let many = |count: u64, apps: u32| -> Vec<Entry> {
        (0..apps).map(|n| entry("2026-11", &format!("app-{n:06}"), count)).collect()
    };
    for kib in [100, 150, 200, 300, 500] {
        let _ = fs::remove_dir_all(&folder);
        let mut store = opened(&folder, now());
        let size = fs::metadata(folder.join(FILE)).unwrap().len();
        rlimit::setrlimit(rlimit::Resource::FSIZE, size + (kib << 10), rlimit::INFINITY).unwrap();
        let mut good = Vec::new();
        let mut failed = 0;
        for apps in (0..20_000).step_by(1000) {
            let entries = many(u64::from(apps) + 1, apps);
            match write(&mut store, &entries) {
                Ok(_) => good = entries,
                Err(_) => failed += 1,
            }
        }
        assert!(failed > 0, "{kib} KiB more were enough");
        rlimit::setrlimit(rlimit::Resource::FSIZE, rlimit::INFINITY, rlimit::INFINITY).unwrap();
        // The file as a crash at this moment would leave it.
        drop(store);
        let mut store = opened(&folder, now());
        assert_eq!((store.set_aside(), all(&store) == good), (0, true), "{kib} KiB");
        let more = many(1_000_000, 20_000);
        write(&mut store, &more).unwrap();
        assert!(all(&store) == more);
    }
}

#[test]
fn a_file_that_could_not_grow_is_written_again() {
    let folder = Folder::new();
    // Without ignoring the signal, the kernel would end the process instead of failing the write.
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "limits::budget::store::tests::writes_files_that_cannot_grow", "--ignored"])
        .env(CHILD, &folder.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}
