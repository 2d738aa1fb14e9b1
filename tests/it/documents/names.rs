//! Every name that users see is documented exactly once: metrics, fields of access lines, error codes, exit statuses.
//! The keys of the configuration are checked in `src/config/sections/tests/documented.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::tables::{documented, tables_of_names};
use crate::harness::{Bench, until};
use crate::program::harness::{Folder, Program, command};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

fn sorted<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
    names.sort();
    names
}

/// The metrics of a gateway that prints all of them. Redis does not answer, which is a metric too.
async fn metrics() -> String {
    let folder = Folder::new();
    let more = format!(
        "[forward_proxy]\n[log]\naudit = \"audit.jsonl\"\n[state]\ndir = {:?}\nredis = \"redis://127.0.0.1:1\"\n\
         [[limit]]\nname = \"one\"\nkey = \"global\"\nrate = \"100/s\"\n\
         [[budget]]\nname = \"two\"\nkey = \"global\"\ncalls = 1000\n",
        folder.join("state")
    );
    let bench = Bench::with(&more).await;
    bench.until_ready().await;
    let me = bench.client.get(bench.url("/2.0/users/me")).send().await.unwrap();
    assert_eq!(me.status(), 200);
    me.bytes().await.unwrap();
    // The request is counted once its record is dropped.
    until(|| async { bench.admin("/metrics").await.1.contains("boxgate_requests_total{") }).await;
    bench.admin("/metrics").await.1
}

/// The names in backticks outside of parentheses: `identity`, `outcome` (`obtained`, `failed`).
fn labels(cell: &str) -> BTreeSet<String> {
    let outside: String = cell
        .split('(')
        .enumerate()
        .map(|(nth, part)| if nth == 0 { part } else { part.split_once(')').unwrap().1 })
        .collect();
    outside.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_is_documented_once_with_its_labels() {
    let text = metrics().await;
    let printed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    assert_eq!(documented("metric"), sorted(printed));

    let mut wanted = BTreeMap::new();
    for row in tables_of_names("metric").into_iter().flat_map(|table| table.rows) {
        wanted.insert(row[0].trim_matches('`').to_owned(), labels(&row[1]));
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, behind) = line.split_at(line.find(['{', ' ']).unwrap());
        let has = match behind.strip_prefix('{') {
            Some(rest) => rest.split("=\"").map(|part| part.rsplit(['"', ',']).next().unwrap()).collect(),
            None => Vec::new(),
        };
        // The part after the last value is not a label; every histogram has `le`.
        let has = has.split_last().map_or(&[][..], |(_, labels)| labels);
        let has: BTreeSet<String> =
            has.iter().filter(|label| **label != "le").map(|label| (*label).to_owned()).collect();
        let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| wanted.get(name.strip_suffix(end)?));
        let documented = wanted.get(name).or(series).unwrap();
        assert_eq!(&has, documented, "the labels of {line}");
    }
}

#[test]
fn every_code_of_an_error_is_documented_once() {
    let source = include_str!("../../../src/http/error_codes.rs");
    let codes = source.split("\n        code: \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let codes = sorted(codes);
    assert!(codes.len() > 20, "{codes:?}");
    assert_eq!(documented("code"), codes);
}

/// All fields, from the array in the source; most lines have only some.
fn fields() -> Vec<String> {
    let source = include_str!("../../../src/proxy/request_record.rs");
    let (_, from) = source.split_once("fn fields(").unwrap();
    let (count, body) = from.split_once("; ").unwrap().1.split_once("] {").unwrap();
    let (body, _) = body.split_once("\n    }\n").unwrap();
    let squeezed: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    let is_name = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let tuples =
        squeezed.split("(\"").skip(1).filter_map(|rest| rest.split_once("\",").map(|(name, _)| name));
    let names = sorted(tuples.filter(is_name));
    assert_eq!(names.len().to_string(), count, "{names:?}");
    names
}

#[test]
fn every_field_of_an_access_line_is_documented_once() {
    let all = sorted(fields().into_iter().chain(["time".to_owned(), "kind".to_owned()]));
    assert_eq!(documented("field"), all);
    let sandbox = sandbox();
    let answer =
        Command::new("curl").args(["-sf", &format!("http://{}/2.0/users/me", sandbox.callers)]).output();
    assert!(answer.unwrap().status.success());
    let line = sandbox.out.wait_for(&[" access ", "/2.0/users/me"]);
    let words = line.split_once(" access ").unwrap().1.split(' ');
    // A value with a space in it, such as the operation's, is in quotes.
    for name in words.filter_map(|word| Some(word.split_once('=')?.0)) {
        assert!(all.contains(&name.to_owned()), "{name} in {line}");
    }
}

fn sandbox() -> Program {
    let folder = Folder::new();
    let mut command = command(BOXGATE, &folder);
    let free = "127.0.0.1:0";
    command.args(["sandbox", "--listen", free, "--admin", free, "--page", free]);
    Program::spawn(folder, command).ready()
}

#[test]
fn every_exit_status_is_documented_once() {
    let mut sandbox = sandbox();
    let folder = Folder::new();
    folder.write("not-executable", "");
    let permissions = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.join("not-executable"), permissions).unwrap();
    let taken = format!("--listen={}", sandbox.callers);
    // A socket that another program uses makes `run` fail, and an unreachable Box `check`.
    let configuration = "[identity.service]\nclient_id = \"a\"\nclient_secret = \"b\"\nenterprise_id = \"1\"\n\
                         [box]\ntoken_url = \"https://127.0.0.1:1/\"\n[upstream]\nproxy = \"none\"\n\
                         [admin]\naddress = \"127.0.0.1:0\"\n";
    folder.write("proxy.toml", configuration);
    let gateway = format!("http://{}", sandbox.callers);
    let status = |arguments: &[&str]| {
        let mut command = command(BOXGATE, &folder);
        command
            .env("BOXGATE_GATEWAY", &gateway)
            .env("HOME", &*folder)
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
    };
    let exec = |program: &[&str]| status(&[&["exec", "--"], program].concat());
    assert_eq!(status(&["check", "--offline"]), Some(0));
    assert_eq!(exec(&["true"]), Some(0));
    assert_eq!(status(&["env"]), Some(0));
    assert_eq!(status(&["check"]), Some(1));
    assert_eq!(status(&["run", &taken]), Some(1));
    assert_eq!(status(&["--unknown"]), Some(2));
    assert_eq!(status(&["check", "--config", "nowhere.toml"]), Some(2));
    assert_eq!(status(&["exec", "--gateway", "http://127.0.0.1:1", "--", "true"]), Some(2));
    assert_eq!(exec(&["./not-executable"]), Some(126));
    assert_eq!(exec(&["no-such-program"]), Some(127));
    assert_eq!(exec(&["sh", "-c", "kill -KILL $$"]), Some(128 + 9));
    assert_eq!(exec(&["sh", "-c", "exit 7"]), Some(7));
    sandbox.terminate();
    assert_eq!(sandbox.exited().code(), Some(0));
    assert_eq!(documented("exit status"), sorted(["0", "1", "126", "127", "128+N", "2"]));
}
