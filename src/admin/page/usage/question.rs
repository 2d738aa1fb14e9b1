//! What a query of the view asks for, and links that ask for something else.

use std::collections::BTreeSet;

use jiff::Timestamp;
use maud::{Markup, html};
use url::form_urlencoded;

use super::super::Asked;
use crate::admin::Overview;
use crate::admin::usage;
use crate::http::query::shortened;
use crate::limits::budget::counts::CALL_MONTHS;
use crate::limits::budget::definition::Period;
use crate::limits::budget::period::{Span, timestamp};
use crate::limits::budget::spending::BudgetState;
use crate::limits::budget::usage::{A_MONTH, Column, Columns};

/// By what calls can be shown.
const BY: [Column; 3] = [Column::App, Column::Identity, Column::Class];

/// What is asked for. What cannot be used has its default.
#[derive(Debug, Clone)]
pub(in crate::admin::page) struct Question {
    pub(super) month: Span,
    pub(super) by: Column,
    /// The table has all rows.
    pub(super) all: bool,
    /// What cannot be used, and what to do.
    pub(super) problem: Option<String>,
    pub(super) now: Timestamp,
    /// The budgets of this month, those that are heading farthest over their calls first.
    pub(super) budgets: Vec<BudgetState>,
}

impl Question {
    pub(in crate::admin::page) fn read(overview: &Overview, asked: &Asked) -> Self {
        let wall = overview.process.clock.wall();
        let now = timestamp(wall);
        let mut problem = None;
        let mut wrong = |name: &str, value: &str, allowed: &str| {
            problem = Some(format!("{name}={:?} cannot be shown; allowed: {allowed}.", shortened(value)));
        };
        let month = asked.get("month").and_then(|month| {
            let read = Span::read_month(month);
            if read.is_none() {
                wrong("month", month, A_MONTH);
            }
            read
        });
        let by = asked.get("by").and_then(|by| {
            let known = BY.into_iter().find(|column| column.as_str() == by);
            if known.is_none() {
                wrong("by", by, "app, identity or class");
            }
            known
        });
        let gateway = overview.gateway.load();
        let mut budgets = gateway.ledger.snapshot(wall).budgets;
        budgets.retain(|budget| budget.per == Period::Month);
        let heading = |budget: &BudgetState| budget.forecast as f64 / budget.calls.max(1) as f64;
        budgets.sort_by(|one, other| heading(other).total_cmp(&heading(one)));
        let month = month.unwrap_or_else(|| Period::Month.at(now));
        let all = asked.get("rows") == Some("all");
        Self { month, by: by.unwrap_or(Column::App), all, problem, now, budgets }
    }

    /// What is asked of the counts: by day too, for the chart.
    pub(in crate::admin::page) fn of_counts(&self, overview: &Overview) -> usage::Question {
        usage::Question::new(&overview.gateway.load(), self.month, Columns::with_days(self.by), self.now)
    }

    /// Whether the month goes on.
    pub(super) fn is_current(&self) -> bool {
        Period::Month.at(self.now) == self.month
    }

    pub(super) fn with_all(&self, all: bool) -> Self {
        Self { all, ..self.clone() }
    }

    /// A name for people; requests for tokens have no app.
    pub(super) fn name(&self, name: &str) -> String {
        if name.is_empty() { "requests for tokens (no app)".to_owned() } else { name.to_owned() }
    }

    /// Where the answer is.
    pub(super) fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new("/?view=usage".to_owned());
        query.append_pair("month", &self.month.to_string());
        if self.by != Column::App {
            query.append_pair("by", self.by.as_str());
        }
        if self.all {
            query.append_pair("rows", "all");
        }
        query.finish()
    }

    /// Links to the same calls for spreadsheets and programs.
    pub(super) fn downloads(&self) -> Markup {
        let (month, by) = (self.month, self.by.as_str());
        html! {
            "CSV by "
            a href=(format!("/usage.csv?month={month}&by={by}")) { (by) } ", "
            a href=(format!("/usage.csv?month={month}&by={by},day")) { (by) " and day" } ", "
            a href=(format!("/usage.csv?month={month}&by=app,identity,class,day")) { "everything" }
            "; "
            a href=(format!("/usage.json?month={month}&by={by}")) { "JSON" }
        }
    }

    /// The months to choose from, and by what the calls are summed. `with_calls`: months that have some.
    pub(super) fn form(&self, with_calls: &[Span]) -> Markup {
        let current = Period::Month.at(self.now);
        let last = std::iter::successors(Some(current), |month| Some(month.previous())).take(CALL_MONTHS);
        let months: BTreeSet<Span> = last.chain(with_calls.iter().copied()).chain([self.month]).collect();
        let months = months.into_iter().rev();
        html! {
            form.filters #f-usage method="get" action="/" {
                input type="hidden" name="view" value="usage";
                nav.choices aria-label="Summed by" {
                    @for by in BY {
                        @let address = Self { by, ..self.clone() }.address();
                        a href=(address) aria-current=[(by == self.by).then_some("true")] { "by " (by.as_str()) }
                    }
                }
                @if self.by != Column::App { input type="hidden" name="by" value=(self.by.as_str()); }
                label {
                    "Month "
                    select #usage-month name="month" {
                        @for month in months {
                            option value=(month) selected[month == self.month] {
                                (month) @if !with_calls.contains(&month) { " (no calls)" }
                            }
                        }
                    }
                }
                button type="submit" { "Show" }
                a href=(Self { month: self.month.previous(), ..self.clone() }.address()) { "‹ the month before" }
                @if self.month < current {
                    a href=(Self { month: self.month.next(), ..self.clone() }.address()) { "the next month ›" }
                }
            }
        }
    }
}
