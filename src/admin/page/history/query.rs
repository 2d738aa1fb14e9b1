//! What a query of the view asks for, and links that ask for something else.

use maud::{Markup, html};
use url::form_urlencoded;

use super::super::Asked;
use crate::admin::{Overview, history};
use crate::telemetry::history::{Of, SLOTS};

/// The most names that the form offers; others are found in the table, or typed.
const OFFERED: usize = 200;

/// The value of `app` for requests of no app; no app can have this name.
const NO_APP: &str = "(none)";

/// What is asked for. What cannot be used has its default.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) subject: Subject,
    pub(super) range: Range,
    pub(super) sort: Sort,
    /// The tables have all rows.
    pub(super) all: bool,
    /// What cannot be used, and what to do.
    pub(super) problem: Option<String>,
}

/// What the charts are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    All,
    /// An app; without a name: requests of no app.
    App {
        name: String,
        of: Of,
    },
    Host {
        name: String,
        of: Of,
    },
}

/// The stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Hour,
    Day,
}

impl Range {
    const ALL: [Self; 2] = [Self::Hour, Self::Day];

    fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// In words, for titles.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hour => "last hour",
            Self::Day => "last 24 hours",
        }
    }

    /// Its number of slots, the present one included.
    pub(super) fn slots(self) -> usize {
        match self {
            Self::Hour => 12,
            Self::Day => SLOTS,
        }
    }

    /// The number of points of a small chart.
    pub(super) fn points(self) -> usize {
        match self {
            Self::Hour => 12,
            Self::Day => 24,
        }
    }
}

/// The column by which tables are sorted: names from A, numbers from the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Requests,
    Status4xx,
    Status429,
    Status5xx,
    CallerLeft,
    P50,
    P95,
    P99,
}

impl Sort {
    pub(super) const ALL: [Self; 9] = [
        Self::Name,
        Self::Requests,
        Self::Status4xx,
        Self::Status429,
        Self::Status5xx,
        Self::CallerLeft,
        Self::P50,
        Self::P95,
        Self::P99,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Requests => "requests",
            Self::Status4xx => "4xx",
            Self::Status429 => "429",
            Self::Status5xx => "5xx",
            Self::CallerLeft => "left",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }
}

impl Question {
    pub(super) fn read(overview: &Overview, asked: &Asked) -> Self {
        let mut problem = None;
        let mut subject = Subject::All;
        for (name, value) in &asked.parameters {
            // A form sends an empty one where nothing was chosen; it has a value of its own for requests of no app.
            let value = match (name.as_str(), value.as_str()) {
                ("app" | "host", "") => continue,
                ("app", NO_APP) => "",
                (_, value) => value,
            };
            match history::of(overview, name, value) {
                None => {}
                Some(Err(unknown)) => problem = Some(unknown.message()),
                Some(Ok(_)) if subject != Subject::All => {
                    problem = Some(
                        "Choose one app or one host; these are the numbers of the first one.".to_owned(),
                    );
                }
                Some(Ok(of @ Of::Host(_))) => subject = Subject::Host { name: value.to_owned(), of },
                Some(Ok(of)) => subject = Subject::App { name: value.to_owned(), of },
            }
        }
        let range =
            asked.get("range").and_then(|range| Range::ALL.into_iter().find(|known| known.as_str() == range));
        let sort =
            asked.get("sort").and_then(|sort| Sort::ALL.into_iter().find(|known| known.as_str() == sort));
        for (name, is_used, allowed) in [
            ("range", range.is_some(), "hour and day"),
            ("sort", sort.is_some(), "name, requests, 4xx, 429, 5xx, left, p50, p95 and p99"),
        ] {
            if let (Some(value), false) = (asked.get(name), is_used) {
                problem = Some(format!("{name}={value:?} is not known here; allowed: {allowed}."));
            }
        }
        Self {
            subject,
            range: range.unwrap_or(Range::Hour),
            sort: sort.unwrap_or(Sort::P95),
            all: asked.get("rows") == Some("all"),
            problem,
        }
    }

