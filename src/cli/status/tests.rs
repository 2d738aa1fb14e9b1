//! Exact screens of a terminal, for documents as a gateway sends them.

use super::document::parse;
use super::screen::{Size, screen};

/// Two apps, and nothing wrong.
const READY: &str = include_str!("tests/ready.json");
/// Refused credentials, a host that is down, a refused reload, budgets that are spent.
const NOT_READY: &str = include_str!("tests/not_ready.json");

fn shown(document: &str, width: Option<usize>, height: Option<usize>) -> String {
    let status = parse(document.as_bytes()).unwrap();
    let lines = screen(&status, Size { width, height });
    lines.iter().map(|line| line.text(width, false) + "\n").collect()
}

/// The document with these keys in place of its own.
fn with(document: &str, keys: &str) -> String {
    let mut all: serde_json::Value = serde_json::from_str(document).unwrap();
    let keys: serde_json::Value = serde_json::from_str(keys).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        all[key] = value.clone();
    }
    all.to_string()
}

fn expect(got: &str, want: &str) {
    assert!(got.trim_end() == want.trim(), "got:\n{got}\nexpected:\n{want}");
}

#[test]
fn a_ready_gateway_at_80_columns() {
    expect(&shown(READY, Some(80), Some(40)), include_str!("tests/ready_80.txt"));
}

#[test]
fn a_ready_gateway_at_140_columns() {
    expect(&shown(READY, Some(140), Some(40)), include_str!("tests/ready_140.txt"));
}

#[test]
fn a_gateway_that_is_not_ready_at_80_columns() {
    expect(&shown(NOT_READY, Some(80), Some(60)), include_str!("tests/not_ready_80.txt"));
}

#[test]
fn a_gateway_that_is_not_ready_at_140_columns() {
    expect(&shown(NOT_READY, Some(140), Some(60)), include_str!("tests/not_ready_140.txt"));
}

/// People who read the documents see what the program shows.
#[test]
fn the_screen_in_the_documents_is_that_of_the_program() {
    let document = include_str!("../../../docs/observability.md");
    assert!(
        document.contains(include_str!("tests/ready_80.txt")),
        "docs/observability.md: What is it doing?"
    );
}

/// In a pipe nothing is cut, broken or left out.
#[test]
fn without_a_terminal_each_row_is_one_line() {
    let text = shown(NOT_READY, None, None);
    for line in [
        "  dl.boxcloud.com  DOWN          0       –      –  since 09:08:02Z (1 min 58 s): the TLS handshake failed: certificate not trusted: issued by \"Corp Inspection CA\"",
        "  migration-of-the-old-file-server  archive          0    0    0    0      –       –          0   1,234,567  off: enabled = false, callers get 503",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\nin:\n{text}");
    }
}

/// An app for each number, the busiest first.
fn apps(count: usize) -> String {
    let apps: Vec<String> = (0..count)
        .map(|number| {
            format!("{{\"name\":\"app-{number:04}\",\"last_5_minutes\":{{\"requests\":{}}}}}", count - number)
        })
        .collect();
    with(READY, &format!("{{\"apps\":[{}]}}", apps.join(",")))
}

#[test]
fn of_a_thousand_apps_those_are_shown_that_fit() {
    let document = apps(1000);
    for height in [24, 40, 60] {
        let text = shown(&document, Some(80), Some(height));
        assert!(text.lines().count() <= height, "{height}:\n{text}");
        let shown = text.lines().filter(|line| line.starts_with("  app-")).count();
        assert!(text.contains(&format!("\n  … {} more: --json\n", 1000 - shown)), "{text}");
        // None stays empty that an app would have filled.
        assert!(text.lines().count() >= height - 1 && text.contains("  app-0000 "), "{height}:\n{text}");
    }
    let all = shown(&document, None, None);
    assert_eq!(all.lines().filter(|line| line.starts_with("  app-")).count(), 1000);
    assert!(!all.contains("more: --json"));
}

