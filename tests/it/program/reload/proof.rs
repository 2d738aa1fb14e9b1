//! Under load a hundred reloads lose nothing, refuse nothing, never mix two configurations in one request, and leave
//! nothing behind.

mod generations; // the configurations
mod lasting; // uploads, downloads, long polls, tunnels, waiting requests
mod load; // short requests, and all callers together
mod resources; // memory, threads, descriptors

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use boxgate::sandbox::{Content, Role};
use serde_json::Value;

use self::generations::{Ask, Served};
use self::generations::{Generations, Kind, is_slow, keeps_tokens, secret, served};
use self::load::{Load, Moment, Record, Shared};
use self::resources::Resources;
use crate::program::certificates::Authority;
use crate::program::client::request;
use crate::program::harness::{FakeBox, Folder, Program, boxgate, command, until};
use crate::program::ways::Place;

/// After so many reloads the program has what it needs.
const WARM_UP: usize = 20;
const RELOADS: usize = 100;
/// Requests that must begin and be answered under each configuration.
const REQUESTS: usize = 8;
/// What the resident memory may grow by in those, in KiB: some 8 MiB are what load takes until it has seen its worst moment.
const GROWTH: usize = 20 * 1024;
/// Without load nothing but a reload takes memory, so that little of it shows: 100 KiB for each would be 8 MiB.
const QUIET_RELOADS: usize = 80;
const QUIET_GROWTH: usize = 3 * 1024;
/// Connections to Box's three hosts, from both workers, for all kinds of requests.
const CONNECTIONS: usize = 30;
/// The length of the file that is downloaded.
const FILE: u64 = 12 << 20;

/// What asks for a reload.
#[derive(Debug, Clone, Copy)]
enum Trigger {
    Hangup,
    Post,
    Command,
    /// Nothing but the files.
    Watch,
}

impl Trigger {
    fn of(generation: usize) -> Self {
        match generation % 10 {
            5 => Self::Watch,
            2 => Self::Command,
            odd if odd % 2 == 1 => Self::Hangup,
            _ => Self::Post,
        }
    }
}

struct Proof {
    at: FakeBox,
    authority: Authority,
    echo: TcpListener,
    program: Program,
    place: Place,
    /// The last configuration that was written.
    generation: usize,
    /// A file to download.
    file: String,
}

impl Proof {
    fn start() -> Self {
        let (at, folder, authority) = (FakeBox::start(), Folder::new(), Authority::new("Servers"));
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = echo.local_addr().unwrap().to_string();
        let generations = Generations { at: &at, folder: &folder, authority: &authority, echo: &address };
        generations.link();
        generations.write(0);
        let unix = folder.join("gate.sock");
        let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        run.args(["run", "--watch"]);
        // What is free is given back at once, so that the rest can be measured.
        run.env("MIMALLOC_PURGE_DELAY", "0");
        let program = Program::spawn(folder, run).ready();
        let tcp = program.callers.split(' ').next().unwrap().strip_prefix("https://").unwrap().to_owned();
        let file = at.add_file("0", "large.bin", Content::Zeros(FILE));
        let pem = unix_get(&program, "/.well-known/boxgate/ca.pem");
        let place = Place { tcp, unix, authority: authority.pem.clone(), tunnel_authority: pem };
        Self { at, authority, echo, program, place, generation: 0, file }
    }

    /// So many reloads under load; the requests that were answered.
    fn run(&mut self, reloads: usize) -> Vec<Record> {
        let shared = Arc::new(Shared::new(self.place.clone(), self.generation));
        let mut load = Load::start(shared.clone(), &self.echo, (&self.file, FILE));
        self.serves(&mut load);
        for _ in 0..reloads {
            self.reload(&shared);
            self.serves(&mut load);
        }
        load.finish()
    }

    /// Writes the next configuration and lets the program take it over.
    fn reload(&mut self, shared: &Shared) {
        let generation = self.generation + 1;
        shared.begun.store(generation, Ordering::Relaxed);
        self.write_next();
        let before = self.taken_over();
        // Tokens that carry over go on before Box has given any by the new secret.
        let hold = keeps_tokens(generation).then(|| self.at.hold_token_replies());
        let operators = &self.program.operators;
        match Trigger::of(generation) {
            Trigger::Hangup => self.program.hang_up(),
            Trigger::Post => {
                let answer = request(operators, "POST", "/reload", "");
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            Trigger::Command => {
                let admin = format!("http://{operators}");
                let output = boxgate(&self.program.folder, &["reload", "--admin", &admin]);
                assert!(output.status.success(), "{output:?}");
            }
            Trigger::Watch => {}
        }
        until("it is taken over", || self.taken_over() > before);
        shared.change(|moment| {
            *moment = Moment { generation, is_slow: is_slow(generation), is_over: false };
        });
        if hold.is_some() {
            until("requests go on with the tokens of before", || shared.answered() >= REQUESTS);
        }
    }

    /// Reloads while nobody calls.
    fn reload_quietly(&mut self, reloads: usize) {
        for _ in 0..reloads {
            self.write_next();
            let before = self.taken_over();
            self.program.hang_up();
            until("it is taken over", || self.taken_over() > before);
        }
    }

    /// Writes the next configuration.
    fn write_next(&mut self) {
        self.generation += 1;
        let echo = self.echo.local_addr().unwrap().to_string();
        let (at, folder, authority) = (&self.at, &self.program.folder, &self.authority);
        Generations { at, folder, authority, echo: &echo }.write(self.generation);
    }

    /// Waits until requests were served that began under the last configuration.
    fn serves(&self, load: &mut Load) {
        let shared = load.shared.clone();
        until("requests are served by the last configuration", || {
            load.goes_on();
            shared.answered() >= REQUESTS
        });
        if is_slow(self.generation) && !is_slow(self.generation - 1) {
            until("a request waits", || self.program.metric("boxgate_limit_queued{limit=\"slow\"}") == 1);
        }
    }

    fn taken_over(&self) -> u64 {
        self.program.metric("boxgate_config_reloads_total{result=\"ok\"}")
    }

    /// The access lines of these requests by their ids, once there are as many.
    fn lines(&self, from: usize, records: &[Record]) -> HashMap<String, Value> {
        let lines = self.program.out.wait_for_count(from + records.len());
        assert_eq!(lines.len() - from, records.len(), "a line for each request");
        let lines = lines[from..].iter().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["request_id"].as_str().unwrap().to_owned(), line)
        });
        let lines: HashMap<_, _> = lines.collect();
        assert_eq!(lines.len(), records.len(), "each has an id of its own");
        lines
    }

    /// Secrets that the program would blank in its access lines.
    fn blanked(&self) -> Vec<usize> {
        let before = self.program.out.all().len();
        let path: String = (0..=self.generation).map(|number| format!("/{}", secret(number))).collect();
        unix_get(&self.program, &path);
        let line = self.program.out.wait_for_count(before + 1).pop().unwrap();
        (0..=self.generation).filter(|number| !line.contains(&secret(*number))).collect()
    }
}

