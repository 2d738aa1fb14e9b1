//! The parts of the screen below its head: a table for each kind of thing, what needs attention first.

use std::cmp::Reverse;

use super::document::{App, BoxHost, Budget, Identity, Limit, Pause, Requests, Status};
use super::line::Span;
use super::table::{Column, Row, Table};
use crate::telemetry::figures::{NONE, bar, count, duration, latency, percent, time};
use crate::telemetry::terminal::Colour;

/// A part of the screen.
#[derive(Debug, Clone)]
pub(super) enum Section {
    /// A table. `is_long`: it has as many rows as the screen leaves room for.
    Table { table: Table, is_long: bool },
    /// A title and a few words.
    Words(Vec<Vec<Span>>),
}

impl Section {
    fn table(title: impl Into<String>, columns: Vec<Column>, rows: Vec<Row>, footers: Vec<String>) -> Self {
        Self::Table { table: Table { title: title.into(), columns, rows, footers }, is_long: false }
    }
}

/// All parts that have something to say.
pub(super) fn sections(status: &Status) -> Vec<Section> {
    let all = [
        hosts(status),
        identities(status),
        apps(status),
        limits(status),
        pauses(status),
        budgets(status),
        connections(status),
    ];
    all.into_iter().flatten().collect()
}

fn number(number: u64) -> Span {
    match number {
        0 => Span::coloured("0", Colour::Dim),
        number => Span::plain(count(number)),
    }
}

/// A number that is bad unless it is 0.
fn bad(bad: u64, colour: Colour) -> Span {
    if bad == 0 { number(bad) } else { Span::coloured(count(bad), colour) }
}

fn latencies(requests: &Requests) -> [Span; 2] {
    [requests.p50_ms, requests.p95_ms].map(|latency_ms| match latency_ms {
        None => Span::coloured(NONE, Colour::Dim),
        some => Span::plain(latency(some)),
    })
}

fn none() -> Span {
    Span::coloured(NONE, Colour::Dim)
}

fn hosts(status: &Status) -> Option<Section> {
    let mut all: Vec<&BoxHost> = status.r#box.iter().collect();
    all.sort_by_key(|host| host.up);
    let rows: Vec<Row> = all
        .into_iter()
        .map(|host| {
            let requests = &host.last_5_minutes;
            let [p50, p95] = latencies(requests);
            let (state, words) = if host.up && requests.requests > 0 {
                (Span::coloured("up", Colour::Green), Vec::new())
            } else if host.up {
                // No outage was noticed, since nothing was asked.
                (Span::coloured("no calls", Colour::Dim), Vec::new())
            } else {
                let since = since(status, host.since);
                let reason = host.reason.as_deref().unwrap_or("the gateway's log has the reason");
                let words = format!("{since}{reason}");
                (Span::coloured("DOWN", Colour::BoldRed), vec![Span::coloured(words, Colour::Red)])
            };
            Row { cells: vec![Span::plain(&*host.host), state, number(requests.requests), p50, p95], words }
        })
        .collect();
    let columns = vec![
        Column::left("state"),
        Column::right("requests").optional(1),
        Column::right("p50").optional(2),
        Column::right("p95").optional(1),
    ];
    (!rows.is_empty()).then(|| Section::table("Box (5 min)", columns, rows, Vec::new()))
}

/// `since 09:08:02Z (1 min 58 s): `; empty if it is not known.
fn since(status: &Status, since: Option<super::document::Time>) -> String {
    match (since, status.seconds_since(since)) {
        (Some(since), Some(seconds)) => {
            format!("since {} ({}): ", time(since.0, status.clock()), duration(seconds))
        }
        _ => String::new(),
    }
}

