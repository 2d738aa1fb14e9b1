//! Questions to the user at a terminal. What is typed is wiped when it is dropped, since it may be a secret.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Failure;
use crate::net::hidden_characters::BYTE_ORDER_MARK;

/// The longest line that terminals deliver, line break included.
const LONGEST: usize = 4096;

/// A terminal at standard input, with standard error on a terminal for the questions.
pub(super) struct Terminal(());

impl Terminal {
    /// `None` where nobody could answer, or nobody would see the question.
    pub(super) fn open() -> Option<Self> {
        (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(Self(()))
    }

    /// Prints a line.
    pub(super) fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Asks until `check` accepts the answer. White space and byte order marks around it are removed: copying adds them.
    ///
    /// # Errors
    /// The input ends, or the terminal fails.
    pub(super) async fn ask(
        &self,
        question: &str,
        echo: Echo,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<Zeroizing<String>, Failure> {
        loop {
            let answer = self.line(question, echo).await?;
            let answer = trimmed(&answer);
            if answer.is_empty() {
                self.say("    an answer is needed; Ctrl-C ends this");
                continue;
            }
            match check(answer) {
                Ok(()) => return Ok(Zeroizing::new(answer.to_owned())),
                Err(what) => self.say(&format!("    {what}")),
            }
        }
    }

    async fn line(&self, question: &str, echo: Echo) -> Result<Zeroizing<String>, Failure> {
        let failed = |error: io::Error| Failure::from(format!("the terminal cannot be read: {error}"));
        // Before the question, so that nothing is shown that is typed as soon as it appears. The guard is not in the thread that reads: this future may be dropped while that thread still waits.
        let _hidden = match echo {
            Echo::Shown => None,
            Echo::Hidden => Some(EchoOff::new().map_err(failed)?),
        };
        eprint!("{question}");
        let _ = io::stderr().flush();
        let read = tokio::task::spawn_blocking(read_line).await;
        match read.map_err(io::Error::other).and_then(|line| line).map_err(failed)? {
            Some(line) => Ok(line),
            None => {
                self.say("");
                Err(Failure::from(
                    "the input ended before everything was answered; nothing was written".to_owned(),
                ))
            }
        }
    }
}

/// Whether the terminal shows what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Shown,
    Hidden,
}

/// While this lives, the terminal shows nothing of what is typed but the line break at its end.
struct EchoOff(Termios);

impl EchoOff {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A line of standard input without its line break; `None` where the input ends. Reads past the standard library, whose
/// buffer is never wiped.
fn read_line() -> io::Result<Option<Zeroizing<String>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut piece = Zeroizing::new([0; LONGEST]);
    loop {
        let count = match rustix::io::read(io::stdin(), piece.as_mut_slice()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let read = piece.get(..count).unwrap_or_default();
        if read.is_empty() && line.is_empty() {
            return Ok(None);
        }
        if line.len() + read.len() > LONGEST {
            return Err(io::Error::other("a line is longer than 4096 bytes"));
        }
        line.extend_from_slice(read);
        if read.is_empty() || line.ends_with(b"\n") {
            let text =
                std::str::from_utf8(&line).map_err(|_| io::Error::other("a line is not UTF-8 text"))?;
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())));
        }
    }
}

/// Without white space and byte order marks at both ends.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_whitespace() || character == BYTE_ORDER_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copying_adds_is_removed_at_both_ends_only() {
        for text in ["a b", "\u{feff}a b\r", " \u{a0}a b\t\n", "\u{feff} a b \u{feff}"] {
            assert_eq!(trimmed(text), "a b", "{text:?}");
        }
        assert_eq!(trimmed(" \u{feff} "), "");
        assert_eq!(trimmed("a\u{200b}"), "a\u{200b}", "a character that hides is refused with its name");
    }
}
