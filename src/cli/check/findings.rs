//! What the checks find: a row for each thing that was checked.

use serde_json::{Value, json};

use crate::net::secret_filter::{self, Audience};

/// What is longer was not written for people.
const LONGEST: usize = 1000;

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// All is well.
    Ok,
    /// It does not work: exit status 1.
    Failed,
    /// It works, or may work, and is not advised: exit status 1 with `--strict`.
    Warning,
    /// Worth knowing.
    Info,
}

impl State {
    /// As in the table and in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// What a row is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    check: &'static str,
    subject: String,
    part: Option<String>,
}

impl About {
    /// `check`: the kind of check, in JSON. `subject`: what was checked, such as a host.
    pub(super) fn new(check: &'static str, subject: impl Into<String>) -> Self {
        Self { check, subject: shown(subject.into()), part: None }
    }

    /// One aspect of the same subject; in the table it stands below it.
    pub(super) fn part(&self, part: impl Into<String>) -> Self {
        Self { part: Some(shown(part.into())), ..self.clone() }
    }

    pub(super) fn ok(&self, words: impl Into<String>) -> Row {
        self.row(State::Ok, State::Ok.word(), words.into(), String::new())
    }

    pub(super) fn failed(&self, words: impl Into<String>, advice: impl Into<String>) -> Row {
        self.row(State::Failed, State::Failed.word(), words.into(), advice.into())
    }

    /// Box refuses it.
    pub(super) fn refused(&self, words: impl Into<String>, advice: impl Into<String>) -> Row {
        self.row(State::Failed, "refused", words.into(), advice.into())
    }

    pub(super) fn warning(&self, words: impl Into<String>, advice: impl Into<String>) -> Row {
        self.row(State::Warning, State::Warning.word(), words.into(), advice.into())
    }

    /// `label`: one word for what was found.
    pub(super) fn info(
        &self,
        label: &'static str,
        words: impl Into<String>,
        advice: impl Into<String>,
    ) -> Row {
        self.row(State::Info, label, words.into(), advice.into())
    }

    fn row(&self, state: State, label: &'static str, words: String, advice: String) -> Row {
        Row { about: self.clone(), state, label, words: shown(words), advice: shown(advice) }
    }
}

/// What was found. It holds no secret that was alive when it was made, and no control character: words of Box and of
/// other servers are in it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    about: About,
    state: State,
    label: &'static str,
    words: String,
    advice: String,
}

impl Row {
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// One word for what was found: that of the state, or a narrower one.
    pub(super) fn label(&self) -> &'static str {
        self.label
    }

    /// The first column of the table; a part of a subject is indented below it.
    pub(super) fn name(&self) -> String {
        match &self.about.part {
            Some(part) => format!("  {part}"),
            None => self.about.subject.clone(),
        }
    }

    /// What was found, and what to do.
    pub(super) fn text(&self) -> String {
        match (self.words.as_str(), self.advice.as_str()) {
            (words, "") => words.to_owned(),
            ("", advice) => advice.to_owned(),
            (words, advice) => format!("{words}; {advice}"),
        }
    }
}

/// All rows, in the order in which they are shown.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Row>);

impl Report {
    /// How many rows are in this state.
    pub(super) fn count(&self, state: State) -> usize {
        self.0.iter().filter(|row| row.state == state).count()
    }

    /// Whether nothing failed; `strict`: nor is there a warning.
    pub(super) fn is_well(&self, strict: bool) -> bool {
        self.count(State::Failed) == 0 && !(strict && self.count(State::Warning) > 0)
    }

    /// `{"ok":…,"exit":…,"failed":…,"warnings":…,"checks":[{"check","subject","part","state","label","words","advice"}]}`;
    /// `part` is null for a subject as a whole, `advice` is empty where nothing is to be done.
    pub(super) fn json(&self, exit: u8) -> Value {
        let checks = self.0.iter().map(|row| {
            json!({
                "check": row.about.check,
                "subject": row.about.subject,
                "part": row.about.part,
                "state": row.state.word(),
                "label": row.label,
                "words": row.words,
                "advice": row.advice,
            })
        });
        json!({
            "ok": exit == 0,
            "exit": exit,
            "failed": self.count(State::Failed),
            "warnings": self.count(State::Warning),
            "checks": checks.collect::<Vec<_>>(),
        })
    }
}

/// Without secrets, control characters and excess.
fn shown(text: String) -> String {
    let text = secret_filter::blanked_text(text, Audience::Operators);
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    secret_filter::shortened(text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;

    #[test]
    fn rows_show_neither_secrets_nor_control_characters() {
        let secret = Secret::new("a-live-canary-secret".to_owned());
        let about = About::new("host", "a\u{1b}[31mb");
        let row = about.failed(format!("said {}\r\n", secret.expose()), "do\u{7}it");
        assert_eq!((row.name().as_str(), row.text().as_str()), ("a [31mb", "said [secret]  ; do it"));
        assert!(!Report(vec![row]).json(1).to_string().contains("canary"));
    }

    #[test]
    fn warnings_count_as_failures_only_when_strict() {
        let about = About::new("clock", "clock");
        let with = |row| Report(vec![about.ok(""), about.info("empty", "", ""), row]);
        let warned = with(about.warning("late", ""));
        assert!(warned.is_well(false) && !warned.is_well(true));
        assert!(!with(about.refused("no", "")).is_well(false));
        let well = with(about.ok(""));
        assert!(well.is_well(true) && well.json(0)["ok"] == true);
    }
}
