//! A gateway in this process with Box in another one, and a caller that allocates nothing.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use boxgate::config::{self, Overrides};
use boxgate::net::clock::Clock;
use boxgate::server;
use boxgate::server::shutdown::Stop;
use boxgate::telemetry::access_log::AccessLog;
use boxgate::telemetry::log::LogFormat;
use tokio::sync::watch;

/// A generous timeout for busy machines; only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const REQUEST: &[u8] =
    b"GET /2.0/users/me HTTP/1.1\r\nHost: localhost\r\nUser-Agent: costs\r\nAccept: */*\r\n\r\n";

/// Counts what this process allocates until it is dropped; one test at a time has it.
pub(crate) struct Counting {
    _profiler: dhat::Profiler,
    _alone: MutexGuard<'static, ()>,
}

impl Counting {
    pub(crate) fn begin() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let builder = dhat::Profiler::builder();
        let profiler = match std::env::var_os("BOXGATE_HEAP_PROFILE") {
            None => builder.testing().build(),
            Some(file) => builder.file_name(file).trim_backtraces(Some(24)).build(),
        };
        Self { _profiler: profiler, _alone: alone }
    }
}

/// A sandbox of Box in a process of its own, whose allocations are not counted.
pub(crate) struct Sandbox {
    child: Child,
    folder: PathBuf,
    /// The configuration that leads to it.
    tables: String,
}

impl Sandbox {
    pub(crate) fn start() -> Self {
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
    pub(crate) fn config(&self) -> String {
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

/// The addresses of a gateway.
pub(crate) struct Gateway {
    pub(crate) callers: String,
    operators: String,
    stop: watch::Sender<Stop>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Starts a gateway on a thread of its own. It ends when it is dropped, since it would allocate while others count.
pub(crate) fn start_gateway(text: String, access: Option<File>) -> Gateway {
    let (started, starting) = std::sync::mpsc::channel();
    let (stop, stopping) = watch::channel(Stop::No);
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let env = |name: &str| std::env::var(name).ok();
            let config = config::from_text(&text, Path::new("proxy.toml"), &Overrides::default(), &env);
            let config = config.unwrap_or_else(|problems| panic!("{problems}"));
            let access = AccessLog::new(access, LogFormat::Json).unwrap();
            let bound = server::bind(config).await.unwrap();
            let (callers, operators) = (bound.addresses()[0].clone(), bound.admin_addresses()[0].clone());
            started.send((callers, operators)).unwrap();
            bound.run(Clock::real(), access, stopping).await.unwrap();
        });
    });
    let (callers, operators) = starting.recv_timeout(PATIENCE).unwrap();
    Gateway { callers, operators, stop, thread: Some(thread) }
}

impl Gateway {
    /// How many of its callers' connections are parked.
    pub(crate) fn parked(&self) -> usize {
        let mut socket = TcpStream::connect(&self.operators).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let figure = answer.lines().find_map(|line| line.strip_prefix("boxgate_connections_parked "));
        figure.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Now);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A caller's connection, and its buffer for answers.
pub(crate) struct Caller(TcpStream, [u8; 16 * 1024]);

impl Caller {
    pub(crate) fn connect(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket, [0; 16 * 1024])
    }

    /// Its socket alone, which stays open.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.0
    }

    /// Sends a request and reads its whole answer. Allocates nothing.
    pub(crate) fn ask(&mut self) {
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
