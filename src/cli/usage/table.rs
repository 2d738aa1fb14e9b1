//! The calls of a month as a table for people.

use std::fmt::Write as _;

use super::Usage;
use crate::cli::admin_client::printable;

/// Spaces between two columns.
const GAP: usize = 2;
/// A name is never shortened to less.
const NARROWEST_NAME: usize = 8;

/// How the table is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// The heading and the total are bold.
    pub(super) bold: bool,
    /// Columns of the terminal, to which long names are shortened; `None`: none is.
    pub(super) width: Option<usize>,
}

/// A title, the table with its total, and notes. The most calls come first; with days, the days are in order.
pub(super) fn table(usage: &Usage, style: Style) -> String {
    let title = format!("Calls at Box in {} (UTC), counted since {}\n\n", usage.month, since(usage));
    let mut text = printable(&title);
    if usage.rows.is_empty() {
        let months = match &*usage.months {
            [] => "there are none in any month yet".to_owned(),
            months => format!("there are calls in {}", months.join(", ")),
        };
        // Unknown is not the same as none.
        let none = match &usage.uncounted {
            Some(why) => format!("the calls of {} are not known: {why}", usage.month),
            None => format!("no calls in {}", usage.month),
        };
        text.push_str(&printable(&format!("{none}; {months}\n")));
    } else {
        text.push_str(&lines(usage, style));
    }
    let notes = notes(usage);
    if !notes.is_empty() {
        text.push_str(&printable(&format!("\n{}\n", notes.join("\n"))));
    }
    text
}

/// From when on they are counted.
fn since(usage: &Usage) -> String {
    let (day, time) = usage.since.split_once('T').unwrap_or((&usage.since, ""));
    format!("{day} {}", time.get(..5).unwrap_or(time))
}

fn notes(usage: &Usage) -> Vec<String> {
    let mut notes = Vec::new();
    // Both are in the same form, from the year to the day.
    if usage.uncounted.is_none() && *usage.since >= *format!("{}-01", usage.month) {
        notes.push(format!("calls before {} are unknown", since(usage)));
    }
    let has = |column: &str, of: fn(&serde_json::Value) -> bool| {
        usage.rows.iter().any(|row| row.get(column).is_some_and(of))
    };
    if has("app", |app| app == "") {
        notes.push("app -: requests for tokens, of no app; Box counts them as calls".to_owned());
    }
    if has("day", serde_json::Value::is_null) {
        notes.push("day -: calls that an earlier version counted by month".to_owned());
    }
    if usage.in_memory {
        notes
            .push("in memory only: these counts end with the gateway, which has no file for them".to_owned());
    }
    match &usage.replicas_reason {
        None => {
            notes.push(format!("replicas: {}; what others counted just now may be missing", usage.replicas))
        }
        // Without Redis, a gateway is usually the only one.
        Some(reason) if reason.ends_with("is not set") => {}
        Some(reason) => notes.push(format!("replicas: {}; {reason}", usage.replicas)),
    }
    notes
}