/// What one looks for first is not scrolled away.
#[test]
fn many_refused_identities_leave_the_verdict_on_the_screen() {
    let (mut reasons, mut identities) = (Vec::new(), Vec::new());
    for number in 10..22 {
        reasons.push(format!(
            "\"identity i-{number}: Box refuses the credentials: invalid_client (The client credentials are invalid)\""
        ));
        identities
            .push(format!("{{\"name\":\"i-{number}\",\"state\":\"refused\",\"reason\":\"invalid_client\"}}"));
    }
    let keys = format!("{{\"reasons\":[{}],\"identities\":[{}]}}", reasons.join(","), identities.join(","));
    let text = shown(&with(NOT_READY, &keys), Some(80), Some(23));
    assert!(text.lines().count() <= 23, "{text}");
    assert!(text.starts_with("boxgate 0.1.0   NOT READY "), "{text}");
    assert!(text.contains("  identity i-10: ") && text.contains("\n  … 10 more reasons: --json\n"), "{text}");
    // A host that is down has its row, parts for which no room is left their title.
    assert!(text.contains("  dl.boxcloud.com  DOWN "), "{text}");
    assert!(text.contains("\nIdentities  … 12 more: --json\n"), "{text}");
    assert!(text.contains("\nConnections  … 4 more: --json\n"), "{text}");
}