fn identities(status: &Status) -> Option<Section> {
    let mut all: Vec<&Identity> = status.identities.iter().collect();
    all.sort_by_key(|identity| &*identity.state == "valid");
    let rows: Vec<Row> = all
        .into_iter()
        .map(|identity| {
            let (colour, word) = match &*identity.state {
                "valid" => (Colour::Green, "valid"),
                "waiting" => (Colour::Cyan, "waiting"),
                "refused" => (Colour::BoldRed, "REFUSED"),
                "unavailable" => (Colour::BoldRed, "UNAVAILABLE"),
                other => (Colour::Yellow, if other.is_empty() { "unknown" } else { other }),
            };
            let left = identity.expires_in_seconds.map_or_else(none, |left| Span::plain(duration(left)));
            let renewed = identity.renewed.map_or_else(none, |at| Span::plain(time(at.0, status.clock())));
            let next =
                identity.next_attempt.map(|at| format!("; next attempt {}", time(at.0, status.clock())));
            let next = next.unwrap_or_default();
            let reason = identity.reason.as_deref().map(|reason| match &*identity.state {
                "valid" => Span::coloured(format!("renewal failed: {reason}{next}"), Colour::Yellow),
                _ => Span::coloured(format!("{reason}{next}"), Colour::Red),
            });
            let downscope = identity.downscope.as_deref();
            let downscope = downscope.map(|downscope| Span::plain(format!("downscoped to {downscope}")));
            Row {
                cells: vec![
                    Span::plain(&*identity.name),
                    Span::coloured(word, colour),
                    left,
                    renewed,
                    bad(identity.failed, Colour::Yellow),
                    Span::plain(&*identity.subject),
                ],
                words: downscope.into_iter().chain(reason).collect(),
            }
        })
        .collect();
    let columns = vec![
        Column::left("token"),
        Column::right("ends in"),
        Column::right("renewed").optional(3),
        Column::right("failed").optional(2),
        Column::left("subject at Box").optional(1),
    ];
    (!rows.is_empty()).then(|| Section::table("Identities", columns, rows, Vec::new()))
}

fn apps(status: &Status) -> Option<Section> {
    let mut all: Vec<&App> = status.apps.iter().collect();
    all.sort_by_key(|app| Reverse((app.last_5_minutes.requests, app.in_flight, app.calls_this_month)));
    let rows: Vec<Row> = all
        .into_iter()
        .map(|app| {
            let requests = &app.last_5_minutes;
            let [p50, p95] = latencies(requests);
            let words = match (app.configured, app.enabled) {
                (Some(false), _) => Some("removed from the configuration"),
                (_, Some(false)) => Some("off: enabled = false, callers get 503"),
                _ => None,
            };
            let words = words.map(|words| Span::coloured(words, Colour::Yellow));
            Row {
                cells: vec![
                    Span::plain(&*app.name),
                    Span::plain(&*app.identity),
                    number(requests.requests),
                    bad(requests.status_4xx, Colour::Yellow),
                    bad(requests.status_429, Colour::Yellow),
                    bad(requests.status_5xx, Colour::Red),
                    p50,
                    p95,
                    number(app.in_flight),
                    number(app.calls_this_month),
                ],
                words: words.into_iter().collect(),
            }
        })
        .collect();
    let columns = vec![
        Column::left("identity").optional(9),
        Column::right("requests"),
        Column::right("4xx").optional(3),
        Column::right("429").optional(2),
        Column::right("5xx").optional(1),
        Column::right("p50").optional(7),
        Column::right("p95").optional(4),
        Column::right("in flight").optional(6),
        Column::right("this month").optional(5),
    ];
    if rows.is_empty() {
        return None;
    }
    let footer = status.redis.as_ref().map(|_| "this month: of this replica; all: boxgate usage".to_owned());
    let footers = footer.into_iter().collect();
    let table = Table { title: "Apps (5 min)".to_owned(), columns, rows, footers };
    Some(Section::Table { table, is_long: true })
}

/// How full the fullest count is, from 0 to 1.
fn fullness(limit: &Limit) -> f64 {
    limit.fullest.iter().map(|count| count.used).fold(0.0, f64::max)
}

/// How full it is, as a bar and in per cent.
fn gauge(share: f64) -> [Span; 2] {
    let text = percent(share);
    let colour = match share {
        1.0.. => Some(Colour::Red),
        0.8.. => Some(Colour::Yellow),
        _ => None,
    };
    match colour {
        Some(colour) => [Span::coloured(bar(share), colour), Span::coloured(text, colour)],
        None => [Span::coloured(bar(share), Colour::Dim), Span::plain(text)],
    }
}