/// By a caller of its own, over the Unix socket.
fn unix_get(program: &Program, path: &str) -> String {
    let mut curl = command("curl", &program.folder);
    curl.args(["--silent", "--unix-socket"]).arg(program.folder.join("gate.sock"));
    let output = curl.arg(format!("http://localhost{path}")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a request was served by one configuration from its head to its end.
fn check(record: &Record, line: &Value) {
    let Record { ask, from, until, status, said, .. } = record;
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    // Exactly, where the limiter was asked; the first request of each configuration passes its marker.
    let marked =
        text("would_refuse").split(',').find_map(|name| name.strip_prefix("generation-")?.parse().ok());
    let generations = marked.map_or(*from..=*until, |generation: usize| generation..=generation);
    assert!(
        generations.start() >= from && generations.end() <= until,
        "begun after the configuration {from} was taken over: {record:?} {line}"
    );
    let of = |generation: usize| served(Kind::of(generation), *ask);
    let is_of = |served: &Served| {
        let identity = text("identity");
        // A tunnel is opened before its requests choose an app.
        (served.app == text("app") || *ask == Ask::Connect && text("app").is_empty())
            && (identity == served.identity || identity.is_empty())
            && (*status, said.as_str()) == (served.status, served.said)
            && line["status"] == served.status
            && line["end"] == "complete"
    };
    assert!(generations.clone().any(|generation| is_of(&of(generation))), "{record:?} {line}");
}

#[test]
fn under_load_a_hundred_reloads_lose_nothing_mix_nothing_and_leave_nothing_behind() {
    let mut proof = Proof::start();
    for status in [200, 200, 429] {
        let said = unix_get(&proof.program, Ask::Few.path());
        assert_eq!(said.contains("rate_limit_exceeded"), status == 429, "{said}");
    }
    // Each with its access line: the CA's was the first.
    proof.program.out.wait_for_count(4);
    let lines = |proof: &Proof| proof.program.out.all().len();
    let mut before: Option<Resources> = None;
    let connections = |proof: &Proof| {
        [Role::Api, Role::Upload, Role::Download].map(|role| proof.at.connections(role)).iter().sum::<usize>()
    };
    for reloads in [WARM_UP, RELOADS] {
        let (from, connected) = (lines(&proof), connections(&proof));
        let records = proof.run(reloads);
        let lines = proof.lines(from, &records);
        for record in &records {
            check(record, &lines[&record.id]);
        }
        let slow: Vec<_> = records.iter().filter(|record| record.ask == Ask::Slow).collect();
        assert_eq!(slow.len(), 2 * reloads / 10);
        let waited = slow.iter().filter(|record| record.until > record.from).count();
        assert_eq!(waited, reloads / 10, "of each two requests one waits over reloads: {slow:?}");
        for ask in [Ask::Upload, Ask::Download, Ask::Poll, Ask::Few] {
            let count = records.iter().filter(|record| record.ask == ask).count();
            assert!(count >= reloads / 10, "{ask:?}: {count}");
        }
        let made = connections(&proof) - connected;
        assert!(made <= CONNECTIONS, "reloads make no connections to Box: {made}");
        let now = Resources::settled(&proof.program, before);
        if let Some(before) = before {
            assert!(now.memory <= before.memory + GROWTH, "{before:?} {now:?}");
        }
        before = Some(now);
        assert_eq!(proof.blanked(), [proof.generation], "what was replaced is freed");
    }
    let loaded = before.unwrap();
    proof.reload_quietly(QUIET_RELOADS);
    let quiet = Resources::settled(&proof.program, before);
    assert!(quiet.memory <= loaded.memory + QUIET_GROWTH, "{loaded:?} {quiet:?}");
    assert!(proof.taken_over() >= (WARM_UP + RELOADS + QUIET_RELOADS) as u64);
    assert_eq!(proof.program.metric("boxgate_config_reloads_total{result=\"refused\"}"), 0);
    let said = proof.program.err.text();
    assert!(!said.contains("ERROR"), "{said}");
}
