//! `boxgate audit verify`: whether the chain of audit files is whole.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::admin_client::printable;
use super::exit::print;
use crate::telemetry::audit::chain::Hash;
use crate::telemetry::audit::verification::{Finding, Verification};

/// The exit status if a file cannot be read, or the chain is not whole.
const BROKEN: u8 = 1;
/// How much is read at once.
const BUFFER: usize = 256 * 1024;

/// What is done with an audit log.
#[derive(Subcommand)]
pub enum Command {
    /// Check whether the chain of an audit log is whole
    ///
    /// Lines that were changed, removed, inserted or moved are named with file and number. Lines that were cut off at the
    /// end show only against a last hash that was noted elsewhere: --last. Where the first line is not that of a chain, that
    /// is named, too, and no fault: older files may be gone. The exit status is 0 where the chain is whole, and 1 where it
    /// is not or a file cannot be read.
    Verify(Options),
}

/// The command line options.
#[derive(Args)]
pub struct Options {
    /// The files of one chain, the oldest first; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A hash that was noted as the last one, now or earlier: it must be in the chain
    #[arg(long, value_name = "HASH", value_parser = hash)]
    last: Option<Hash>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn hash(text: &str) -> Result<Hash, String> {
    Hash::parse(text.to_ascii_lowercase().as_bytes())
        .ok_or_else(|| "expected 64 hexadecimal digits, as in the \"hash\" of an audit line".to_owned())
}

/// Prints what was found. The exit status is 0 where the chain is whole, else 1.
pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Verify(options) => verify(options),
    }
}

fn verify(options: &Options) -> ExitCode {
    let mut verification = Verification::new(options.last);
    for path in &options.files {
        let name = path.display().to_string();
        if let Err(error) = input(path).and_then(|input| verification.read(&name, input)) {
            eprintln!("boxgate: {} cannot be read: {error}", printable(&name));
            return ExitCode::from(BROKEN);
        }
    }
    let report = Report::of(&verification);
    let text = if options.json {
        serde_json::to_string(&report).unwrap_or_default() + "\n"
    } else {
        text(&report, &verification)
    };
    let printed = print(text.as_bytes());
    if report.whole { printed } else { ExitCode::from(BROKEN) }
}

fn input(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER, File::open(path)?)))
}

/// What was found, as JSON.
#[derive(Serialize)]
struct Report<'v> {
    /// Whether the chain is whole, and has the noted hash.
    whole: bool,
    lines: u64,
    lost: u64,
    first_time: Option<&'v str>,
    last_time: Option<&'v str>,
    first_previous: Option<String>,
    last_hash: Option<String>,
    /// Whether the noted hash is in the chain; `None`: none was given.
    noted_found: Option<bool>,
    /// Lines behind the noted hash.
    lines_since_noted: Option<u64>,
    problems: &'v [Finding],
    /// Problems beyond the first, which are not listed.
    more_problems: u64,
    notes: &'v [Finding],
}

impl<'v> Report<'v> {
    fn of(verification: &'v Verification) -> Self {
        let problems = &verification.problems;
        let times = verification.times.as_ref();
        let found = verification.noted.as_ref().map(|(_, found)| found);
        Self {
            whole: verification.is_whole(),
            lines: verification.lines,
            lost: verification.lost,
            first_time: times.map(|(first, _)| first.as_str()),
            last_time: times.map(|(_, last)| last.as_str()),
            first_previous: verification.first_previous.map(|hash| hash.to_string()),
            last_hash: verification.last.map(|hash| hash.to_string()),
            noted_found: found.map(Option::is_some),
            lines_since_noted: found.and_then(Option::as_ref).map(|(_, behind)| *behind),
            problems: &problems.first,
            more_problems: problems.count - problems.first.len() as u64,
            notes: &verification.notes.first,
        }
    }
}

/// For people.
fn text(report: &Report<'_>, verification: &Verification) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<15} {}", printable(value));
    };
    row("lines", &report.lines.to_string());
    row("lost lines", &report.lost.to_string());
    row("first time", report.first_time.unwrap_or("-"));
    row("last time", report.last_time.unwrap_or("-"));
    row("first previous", report.first_previous.as_deref().unwrap_or("-"));
    row("last hash", report.last_hash.as_deref().unwrap_or("-"));
    match &verification.noted {
        None => {}
        Some((hash, None)) => {
            row("noted hash", &format!("{hash} is not in the chain: lines were cut off or changed"));
        }
        Some((_, Some((place, behind)))) => {
            row("noted hash", &format!("{}:{}, and {behind} lines follow", place.file, place.line));
        }
    }
    for Finding { place, what } in report.notes.iter().chain(report.problems) {
        let _ = writeln!(text, "{}:{}: {what}", printable(&place.file), place.line);
    }
    if report.more_problems > 0 {
        let _ = writeln!(text, "{} more problems", report.more_problems);
    }
    let verdict = match (report.whole, verification.noted.is_some()) {
        (false, _) => "The chain is not whole.",
        (true, _) if report.lines == 0 => "There is no line, so there is nothing to check.",
        (true, true) => "The chain is whole, and has the noted hash.",
        (true, false) => {
            "The chain is whole. Lines that were cut off at its end show only against a last hash noted elsewhere: --last HASH."
        }
    };
    text.push_str(verdict);
    text.push('\n');
    text
}
