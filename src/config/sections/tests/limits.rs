//! Limits, budgets and state.

use std::time::Duration;

use super::*;
use crate::limits::budget::definition::{self, Period, WhenSpent};
use crate::limits::rate::limit::{self, Quota};
use crate::limits::selector::Selector;
use crate::routing::operation_class::Class;
use crate::routing::operation_pattern::Pattern;

const LIMIT: &str = "[[limit]]\nname = \"a\"\nkey = \"client\"\nrate = \"10/s\"\n";
const BUDGET: &str = "[[budget]]\nname = \"a\"\nkey = \"global\"\ncalls = 50_000\n";

/// The table without one of its keys.
fn without(table: &str, key: &str) -> String {
    table.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

fn bucket(quota: &Quota) -> (Duration, u32) {
    let Quota::Bucket { interval, burst } = *quota else { panic!("{quota:?}") };
    (interval, burst.get())
}

#[test]
fn a_limit_has_defaults() {
    let config = with_identity(LIMIT).unwrap();
    assert!(config.box_defaults && config.warnings.is_empty());
    let [limit] = config.limits.as_slice() else { panic!("{:?}", config.limits) };
    assert_eq!((&*limit.name, limit.key, limit.on.len()), ("a", limit::Key::Client, 0));
    assert_eq!(bucket(&limit.quota), (Duration::from_millis(100), 10));
    assert_eq!((limit.wait, limit.enforce), (Duration::ZERO, true));
}

#[test]
fn all_keys_of_a_limit_are_read() {
    let text = "[[limit]]\nname = \"Up-1_a\"\nkey = \"user\"\non = [\"upload\", \"POST /2.0/sign_requests\"]\nrate = \"240/min\"\nburst = 1_000_000\nwait = \"30s\"\nenforce = false\n[limits]\nbox_defaults = false\n";
    let config = with_identity(text).unwrap();
    assert!(!config.box_defaults);
    let [limit] = config.limits.as_slice() else { panic!("{:?}", config.limits) };
    assert_eq!((&*limit.name, limit.key), ("Up-1_a", limit::Key::User));
    let pattern = Pattern::parse("POST /2.0/sign_requests").unwrap();
    assert_eq!(limit.on, [Selector::Class(Class::Upload), Selector::Pattern(pattern)]);
    assert_eq!(bucket(&limit.quota), (Duration::from_millis(250), 1_000_000));
    assert_eq!((limit.wait, limit.enforce), (Duration::from_secs(30), false));
}

#[test]
fn a_burst_is_a_second_s_worth_and_at_least_one() {
    for (rate, burst) in
        [("10/s", 10), ("1000/min", 16), ("59/min", 1), ("1/day", 1), ("1000000000/s", 1_000_000)]
    {
        let config = with_identity(&LIMIT.replace("10/s", rate)).unwrap();
        assert_eq!(bucket(&config.limits[0].quota).1, burst, "{rate}");
    }
}

#[test]
fn wrong_limits_are_refused_with_what_is_allowed() {
    for (line, start) in [
        ("on = []", "p.toml:9:6: limit.a.on: an empty list"),
        (
            "on = \"search\"",
            "p.toml:9:6: limit.a.on: expected a list such as [\"search\", \"POST /2.0/sign_requests\"], found the string \"search\"; write [\"search\"]",
        ),
        (
            "on = [\"search\", \"uploads\"]",
            "p.toml:9:17: limit.a.on: \"uploads\" is not a class of requests; did you mean \"upload\"? allowed: \"general\", \"upload\", \"search\", \"download\", or a pattern",
        ),
        (
            "on = [\"/2.0/search\"]",
            "p.toml:9:7: limit.a.on: \"/2.0/search\" has no method; did you mean \"* /2.0/search\"?",
        ),
        ("on = [\"POST /files\"]", "p.toml:9:7: limit.a.on: \"POST /files\" can match nothing"),
        (
            "burst = 0",
            "p.toml:9:9: limit.a.burst: expected an integer from 1 to 1000000, found the integer 0",
        ),
        ("burst = 1_000_001", "p.toml:9:9: limit.a.burst: expected an integer from 1 to 1000000"),
        (
            "burst = \"20\"",
            "p.toml:9:9: limit.a.burst: expected an integer from 1 to 1000000, found the string",
        ),
        (
            "wait = \"31s\"",
            "p.toml:9:8: limit.a.wait: \"31s\" is out of range; allowed: up to 30s, since Box's SDKs give up a call after 60 s",
        ),
        ("wait = 5", "p.toml:9:8: limit.a.wait: expected a duration"),
        ("enforce = \"no\"", "p.toml:9:11: limit.a.enforce: expected true or false"),
        ("per = \"day\"", "p.toml:9:1: limit.a.per: unknown key; it belongs under [[budget]]"),
        ("brust = 1", "p.toml:9:1: limit.a.brust: unknown key; did you mean \"burst\"?"),
    ] {
        let message = only_message(&format!("{LIMIT}{line}\n"));
        assert!(message.starts_with(start), "{message}");
    }
    for (key, value, part) in [
        ("name", "\"box-user\"", "limit.box-user.name: \"box-user\": names that begin with \"box-\""),
        ("name", "\"BOX-x\"", "are reserved for Box's own limits"),
        ("name", "\"\"", "limit[0].name: \"\" cannot be a name"),
        ("name", "\"a b\"", "allowed: 1 to 64 of letters, digits, - and _"),
        ("name", "\"ä\"", "cannot be a name"),
        ("name", "1", "limit[0].name: expected a name, found the integer 1"),
        ("key", "\"enterprise\"", "allowed: \"client\", \"app\", \"user\", \"identity\", \"global\""),
        ("key", "\"clients\"", "did you mean \"client\"?"),
        ("rate", "\"10/sec\"", "limit.a.rate: \"10/sec\" is not a valid rate; did you mean \"10/s\"?"),
        ("rate", "10", "expected a rate such as \"10/s\""),
    ] {
        let message = only_message(&format!("{}{key} = {value}\n", without(LIMIT, key)));
        assert!(message.starts_with("p.toml:8:") && message.contains(part), "{message}");
    }
}

#[test]
fn required_keys_of_limits_and_budgets_are_named() {
    let found = messages("[[limit]]\n[[budget]]\n");
    let parts = [
        "p.toml:5:1: limit[0].name: is missing; each limit has a name of its own",
        "p.toml:5:1: limit[0].key: is missing; allowed: \"client\", \"app\"",
        "p.toml:5:1: limit[0].rate: is missing; expected a rate such as \"10/s\"",
        "p.toml:6:1: budget[0].name: is missing; each budget has a name of its own",
        "p.toml:6:1: budget[0].key: is missing; allowed: \"identity\", \"app\", \"global\"",
        "p.toml:6:1: budget[0].calls: is missing; expected an integer such as 50_000",
    ];
    assert_eq!(found.len(), parts.len(), "{found:#?}");
    for (message, part) in found.iter().zip(parts) {
        assert!(message.starts_with(part), "{message}");
    }
}

#[test]
fn names_are_unique_within_limits_and_within_budgets() {
    let message = only_message(&format!("{LIMIT}{LIMIT}"));
    assert!(message.starts_with("p.toml:9:1: limit.a: another limit has the name \"a\" too"), "{message}");
    let message = only_message(&format!("{BUDGET}{BUDGET}"));
    assert!(message.starts_with("p.toml:9:1: budget.a: another budget has the name \"a\" too"), "{message}");
    let both = with_identity(&format!("{LIMIT}{BUDGET}{}", LIMIT.replace("\"a\"", "\"b\""))).unwrap();
    assert_eq!(both.limits.iter().map(|limit| &*limit.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(both.budgets.len(), 1);
}

#[test]
fn a_budget_has_defaults_and_all_its_keys_are_read() {
    let text = format!(
        "{BUDGET}[[budget]]\nname = \"b\"\nkey = \"app\"\ncalls = 1\nper = \"day\"\nwhen_spent = \"warn\"\nenforce = false\n\
         on = [\"search\", \"POST /2.0/ai/**\"]\n"
    );
    let config = with_identity(&text).unwrap();
    let [a, b] = config.budgets.as_slice() else { panic!("{:?}", config.budgets) };
    assert_eq!((&*a.name, a.key, a.calls.get()), ("a", definition::Key::Global, 50_000));
    assert_eq!((a.per, a.when_spent, a.enforce), (Period::Month, WhenSpent::Reject, true));
    assert_eq!((&*b.name, b.key, b.calls.get()), ("b", definition::Key::App, 1));
    let pattern = Selector::Pattern(Pattern::parse("POST /2.0/ai/**").unwrap());
    assert_eq!((a.on.as_slice(), b.on.as_slice()), (&[][..], &[Selector::Class(Class::Search), pattern][..]));
    for (on, words) in [
        ("[]", "budget.a.on: an empty list: the budget would apply to no request"),
        ("[\"serach\"]", "did you mean \"search\"?"),
        ("[\"/2.0/ai/**\"]", "has no method; did you mean \"* /2.0/ai/**\"?"),
        ("\"search\"", "expected a list"),
    ] {
        let message = only_message(&format!("{BUDGET}on = {on}\n"));
        assert!(message.contains(words), "{message}");
    }
    assert_eq!((b.per, b.when_spent, b.enforce), (Period::Day, WhenSpent::Warn, false));
}

#[test]
fn wrong_budgets_are_refused_with_what_is_allowed() {
    for (key, value, part) in [
        ("name", "\"a.b\"", "cannot be a name"),
        ("key", "\"client\"", "allowed: \"identity\", \"app\", \"global\""),
        ("calls", "0", "budget.a.calls: expected an integer from 1 to 1000000000000000, found the integer 0"),
        ("calls", "-5", "found the integer -5"),
        ("calls", "5e4", "found the number 5e4"),
        ("calls", "\"50_000\"", "found the string \"50_000\""),
        ("calls", "99999999999999999999", "expected an integer from 1 to"),
        ("per", "\"months\"", "did you mean \"month\"? allowed: \"day\", \"month\""),
        ("when_spent", "\"stop\"", "allowed: \"reject\", \"warn\""),
        ("enforce", "1", "expected true or false"),
        ("rate", "\"1/s\"", "it belongs under [[limit]]"),
    ] {
        let message = only_message(&format!("{}{key} = {value}\n", without(BUDGET, key)));
        assert!(message.contains(part), "{message}");
    }
    for table in ["limit", "budget"] {
        let message = only_message(&format!("[{table}]\nname = \"a\"\n"));
        assert!(message.contains(&format!("write [[{table}]] with two brackets")), "{message}");
    }
    assert!(only_message("[[limits]]\n").contains("expected a table [limits], found a list"));
    assert!(
        only_message("[limits]\nbox_defaults = 1\n").contains("limits.box_defaults: expected true or false")
    );
}

#[test]
fn the_state_folder_defaults_to_the_platforms() {
    let dir = |text: &str, set: &[(&str, &str)]| {
        let variable = |name: &str| {
            let value = set.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| (*value).to_owned()).or_else(|| env(name))
        };
        let name = Path::new("/etc/boxgate/p.toml");
        let config = from_text(&format!("{IDENTITY}{text}"), name, &Overrides::default(), &variable);
        config.unwrap().state.dir.to_str().unwrap().to_owned()
    };
    let home = ("HOME", "/home/u");
    let xdg = ("XDG_STATE_HOME", "/home/u/state");
    for (set, want) in [
        (&[][..], "/var/lib/boxgate"),
        (&[home], "/home/u/.local/state/boxgate"),
        (&[home, xdg], "/home/u/state/boxgate"),
        (&[home, xdg, ("STATE_DIRECTORY", "/var/lib/gate")], "/var/lib/gate"),
        (&[("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")], "/var/lib/one"),
        (&[("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "relative"), home], "/home/u/.local/state/boxgate"),
    ] {
        assert_eq!(dir("", set), want, "{set:?}");
        assert_eq!(dir("[state]\ndir = \"state\"\n", set), "/etc/boxgate/state");
    }
    assert_eq!(dir("[state]\ndir = \"/srv/gate\"\n", &[]), "/srv/gate");
    let message = only_message("[state]\ndir = \"\"\n");
    assert!(message.starts_with("p.toml:6:7: state.dir: \"\" is not a folder"), "{message}");
}

#[test]
fn redis_is_a_secret_that_is_a_url() {
    let read = |url: &str| {
        let variable = |name: &str| if name == "REDIS_URL" { Some(url.to_owned()) } else { env(name) };
        let text = format!("{IDENTITY}[state]\nredis = {{ env = \"REDIS_URL\" }}\n");
        from_text(&text, Path::new("p.toml"), &Overrides::default(), &variable)
    };
    let config = read("rediss://:hunter2@redis.example/1").unwrap();
    assert_eq!(config.state.redis.as_ref().unwrap().expose(), "rediss://:hunter2@redis.example/1");
    assert!(config.warnings.is_empty() && !format!("{config:?}").contains("hunter2"));

    let problem = read("http://:hunter2@redis.example").unwrap_err().to_string();
    assert!(
        problem.starts_with("p.toml:6:9: state.redis: the URL's scheme is not one of Redis"),
        "{problem}"
    );
    assert!(!problem.contains("hunter2"));
    let literal = with_identity("[state]\nredis = \"redis://:hunter2@127.0.0.1\"\n").unwrap();
    assert!(literal.warnings[0].starts_with("p.toml:6:9: state.redis: the secret is in"));
    for bad in ["redis = 5", "redis = [\"hunter2\"]", "redis = \"hunter2\"", "redis = { url = \"hunter2\" }"]
    {
        let message = only_message(&format!("[state]\n{bad}\n"));
        assert!(message.contains("state.redis") && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_redis_prefix_is_plain_ascii() {
    assert_eq!(with_identity("").unwrap().state.redis_prefix, "boxgate:");
    let config = with_identity("[state]\nredis_prefix = \"gate/1:\"\n").unwrap();
    assert_eq!(config.state.redis_prefix, "gate/1:");
    for bad in ["", "a b", "{a}", "a}", "ä", "a\\n", &"x".repeat(65)] {
        let message = only_message(&format!("[state]\nredis_prefix = \"{bad}\"\n"));
        assert!(
            message.contains("state.redis_prefix: ") && message.contains("allowed: 1 to 64"),
            "{message}"
        );
    }
}

#[test]
fn pauses_and_requests_in_flight_have_ranges() {
    assert_eq!(with_identity("").unwrap().upstream.max_pause, Duration::from_secs(300));
    for (text, seconds) in [("1s", 1), ("60m", 3600)] {
        let config = with_identity(&format!("[upstream]\nmax_pause = \"{text}\"\n")).unwrap();
        assert_eq!(config.upstream.max_pause, Duration::from_secs(seconds));
    }
    for bad in ["0s", "999ms", "61m"] {
        let message = only_message(&format!("[upstream]\nmax_pause = \"{bad}\"\n"));
        assert!(message.ends_with("is out of range; allowed: from 1s to 1h"), "{message}");
    }
    let in_flight = |text: &str| {
        let config = with_identity(&format!("[[app]]\nname = \"a\"\n{text}\n")).unwrap();
        config.apps.iter().next().unwrap().max_in_flight.map(|number| number.get())
    };
    assert_eq!((in_flight(""), in_flight("max_in_flight = 1")), (None, Some(1)));
    for bad in ["0", "-1", "\"1\"", "1_000_001"] {
        let message = only_message(&format!("[[app]]\nname = \"a\"\nmax_in_flight = {bad}\n"));
        assert!(message.contains("app.a.max_in_flight: expected an integer from 1 to 1000000"), "{message}");
    }
}
