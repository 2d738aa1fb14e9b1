//! `boxgate completions` and `boxgate man`: what shells and readers of manuals need, made from the command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Command;
pub use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::print;

/// Prints the script that completes the command line in this shell.
pub fn completions(shell: Shell, mut command: Command) -> ExitCode {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the manual page in the language of `man`, roff: one page with a section for each subcommand.
pub fn page(command: Command) -> ExitCode {
    let mut roff = Vec::new();
    match write_page(command, &mut roff) {
        Ok(()) => print(&roff),
        Err(error) => {
            eprintln!("boxgate: the manual page cannot be made: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_page(mut command: Command, roff: &mut Vec<u8>) -> io::Result<()> {
    command = command.disable_help_subcommand(true);
    command.build();
    let subcommands: Vec<Command> = command.get_subcommands().cloned().collect();
    let man = Man::new(command);
    man.render_title(roff)?;
    man.render_name_section(roff)?;
    man.render_synopsis_section(roff)?;
    man.render_description_section(roff)?;
    man.render_options_section(roff)?;
    for subcommand in subcommands {
        write_subcommand(subcommand, roff)?;
    }
    let mut notes = Vec::new();
    man.render_extra_section(&mut notes)?;
    roff.extend(renamed(&notes, "EXTRA", ".SH NOTES"));
    man.render_version_section(roff)
}

fn write_subcommand(command: Command, roff: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_uppercase();
    let man = Man::new(command);
    let (mut description, mut synopsis, mut options) = (Vec::new(), Vec::new(), Vec::new());
    man.render_synopsis_section(&mut synopsis)?;
    man.render_description_section(&mut description)?;
    man.render_options_section(&mut options)?;
    roff.extend(renamed(&synopsis, "SYNOPSIS", &format!(".SH \"{name}\"")));
    roff.extend(renamed(&description, "DESCRIPTION", ".PP"));
    roff.extend(renamed(&options, "OPTIONS", ".PP"));
    roff.flush()
}

/// A section with another line in place of its heading, and without the preamble that each section begins with.
fn renamed(section: &[u8], heading: &str, line: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(section);
    let behind = text.split_once(&format!(".SH {heading}\n")).map_or("", |(_, behind)| behind);
    format!("{line}\n{behind}").into_bytes()
}