fn limits(status: &Status) -> Option<Section> {
    let is_used = |limit: &Limit| fullness(limit) > 0.0 || limit.waiting > 0 || limit.limited > 0;
    let (mut used, unused): (Vec<&Limit>, Vec<&Limit>) =
        status.limits.iter().partition(|limit| is_used(limit));
    used.sort_by(|one, other| {
        fullness(other).total_cmp(&fullness(one)).then(other.limited.cmp(&one.limited))
    });
    let rows: Vec<Row> = used.into_iter().map(|limit| limit_row(status, limit)).collect();
    let names: Vec<&str> = unused.iter().map(|limit| &*limit.name).collect();
    let columns = vec![
        Column::right("rate").optional(2),
        Column::left("").optional(1),
        Column::right("full"),
        Column::right("waiting"),
        Column::right("refused"),
    ];
    match (rows.is_empty(), names.is_empty()) {
        (true, true) => None,
        (true, false) => {
            Some(words("Limits", Span::coloured(format!("unused: {}", names.join(", ")), Colour::Dim)))
        }
        (false, is_all) => {
            let footer = (!is_all).then(|| format!("unused: {}", names.join(", ")));
            Some(Section::table("Limits", columns, rows, footer.into_iter().collect()))
        }
    }
}

fn limit_row(status: &Status, limit: &Limit) -> Row {
    let share = fullness(limit);
    let [bar, full] = gauge(share);
    let mut words = Vec::new();
    if limit.enforced == Some(false) {
        words.push(Span::coloured("enforce = false: these were let pass", Colour::Yellow));
    }
    let waiting =
        status.waiting.iter().filter(|waiting| *waiting.limit == *limit.name && waiting.requests > 0);
    let waiting: Vec<String> = waiting
        .map(|waiting| match &*waiting.app {
            "" => format!("app not known {}", count(waiting.requests)),
            app => format!("{app} {}", count(waiting.requests)),
        })
        .collect();
    if !waiting.is_empty() {
        words.push(Span::plain(format!("waiting: {}", waiting.join(", "))));
    }
    let counts: Vec<String> = limit
        .fullest
        .iter()
        .filter(|count| !count.key.is_empty() && count.used > 0.0)
        .map(|of| match of.waiting {
            0 => format!("{} {}", &*of.key, percent(of.used)),
            waiting => format!("{} {} ({} waiting)", &*of.key, percent(of.used), count(waiting)),
        })
        .collect();
    if !counts.is_empty() {
        words.push(Span::plain(format!("fullest {}: {}", &*limit.key, counts.join(", "))));
    }
    let rate = limit.rate.as_deref().map_or_else(none, Span::plain);
    let cells = vec![
        Span::plain(&*limit.name),
        rate,
        bar,
        full,
        bad(limit.waiting, Colour::Yellow),
        number(limit.limited),
    ];
    Row { cells, words }
}

fn pauses(status: &Status) -> Option<Section> {
    let mut all: Vec<&Pause> = status.pauses.iter().collect();
    if all.is_empty() {
        return None;
    }
    all.sort_by_key(|pause| Reverse(pause.seconds_left));
    let others = status.pauses_in_force.saturating_sub(all.len() as u64);
    let footer = (others > 0).then(|| format!("{} more, which end sooner", count(others)));
    let rows = all.into_iter().map(|pause| {
        let what = match (&pause.operation, &pause.class) {
            (Some(operation), _) => operation.to_string(),
            (None, Some(class)) => format!("{} calls", &**class),
            (None, None) => "all calls".to_owned(),
        };
        let until = pause.until.map_or_else(none, |until| Span::plain(time(until.0, status.clock())));
        let user = pause.as_user.as_deref().map_or_else(none, Span::plain);
        let left = Span::coloured(duration(pause.seconds_left), Colour::Yellow);
        Row {
            cells: vec![Span::plain(&*pause.identity), left, until, user, Span::plain(what)],
            words: Vec::new(),
        }
    });
    let columns = vec![
        Column::right("left"),
        Column::right("until").optional(1),
        Column::left("as-user"),
        Column::left("what pauses"),
    ];
    Some(Section::table("Pauses by Box", columns, rows.collect(), footer.into_iter().collect()))
}

/// The part of its calls that a budget has used.
#[expect(clippy::cast_precision_loss, reason = "a share in per cent needs no more")]
fn spent(budget: &Budget) -> f64 {
    if budget.calls == 0 { 1.0 } else { budget.used as f64 / budget.calls as f64 }
}

