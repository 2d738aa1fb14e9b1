//! The subcommands, one file each. `src/main.rs` parses the command line.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program prints to its user")]

pub mod run; // the gateway
pub mod huge_pages; // declines them
mod first_run; // what somebody is told who has configured nothing
#[cfg(feature = "sandbox")]
pub mod sandbox; // the gateway in front of an in-process Box
mod code_frames; // problems of a configuration on a terminal
mod columns; // lines as wide as a terminal
mod exit; // how a subcommand runs and ends
pub mod reload; // the running gateway reads its configuration again
pub mod health; // is the running gateway alive, or ready?
pub mod status; // what is the running gateway doing?
pub mod audit; // is the audit log's chain whole?
pub mod usage; // who spent Box's calls?
pub mod manual; // completions of shells, and the manual page
pub mod admin_client; // the admin listener of a running gateway
mod box_account; // a token for an account at Box, and whose it is
pub mod check; // is all well with a configuration?
pub mod explain; // what does an error code mean, and how is a request decided?
pub mod core_dumps; // forbids them
mod hardening; // of the gateway's process
mod box_names; // the hosts that go to the gateway
mod environment; // the variables that make a program use the gateway
pub mod env; // the variables, printed
pub mod exec; // runs a command with these variables
mod gateway; // whether the gateway serves such programs, and its CA may be trusted
mod java_trust_store; // the CA for Java
pub mod init; // asks for the account at Box and writes the files
mod terminal; // questions and their answers
mod first_files; // files that appear whole or not at all
pub mod options; // options that name the gateway and the app
pub mod shell; // shell syntax for assignments
mod splitter; // sends Box's hosts to the gateway, all others as before
mod trust_files; // the CA in files
mod temporary_folder; // a folder that no other user can have prepared
mod tunnel; // CONNECT to a proxy

use crate::net::secret_filter::{self, Audience};

/// Why a subcommand failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit status.
    pub status: u8,
    /// For the user: what is wrong and what to do.
    pub words: String,
}

impl From<String> for Failure {
    /// With the exit status for a wrong gateway or wrong options. Blanks secrets, since a gateway may have repeated the
    /// app's key.
    fn from(words: String) -> Self {
        Self { status: 2, words: secret_filter::blanked_text(words, Audience::Operators) }
    }
}
