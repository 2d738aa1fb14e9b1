//! A restart while the service manager keeps the socket: what comes meanwhile waits for the next process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::super::client::{Answer, request};
use super::super::harness::{FakeBox, Folder, Program};
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
    let callers = Callers::begin(address);
    for _ in 0..2 {
        callers.wait_for(EACH);
        program.terminate();
        assert_eq!(program.exited().code(), Some(0));
        assert!(!program.err.text().contains("cut off"), "{}", program.err.text());
        program = start(&place, &socket);
    }
    callers.wait_for(EACH);
    let answers = callers.end();
    let count = answers.len();
    assert!(count >= 3 * EACH, "{count}");
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
