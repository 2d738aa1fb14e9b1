use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Command;

use serde_json::Value;

use super::*;
use crate::telemetry::audit::verification::Verification;

fn started(path: PathBuf) -> AuditLog {
    let clock = Clock::real();
    AuditLog::start(path, Arc::new(Outages::new(clock.clone())), clock).unwrap()
}

fn object(number: usize) -> Vec<u8> {
    format!("{{\"time\":\"t\",\"number\":{number},\"text\":\"{}\"", "x".repeat(500)).into_bytes()
}

#[test]
fn every_line_is_in_the_file_in_its_order_and_the_chain_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = started(path.clone());
    (0..2000).for_each(|number| log.write(object(number)));
    log.stop();
    assert_eq!((log.written(), log.lost(), log.trouble()), (2000, 0, None));
    let text = fs::read_to_string(&path).unwrap();
    for (number, line) in text.lines().enumerate() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["number"], number);
    }
    let mut found = Verification::new(None);
    found.read("audit.jsonl", text.as_bytes()).unwrap();
    assert!(found.is_whole() && found.lines == 2000, "{found:?}");
}

/// A pipe that nobody reads takes 64 KiB.
#[test]
fn lines_beyond_those_that_may_wait_are_lost_and_a_line_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let log = started(path.clone());
    let sent = WAITING / 500 + 1000;
    (0..sent).for_each(|number| log.write(object(number as usize)));
    let lost = log.lost();
    let waiting: u64 = (0..sent - lost).map(|number| object(number as usize).len() as u64).sum();
    // The thread holds some of them, in the pipe and on their way there.
    assert!((1..=sent - 1000).contains(&lost) && waiting < WAITING + 256 * 1024, "{lost}, {waiting}");
    let trouble = log.trouble().unwrap();
    assert!(
        trouble.contains("accepts lines too slowly") && trouble.ends_with(&format!(": {}", grouped(lost))),
        "{trouble}"
    );
    // Now somebody reads it.
    let mut lines = BufReader::new(File::open(&path).unwrap()).lines().map(Result::unwrap);
    let (mut text, mut told) = (String::new(), None);
    for line in lines.by_ref().take((sent - lost + 1) as usize) {
        let value: Value = serde_json::from_str(&line).unwrap();
        told = told.or(value["lost"].as_u64());
        text.push_str(&(line + "\n"));
    }
    assert_eq!(told, Some(lost));
    let mut found = Verification::new(None);
    found.read("pipe", text.as_bytes()).unwrap();
    assert!(found.is_whole() && found.lost == lost, "{found:?}");
    log.stop();
    assert_eq!((log.written(), log.trouble()), (sent - lost, None));
}

/// Callers decide how long a line is.
#[test]
fn long_lines_that_wait_take_no_more_memory_than_short_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let log = started(path);
    let line = format!("{{\"time\":\"t\",\"text\":\"{}\"", "x".repeat(100_000));
    (0..200).for_each(|_| log.write(line.clone().into_bytes()));
    let kept = 200 - log.lost();
    assert!(kept * line.len() as u64 <= WAITING + 4 * line.len() as u64, "{kept}");
}

#[test]
fn secrets_are_blanked_before_the_hash_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let secret = crate::net::secret::Secret::new("canary-in-an-audit-line".to_owned());
    let log = started(path.clone());
    log.write(format!("{{\"time\":\"t\",\"text\":\"{}\"", secret.expose()).into_bytes());
    log.stop();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("[secret]") && !text.contains("canary"), "{text}");
    let mut found = Verification::new(None);
    found.read("audit.jsonl", text.as_bytes()).unwrap();
    assert!(found.is_whole());
}