    pub(super) fn of(&self) -> Of {
        match &self.subject {
            Subject::All => Of::All,
            Subject::App { of, .. } | Subject::Host { of, .. } => *of,
        }
    }

    /// The same question about something else.
    pub(super) fn about(&self, subject: Subject) -> Self {
        Self { subject, ..self.clone() }
    }

    /// Where the answer is.
    pub(super) fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new("/?view=history".to_owned());
        match &self.subject {
            Subject::All => {}
            Subject::App { name, .. } if name.is_empty() => drop(query.append_pair("app", NO_APP)),
            Subject::App { name, .. } => drop(query.append_pair("app", name)),
            Subject::Host { name, .. } => drop(query.append_pair("host", name)),
        }
        if self.range != Range::Hour {
            query.append_pair("range", self.range.as_str());
        }
        if self.sort != Sort::P95 {
            query.append_pair("sort", self.sort.as_str());
        }
        if self.all {
            query.append_pair("rows", "all");
        }
        query.finish()
    }

    /// Where the same numbers are as JSON, of the whole day.
    pub(super) fn json(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        match &self.subject {
            Subject::All => return "/history.json".to_owned(),
            Subject::App { name, .. } => query.append_pair("app", name),
            Subject::Host { name, .. } => query.append_pair("host", name),
        };
        format!("/history.json?{}", query.finish())
    }
}

/// The form that chooses what the charts are of, and links to the stretches of time.
pub(super) fn form(overview: &Overview, question: &Question) -> Markup {
    let gateway = overview.gateway.load();
    let mut apps: Vec<&str> = gateway.config.apps.iter().map(|app| &*app.name).collect();
    let are_many = apps.len() > OFFERED;
    apps.truncate(OFFERED);
    apps.sort_unstable();
    let (app, host) = match &question.subject {
        Subject::All => ("", ""),
        Subject::App { name, .. } if name.is_empty() => (NO_APP, ""),
        Subject::App { name, .. } => (&**name, ""),
        Subject::Host { name, .. } => ("", &**name),
    };
    let option = |value: &str, chosen: &str, words: &str| {
        html! { option value=(value) selected[value == chosen] { (words) } }
    };
    html! {
        form.filters #f-history method="get" action="/" {
            input type="hidden" name="view" value="history";
            @if question.range != Range::Hour { input type="hidden" name="range" value=(question.range.as_str()); }
            @if question.sort != Sort::P95 { input type="hidden" name="sort" value=(question.sort.as_str()); }
            nav.choices aria-label="Stretch of time" {
                @for range in Range::ALL {
                    @let address = Question { range, ..question.clone() }.address();
                    a href=(address) aria-current=[(range == question.range).then_some("true")] { (range.words()) }
                }
            }
            label {
                "App "
                @if are_many {
                    // A name that the browser completes: of the first ones, the others are in the table.
                    input #history-app name="app" value=(app) list="history-apps" placeholder="all" autocomplete="off" size="18";
                } @else {
                    select #history-app name="app" {
                        (option("", app, "all"))
                        @for name in &apps { (option(name, app, name)) }
                        // Removed by a reload; what was counted of it stays.
                        @if !app.is_empty() && app != NO_APP && !apps.contains(&app) { (option(app, app, app)) }
                        (option(NO_APP, app, "no app"))
                    }
                }
            }
            @if are_many { datalist #history-apps { @for name in &apps { option value=(name) {} } } }
            label {
                "or host "
                select #history-host name="host" {
                    (option("", host, "none"))
                    @for (name, _) in &gateway.host_labels { (option(name.as_str(), host, name.as_str())) }
                }
            }
            button type="submit" { "Show" }
            @if question.subject != Subject::All { a href=(question.about(Subject::All).address()) { "All requests" } }
        }
    }
}
