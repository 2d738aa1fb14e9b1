//! Reloads of the real program.

mod callers; // which connections stay open
mod command; // boxgate reload
mod endpoint; // POST /reload: access and responses
mod files; // which files are read again, and when
mod identities; // which tokens are kept
mod limits; // which counts are kept
mod logins; // which ids of users are kept
mod mishaps; // bad times, bad files
mod traces; // where they go
mod proof; // under load, a hundred times

use std::process::Output;

use super::client::{Answer, receive, send};
use super::harness::{FakeBox, Folder, Program, command, until, wait, write_file};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const ME: &str = "/2.0/users/me";
const LISTEN: &str = "address = \"127.0.0.1:0\"";

/// An app with this name and path.
fn app(name: &str) -> String {
    format!("[[app]]\nname = \"{name}\"\npath = \"/{name}\"\n")
}

/// A gateway whose files can be rewritten.
struct Running {
    at: FakeBox,
    program: Program,
}

impl Running {
    /// Starts it with these tables besides the usual ones.
    fn start(arguments: &[&str], more: &str) -> Self {
        let (at, folder) = (FakeBox::start(), Folder::new());
        write_file(&folder, &at, LISTEN, more);
        let mut run = command(BOXGATE, &folder);
        run.arg("run").args(arguments);
        let program = Program::spawn(folder, run).ready();
        Self { at, program }
    }

    /// Writes the configuration with these tables, and the files that it names.
    fn write(&self, more: &str) {
        write_file(&self.program.folder, &self.at, LISTEN, more);
    }

    /// The same, and reloads it.
    fn take_over(&self, more: &str) {
        self.write(more);
        let before = self.taken_over();
        self.program.hang_up();
        self.until_taken_over(before + 1);
    }

    fn until_taken_over(&self, count: u64) {
        until("it is taken over", || self.taken_over() >= count);
    }

    /// How many reloads were taken over.
    fn taken_over(&self) -> u64 {
        self.program.metric("boxgate_config_reloads_total{result=\"ok\"}")
    }

    fn refused(&self) -> u64 {
        self.program.metric("boxgate_config_reloads_total{result=\"refused\"}")
    }

    fn status(&self, target: &str) -> u16 {
        self.program.get(target).status
    }
}

/// A gateway with this text in its file, which it reads again only on request.
fn start(at: &FakeBox, more: &str) -> Program {
    let folder = Folder::new();
    write_file(&folder, at, LISTEN, more);
    let mut run = command(BOXGATE, &folder);
    run.args(["run", "--no-watch"]);
    Program::spawn(folder, run).ready()
}

/// Changes its file.
fn rewrite(program: &Program, at: &FakeBox, more: &str) {
    write_file(&program.folder, at, LISTEN, more);
}

/// How many reloads were taken over, and how many were refused.
fn counts(program: &Program) -> (u64, u64) {
    let count = |result| program.metric(&format!("boxgate_config_reloads_total{{result=\"{result}\"}}"));
    (count("ok"), count("refused"))
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
