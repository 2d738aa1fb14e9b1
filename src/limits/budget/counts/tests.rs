use super::*;

fn calls(app: &str) -> Account {
    Account::Calls { app: app.into(), identity: "i".into(), class: "general".into() }
}

fn month(name: &str) -> Span {
    Span::read(name).unwrap()
}

#[test]
fn a_budget_of_the_month_counts_what_was_spent_before_it_was_configured() {
    let entries = [((month("2026-11"), calls("a")), 3), ((month("2026-11"), calls("b")), 4)];
    let counts = CallCounts::new(Timestamp::UNIX_EPOCH, entries);
    let of = |classes: &[Class], key, value: &str, span: &str| {
        let account =
            Account::Budget { name: format!("n{}", classes.len()).into(), key, value: value.into() };
        counts.budget_count(Span::read(span).unwrap(), account, classes).load(Ordering::Relaxed)
    };
    let used = |key, value: &str, span: &str| of(&Class::ALL, key, value, span);
    assert_eq!(of(&[Class::Search], Key::Global, "", "2026-11"), 0, "these are general");
    assert_eq!(of(&[Class::Search, Class::General], Key::App, "a", "2026-11"), 3);
    assert_eq!(used(Key::Global, "", "2026-11"), 7);
    assert_eq!(used(Key::App, "a", "2026-11"), 3);
    assert_eq!(used(Key::App, "renamed", "2026-11"), 0);
    assert_eq!(used(Key::Identity, "i", "2026-11"), 7);
    assert_eq!(used(Key::Global, "", "2026-12"), 0);
    assert_eq!(used(Key::Global, "", "2026-11-25"), 0);
}

/// The spans that are left, in order.
fn left(counts: &CallCounts) -> Vec<String> {
    let mut spans: Vec<String> =
        counts.sheet_states().iter().map(|(sheet, _)| sheet.span.to_string()).collect();
    spans.sort();
    spans
}

fn beginning_with(names: &[&str], account: &Account) -> CallCounts {
    let entries = names.iter().map(|name| ((month(name), account.clone()), 1));
    CallCounts::new(Timestamp::UNIX_EPOCH, entries)
}

#[test]
fn a_wrong_clock_does_not_drop_the_counts_of_the_right_time() {
    let budget = Account::Budget { name: "plan".into(), key: Key::Global, value: "".into() };
    let names = ["2026-09", "2026-10", "2026-11", "2026-11-25", "2099-01"];
    let counts = beginning_with(&names, &budget);
    counts.forget([month("2099-01-01"), month("2099-01")]);
    assert_eq!(left(&counts), ["2026-10", "2026-11", "2026-11-25", "2099-01"]);
    counts.count(month("2026-12"), budget);
    counts.forget([month("2026-12-01"), month("2026-12")]);
    assert_eq!(left(&counts), ["2026-10", "2026-11", "2026-11-25", "2026-12"]);
    // The same with calls: of the months and their days, those of the nearest months are kept.
    let months: Vec<String> = (1..=12).map(|month| format!("2026-{month:02}")).collect();
    let mut names: Vec<&str> = months.iter().map(String::as_str).collect();
    names.extend(["2025-12", "2025-12-31", "2026-01-31", "2099-01-15", "2099-01-16"]);
    let counts = beginning_with(&names, &calls("a"));
    counts.forget([month("2099-01-17"), month("2099-01")]);
    let kept = left(&counts);
    assert!(
        ["2026-01", "2026-01-31", "2026-12", "2099-01-15"].iter().all(|name| kept.contains(&(*name).into()))
    );
    assert!(!kept.iter().any(|name| name.starts_with("2025")), "{kept:?}");
    counts.count(month("2027-01-01"), calls("a"));
    counts.forget([month("2027-01-01"), month("2027-01")]);
    let kept = left(&counts);
    assert!(!kept.iter().any(|name| name.starts_with("2099")), "{kept:?}");
    assert_eq!((kept.len(), kept[0].as_str()), (14, "2026-01"), "12 months, one of their days, and today");
}

#[test]
fn thirteen_months_of_days_are_kept() {
    let counts = CallCounts::new(Timestamp::UNIX_EPOCH, []);
    let mut day = month("2024-01-01");
    for _ in 0..900 {
        counts.count(day, calls("a")).fetch_add(1, Ordering::Relaxed);
        counts.forget([day, day.month()]);
        day = Period::Day.at(day.ends());
    }
    let last = day.previous();
    let first = Span::read(&format!("{}-01", "2025-06")).unwrap();
    assert_eq!(last.to_string(), "2026-06-18");
    assert_eq!(counts.months().len(), CALL_MONTHS);
    assert_eq!(left(&counts).first(), Some(&first.to_string()));
    assert_eq!(left(&counts).len() as u64, last.days_from(first) + 1);
}

#[test]
fn a_budget_of_a_month_includes_calls_of_its_days_and_of_no_known_day() {
    let entries = [
        ((month("2026-10-31"), calls("a")), 100),
        ((month("2026-11"), calls("a")), 3),
        ((month("2026-11-01"), calls("a")), 4),
        ((month("2026-11-30"), calls("a")), 5),
        ((month("2026-11-30"), calls("aa")), 6),
        ((month("2026-11-30"), calls("")), 7),
        ((month("2026-12-01"), calls("a")), 100),
    ];
    let counts = CallCounts::new(Timestamp::UNIX_EPOCH, entries);
    let used = |key, value: &str| {
        let account = Account::Budget { name: "n".into(), key, value: value.into() };
        counts.budget_count(month("2026-11"), account, &Class::ALL).load(Ordering::Relaxed)
    };
    assert_eq!((used(Key::App, "a"), used(Key::App, "aa"), used(Key::App, "b")), (12, 6, 0));
    assert_eq!((used(Key::Global, ""), used(Key::Identity, "i")), (25, 25));
}

#[test]
fn the_writer_looks_at_counts_again_once_they_are_looked_up() {
    let (old, now) = (month("2026-09-30"), [month("2026-11-25"), month("2026-11")]);
    let counts = CallCounts::new(Timestamp::UNIX_EPOCH, []);
    counts.go_on_from(Timestamp::UNIX_EPOCH, [((old, calls("a")), 1)]);
    let open = |counts: &CallCounts| -> Vec<String> {
        let open = counts.sheet_states().into_iter().filter(|(_, open)| *open);
        open.map(|(sheet, _)| sheet.span.to_string()).collect()
    };
    assert_eq!(open(&counts), Vec::<String>::new(), "they come from the file");
    for span in ["2026-09-30", "2026-11-24", "2026-11-25"] {
        counts.count(month(span), calls("a"));
    }
    let all: Vec<Sheet> = counts.sheet_states().into_iter().map(|(sheet, _)| sheet).collect();
    counts.close(&all, now);
    assert_eq!(open(&counts), ["2026-11-24", "2026-11-25"]);
    counts.count(old, calls("a"));
    assert_eq!(open(&counts), ["2026-09-30", "2026-11-24", "2026-11-25"]);
}