fn budgets(status: &Status) -> Option<Section> {
    let mut all: Vec<&Budget> = status.budgets.iter().collect();
    if all.is_empty() {
        return None;
    }
    all.sort_by(|one, other| spent(other).total_cmp(&spent(one)));
    let rows: Vec<Row> = all.into_iter().map(|budget| budget_row(status, budget)).collect();
    let columns = vec![
        Column::right("used"),
        Column::right("of calls"),
        Column::left("").optional(2),
        Column::right("spent"),
        Column::right("forecast").optional(1),
        Column::left("per").optional(3),
        Column::right("ends").optional(4),
    ];
    Some(Section::table("Budgets", columns, rows, Vec::new()))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a forecast is an estimate, and a cast of a float to an integer saturates"
)]
fn budget_row(status: &Status, budget: &Budget) -> Row {
    let name = match &*budget.value {
        "" => budget.name.to_string(),
        value => format!("{} ({value})", &*budget.name),
    };
    let is_spent = budget.used >= budget.calls;
    let is_over = budget.forecast.is_some_and(|forecast| forecast > budget.calls as f64);
    let refuses = &*budget.when_spent == "reject" && budget.enforced != Some(false);
    let colour = match (is_spent, is_over) {
        (true, _) => Some(Colour::Red),
        (false, true) => Some(Colour::Yellow),
        (false, false) => None,
    };
    let mut words = Vec::new();
    if is_spent && refuses {
        let refused = match budget.refused {
            0 => String::new(),
            refused => format!(", {} so far", count(refused)),
        };
        words.push(Span::coloured(format!("SPENT: calls get 403{refused}"), Colour::BoldRed));
    } else if is_spent {
        words.push(Span::coloured("SPENT: calls go on, and are only counted", Colour::BoldRed));
    } else if is_over && budget.calls > 0 {
        let share = budget.forecast.unwrap_or(0.0) / budget.calls as f64;
        words.push(Span::coloured(format!("OVER PLAN: heading for {}", percent(share)), Colour::Yellow));
    }
    let share = spent(budget);
    let [bar, part] = match colour {
        Some(colour) => [bar(share), percent(share)].map(|text| Span::coloured(text, colour)),
        None => gauge(share),
    };
    let forecast = match (budget.forecast, colour) {
        (None, _) => none(),
        (Some(forecast), Some(colour)) => Span::coloured(count(forecast.round() as u64), colour),
        (Some(forecast), None) => Span::plain(count(forecast.round() as u64)),
    };
    let ends = budget.ends.map_or_else(none, |ends| Span::plain(time(ends.0, status.clock())));
    let cells = vec![
        Span::plain(name),
        Span::plain(count(budget.used)),
        Span::plain(count(budget.calls)),
        bar,
        part,
        forecast,
        Span::plain(&*budget.per),
        ends,
    ];
    Row { cells, words }
}

fn connections(status: &Status) -> Option<Section> {
    let mut all: Vec<Vec<Span>> = Vec::new();
    let titled = |title: &str, words: Span| {
        vec![Span::coloured(title.to_owned(), Colour::Bold), Span::plain("  "), words]
    };
    if let Some(connections) = &status.connections {
        let of = connections.max.map(|max| format!(" of {}", count(max))).unwrap_or_default();
        let open = format!("{}{of}", count(connections.open));
        all.push(titled(
            "Connections",
            match connections.refused {
                0 => Span::plain(open),
                refused => Span::coloured(
                    format!("{open}, {} refused since the start", count(refused)),
                    Colour::Yellow,
                ),
            },
        ));
    }
    if let Some(tunnels) = &status.tunnels {
        let words = format!(
            "{} to Box, {} to other hosts since the start",
            count(tunnels.r#box),
            count(tunnels.other)
        );
        all.push(titled("Tunnels", Span::plain(words)));
    }
    if let Some(redis) = &status.redis {
        let replicas = match redis.replicas {
            None => "limits are shared".to_owned(),
            Some(1) => "shared, 1 replica".to_owned(),
            Some(replicas) => format!("shared by {} replicas", count(replicas)),
        };
        all.push(titled(
            "Redis",
            if redis.shared {
                Span::coloured(replicas, Colour::Green)
            } else {
                let since = since(status, redis.since);
                let reason = redis.reason.as_deref().unwrap_or("the gateway's log has the reason");
                Span::coloured(format!("NOT USABLE {since}{reason}"), Colour::BoldRed)
            },
        ));
    }
    let strays = &status.requests_of_no_app;
    if strays.requests > 0 {
        let words = format!("{} in 5 min", count(strays.requests));
        all.push(titled("Requests of no app", Span::plain(words)));
    }
    (!all.is_empty()).then_some(Section::Words(all))
}

fn words(title: &str, words: Span) -> Section {
    Section::Words(vec![vec![Span::coloured(title.to_owned(), Colour::Bold), Span::plain("  "), words]])
}
