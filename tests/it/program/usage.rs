//! `boxgate usage`: who spent Box's calls, as the running gateway has counted them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde_json::Value;

use super::fake_admin::{FakeAdmin, Reply};
use super::harness::{FakeBox, Folder, PATIENCE, Program, boxgate, until};

/// The tables of the state file: span, app, identity, class; span, budget, key, value; and what the file is.
type Table = TableDefinition<'static, (&'static str, &'static str, &'static str, &'static str), u64>;
const CALLS: Table = TableDefinition::new("calls");
const BUDGETS: Table = TableDefinition::new("budgets");
const ABOUT: TableDefinition<'_, &str, i64> = TableDefinition::new("about");

const ME: &str = "/2.0/users/me";

fn usage(program: &Program, more: &[&str]) -> Output {
    boxgate(&program.folder, &[&["usage", "--admin", &program.operators], more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What it prints where all is well.
fn printed(program: &Program, more: &[&str]) -> String {
    let output = usage(program, more);
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(0)));
    text(&output.stdout)
}

fn json(program: &Program, more: &[&str]) -> Value {
    serde_json::from_str(&printed(program, &[&["--json"], more].concat())).unwrap()
}

fn call(program: &Program, path: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(program.get(path).status, 200, "{path}");
    }
}

/// With `[state] dir`.
fn with_state(folder: &Path, more: &str) -> String {
    format!("{more}\n[state]\ndir = {folder:?}\n")
}

