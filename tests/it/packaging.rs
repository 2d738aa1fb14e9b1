//! What is published, used as its users would: the image, the services of compose, the archive, the Debian package.
//!
//! No container engine is needed. The steps of the Dockerfile run in a folder, and what they make runs in namespaces of its
//! own, as an engine would run it. This needs root, and programs that `tests/run` installs.

mod container; // programs in namespaces of their own
mod dockerfile; // reads a Dockerfile and runs its steps
mod image; // what the image does
mod compose; // boxgate and Redis together
mod release; // the archive and what is in it
mod debian; // the package, from its installation to its end
mod version; // one place for the version

use std::path::Path;
use std::process::{Command, Output};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of this repository.
fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a command to its end, which must be a good one; its standard output.
fn well(command: &mut Command) -> String {
    let output = ran(command);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn ran(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; tests/run installs the programs that tests need")
    })
}
