//! A child process whose output lines can be awaited, and a Box for it.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write as _};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use boxgate::sandbox::{Options, Role, Sandbox};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::client::{Answer, request};

/// The timeout of every wait, for busy machines.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of one test, removed at its end. Other users may not enter it, so that no secret in it is theirs.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("boxgate-it-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Deref for Folder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A sandbox on a thread of its own, so that tests may block.
pub(crate) struct FakeBox {
    sandbox: Arc<Sandbox>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeBox {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let (started, starting) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let sandbox = Arc::new(Sandbox::start(options).await.unwrap());
                started.send((sandbox, Handle::current())).unwrap();
                let _ = stopped.await;
            });
        });
        let (sandbox, runtime) = starting.recv_timeout(PATIENCE).unwrap();
        Self { sandbox, runtime, stop: Some(stop), thread: Some(thread) }
    }

    /// Opens a host again, at the same port.
    pub(super) fn comes_up(&self, role: Role) {
        let _inside = self.runtime.enter();
        self.sandbox.come_up(role).unwrap();
    }

    /// Tables of a configuration that leads here; its secret and CA are written beside it. On a busy machine a thousand
    /// handshakes take longer than the default leaves for each.
    pub(crate) fn tables(&self, folder: &Folder) -> String {
        folder.write("ca.pem", self.ca_pem());
        folder.write("secret", self.client_secret());
        format!(
            "[box]\napi = {:?}\nupload = {:?}\ndownload = {:?}\ntoken_url = {:?}\nca_file = \"ca.pem\"\n\n\
             [identity.service]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\n\
             enterprise_id = {:?}\n\n[upstream]\nproxy = \"none\"\nconnect_timeout = \"30s\"\n",
            self.api_url(),
            self.upload_url(),
            self.download_url(),
            self.token_url(),
            self.client_id(),
            self.enterprise_id()
        )
    }
}

impl Deref for FakeBox {
    type Target = Sandbox;
    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for FakeBox {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for a future of the sandbox.
pub(super) fn wait<T>(what: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, what).await }).expect("it comes in time")
}

/// Polls until the condition holds, for conditions without an event.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let pause = Duration::from_millis(20);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if holds() {
            return;
        }
        thread::sleep(pause);
    }
    panic!("never came: {what}");
}

/// The lines of a stream so far, and whether it has ended.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Noted>);

#[derive(Default)]
struct Noted {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub(super) fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let (noted, mut stream) = (lines.clone(), BufReader::new(stream));
        thread::spawn(move || {
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                // A terminal is written a carriage return in front of each line feed.
                let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)).into_owned();
                line.clear();
                noted.change(|state| state.lines.push(text));
            }
            noted.change(|state| state.ended = true);
        });
        lines
    }

    /// Of a stream that is not read.
    fn ended() -> Self {
        let lines = Self::default();
        lines.change(|state| state.ended = true);
        lines
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap());
        self.0.changed.notify_all();
    }

    /// The first line with all of these parts; waits for it.
    pub(crate) fn wait_for(&self, parts: &[&str]) -> String {
        let find = |lines: &[String]| {
            lines.iter().find(|line| parts.iter().all(|part| line.contains(part))).cloned()
        };
        self.wait_while(|lines, ended| find(lines).is_none() && !ended);
        let lines = self.all();
        find(&lines).unwrap_or_else(|| panic!("no line with {parts:?} in:\n{}", lines.join("\n")))
    }

    /// Waits for so many lines; all that are there then.
    pub(super) fn wait_for_count(&self, count: usize) -> Vec<String> {
        self.wait_while(|lines, ended| lines.len() < count && !ended);
        self.all()
    }

    pub(super) fn wait_for_end(&self) {
        let ended = self.wait_while(|_, ended| !ended);
        assert!(ended, "the program goes on:\n{}", self.text());
    }

    /// Whether it has ceased to hold in time.
    fn wait_while(&self, holds: impl Fn(&[String], bool) -> bool) -> bool {
        let state = self.0.state.lock().unwrap();
        let waited =
            self.0.changed.wait_timeout_while(state, PATIENCE, |state| holds(&state.lines, state.ended));
        !waited.unwrap().1.timed_out()
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.0.state.lock().unwrap().lines.clone()
    }

    pub(super) fn text(&self) -> String {
        self.all().join("\n")
    }
}

/// Of the environment, it gets only PATH and the temporary directory.
pub(crate) fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("TMPDIR", folder)
        .env("XDG_STATE_HOME", folder)
        .stdin(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Runs boxgate to its end.
pub(super) fn boxgate(folder: &Path, arguments: &[&str]) -> Output {
    command(env!("CARGO_BIN_EXE_boxgate"), folder).args(arguments).output().unwrap()
}

/// A running boxgate; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
    /// Where callers connect, as the program says it.
    pub(crate) callers: String,
    /// Where operators connect.
    pub(crate) operators: String,
    pub(crate) folder: Folder,
    /// Pipes that stay open, and that nobody reads.
    unread_out: Option<ChildStdout>,
    unread_err: Option<BufReader<ChildStderr>>,
}

/// How an output stream of the program is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// A pipe that is read to its end.
    Read,
    /// A pipe that stays open and is not read once the program listens.
    Unread,
    /// A pipe whose reader is closed once the program listens.
    Closed,
    /// A device on which every write fails; for standard output only.
    Full,
}