/// The heading, a line for each row, and the total.
fn lines(usage: &Usage, style: Style) -> String {
    let mut rows: Vec<(Vec<String>, u64)> =
        usage.rows.iter().map(|row| (names(usage, row), calls(row))).collect();
    let day = usage.by.iter().position(|column| column == "day");
    let of_day = |names: &[String]| day.and_then(|index| names.get(index).cloned());
    rows.sort_by(|(a, a_calls), (b, b_calls)| of_day(a).cmp(&of_day(b)).then(b_calls.cmp(a_calls)));

    let heading: Vec<String> = usage.by.iter().map(|column| column.to_uppercase()).collect();
    let mut total = vec![String::new(); heading.len()];
    if let Some(first) = total.first_mut() {
        "total".clone_into(first);
    }
    let mut cells = vec![(heading, "CALLS".to_owned(), "SHARE".to_owned())];
    cells.extend(rows.into_iter().map(|(names, calls)| (names, grouped(calls), share(calls, usage.calls))));
    cells.push((total, grouped(usage.calls), share(usage.calls, usage.calls)));

    let numbers = cells.iter().map(|(_, calls, share)| (calls.len(), share.len()));
    let (calls_width, share_width) =
        numbers.fold((0, 0), |(calls, share), (a, b)| (calls.max(a), share.max(b)));
    let mut widths: Vec<usize> = (0..usage.by.len())
        .map(|column| cells.iter().filter_map(|(names, ..)| names.get(column).map(|name| length(name))).max())
        .map(Option::unwrap_or_default)
        .collect();
    if let Some(width) = style.width {
        shrink(&mut widths, width.saturating_sub(calls_width + share_width + 2 * GAP));
    }
    let last = cells.len() - 1;
    let mut text = String::new();
    for (nth, (names, calls, share)) in cells.iter().enumerate() {
        let mut line = String::new();
        for (name, width) in names.iter().zip(&widths) {
            let name = shortened(name, *width);
            // Writing to a `String` cannot fail.
            let _ = write!(line, "{name:width$}{}", " ".repeat(GAP));
        }
        let _ = write!(line, "{calls:>calls_width$}{}{share:>share_width$}", " ".repeat(GAP));
        let _ = match style.bold && (nth == 0 || nth == last) {
            true => writeln!(text, "\u{1b}[1m{line}\u{1b}[0m"),
            false => writeln!(text, "{line}"),
        };
    }
    text
}

/// Makes the widest column narrower until all fit into the width, gaps included.
fn shrink(widths: &mut [usize], width: usize) {
    while widths.iter().map(|width| width + GAP).sum::<usize>() > width + GAP {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST_NAME => *widest -= 1,
            _ => return,
        }
    }
}

fn names(usage: &Usage, row: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let name = |column: &String| match row.get(column).and_then(serde_json::Value::as_str) {
        None | Some("") => "-".to_owned(),
        Some(name) => printable(name),
    };
    usage.by.iter().map(name).collect()
}

fn calls(row: &serde_json::Map<String, serde_json::Value>) -> u64 {
    row.get("calls").and_then(serde_json::Value::as_u64).unwrap_or_default()
}

/// With separators between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn share(calls: u64, all: u64) -> String {
    format!("{:.1} %", calls as f64 * 100.0 / all.max(1) as f64)
}

