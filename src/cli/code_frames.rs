//! The problems of a configuration on a terminal: each with its line of the file, a mark under the key or value, and what
//! is allowed. Elsewhere, a problem is one line, which programs can take apart.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::columns::{self, wrapped};
use crate::config::{Frame, Problem, Problems};
use crate::net::secret_filter::{self, Audience};

/// Before a title: `error: `.
const TITLE_INDENT: usize = 7;
/// Before what to do: `   = help: `, with line numbers of three digits.
const HELP_INDENT: usize = 12;

/// The problems for standard error; `None` where it is no terminal.
pub(super) fn on_terminal(problems: &Problems) -> Option<String> {
    let width = columns::of_stderr()?;
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_colour = !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    Some(rendered(problems, width, has_colour))
}

fn rendered(problems: &Problems, width: usize, has_colour: bool) -> String {
    let renderer = if has_colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(width);
    let mut text =
        problems.iter().map(|problem| one(problem, &renderer, width)).collect::<Vec<_>>().join("\n\n");
    if problems.len() > 1 {
        text.push_str(&format!("\n\n{} problems", problems.len()));
    }
    secret_filter::blanked_text(text, Audience::Operators)
}

fn one(problem: &Problem, renderer: &Renderer, width: usize) -> String {
    let mut clauses = clauses(problem.what());
    let what = if clauses.is_empty() { "" } else { clauses.remove(0) };
    let title = match problem.key() {
        "" => what.to_owned(),
        key => format!("{key}: {what}"),
    };
    let title = wrapped(&title, width.saturating_sub(TITLE_INDENT));
    // The nearest word is said at the mark; everything else below.
    let label = clauses
        .first()
        .filter(|clause| clause.starts_with("did you mean"))
        .map(|clause| (*clause).to_owned());
    let helps = clauses.into_iter().skip(usize::from(label.is_some()));
    let helps: Vec<String> = helps.map(|clause| wrapped(clause, width.saturating_sub(HELP_INDENT))).collect();
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    group = match problem.frame() {
        Some(Frame { line, text, mark }) => {
            let annotation = AnnotationKind::Primary.span(mark.clone()).label(label);
            let snippet =
                Snippet::source(text).line_start(*line).path(problem.source()).annotation(annotation);
            group.element(snippet)
        }
        None => group
            .element(Origin::path(problem.source()))
            .elements(label.map(|label| Level::HELP.message(label))),
    };
    group = group.elements(helps.into_iter().map(|help| Level::HELP.message(help)));
    renderer.render(&[group])
}

/// The parts of a message between semicolons, and `did you mean …?` by itself. Texts in quotes stay whole.
fn clauses(what: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut is_quoted, mut before) = (Vec::new(), 0, false, ' ');
    for (at, character) in what.char_indices() {
        let part = what.get(begin..at).unwrap_or_default();
        match character {
            '"' if before != '\\' => is_quoted = !is_quoted,
            ' ' if !is_quoted && (before == ';' || before == '?' && part.starts_with("did you mean")) => {
                parts.push(part.trim_end_matches(';'));
                begin = at + 1;
            }
            _ => {}
        }
        before = character;
    }
    parts.push(what.get(begin..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Overrides, from_text};

    fn shown(text: &str, width: usize) -> String {
        let problems =
            from_text(text, Path::new("proxy.toml"), &Overrides::default(), &|_| None).unwrap_err();
        rendered(&problems, width, false)
    }

    #[test]
    fn a_message_is_taken_apart_outside_of_quotes() {
        assert_eq!(
            clauses("unknown key; did you mean \"a; b\"? allowed here: a, b; or c"),
            ["unknown key", "did you mean \"a; b\"?", "allowed here: a, b", "or c"]
        );
        assert_eq!(clauses("\"a; \\\"b; c\" is wrong"), ["\"a; \\\"b; c\" is wrong"]);
        assert_eq!(clauses("what? no; yes"), ["what? no", "yes"]);
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let long = "[listen]\nsources = [\"10.0.0.0/8\", \"10.1.0.0/16\", \"10.2.0.0/16\", \"10.3.0.0/16\", \"10.4.0.0/99\", \"10.5.0.0/16\"]\nadress = 1\n[log]\nlevel = \"inof\"\n[[app]]\npth = 1\n";
        for width in [60, 80, 140] {
            for line in shown(long, width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}
