//! What `boxgate` says to somebody who has configured nothing yet.

use std::path::Path;

/// The variables that make a configuration without a file.
const VARIABLES: [&str; 4] = ["BOX_CLIENT_ID", "BOX_CLIENT_SECRET", "BOX_ENTERPRISE_ID", "BOX_USER_ID"];

/// What to do, in lines of at most 80 columns.
#[cfg(feature = "sandbox")]
pub(super) const WORDS: &str = "\
boxgate: nothing is configured: no proxy.toml here and no BOX_... variables; run
  boxgate sandbox   to try it: a make-believe Box, without an account or a file
  boxgate init      to enter the credentials of a Box app and write proxy.toml
or set BOX_CLIENT_ID, BOX_CLIENT_SECRET and BOX_ENTERPRISE_ID or BOX_USER_ID;
then `boxgate check` says what is wrong, and `boxgate` runs the gateway";
/// The same for a program without the sandbox.
#[cfg(not(feature = "sandbox"))]
pub(super) const WORDS: &str = "\
boxgate: nothing is configured: no proxy.toml here and no BOX_... variables; run
  boxgate init      to enter the credentials of a Box app and write proxy.toml
or set BOX_CLIENT_ID, BOX_CLIENT_SECRET and BOX_ENTERPRISE_ID or BOX_USER_ID;
then `boxgate check` says what is wrong, and `boxgate` runs the gateway";

/// Whether neither this file nor any of the variables is there. Where some are, or a link leads nowhere, the problems of
/// what was begun say more than [`WORDS`]. A variable that is set and empty was meant to be something.
pub(super) fn is_unconfigured(default_file: &Path) -> bool {
    default_file.symlink_metadata().is_err() && VARIABLES.iter().all(|name| std::env::var_os(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::{VARIABLES, WORDS};

    #[test]
    fn the_words_are_a_few_lines_and_none_is_wider_than_a_terminal() {
        assert!(WORDS.lines().count() <= 5, "{WORDS}");
        for line in WORDS.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for variable in VARIABLES {
            assert!(WORDS.contains(variable), "{WORDS}");
        }
    }
}
