//! A restart while the service manager keeps the socket: what comes meanwhile waits for the next process.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::super::client::{Answer, request};
use super::super::harness::{FakeBox, Folder, PATIENCE, Program};
use super::{copy, listening, passing, tables};

const ME: &str = "/2.0/users/me";
/// Between two requests: 200 a second.
const PACE: Duration = Duration::from_millis(5);
/// How many requests there are between one restart and the next.
const EACH: usize = 200;

/// Callers with a connection for each request, at an even pace; and what each was answered with.
struct Callers {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    pacing: thread::JoinHandle<Vec<thread::JoinHandle<Answer>>>,
}

impl Callers {
    fn begin(address: SocketAddr) -> Self {
        let (sent, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counting, stopping) = (sent.clone(), stop.clone());
        let pacing = thread::spawn(move || {
            let (address, began, mut asked) = (address.to_string(), Instant::now(), Vec::new());
            while !stopping.load(Ordering::Relaxed) {
                let address = address.clone();
                asked.push(thread::spawn(move || request(&address, "GET", ME, "")));
                let number = counting.fetch_add(1, Ordering::Relaxed) + 1;
                let due = began + PACE * u32::try_from(number).unwrap();
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            asked
        });
        Self { sent, stop, pacing }
    }

    /// Waits until so many more requests were sent.
    fn wait_for(&self, more: usize) {
        let until = self.sent.load(Ordering::Relaxed) + more;
        super::super::harness::until("the requests", || self.sent.load(Ordering::Relaxed) >= until);
    }

    fn end(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.pacing.join().unwrap().into_iter().map(|asked| asked.join().unwrap()).collect()
    }
}

/// A caller that keeps its connection until it is told that it closes, or finds it closed between two requests.
struct Keeper {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    connections: usize,
}

impl Keeper {
    /// The status. Whatever ends an answer halfway is a panic.
    fn ask(&mut self) -> String {
        loop {
            let stream = self.stream.get_or_insert_with(|| {
                let stream = TcpStream::connect(self.address).unwrap();
                stream.set_read_timeout(Some(PATIENCE * 4)).unwrap();
                self.connections += 1;
                BufReader::new(stream)
            });
            let sent = stream
                .get_mut()
                .write_all(format!("GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
            let mut status = String::new();
            match sent.and_then(|()| stream.read_line(&mut status)) {
                Ok(count) if count > 0 => {}
                // It was closed between two requests.
                Ok(_) => {
                    self.stream = None;
                    continue;
                }
                Err(error) => {
                    let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(status.is_empty() && closed.contains(&error.kind()), "{error}: {status}");
                    self.stream = None;
                    continue;
                }
            }
            let (mut head, mut length) = (String::new(), None);
            while !head.ends_with("\r\n\r\n") {
                let begins = head.len();
                assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
                let line = head[begins..].to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = Some(value.trim().parse().unwrap());
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length.unwrap_or_else(|| panic!("{head}"))];
            stream.read_exact(&mut body).unwrap();
            if head.to_ascii_lowercase().contains("connection: close") {
                self.stream = None;
            }
            return status.trim().to_owned();
        }
    }
}

/// Callers that keep their connections.
struct Keepers {
    stop: Arc<AtomicBool>,
    asking: Vec<thread::JoinHandle<(Vec<String>, usize)>>,
}

impl Keepers {
    fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = |_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut keeper = Keeper { address, stream: None, connections: 0 };
                let mut statuses = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    statuses.push(keeper.ask());
                    thread::sleep(PACE);
                }
                (statuses, keeper.connections)
            })
        };
        Self { asking: (0..3).map(keeper).collect(), stop }
    }

    /// How many answers there were.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut count = 0;
        for asking in self.asking {
            let (statuses, connections) = asking.join().unwrap();
            assert!(statuses.iter().all(|status| status == "HTTP/1.1 200 OK"), "{statuses:?}");
            // One for each process, as a rule.
            assert!((3..=6).contains(&connections), "{connections}");
            count += statuses.len();
        }
        count
    }
}

fn start(place: &Path, socket: &std::net::TcpListener) -> Program {
    let mut run = passing(place, &["boxgate.socket=stdin="], copy(socket));
    run.args(["run", "--config"]).arg(place.join("proxy.toml"));
    Program::spawn(Folder::new(), run)
}

#[test]
fn two_restarts_under_load_lose_no_request_and_no_count() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let (socket, address) = listening("127.0.0.1:0");
    // 200 a second are more than Box's limits allow one user.
    let more = "[limits]\nbox_defaults = false\n[state]\ndir = \"state\"\n[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 1000000\n";
    place.write(
        "proxy.toml",
        &format!("{}{}", at.tables(&place), tables(&address.to_string(), "127.0.0.1:0", more)),
    );
    let mut program = start(&place, &socket);
    let (callers, keepers) = (Callers::begin(address), Keepers::begin(address));
    for _ in 0..2 {
        callers.wait_for(EACH);
        program.terminate();
        assert_eq!(program.exited().code(), Some(0));
        assert!(!program.err.text().contains("cut off"), "{}", program.err.text());
        program = start(&place, &socket);
    }
    callers.wait_for(EACH);
    let (answers, kept) = (callers.end(), keepers.end());
    let count = answers.len() + kept;
    assert!(answers.len() >= 3 * EACH && kept > 0, "{} {kept}", answers.len());
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("\"login\""), "{answer:?}");
    }
    assert_eq!(at.calls(), count);
    // Each process got a token, which is a call that no budget pays.
    let text = program.admin("/metrics").body;
    let value = |name: &str| -> usize {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    };
    assert_eq!(value("boxgate_budget_used_calls{"), count, "{text}");
    assert_eq!(value("boxgate_box_calls{"), count + at.token_requests());
}
