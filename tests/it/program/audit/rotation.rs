//! Files that are moved away while requests go on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;

const LOGROTATE: &str = include_str!("../../../../deploy/logrotate/boxgate");

#[test]
fn after_sighup_and_after_boxgate_reload_the_next_file_continues_the_chain() {
    let at = FakeBox::start();
    let program = start(&at);
    let file = program.folder.join(FILE);
    deletes(&program, 1..=2);
    until_written(&program, 2);
    fs::rename(&file, program.folder.join("1.jsonl")).unwrap();
    deletes(&program, 3..=3);
    until_written(&program, 3);
    program.hang_up();
    until("the file is made", || file.exists());
    deletes(&program, 4..=4);
    until_written(&program, 4);
    fs::rename(&file, program.folder.join("2.jsonl")).unwrap();
    let reloaded = boxgate(&program.folder, &["reload", "--admin", &program.operators]);
    assert_eq!(reloaded.status.code(), Some(0), "{}", words(&reloaded));
    assert!(file.exists(), "it is opened when the command returns");
    deletes(&program, 5..=5);
    until_written(&program, 5);
    for (name, wanted) in [("1.jsonl", &[1, 2, 3][..]), ("2.jsonl", &[4]), (FILE, &[5])] {
        assert_eq!(targets(&values(&text(&program.folder.join(name)))), wanted, "{name}");
    }
    let (status, found) = verified(&program.folder, &["1.jsonl", "2.jsonl", FILE]);
    assert_eq!((status, &found["lines"]), (0, &5.into()), "{found}");
    let (status, found) = verified(&program.folder, &["2.jsonl", FILE, "1.jsonl"]);
    assert_eq!((status, found["problems"].as_array().unwrap().len()), (1, 1), "in another order: {found}");
    let (status, _) = verified(&program.folder, &["1.jsonl", FILE]);
    assert_eq!(status, 1, "without the one between");
}

#[test]
fn a_configuration_that_is_refused_does_not_keep_the_file_from_being_opened_again() {
    let at = FakeBox::start();
    let program = start(&at);
    let file = program.folder.join(FILE);
    deletes(&program, 1..=1);
    until_written(&program, 1);
    fs::rename(&file, program.folder.join("1.jsonl")).unwrap();
    program.folder.write("proxy.toml", "nonsense = 1\n");
    program.hang_up();
    until("the file is made", || file.exists());
    deletes(&program, 2..=2);
    until_written(&program, 2);
    assert_eq!(targets(&values(&text(&file))), [2]);
}

#[test]
fn a_file_that_is_removed_is_made_again_with_the_next_line() {
    let at = FakeBox::start();
    let program = start(&at);
    let file = program.folder.join(FILE);
    deletes(&program, 1..=1);
    until_written(&program, 1);
    let before = values(&text(&file));
    fs::remove_file(&file).unwrap();
    deletes(&program, 2..=2);
    until_written(&program, 2);
    let after = values(&text(&file));
    assert_eq!(targets(&after), [2]);
    assert_eq!(after[0]["previous"], before[0]["hash"], "the chain goes on");
    program.err.wait_for(&["[log] audit: ", "was removed"]);
    // Where it cannot be made, lines are lost, and counted.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    deletes(&program, 3..=3);
    until("the line is lost", || program.metric(LOST) == 1);
    fs::remove_dir(&file).unwrap();
    until("the file is made", || file.is_file());
    deletes(&program, 4..=4);
    until_written(&program, 3);
    let (status, found) = verified(&program.folder, &[FILE]);
    assert_eq!((status, &found["lines"], &found["lost"]), (0, &2.into(), &1.into()), "{found}");
}

