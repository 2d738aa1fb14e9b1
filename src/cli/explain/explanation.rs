//! The explanation of a request: what each step of its decision found, and the verdict.

use serde_json::{Map, Value, json};

use super::REFUSED;
use crate::config::Problems;
use crate::net::secret_filter::{self, Audience};
use crate::telemetry::terminal;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The request passes it.
    Ok,
    /// The request ends here.
    Refused,
    /// Nothing was decided.
    Info,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Info => "-",
        }
    }
}

/// One of the things that a step looked at, such as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Detail {
    /// What it is, such as `deny "DELETE /**"`.
    pub(super) what: String,
    /// What was found, in a few words.
    pub(super) found: String,
    /// Whether it decided.
    pub(super) decides: bool,
}

/// A step of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) words: String,
    pub(super) details: Vec<Detail>,
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to this host of Box, or through a blind tunnel.
    Passes(String),
    /// The gateway answers it itself, with this status.
    Answered(u16, String),
    /// The gateway refuses it.
    Refused {
        status: u16,
        code: &'static str,
        /// The pattern of `deny`, as in access lines.
        rule: Option<String>,
        /// What refuses, such as `deny "DELETE /**"`.
        by: Option<String>,
        /// What the caller reads.
        message: String,
        /// What to change.
        advice: String,
    },
    /// It passes, but another app serves it than the one as whose caller it was sent.
    OtherApp { wanted: String, served_by: String },
}

/// A fact about the request that a program may want, such as its class.
pub(super) type Fact = (&'static str, Value);

/// How a configuration decides a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The method, and the path or its template.
    pub(super) request: String,
    pub(super) steps: Vec<Step>,
    pub(super) verdict: Verdict,
    pub(super) facts: Vec<Fact>,
}

impl Explanation {
    /// The exit status: 0 where the request passes or the gateway answers it, 1 where it is refused or another app than
    /// the named one serves it.
    pub fn exit(&self) -> u8 {
        match self.verdict {
            Verdict::Passes(_) | Verdict::Answered(..) => 0,
            Verdict::Refused { .. } | Verdict::OtherApp { .. } => REFUSED,
        }
    }

    /// The verdict in one line.
    pub(super) fn verdict(&self) -> String {
        shown(&match &self.verdict {
            Verdict::Passes(to) => format!("passes: {to}"),
            Verdict::Answered(status, with) => format!("passes: the gateway answers {status}, {with}"),
            Verdict::Refused { status, code, by, advice, .. } => {
                let by = by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
                let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
                format!("refused: {status} {code}{by}{advice}")
            }
            Verdict::OtherApp { wanted, served_by } => {
                format!(
                    "passes, but not as app {wanted:?}: app {served_by:?} serves it; the step app says why"
                )
            }
        })
    }

    /// The document of `--json`: `verdict` (`passes`, `answered`, `refused`, `other_app`), `exit`, `status`, `code`,
    /// `rule`, `by`, `message` and `advice` (null where there is none), `words` (the verdict in one line), `request`, what
    /// is known of the request (`app`, `identity`, `operation`, `audited`, `class`, `box_host`, `sends_token`, `limits`,
    /// `in_flight`, `budgets`), and `steps`, each with `step`, `state` (`ok`, `refused`, `info`), `words` and `details`
    /// (`what`, `found`, `decides`).
    pub fn json(&self) -> Value {
        let (word, status) = match &self.verdict {
            Verdict::Passes(_) => ("passes", None),
            Verdict::Answered(status, _) => ("answered", Some(*status)),
            Verdict::Refused { status, .. } => ("refused", Some(*status)),
            Verdict::OtherApp { .. } => ("other_app", None),
        };
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        put("verdict", word.into());
        put("exit", self.exit().into());
        put("status", status.into());
        let (mut parts, mut code_of) = ([None, None, None, None], None);
        if let Verdict::Refused { code, rule, by, message, advice, .. } = &self.verdict {
            let advice = Some(advice).filter(|advice| !advice.is_empty());
            parts = [rule.as_ref(), by.as_ref(), Some(message), advice];
            code_of = Some(*code);
        }
        put("code", code_of.into());
        for (name, part) in ["rule", "by", "message", "advice"].into_iter().zip(parts) {
            put(name, part.map(|part| shown(part)).into());
        }
        put("words", self.verdict().into());
        put("request", shown(&self.request).into());
        for (name, value) in &self.facts {
            put(name, value.clone());
        }
        let detail = |detail: &Detail| json!({"what": shown(&detail.what), "found": shown(&detail.found), "decides": detail.decides});
        let step = |step: &Step| {
            json!({
                "step": step.name,
                "state": if step.state == State::Info { "info" } else { step.state.word() },
                "words": shown(&step.words),
                "details": step.details.iter().map(detail).collect::<Vec<_>>(),
            })
        };
        put("steps", self.steps.iter().map(step).collect::<Vec<_>>().into());
        Value::Object(document)
    }
}

/// The document for a configuration with problems.
pub(super) fn problems(problems: &Problems) -> Value {
    let problems: Vec<String> = problems.iter().map(|problem| shown(&problem.to_string())).collect();
    json!({"verdict": "bad_configuration", "exit": super::BAD_CONFIGURATION, "problems": problems})
}

/// Without secrets, on one line, and without what a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    secret_filter::blanked_text(terminal::plain(text), Audience::Operators)
}