#[test]
fn in_a_low_window_all_parts_have_at_least_their_title() {
    for height in [18, 23, 30, 40, 50] {
        let text = shown(NOT_READY, Some(80), Some(height));
        assert!(text.lines().count() <= height, "{height}:\n{text}");
        for title in
            ["Box (5 min)", "Identities", "Apps (5 min)", "Limits", "Pauses by Box", "Budgets", "Connections"]
        {
            assert!(text.lines().any(|line| line.starts_with(title)), "{title} at {height}:\n{text}");
        }
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [20, 40, 60, 80, 100, 140, 200] {
        for document in [READY.to_owned(), NOT_READY.to_owned(), apps(30)] {
            for line in shown(&document, Some(width), Some(50)).lines() {
                let line_width = unicode_width::UnicodeWidthStr::width(line);
                assert!(line_width <= width, "{width}: {line_width} {line:?}");
            }
        }
    }
}

/// An older gateway has fewer keys, one that has just started fewer values.
#[test]
fn what_is_missing_or_empty_is_left_out() {
    expect(&shown("{\"ready\":true}", Some(80), Some(24)), "boxgate   READY");
    expect(
        &shown("{\"ready\":false,\"version\":\"0.0.9\"}", Some(80), Some(24)),
        "boxgate 0.0.9   NOT READY\n  the gateway gives no reason; its log says more",
    );
    let empty = with(READY, r#"{"box":[],"identities":[],"apps":[],"limits":[],"budgets":[],"waiting":[]}"#);
    expect(
        &shown(&empty, Some(80), Some(24)),
        "boxgate 0.1.0   READY   up 3 h 12 min   proxy.toml taken over 09:00:12Z (SIGHUP)\n\nConnections  12 of 4,000",
    );
}

#[test]
fn without_a_file_the_configuration_has_no_name() {
    let text =
        shown(&with(READY, r#"{"config":{"file":null,"in_use_since":"2026-11-26T09:00:12Z"}}"#), None, None);
    assert!(text.contains("   up 3 h 12 min   configuration taken over 09:00:12Z (start)\n"), "{text}");
}

#[test]
fn limits_that_counted_nothing_are_one_line() {
    let limits = r#"{"limits":[{"name":"per-caller","fullest":[]},{"name":"box-user","fullest":[{"key":"","used":0.0,"waiting":0}]}]}"#;
    let text = shown(&with(READY, limits), Some(80), Some(40));
    assert!(text.contains("\nLimits  unused: per-caller, box-user\n"), "{text}");
    // Of a count of all requests no key is shown.
    let global =
        r#"{"limits":[{"name":"all","key":"global","rate":"5/s","fullest":[{"key":"","used":0.5}]}]}"#;
    let text = shown(&with(READY, global), Some(80), Some(40));
    assert!(text.contains("\n  all    5/s  █████░░░░░  50 %        0        0\n\n"), "{text}");
}

/// The line of a row, as wide as it is.
fn row(name: &str, keys: &str) -> String {
    let text = shown(&with(READY, keys), None, None);
    let begin = format!("  {name} ");
    text.lines()
        .find(|line| line.starts_with(&begin))
        .unwrap_or_else(|| panic!("{name} in {text}"))
        .to_owned()
}

#[test]
fn a_row_says_what_its_columns_do_not() {
    for (name, keys, want) in [
        (
            "service",
            r#"{"identities":[{"name":"service","state":"valid","reason":"503 from Box","next_attempt":"2026-11-26T09:11:00Z"}]}"#,
            "renewal failed: 503 from Box; next attempt 09:11:00Z",
        ),
        (
            "service",
            r#"{"identities":[{"name":"service","state":"unavailable","reason":"503 from Box","next_attempt":"2026-11-26T09:11:00Z"}]}"#,
            "  503 from Box; next attempt 09:11:00Z",
        ),
        (
            "old",
            r#"{"apps":[{"name":"old","configured":false,"enabled":null}]}"#,
            "removed from the configuration",
        ),
        (
            "old",
            r#"{"apps":[{"name":"old","configured":true,"enabled":false}]}"#,
            "off: enabled = false, callers get 503",
        ),
        (
            "box-pause",
            r#"{"limits":[{"name":"box-pause","waiting":3}],"waiting":[{"limit":"box-pause","app":null,"requests":3}]}"#,
            "waiting: app not known 3",
        ),
        (
            "a",
            r#"{"limits":[{"name":"a","key":"client","fullest":[{"key":null,"used":0.9},{"key":"10.1.2.3","used":0.5}]}]}"#,
            "fullest client: 10.1.2.3 50 %",
        ),
    ] {
        let row = row(name, keys);
        assert!(row.ends_with(want), "{row}");
    }
    let pauses =
        r#"{"pauses_in_force":1234,"pauses":[{"identity":"service","class":"search","seconds_left":12}]}"#;
    let text = shown(&with(READY, pauses), None, None);
    assert!(text.contains("\n  1,233 more, which end sooner\n"), "{text}");
}

#[test]
fn each_reason_says_what_to_do() {
    let first_words = |keys: &str| {
        let text = shown(&with(NOT_READY, keys), None, None);
        text.lines().nth(1).unwrap().to_owned()
    };
    for (keys, want) in [
        (
            r#"{"reasons":["draining"],"draining":true}"#,
            "  draining; it ends once the requests in flight have; start it again, or ask the gateway that replaces it",
        ),
        (
            r#"{"reasons":["identity service: the first token is being obtained"],"identities":[{"name":"service","state":"waiting"}]}"#,
            "  identity service: the first token is being obtained; the answer of Box's token endpoint is awaited",
        ),
        (
            r#"{"reasons":["identity new: something"]}"#,
            "  identity new: something; the gateway's log says more",
        ),
        // Of two names the longer one is meant.
        (r#"{"reasons":["identity reports-2: x"]}"#, "  identity reports-2: x; the gateway's log says more"),
    ] {
        assert_eq!(first_words(keys), want);
    }
}

#[test]
fn a_budget_says_what_happens_once_it_is_spent() {
    let row =
        |keys: &str| row("plan", &format!("{{\"budgets\":[{{\"name\":\"plan\",\"calls\":10,{keys}}}]}}"));
    for (keys, want) in [
        (r#""used":9,"forecast":10"#, "90 %"),
        (r#""used":9,"forecast":12"#, "OVER PLAN: heading for 120 %"),
        (r#""used":10,"when_spent":"reject","refused":0"#, "SPENT: calls get 403"),
        (r#""used":12,"when_spent":"reject","refused":7"#, "SPENT: calls get 403, 7 so far"),
        (r#""used":10,"when_spent":"warn""#, "SPENT: calls go on, and are only counted"),
        (r#""used":10,"when_spent":"reject","enforced":false"#, "SPENT: calls go on, and are only counted"),
    ] {
        let row = row(keys);
        assert!(row.contains(want), "{keys}: {row}");
        assert_eq!(row.contains("SPENT"), want.contains("SPENT"), "{row}");
        assert_eq!(row.contains("OVER"), want.contains("OVER"), "{row}");
    }
}

#[test]
fn colours_change_no_column() {
    let status = parse(NOT_READY.as_bytes()).unwrap();
    let lines = screen(&status, Size { width: Some(80), height: Some(60) });
    for line in lines {
        let (plain, mut coloured) = (line.text(Some(80), false), line.text(Some(80), true));
        for code in ["1", "2", "31", "32", "33", "36", "1;31", "0"] {
            coloured = coloured.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(coloured, plain);
    }
}
