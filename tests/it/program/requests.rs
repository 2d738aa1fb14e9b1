//! The last requests of the real program: a reload that keeps more of them or fewer, and its access lines.

use serde_json::Value;

use super::client::request;
use super::harness::{FakeBox, Folder, Program, command, until};

const ME: &str = "/2.0/users/me";

fn requests(program: &Program) -> Vec<Value> {
    let answer = program.admin("/requests.json");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    document["requests"].as_array().unwrap().clone()
}

/// Sends a request with this id and waits until it has ended.
fn ask(program: &Program, id: &str) {
    assert_eq!(request(&program.callers, "GET", ME, &format!("X-Request-Id: {id}\r\n")).status, 200);
    program.out.wait_for(&[id]);
}

fn ids(program: &Program) -> Vec<String> {
    requests(program).iter().map(|entry| entry["request_id"].as_str().unwrap().to_owned()).collect()
}

/// Writes a configuration that keeps so many.
fn write(folder: &Folder, at: &FakeBox, number: u32) {
    let address = "address = \"127.0.0.1:0\"";
    let tables = at.tables(folder);
    let own =
        format!("[listen]\n{address}\n[admin]\n{address}\nrequests = {number}\n[log]\nformat = \"json\"\n");
    folder.write("proxy.toml", &format!("{tables}\n{own}"));
}

fn start(at: &FakeBox, number: u32) -> Program {
    let folder = Folder::new();
    write(&folder, at, number);
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.args(["run", "--no-watch"]);
    Program::spawn(folder, run).ready()
}

#[test]
fn a_reload_keeps_the_newest_and_requests_go_on() {
    let at = FakeBox::start();
    let program = start(&at, 4);
    let mut sent = Vec::new();
    // `kept`: so many are told, or up to `most` after a smaller number was kept, since each of both workers kept so many.
    let mut send = |count: usize, kept: usize, most: usize| {
        for _ in 0..count {
            sent.push(format!("r-{}", sent.len()));
            ask(&program, &sent[sent.len() - 1]);
        }
        let newest: Vec<String> = sent.iter().rev().cloned().collect();
        until(&format!("the last {kept} to {most} are told"), || {
            let told = ids(&program);
            (kept..=most).contains(&told.len()) && newest.starts_with(&told)
        });
    };
    let reload = |to: u32| {
        write(&program.folder, &at, to);
        let answer = request(&program.operators, "POST", "/reload", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    send(6, 4, 4);
    reload(2);
    send(0, 2, 2);
    send(3, 2, 2);
    reload(6);
    send(0, 2, 4);
    send(5, 6, 6);
    reload(0);
    send(2, 0, 0);
    reload(3);
    send(1, 1, 1);
}

#[test]
fn an_entry_says_the_same_as_the_access_line() {
    let at = FakeBox::start();
    let program = start(&at, 9);
    for (nth, target) in
        [ME, "/2.0/files/404404?a=b", "/nothing", "/_box/dl.boxcloud.com/x/y"].iter().enumerate()
    {
        let id = format!("same-{nth}");
        request(&program.callers, "GET", target, &format!("X-Request-Id: {id}\r\nUser-Agent: a b\r\n"));
        let line: Value = serde_json::from_str(&program.out.wait_for(&[&id])).unwrap();
        until("it is told", || requests(&program).iter().any(|entry| entry["request_id"] == id.as_str()));
        let entries = requests(&program);
        let entry = entries.iter().find(|entry| entry["request_id"] == id.as_str()).unwrap();
        for (name, value) in line.as_object().unwrap() {
            if !["kind", "time"].contains(&name.as_str()) {
                assert_eq!(&entry[name], value, "{name} of {target}");
            }
        }
    }
}
