//! What the subcommands do, one file each. `src/main.rs` reads the command line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

pub mod run; // the gateway
#[cfg(feature = "sandbox")]
pub mod sandbox; // the gateway in front of an in-process Box
mod exit; // how a subcommand runs and ends
pub mod reload; // the running gateway reads its configuration again
pub mod admin_client; // the admin listener of a running gateway
pub mod check; // is all well with a configuration?
pub mod core_dumps; // forbids them
mod box_names; // which hosts go to the gateway?
mod environment; // which variables make a program use it?
pub mod env; // the variables, printed
pub mod exec; // a command that runs with them
mod gateway; // does the gateway serve such programs, and may its CA be trusted?
mod java_trust_store; // the CA for Java
pub mod options; // what the command line says about the gateway
pub mod shell; // assignments as a shell reads them
mod splitter; // Box's hosts to the gateway, all others as before
mod trust_files; // the CA in files
mod temporary_folder; // a folder that nobody can have prepared
mod tunnel; // CONNECT to a proxy

use crate::net::secret_filter::{self, Audience};

/// Why a subcommand ends without having done its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// For the user: what is wrong and what to do.
    pub words: String,
}

impl From<String> for Failure {
    /// With the exit status of what is wrong with the gateway or the options. A gateway may have repeated the app's key.
    fn from(words: String) -> Self {
        Self { status: 2, words: secret_filter::blanked_text(words, Audience::Operators) }
    }
}