/// The sum of the metric for the current month and the one before.
fn metrics(program: &Program) -> u64 {
    let text = program.admin("/metrics").body;
    let lines = text.lines().filter(|line| line.starts_with("boxgate_box_calls{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_table_csv_and_json_have_the_calls_that_box_got() {
    let at = FakeBox::start();
    let apps = "[[app]]\nname = \"a\"\n[[app]]\nname = \"-b\"\npath = \"/b\"\n";
    let program = Program::start(&at, apps).ready();
    call(&program, ME, 3);
    call(&program, "/b/2.0/search?query=a", 1);
    let got = (at.calls() + at.token_requests()) as u64;
    let document = json(&program, &[]);
    assert_eq!((document["calls"].as_u64(), got, metrics(&program)), (Some(got), 5, got));
    let month = document["month"].as_str().unwrap();

    let table = printed(&program, &[]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with(&format!("Calls at Box in {month} (UTC), counted since ")), "{table}");
    let since = lines[0].split_once("counted since ").unwrap().1;
    assert_eq!(
        lines[1..],
        [
            "",
            "APP    IDENTITY  CLASS    CALLS    SHARE",
            "a      service   general      3   60.0 %",
            "-      service   token        1   20.0 %",
            "-b     service   search       1   20.0 %",
            "total                         5  100.0 %",
            "",
            &format!("calls before {since} are unknown"),
            "app -: requests for tokens, of no app; Box counts them as calls",
        ],
        "{table}"
    );
    // The page has the same rows and the same total.
    let page = program.admin("/?view=usage").body;
    let spent = page.split("id=\"s-spenders\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    let calls: Vec<&str> = spent
        .split("<td class=\"n\">")
        .skip(1)
        .step_by(2)
        .map(|cell| cell.split('<').next().unwrap())
        .collect();
    assert_eq!(calls, ["3", "1", "1", "5"], "{spent}");

    let table = printed(&program, &["--by", "day,app", "--month", month]);
    assert!(table.contains(&format!("\n{month}-")), "{table}");
    let empty = printed(&program, &["--month", "2001-02"]);
    let why = format!("counting began after it, on {since}");
    let words = format!("\nthe calls of 2001-02 are not known: {why}; there are calls in {month}\n");
    assert!(empty.contains(&words) && !empty.contains("no calls"), "{empty}");
    assert_eq!(json(&program, &["--month", "2001-02"])["uncounted"], why);
    assert_eq!(json(&program, &["--month", "2001-02"])["rows"], serde_json::json!([]));

    let csv = printed(&program, &["--csv", "--by", "app,class"]);
    assert_eq!(csv, program.admin("/usage.csv?by=app,class").body);
    let read = "import csv, io, json, sys\n\
                print(json.dumps(list(csv.DictReader(io.StringIO(sys.stdin.read(), newline=\"\")))))";
    let mut python = Command::new("python3")
        .args(["-c", read])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(csv.as_bytes()).unwrap();
    let rows: Value = serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap();
    let row = |app: &str, class: &str, calls: &str| serde_json::json!({"month": month, "app": app, "class": class, "calls": calls});
    let want = [row("", "token", "1"), row("'-b", "search", "1"), row("a", "general", "3")];
    assert_eq!(rows, Value::from(want.to_vec()));
}

#[test]
fn apps_that_a_reload_renames_keep_their_calls() {
    let at = FakeBox::start();
    let program = Program::start(&at, "[[app]]\nname = \"before\"\n").ready();
    call(&program, ME, 2);
    let file = program.folder.join("proxy.toml");
    let renamed = std::fs::read_to_string(&file).unwrap().replace("\"before\"", "\"after\"");
    std::fs::write(&file, renamed).unwrap();
    assert!(boxgate(&program.folder, &["reload", "--admin", &program.operators]).status.success());
    call(&program, ME, 1);
    let csv = printed(&program, &["--csv", "--by", "app"]);
    let rows: Vec<&str> = csv.lines().skip(1).map(|line| line.split_once(',').unwrap().1).collect();
    assert_eq!(rows, [",1", "after,1", "before,2"]);
}

/// The calls in the file, of all days.
fn in_file(state: &Path, scratch: &Folder) -> u64 {
    // The gateway has locked its file, so a copy is read. It may be torn, as it is written meanwhile.
    let copy = scratch.join("copy.redb");
    std::fs::copy(state.join("budgets.redb"), &copy).unwrap();
    let read = || -> Result<u64, redb::Error> {
        let database = Database::open(&copy)?;
        let calls = database.begin_read()?.open_table(CALLS)?;
        calls.iter()?.map(|row| Ok(row?.1.value())).sum()
    };
    read().unwrap_or_default()
}

#[test]
fn calls_that_were_written_survive_a_kill() {
    let (at, state, scratch) = (FakeBox::start(), Folder::new(), Folder::new());
    let mut program = Program::start(&at, &with_state(&state, "")).ready();
    call(&program, ME, 7);
    let calls = json(&program, &["--by", "class,day"])["calls"].as_u64().unwrap();
    assert_eq!(calls, 8);
    until("the calls are in the file", || in_file(&state, &scratch) == calls);
    program.signal("-KILL");
    assert!(!program.exited().success());
    let program = Program::start(&at, &with_state(&state, "")).ready();
    call(&program, ME, 2);
    let after = json(&program, &["--by", "class"]);
    assert_eq!(after["calls"], 11, "two more, and one request for a token: {after}");
    assert_eq!((metrics(&program), (at.calls() + at.token_requests()) as u64), (11, 11));
}

/// Writes a state file as versions wrote it that counted by month, and returns the month.
fn write_version_1(state: &Path) -> String {
    let now = jiff::Timestamp::now().to_string();
    let month = now[..7].to_owned();
    let database = Database::create(state.join("budgets.redb")).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut about = writing.open_table(ABOUT).unwrap();
        about.insert("format", 1).unwrap();
        about.insert("since", 1_700_000_000).unwrap();
        let mut calls = writing.open_table(CALLS).unwrap();
        calls.insert((&*month, "default", "service", "general"), 40).unwrap();
        calls.insert((&*month, "gone", "service", "search"), 2).unwrap();
        let mut budgets = writing.open_table(BUDGETS).unwrap();
        budgets.insert((&*month, "plan", "global", ""), 42).unwrap();
    }
    writing.commit().unwrap();
    month
}

#[test]
fn calls_that_were_counted_by_month_stay_calls_of_that_month() {
    let (at, state) = (FakeBox::start(), Folder::new());
    let month = write_version_1(&state);
    let budgets = "[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 45\n\
                   [[budget]]\nname = \"new\"\nkey = \"app\"\ncalls = 1000\n";
    let mut program = Program::start(&at, &with_state(&state, budgets)).ready();
    call(&program, ME, 3);
    assert_eq!(program.get(ME).status, 403, "the budget counts them too");
    let document = json(&program, &["--by", "app,day"]);
    let unknown: Vec<&Value> =
        document["rows"].as_array().unwrap().iter().filter(|row| row["day"].is_null()).collect();
    assert_eq!(unknown.iter().map(|row| row["calls"].as_u64().unwrap()).collect::<Vec<_>>(), [40, 2]);
    assert_eq!((document["calls"].as_u64(), metrics(&program)), (Some(46), 46), "{document}");
    let used = "boxgate_budget_used_calls{budget=\"new\",key=\"app\",value=\"default\"} 43\n";
    assert!(program.admin("/metrics").body.contains(used));
    let table = printed(&program, &["--by", "day"]);
    assert!(table.contains("counted since 2023-11-14 22:13\n"), "{table}");
    assert!(table.contains("day -: calls that an earlier version counted by month\n"), "{table}");
    program.terminate();
    assert!(program.exited().success());
    // That version refuses the file from now on, as it would a file of any later one.
    let database = Database::open(state.join("budgets.redb")).unwrap();
    let about = database.begin_read().unwrap().open_table(ABOUT).unwrap();
    assert_eq!(about.get("format").unwrap().unwrap().value(), 2);
    drop((about, database));
    let program = Program::start(&at, &with_state(&state, budgets)).ready();
    let document = json(&program, &["--by", "app", "--month", &month]);
    assert_eq!(document["calls"], 47, "one more request for a token: {document}");
}

#[test]
fn counts_that_are_in_memory_only_are_said_to_be() {
    let at = FakeBox::start();
    let folder = Folder::new();
    let file = folder.write("a-file", "");
    let program = Program::start(&at, &with_state(&file, "")).ready();
    until("the folder is found unusable", || printed(&program, &[]).contains("in memory only"));
    assert_eq!(json(&program, &[])["in_memory"], true);
}

/// It ends with 2, nothing on standard output, and all of these words.
fn fails(output: &Output, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(2)), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn options_that_cannot_be_used_are_refused_with_what_is_allowed() {
    let folder = Folder::new();
    let run = |options: &[&str]| boxgate(&folder, &[&["usage", "--admin", "127.0.0.1:1"], options].concat());
    for month in ["2026-13", "november", "2026-11-25", ""] {
        fails(&run(&["--month", month]), &["--month", "YYYY-MM"]);
    }
    for by in ["user", "", "app,app", "app, day"] {
        fails(&run(&["--by", by]), &["--by", "app, identity, class and day"]);
    }
    fails(&run(&["--csv", "--json"]), &["--csv", "--json", "cannot be used"]);
    fails(&run(&[]), &["cannot reach", "is the gateway running?"]);
}

/// Answers each request with this and closes.
fn server(status: &str, body: &str) -> String {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn what_is_not_a_gateway_is_exit_status_2() {
    let run = |address: &str, more: &[&str]| {
        boxgate(&Folder::new(), &[&["usage", "--admin", address], more].concat())
    };
    for more in [&[][..], &["--json"], &["--csv"]] {
        let elsewhere = server("200 OK", "<html>");
        fails(&run(&elsewhere, more), &["is not an admin listener of boxgate", "with 200"]);
        let old = server("404 Not Found", "here are /healthz, /readyz and /metrics\n");
        fails(&run(&old, more), &["is not an admin listener of boxgate", "/usage.", "404"]);
        let refusing = server("403 Forbidden", r#"{"code":"source_not_allowed","message":"Not you."}"#);
        fails(&run(&refusing, more), &["403 (source_not_allowed): Not you."]);
    }
}

#[test]
fn csv_that_lacks_the_calls_of_other_replicas_says_so_on_standard_error() {
    let answer = "HTTP/1.1 200 OK\r\nX-Boxgate-Replicas: this process only; Redis is away\r\n\
                  Content-Length: 12\r\n\r\nmonth,calls\n";
    let fake = FakeAdmin::start(Reply::Bytes(answer.as_bytes().into()));
    let output = boxgate(&Folder::new(), &["usage", "--csv", "--admin", &fake.address]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("month,calls\n", Some(0)));
    let said = "boxgate: these are not the calls of all replicas: this process only; Redis is away\n";
    assert_eq!(text(&output.stderr), said);
}
