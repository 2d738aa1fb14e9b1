//! `--watch`: asks again and again. On a terminal the screen is refreshed in place; elsewhere answers follow each other.

use std::io::{self, Read as _};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::answer::{Answer, ask};
use super::full_screen::FullScreen;
use super::line::{Line, Span, hanging};
use super::screen::{Size, screen};
use super::{NO_ANSWER, exit_status, print, text};
use crate::cli::admin_client::{AdminListener, printable};
use crate::cli::{Failure, columns};
use crate::telemetry::terminal::{Colour, has_colours, time_of_day};

type Answers = mpsc::Receiver<Result<Answer, Failure>>;

/// Asks until a signal or a key ends it; the exit status is as the last answer said.
///
/// # Errors
/// The terminal or standard output cannot be written.
pub(super) async fn watch(listener: AdminListener, interval: Duration, is_json: bool) -> Result<u8, Failure> {
    let mut ends = Ends::new().map_err(failed)?;
    let place = listener.to_string();
    let mut answers = answers(listener, interval);
    if !is_json && columns::size_of_stdout().is_some() {
        refresh(&mut answers, &mut ends, &place).await
    } else {
        follow(&mut answers, &mut ends, is_json).await
    }
}

/// Asks in a task of its own, at most once in each interval, and never before the last answer was taken.
fn answers(listener: AdminListener, interval: Duration) -> Answers {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if sender.send(ask(&listener, true).await).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// One answer after the other, separated by blank lines; as JSON each on a line. That there is none is said on standard
/// error, once for each reason.
async fn follow(answers: &mut Answers, ends: &mut Ends, is_json: bool) -> Result<u8, Failure> {
    let (mut exit, mut is_first) = (NO_ANSWER, true);
    let (mut fresh, mut told) = (time_of_day(), String::new());
    loop {
        let answer = tokio::select! {
            answer = answers.recv() => answer,
            () = ends.next() => return Ok(exit),
        };
        match answer {
            None => return Ok(exit),
            Some(Ok(answer)) => {
                let gap = if is_first || is_json { "" } else { "\n" };
                let text = if is_json { answer.json() + "\n" } else { text(&answer) };
                exit = exit_status(&answer);
                if !print(&format!("{gap}{text}"))? {
                    return Ok(exit);
                }
                (is_first, fresh) = (false, time_of_day());
                told.clear();
            }
            Some(Err(Failure { words, .. })) => {
                exit = NO_ANSWER;
                if told != words {
                    eprintln!("boxgate: stale since {fresh}Z: {}", printable(&words));
                    told = words;
                }
            }
        }
    }
}

/// On a terminal.
async fn refresh(answers: &mut Answers, ends: &mut Ends, place: &str) -> Result<u8, Failure> {
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let mut stopped = signal(SignalKind::from_raw(Signal::TSTP.as_raw())).map_err(failed)?;
    let mut full = FullScreen::enter().map_err(failed)?;
    let mut keys = keys(full.has_keys());
    let mut view = View::new(place);
    let has_colours = has_colours();
    loop {
        let size = columns::size_of_stdout().unwrap_or((80, 24));
        full.show(&view.lines(size), size, has_colours).map_err(failed)?;
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(answer) => view.take(answer),
                None => return Ok(view.exit()),
            },
            _ = resized.recv() => {}
            _ = stopped.recv() => {
                drop(full);
                // The shell has the terminal until it lets this process go on.
                let _ = kill_process(getpid(), Signal::STOP);
                full = FullScreen::enter().map_err(failed)?;
            }
            Some(key) = keys.recv() => if matches!(key, b'q' | b'Q') {
                return Ok(view.exit());
            },
            () = ends.next() => return Ok(view.exit()),
        }
    }
}

/// What the terminal shows.
struct View<'a> {
    place: &'a str,
    last: Option<Answer>,
    /// When the last answer came, or the first was asked for.
    fresh: String,
    /// Why there is no newer answer.
    stale: Option<String>,
}

impl<'a> View<'a> {
    fn new(place: &'a str) -> Self {
        Self { place, last: None, fresh: time_of_day(), stale: None }
    }

    fn take(&mut self, answer: Result<Answer, Failure>) {
        match answer {
            Ok(answer) => {
                self.last = Some(answer);
                self.fresh = time_of_day();
                self.stale = None;
            }
            Err(Failure { words, .. }) => self.stale = Some(printable(&words)),
        }
    }

    fn exit(&self) -> u8 {
        match (&self.last, &self.stale) {
            (Some(answer), None) => exit_status(answer),
            _ => NO_ANSWER,
        }
    }

    /// No more lines than the terminal has.
    fn lines(&self, (width, height): (usize, usize)) -> Vec<Line> {
        let mut lines = self.all_lines(width, height);
        if lines.len() > height {
            let hidden = lines.len() - height + 1;
            lines.truncate(height.saturating_sub(1));
            let more = format!("… {hidden} more lines: a taller window");
            lines.push(Line::of([Span::coloured(more, Colour::Dim)]));
        }
        lines
    }

    fn all_lines(&self, width: usize, height: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(why) = &self.stale {
            let words = format!("stale since {}Z: {why}", self.fresh);
            lines.extend(hanging(Vec::new(), &Span::coloured(words, Colour::BoldRed), Some(width)));
        }
        match &self.last {
            Some(answer) => {
                let height = height.saturating_sub(lines.len());
                lines.extend(screen(&answer.status, Size { width: Some(width), height: Some(height) }));
            }
            None if lines.is_empty() => {
                lines.push(Line::of([Span::plain(format!("asking the gateway at {} …", self.place))]));
            }
            None => {}
        }
        lines
    }
}

/// The keys that are typed. A thread reads them, since a terminal cannot be read without waiting; it ends with the
/// process.
fn keys(are_there: bool) -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(1);
    if are_there {
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// The signals that end the program.
struct Ends([Signals; 4]);

impl Ends {
    fn new() -> io::Result<Self> {
        let on = |kind| signal(kind);
        Ok(Self([
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
            on(SignalKind::quit())?,
        ]))
    }

    async fn next(&mut self) {
        let Self([interrupt, terminate, hangup, quit]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

fn failed(error: io::Error) -> Failure {
    Failure { status: NO_ANSWER, words: format!("the terminal cannot be used: {error}") }
}
