//! A program on a pseudo-terminal, as a person sees it. `script`, which every Debian has, makes the terminal.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::harness::{PATIENCE, command};

/// A shell command on a terminal of its own; killed when dropped.
pub(super) struct Screen {
    child: Child,
    keys: ChildStdin,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

#[derive(Default)]
struct Shown {
    text: String,
    ended: bool,
}

impl Screen {
    /// `line`: of a shell, in which `boxgate` is the program. The terminal has so many columns.
    pub(super) fn open(folder: &Path, columns: u16, line: &str, variables: &[(&str, &str)]) -> Self {
        let boxgate = env!("CARGO_BIN_EXE_boxgate");
        let line = format!("stty cols {columns} rows 24; boxgate() {{ {boxgate} \"$@\"; }}; {line}");
        let mut command: Command = command("script", folder);
        command.args(["-qe", "-c", &line, "/dev/null"]).env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown: Arc<(Mutex<Shown>, Condvar)> = Arc::default();
        let noted = shown.clone();
        thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 4096]);
            loop {
                let count = output.read(&mut piece).unwrap_or(0);
                all.extend_from_slice(&piece[..count]);
                let mut shown = noted.0.lock().unwrap();
                shown.text = String::from_utf8_lossy(&all).replace("\r\n", "\n");
                shown.ended = count == 0;
                noted.1.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        Self { child, keys, shown }
    }

    /// Types once this was shown.
    pub(super) fn answer(&mut self, question: &str, keys: &str) {
        self.wait_for(question);
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn wait_for(&self, text: &str) {
        let (shown, changed) = &*self.shown;
        let waited = changed.wait_timeout_while(shown.lock().unwrap(), PATIENCE, |shown| {
            !shown.ended && !shown.text.contains(text)
        });
        let shown = &waited.unwrap().0.text;
        assert!(shown.contains(text), "no {text:?} in:\n{shown}");
    }

    /// The exit status, and everything that was shown.
    pub(super) fn end(mut self) -> (Option<i32>, String) {
        let (shown, changed) = &*self.shown;
        let waited = changed.wait_timeout_while(shown.lock().unwrap(), PATIENCE, |shown| !shown.ended);
        let text = waited.unwrap().0.text.clone();
        let ended = self.shown.0.lock().unwrap().ended;
        assert!(ended, "the program goes on:\n{text}");
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