#[test]
fn a_path_that_cannot_be_opened_again_is_told_and_lines_go_on_into_the_open_file() {
    let at = FakeBox::start();
    let folder = Folder::new();
    fs::create_dir(folder.join("logs")).unwrap();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", "[log]\naudit = \"logs/audit.jsonl\"\n");
    let run = command(BOXGATE, &folder);
    let program = Program::spawn(folder, run).ready();
    fs::rename(program.folder.join("logs"), program.folder.join("moved")).unwrap();
    let reloaded = boxgate(&program.folder, &["reload", "--admin", &program.operators]);
    let said = words(&reloaded);
    assert_eq!(reloaded.status.code(), Some(0));
    assert!(
        said.contains("[log] audit: ") && said.contains("could not be opened again: No such file"),
        "{said}"
    );
    program.err.wait_for(&["WARN", "could not be opened again"]);
    deletes(&program, 1..=1);
    until_written(&program, 1);
    assert_eq!(targets(&values(&text(&program.folder.join("moved/audit.jsonl")))), [1]);
}

#[test]
fn another_path_needs_a_restart() {
    let at = FakeBox::start();
    let program = start(&at);
    write_file(&program.folder, &at, "address = \"127.0.0.1:0\"", "[log]\naudit = \"other.jsonl\"\n");
    let said = words(&boxgate(&program.folder, &["reload", "--admin", &program.operators]));
    assert!(said.contains("[log] audit"), "{said}");
    deletes(&program, 1..=1);
    until_written(&program, 1);
    assert!(!program.folder.join("other.jsonl").exists());
    assert_eq!(targets(&values(&text(&program.folder.join(FILE)))), [1]);
}

#[test]
fn rotations_under_load_lose_no_line_and_no_request() {
    const CALLERS: u64 = 4;
    let at = FakeBox::start();
    let program = start(&at);
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(1));
    let file = program.folder.join(FILE);
    let mut files = Vec::new();
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(delete(&program, next.fetch_add(1, Ordering::Relaxed)).status, 404);
                }
            });
        }
        for number in 0..5 {
            let written = program.metric(WRITTEN);
            until("requests go on", || program.metric(WRITTEN) > written + 20);
            files.push(format!("{number}.jsonl"));
            fs::rename(&file, program.folder.join(&files[number])).unwrap();
            program.hang_up();
            until("the file is made", || file.exists());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let sent = next.load(Ordering::Relaxed) - 1;
    until_written(&program, sent);
    files.push(FILE.to_owned());
    let mut found: Vec<u64> =
        files.iter().flat_map(|name| targets(&values(&text(&program.folder.join(name))))).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=sent).collect::<Vec<_>>());
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let (status, found) = verified(&program.folder, &names);
    assert_eq!((status, &found["lost"]), (0, &0.into()), "{found}");
    assert_eq!(program.metric(LOST), 0);
}

/// `deploy/logrotate/boxgate`, with the path and the signal of this test.
#[test]
fn logrotate_moves_the_file_and_the_chain_goes_on() {
    let at = FakeBox::start();
    let program = start(&at);
    let (file, id) = (program.folder.join(FILE), program.id());
    let signal = "systemctl kill --signal=HUP --kill-whom=main boxgate.service";
    assert!(LOGROTATE.contains(signal) && LOGROTATE.contains("/var/log/boxgate/audit.jsonl {"));
    let rules = LOGROTATE
        .replace(signal, &format!("kill -HUP {id}"))
        .replace("/var/log/boxgate/audit.jsonl {", &format!("{} {{", file.display()));
    let rules = program.folder.write("logrotate.conf", &rules);
    deletes(&program, 1..=3);
    until_written(&program, 3);
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    let rotated = command("logrotate", &program.folder)
        .env("PATH", path)
        .args(["--force", "--state", "state"])
        .arg(&rules)
        .output()
        .unwrap();
    assert!(rotated.status.success(), "{}", words(&rotated));
    until("the file is made", || file.exists());
    deletes(&program, 4..=4);
    until_written(&program, 4);
    let names = fs::read_dir(&*program.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let old: Vec<String> = names.filter(|name| name.starts_with("audit.jsonl-")).collect();
    assert_eq!(old.len(), 1, "{old:?}");
    let (status, found) = verified(&program.folder, &[&old[0], FILE]);
    assert_eq!((status, &found["lines"]), (0, &4.into()), "{found}");
}
