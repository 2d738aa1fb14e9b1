//! What a request costs, in counts that are the same on every machine: a plain proxied request allocates memory at most
//! so many times.
//!
//! A binary of its own, since its allocator counts for the whole process: the gateway runs in it with one worker, Box in
//! another process, and the caller is a socket that is written and read without allocating. To see where a request
//! allocates, run it with `BOXGATE_HEAP_PROFILE=FILE`: docs/performance.md.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails stops, and speaks to its reader"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use boxgate::config::{self, Overrides};
use boxgate::net::clock::Clock;
use boxgate::server;
use boxgate::server::shutdown::Stop;
use boxgate::telemetry::access_log::AccessLog;
use boxgate::telemetry::log::LogFormat;
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// A generous timeout for busy machines; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests before counting: the first ones open the connection to Box, and buffers grow to their size.
const WARM_UP: usize = 50;
/// The requests of a round; those of all rounds are fewer than Box allows one user in a minute.
const HUNDRED: usize = 100;
/// The smallest count of these rounds is taken: a task that runs once a second may allocate during some.
const ROUNDS: usize = 5;

/// The most allocations of a hundred requests: 24 of each, of which two thirds are those of hyper, h2 and rustls, and
/// those that are not made in each request, such as for a buffer that grows. One more in each would exceed it.
const MOST: u64 = 2490;
/// The most that a hundred access lines add: two of each, and what their writer allocates to write, which it does for one
/// line or for many as it gets to run.
const MOST_LOGGED: u64 = 450;

const REQUEST: &[u8] =
    b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nUser-Agent: costs\r\nAccept: */*\r\n\r\n";

/// A sandbox of Box in a process of its own, whose allocations are not counted.
struct Sandbox {
    child: Child,
    folder: PathBuf,
    /// The configuration that leads to it.
    tables: String,
}

impl Sandbox {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("boxgate-costs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let printed = folder.join("printed.toml");
        let mut child = Command::new(env!("CARGO_BIN_EXE_boxgate"))
            .args(["sandbox", "--print-config"])
            .stdout(File::create(&printed).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        assert!(said.read_line(&mut line).unwrap() > 0, "the sandbox has ended");
        thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let tables = std::fs::read_to_string(&printed).unwrap();
        Self { child, folder, tables }
    }

    /// The file of a gateway in front of it, which listens on free ports with one worker.
    fn config(&self) -> String {
        let mut text = String::new();
        for line in self.tables.lines() {
            text.push_str(if line.starts_with("address") { "address = \"127.0.0.1:0\"" } else { line });
            text.push('\n');
            match line {
                "[listen]" => text.push_str("workers = 1\n"),
                // So many that they are all kept when the counting begins, in memory that later ones use again.
                "[admin]" => text.push_str("requests = 50\n"),
                _ => {}
            }
        }
        text
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a gateway on a thread of its own; returns its address. It runs until the process ends.
fn start_gateway(text: String, access: Option<File>) -> String {
    let (started, starting) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let env = |name: &str| std::env::var(name).ok();
            let config = config::from_text(&text, Path::new("proxy.toml"), &Overrides::default(), &env);
            let config = config.unwrap_or_else(|problems| panic!("{problems}"));
            let access = AccessLog::new(access, LogFormat::Json).unwrap();
            let bound = server::bind(config).await.unwrap();
            started.send(bound.addresses()[0].clone()).unwrap();
            let (_stop, stopping) = watch::channel(Stop::No);
            bound.run(Clock::real(), access, stopping).await.unwrap();
        });
    });
    starting.recv_timeout(PATIENCE).unwrap()
}

/// A caller's connection, and its buffer for answers.
struct Caller(TcpStream, [u8; 16 * 1024]);

impl Caller {
    fn connect(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket, [0; 16 * 1024])
    }

    /// Sends a request and reads its whole answer. Allocates nothing.
    fn ask(&mut self) {
        let Self(socket, buffer) = self;
        socket.write_all(REQUEST).unwrap();
        let mut filled = 0;
        loop {
            let read = socket.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "the gateway has closed the connection");
            filled += read;
            if is_whole(&buffer[..filled]) {
                break;
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer[..filled]));
    }
}

/// Whether an answer with `Content-Length` is complete.
fn is_whole(answer: &[u8]) -> bool {
    let text = std::str::from_utf8(answer).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.expect("the answer has a Content-Length")
}

/// How many times a hundred requests allocate.
fn allocations(caller: &mut Caller) -> u64 {
    (0..WARM_UP).for_each(|_| caller.ask());
    let round = |caller: &mut Caller| {
        let before = dhat::HeapStats::get().total_blocks;
        (0..HUNDRED).for_each(|_| caller.ask());
        dhat::HeapStats::get().total_blocks - before
    };
    (0..ROUNDS).map(|_| round(caller)).min().unwrap()
}

/// With the shipped settings: a limit, JSON rewriting, Box's own limits; the access log off, then on.
#[test]
fn a_plain_request_allocates_at_most_so_many_times() {
    let builder = dhat::Profiler::builder();
    let _profiler = match std::env::var_os("BOXGATE_HEAP_PROFILE") {
        None => builder.testing().build(),
        Some(file) => builder.file_name(file).trim_backtraces(Some(24)).build(),
    };
    let sandbox = Sandbox::start();
    let text = format!(
        "{}\n[[limit]]\nname = \"per-caller\"\nkey = \"client\"\nrate = \"1000000/s\"\n",
        sandbox.config()
    );
    let quiet = allocations(&mut Caller::connect(&start_gateway(text.clone(), None)));
    let null = File::options().write(true).open("/dev/null").unwrap();
    let logged = allocations(&mut Caller::connect(&start_gateway(text, Some(null))));
    eprintln!("a hundred requests allocate {quiet} times, {logged} with access lines");
    assert!(quiet <= MOST, "a hundred requests allocate {quiet} times, at most {MOST} are allowed");
    assert!(logged <= quiet + MOST_LOGGED, "a hundred access lines allocate {logged} - {quiet} times");
}
