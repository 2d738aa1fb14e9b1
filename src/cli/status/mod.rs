//! `boxgate status`: what is the running gateway doing? One screen, once or again and again.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::admin_client::{self, AdminListener};
use super::columns;
use super::exit::with_status;
use super::run::DEFAULT_FILE;
use crate::config;
use crate::telemetry::terminal::{Colour, has_colours};

use self::answer::Answer;
use self::line::{Line, Span};
use self::screen::{Size, screen};

mod answer; // asks the gateway
mod document; // what it answers
mod full_screen; // the terminal while the screen is refreshed
mod head; // ready or not, and what to do
mod line; // texts with colours
mod screen; // as much as fits
mod sections; // hosts, identities, apps, limits, pauses, budgets
mod table; // aligned columns
mod watch; // again and again
#[cfg(test)]
mod tests; // exact screens

/// The exit status where the gateway is not ready.
const NOT_READY: u8 = 1;
/// The exit status where there is no answer.
const NO_ANSWER: u8 = 2;

/// The command line options.
#[derive(Debug, Clone, Args)]
// The group would have the name of the flattened one.
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    gateway: admin_client::Options,
    /// Print the gateway's answer as JSON, on one line
    #[arg(long)]
    json: bool,
    /// Ask again every 2 s and refresh the screen; Ctrl-C or q ends this
    ///
    /// While the gateway does not answer, the last screen stays and says since when it is stale. Where standard output is no
    /// terminal, a blank line separates one screen from the next; with --json each answer is one line.
    #[arg(long)]
    watch: bool,
    /// How often --watch asks
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval, requires = "watch")]
    interval: Duration,
}

/// # Errors
/// It is no duration, or one that is of no use here.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = config::duration(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    if !allowed.contains(&interval) {
        return Err(format!("{text:?} is not from \"100ms\" to \"1h\""));
    }
    Ok(interval)
}

/// Shows the gateway's status. The exit status is 0 where it is ready, 1 where it is not, 2 where there is no answer.
pub fn run(options: &Options) -> ExitCode {
    with_status(async {
        let listener = AdminListener::find(&options.gateway, Path::new(DEFAULT_FILE))?;
        if options.watch {
            return watch::watch(listener, options.interval, options.json).await;
        }
        let answer = answer::ask(&listener, false).await?;
        let text = if options.json { answer.json() + "\n" } else { text(&answer) };
        print(&text)?;
        Ok(exit_status(&answer))
    })
}

/// The screen for standard output: on a terminal as much as it shows beside the next prompt, else all.
fn text(answer: &Answer) -> String {
    let size = columns::size_of_stdout();
    let (width, height) = size.map(|(columns, lines)| (columns, lines.saturating_sub(1))).unzip();
    let has_colours = size.is_some() && has_colours();
    let height = height.map(|height| height.max(1));
    let mut lines = screen(&answer.status, Size { width, height });
    // A very low window has the beginning: it says whether the gateway is ready.
    if let Some(height) = height.filter(|height| *height < lines.len()) {
        let hidden = lines.len() - height + 1;
        lines.truncate(height.saturating_sub(1).max(1));
        if lines.len() < height {
            let more = format!("… {hidden} more lines: --json");
            lines.push(Line::of([Span::coloured(more, Colour::Dim)]));
        }
    }
    lines.iter().map(|line| line.text(width, has_colours) + "\n").collect()
}

fn exit_status(answer: &Answer) -> u8 {
    if answer.status.ready { 0 } else { NOT_READY }
}

/// Prints for a reader who may have enough before the end (`boxgate status | head`): `false` if so.
///
/// # Errors
/// Standard output fails in another way.
fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure { status: NO_ANSWER, words: format!("standard output cannot be written: {error}") })
        }
        written => Ok(written.is_ok()),
    }
}