fn shortened(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { bold: false, width: None };

    fn usage(by: &[&str], rows: &[(&[&str], u64)]) -> Usage {
        let row = |(names, calls): &(&[&str], u64)| {
            let name = |name: &str| if name == "null" { serde_json::Value::Null } else { name.into() };
            let mut row: serde_json::Map<String, serde_json::Value> =
                by.iter().zip(*names).map(|(column, value)| ((*column).to_owned(), name(value))).collect();
            row.insert("calls".to_owned(), (*calls).into());
            row
        };
        Usage {
            month: "2026-11".into(),
            by: by.iter().map(|column| (*column).to_owned()).collect(),
            since: "2026-11-02T09:05:59Z".into(),
            in_memory: false,
            uncounted: None,
            replicas: "this process only".into(),
            replicas_reason: Some("[state] redis is not set".into()),
            months: vec!["2026-10".into(), "2026-11".into()],
            calls: rows.iter().map(|(_, calls)| calls).sum(),
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn the_most_calls_come_first_and_numbers_are_aligned() {
        let usage = usage(
            &["app", "identity", "class"],
            &[
                (&["", "service", "token"], 21),
                (&["intranet", "service", "general"], 1_234_567),
                (&["reports", "reports", "search"], 1000),
            ],
        );
        assert_eq!(
            table(&usage, PLAIN),
            "Calls at Box in 2026-11 (UTC), counted since 2026-11-02 09:05\n\
             \n\
             APP       IDENTITY  CLASS        CALLS    SHARE\n\
             intranet  service   general  1,234,567   99.9 %\n\
             reports   reports   search       1,000    0.1 %\n\
             -         service   token           21    0.0 %\n\
             total                        1,235,588  100.0 %\n\
             \n\
             calls before 2026-11-02 09:05 are unknown\n\
             app -: requests for tokens, of no app; Box counts them as calls\n"
        );
    }

    #[test]
    fn days_are_in_order_and_those_that_are_not_known_come_first() {
        let usage = usage(
            &["app", "day"],
            &[
                (&["a", "2026-11-02"], 1),
                (&["a", "2026-11-03"], 3),
                (&["a", "null"], 2),
                (&["b", "2026-11-02"], 4),
            ],
        );
        let text = table(&Usage { since: "2026-10-31T23:59:59Z".into(), ..usage }, PLAIN);
        assert_eq!(
            text,
            "Calls at Box in 2026-11 (UTC), counted since 2026-10-31 23:59\n\
             \n\
             APP    DAY         CALLS    SHARE\n\
             a      -               2   20.0 %\n\
             b      2026-11-02      4   40.0 %\n\
             a      2026-11-02      1   10.0 %\n\
             a      2026-11-03      3   30.0 %\n\
             total                 10  100.0 %\n\
             \n\
             day -: calls that an earlier version counted by month\n"
        );
    }

    #[test]
    fn a_month_without_calls_names_those_with_calls() {
        let empty = usage(&["app"], &[]);
        let text = table(&empty, PLAIN);
        assert!(text.contains("\n\nno calls in 2026-11; there are calls in 2026-10, 2026-11\n"), "{text}");
        let text = table(&Usage { months: vec![], ..empty }, PLAIN);
        assert!(text.contains("no calls in 2026-11; there are none in any month yet\n"), "{text}");
    }

    #[test]
    fn a_month_that_was_never_counted_is_not_shown_as_one_without_calls() {
        let why = Some("counting began after it, on 2026-11-02 09:05".to_owned());
        let never = Usage { month: "2026-09".into(), uncounted: why, ..usage(&["app"], &[]) };
        assert_eq!(
            table(&never, PLAIN),
            "Calls at Box in 2026-09 (UTC), counted since 2026-11-02 09:05\n\
             \n\
             the calls of 2026-09 are not known: counting began after it, on 2026-11-02 09:05; there are calls in 2026-10, 2026-11\n"
        );
    }

    #[test]
    fn notes_say_what_the_counts_lack() {
        let alone = Usage {
            in_memory: true,
            replicas_reason: Some("Redis has not been usable for 5 s".into()),
            ..usage(&["app"], &[(&["a"], 1)])
        };
        let text = table(&alone, PLAIN);
        assert!(text.contains("in memory only"), "{text}");
        assert!(
            text.contains("\nreplicas: this process only; Redis has not been usable for 5 s\n"),
            "{text}"
        );
        let shared = Usage { replicas: "all".into(), replicas_reason: None, ..alone };
        assert!(
            table(&shared, PLAIN).contains("\nreplicas: all; what others counted just now may be missing\n")
        );
    }

    #[test]
    fn long_names_are_shortened_to_the_terminal_and_bold_changes_no_column() {
        let name = "x".repeat(64);
        let usage = usage(&["app", "class"], &[(&[&name, "general"], 1), (&["short", "search"], 1)]);
        let plain = table(&usage, Style { bold: false, width: Some(60) });
        let rows = || plain.lines().skip(2).take(4);
        assert!(rows().all(|line| length(line) == 60), "{plain}");
        assert!(plain.contains("xxx…  general"), "{plain}");
        let bold = table(&usage, Style { bold: true, width: Some(60) });
        assert_eq!(bold.matches("\u{1b}[1m").count(), 2);
        assert_eq!(bold.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""), plain);
        assert!(table(&usage, PLAIN).contains(&name));
    }

    #[test]
    fn what_a_server_says_cannot_direct_a_terminal() {
        let mut hostile = usage(&["app"], &[(&["a\u{1b}[2J"], 1)]);
        hostile.month = "2026\u{1b}[1m".into();
        hostile.replicas_reason = Some("x\u{9b}".into());
        let text = table(&hostile, PLAIN);
        assert!(text.contains("a\\u{1b}[2J") && text.contains("x\\u{9b}"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }

    #[test]
    fn thousands_are_separated() {
        for (number, want) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), want);
        }
    }
}
