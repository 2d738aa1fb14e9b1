//! Assignments of environment variables in the syntax of shells and dotenv files.

use std::fmt::Write as _;

/// The program that reads the assignments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// sh, bash, zsh and other POSIX shells.
    Sh,
    /// fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// A file of variables, as many programs and container tools read it.
    Dotenv,
}

impl Shell {
    /// A line that sets the variable in the shell and for programs that it starts.
    pub(super) fn assignment(self, name: &str, value: &str) -> String {
        match self {
            Self::Sh => format!("export {name}={}\n", posix(value)),
            Self::Fish => {
                format!("set -gx {name} '{}'\n", value.replace('\\', r"\\").replace('\'', r"\'"))
            }
            Self::Powershell => format!("$env:{name} = '{}'\n", powershell(value)),
            Self::Dotenv => format!("{name}={}\n", dotenv(value)),
        }
    }

    /// The command that applies the output.
    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::Sh => "eval \"$(boxgate env)\"",
            Self::Fish => "boxgate env --shell fish | source",
            Self::Powershell => "boxgate env --shell powershell | Out-String | Invoke-Expression",
            Self::Dotenv => "boxgate env --shell dotenv > FILE",
        }
    }
}

fn posix(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// A word of a POSIX shell command line, quoted only if necessary.
pub(super) fn posix_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) { text.to_owned() } else { posix(text) }
}

/// PowerShell treats typographic quotes like the plain one; each is doubled.
fn powershell(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        text.push(c);
        if matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}') {
            text.push(c);
        }
    }
    text
}

/// Programs differ: all read a plain word literally; most read text in single quotes literally, and escapes in double
/// quotes.
fn dotenv(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%,+=[]".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains(['\'', '\n', '\r']) {
        return format!("'{value}'");
    }
    let mut text = String::from('"');
    for c in value.chars() {
        // Writing to a `String` cannot fail.
        let _ = match c {
            '\n' => write!(text, "\\n"),
            '\r' => write!(text, "\\r"),
            '"' | '\\' | '$' | '`' => write!(text, "\\{c}"),
            _ => write!(text, "{c}"),
        };
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ODD: &str = "a b'c\"d\\e$HOME`id`$(id)!;&|<>*?~#%\u{e4}\u{2019}\n\tend'";

    #[test]
    fn posix_shells_read_every_value_literally() {
        let lines = [("ODD", ODD), ("EMPTY", ""), ("QUOTE", "'"), ("BACKSLASH", "\\")];
        let input: String = lines.iter().map(|(name, value)| Shell::Sh.assignment(name, value)).collect();
        // A child of the shell sees what was exported.
        let script = r#"eval "$INPUT"; sh -c 'printf "%s|%s|%s|%s" "$ODD" "$EMPTY" "$QUOTE" "$BACKSLASH"'"#;
        for shell in ["sh", "bash"] {
            let output = Command::new(shell).args(["-c", script]).env("INPUT", &input).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{ODD}||'|\\"), "{shell}");
        }
    }

    #[test]
    #[cfg(feature = "sandbox")]
    fn a_word_is_quoted_only_if_necessary() {
        for (text, want) in [
            ("target/debug/boxgate", "target/debug/boxgate"),
            ("/opt/my tools/boxgate", "'/opt/my tools/boxgate'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(posix_word(text), want);
        }
    }

    #[test]
    fn fish_has_two_escapes_between_single_quotes() {
        assert_eq!(Shell::Fish.assignment("A", r"a'b\c$d"), "set -gx A 'a\\'b\\\\c$d'\n");
        assert_eq!(Shell::Fish.assignment("A", ""), "set -gx A ''\n");
    }

    #[test]
    fn powershell_doubles_every_quote_that_it_knows() {
        assert_eq!(
            Shell::Powershell.assignment("A", "a'b\u{2019}c$d`e"),
            "$env:A = 'a''b\u{2019}\u{2019}c$d`e'\n"
        );
    }

    #[test]
    fn files_of_variables_quote_only_what_needs_it() {
        for (value, want) in [
            ("http://a:b@127.0.0.1:8080", "http://a:b@127.0.0.1:8080"),
            ("", ""),
            ("a b", "'a b'"),
            ("a$b", "'a$b'"),
            ("a'b", "\"a'b\""),
            ("a'b\"c\\d$e\n", "\"a'b\\\"c\\\\d\\$e\\n\""),
        ] {
            assert_eq!(Shell::Dotenv.assignment("A", value), format!("A={want}\n"));
        }
    }
}
