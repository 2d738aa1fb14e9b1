//! The whole terminal, while the screen is refreshed: its other screen, without a cursor and without the keys that are
//! typed. What was there before is there again afterwards.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use super::line::Line;

/// The alternate screen (xterm's private mode 1049), no cursor (25), no wrapping of long lines (7).
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
/// What is between these is shown at once (private mode 2026), where the terminal knows it.
const BEGIN: &str = "\u{1b}[?2026h";
const END: &str = "\u{1b}[?2026l";

/// While this lives, the terminal is ours.
pub(super) struct FullScreen {
    /// Of standard input, where keys are read.
    keys: Option<Termios>,
}

impl FullScreen {
    /// # Errors
    /// The terminal cannot be written.
    pub(super) fn enter() -> io::Result<Self> {
        let screen = Self { keys: quiet_keys() };
        write(ENTER)?;
        Ok(screen)
    }

    /// Whether keys can be read.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Shows these lines, no more than the height, cut at the width of the terminal. Nothing is erased before it is overwritten, so that nothing
    /// flickers.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(super) fn show(
        &self,
        lines: &[Line],
        (width, height): (usize, usize),
        has_colours: bool,
    ) -> io::Result<()> {
        let mut text = format!("{BEGIN}\u{1b}[H");
        for (index, line) in lines.iter().enumerate() {
            // A line feed after the last line would scroll.
            text.push_str(if index == 0 { "" } else { "\r\n" });
            text.push_str(&line.text(Some(width), has_colours));
            // Behind a full line the cursor stays on its last character, which this would erase.
            text.push_str(if line.width() < width { "\u{1b}[K" } else { "" });
        }
        if lines.len() < height {
            text.push_str(&format!("\u{1b}[{};1H\u{1b}[J", lines.len() + 1));
        }
        text.push_str(END);
        write(&text)
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = write(LEAVE);
        if let Some(before) = &self.keys {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Lets keys come one by one, and not be shown; returns how it was. `None`: standard input is no terminal, or that of
/// another job, which would stop this one.
fn quiet_keys() -> Option<Termios> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || tcgetpgrp(&stdin).ok()? != getpgrp() {
        return None;
    }
    let before = tcgetattr(&stdin).ok()?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &quiet).ok()?;
    Some(before)
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