/// Of Linux, on all architectures that the tests run on.
const O_NONBLOCK: i32 = 0o4000;

impl Program {
    /// In front of this Box, with more tables in its file; returns when it listens.
    pub(super) fn start(at: &FakeBox, more: &str) -> Self {
        Self::listening(at, "address = \"127.0.0.1:0\"", more)
    }

    /// The same with these keys under `[listen]`.
    pub(super) fn listening(at: &FakeBox, listen: &str, more: &str) -> Self {
        let folder = Folder::new();
        write_file(&folder, at, listen, more);
        let command = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        Self::spawn(folder, command)
    }

    /// Any command that becomes boxgate; returns when it listens.
    pub(crate) fn spawn(folder: Folder, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let line = err.wait_for(&["boxgate listens"]);
        Self::listens(child, out, err, &line, folder)
    }

    /// The same at a terminal, to which standard output and standard error go alike: a command that makes one.
    pub(super) fn spawn_at_terminal(folder: Folder, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let shown = Lines::of(child.stdout.take().unwrap());
        let line = shown.wait_for(&["boxgate listens"]);
        Self::listens(child, shown.clone(), shown, &line, folder)
    }

    fn listens(child: Child, out: Lines, err: Lines, line: &str, folder: Folder) -> Self {
        let (callers, operators) = (addresses(line, "callers"), addresses(line, "operators"));
        Self { child, out, err, callers, operators, folder, unread_out: None, unread_err: None }
    }

    /// In front of this Box, with these files in place of pipes that are read.
    pub(super) fn with_streams(at: &FakeBox, more: &str, out: Stream, err: Stream) -> Self {
        let folder = Folder::new();
        write_file(&folder, at, "address = \"127.0.0.1:0\"", more);
        let mut command = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        command.stdout(if out == Stream::Full { full() } else { Stdio::piped() });
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (mut unread_out, mut unread_err) = (None, None);
        let out_lines = match (out, child.stdout.take()) {
            (Stream::Read, Some(pipe)) => Lines::of(pipe),
            (Stream::Unread, Some(pipe)) => {
                unread_out = Some(pipe);
                Lines::ended()
            }
            _ => Lines::ended(),
        };
        let pipe = child.stderr.take().unwrap();
        let mut program = if err == Stream::Read {
            let lines = Lines::of(pipe);
            let line = lines.wait_for(&["boxgate listens"]);
            Self::listens(child, out_lines, lines, &line, folder)
        } else {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while !line.contains("boxgate listens") {
                line.clear();
                assert_ne!(pipe.read_line(&mut line).unwrap(), 0, "it listens");
            }
            if err == Stream::Unread {
                unread_err = Some(pipe);
            }
            Self::listens(child, out_lines, Lines::ended(), &line, folder)
        };
        (program.unread_out, program.unread_err) = (unread_out, unread_err);
        program
    }

    /// Fills the pipe that is the program's descriptor of this number, so that its next write there blocks.
    pub(super) fn fill(&self, descriptor: u32) {
        // The program's descriptors cannot be inspected, so the pipe is found by its other end.
        let reader = match descriptor {
            1 => self.unread_out.as_ref().unwrap().as_raw_fd(),
            _ => self.unread_err.as_ref().unwrap().get_ref().as_raw_fd(),
        };
        // Opened again, so that only this end of the pipe is non-blocking.
        let mut pipe = File::options()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(format!("/proc/self/fd/{reader}"))
            .unwrap();
        for piece in [vec![b'\n'; 4096], vec![b'\n'; 1]] {
            let full = loop {
                if let Err(error) = pipe.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
        }
    }

    /// Begins to read the standard output that was left unread.
    pub(super) fn read_out(&mut self) {
        self.out = Lines::of(self.unread_out.take().unwrap());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(super) fn hang_up(&self) {
        self.signal("-HUP");
    }

    pub(super) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; all its lines are there then.
    pub(crate) fn exited(&mut self) -> ExitStatus {
        self.out.wait_for_end();
        self.err.wait_for_end();
        let mut ended = None;
        until("its end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    pub(super) fn get(&self, target: &str) -> Answer {
        request(&self.callers, "GET", target, "")
    }

    /// The value of a metric without labels.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    pub(super) fn admin(&self, target: &str) -> Answer {
        request(&self.operators, "GET", target, "")
    }

    /// Waits for the first token.
    pub(crate) fn ready(self) -> Self {
        until("ready", || self.admin("/readyz").status == 200);
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `key="…"` of the text form, `"key":"…"` of the JSON form.
fn addresses(line: &str, key: &str) -> String {
    let after = [format!("{key}=\""), format!("\"{key}\":\"")]
        .into_iter()
        .find_map(|mark| line.split_once(mark.as_str()).map(|(_, after)| after))
        .unwrap_or_else(|| panic!("no {key} in {line}"));
    after.split('"').next().unwrap_or_default().to_owned()
}

/// Writes `proxy.toml`.
pub(super) fn write_file(folder: &Folder, at: &FakeBox, listen: &str, more: &str) -> PathBuf {
    let mut text = at.tables(folder);
    write!(text, "\n[listen]\n{listen}\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n{more}\n").unwrap();
    folder.write("proxy.toml", &text)
}
