//! `boxgate usage`: who spent Box's calls in a month, as the running gateway has counted them.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::table::{Style, table};
use super::Failure;
use super::admin_client::{self, AdminListener};
use super::exit::{print, with_status};
use super::run::DEFAULT_FILE;
use crate::admin::usage::REPLICAS;
use crate::limits::budget::period::Span;
use crate::limits::budget::usage::{A_MONTH, Columns};

mod table; // the table for people

/// For all of it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The command line options.
#[derive(Debug, Clone, Args)]
// The group would have the name of the flattened one.
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    gateway: admin_client::Options,
    /// The month in UTC; the gateway keeps 13 months [default: this month]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Option<String>,
    /// What the calls are summed by: one or more of app, identity, class and day [default: app,identity,class]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    by: Option<String>,
    /// Print comma-separated values, as /usage.csv has them
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON document, as /usage.json has it
    #[arg(long)]
    json: bool,
}

/// The document of `/usage.json`.
#[derive(Debug, Clone, Deserialize)]
struct Usage {
    month: String,
    by: Vec<String>,
    since: String,
    in_memory: bool,
    /// Why nothing is known of the month; gateways before this member never said so.
    #[serde(default)]
    uncounted: Option<String>,
    replicas: String,
    replicas_reason: Option<String>,
    months: Vec<String>,
    calls: u64,
    /// Each with a member for each column, and `calls`.
    rows: Vec<Map<String, Value>>,
}

/// Asks the gateway and prints its calls. The exit status is 0, or 2 if no gateway answers or an option cannot be used.
pub fn run(options: &Options) -> ExitCode {
    let mut text = Vec::new();
    let asked = with_status(async {
        text = usage(options).await?;
        Ok(0)
    });
    if asked == ExitCode::SUCCESS { print(&text) } else { asked }
}

async fn usage(options: &Options) -> Result<Vec<u8>, Failure> {
    let listener = AdminListener::find(&options.gateway, Path::new(DEFAULT_FILE))?;
    let path = path(options);
    let answer = listener.request(Method::GET, &path, TIMEOUT).await?;
    let asked = format!("GET {path}");
    if answer.status != StatusCode::OK {
        return Err(listener.unexpected(&asked, &answer));
    }
    if options.csv {
        // Another server would answer with something else.
        if !answer.body.starts_with(b"month,") {
            return Err(listener.unexpected(&asked, &answer));
        }
        if let Some(why) = answer.headers.get(&REPLICAS).and_then(|why| why.to_str().ok()) {
            eprintln!("boxgate: these are not the calls of all replicas: {why}");
        }
        return Ok(answer.body.to_vec());
    }
    let Ok(usage) = serde_json::from_slice::<Usage>(&answer.body) else {
        return Err(listener.unexpected(&asked, &answer));
    };
    if options.json {
        return Ok([&*answer.body, b"\n"].concat());
    }
    Ok(table(&usage, style()).into_bytes())
}

/// The path and query for these options. Their values have no character that would need escaping.
fn path(options: &Options) -> String {
    let mut path = if options.csv { "/usage.csv" } else { "/usage.json" }.to_owned();
    let by = options.by.clone().unwrap_or_else(|| Columns::default().to_string());
    path.push_str(&format!("?by={by}"));
    if let Some(month) = &options.month {
        path.push_str(&format!("&month={month}"));
    }
    path
}

fn month(text: &str) -> Result<String, String> {
    Span::read_month(text).map(|month| month.to_string()).ok_or_else(|| format!("allowed: {A_MONTH}"))
}

fn columns(text: &str) -> Result<String, String> {
    Columns::read(text).map(|by| by.to_string()).ok_or_else(|| format!("allowed: {}", Columns::ALLOWED))
}

/// No wider than the terminal, if it is one.
fn style() -> Style {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return Style { bold: false, width: None };
    }
    let bold = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    Style { bold, width: size.map(|size| size.ws_col.into()).filter(|columns| *columns > 0) }
}
