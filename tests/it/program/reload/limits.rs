//! Which counts are kept.

use super::*;

fn limit(rate: &str, burst: u32) -> String {
    format!("[[limit]]\nname = \"few\"\nkey = \"client\"\nrate = \"{rate}\"\nburst = {burst}\n{}", app("web"))
}

const WEB: &str = "/web/2.0/users/me";

#[test]
fn an_unchanged_limit_keeps_its_count_whatever_else_changes() {
    let running = Running::start(&[], &limit("3/day", 3));
    assert_eq!([(); 4].map(|()| running.status(WEB)), [200, 200, 200, 429]);
    running.take_over(&format!("{}{}", limit("3/day", 3), app("another")));
    assert_eq!(running.status(WEB), 429);
    assert_eq!(running.status("/another/2.0/users/me"), 429);
    let metrics = running.program.admin("/metrics").body;
    assert!(metrics.contains("boxgate_limited_total{limit=\"few\"} 3\n"), "{metrics}");
}

#[test]
fn a_higher_rate_adds_only_the_difference_and_no_new_burst() {
    let running = Running::start(&[], &limit("3/day", 3));
    assert_eq!([(); 4].map(|()| running.status(WEB)), [200, 200, 200, 429]);
    running.take_over(&limit("5/day", 5));
    assert_eq!([(); 3].map(|()| running.status(WEB)), [200, 200, 429]);
    running.take_over(&limit("2/day", 2));
    assert_eq!(running.status(WEB), 429);
}

#[test]
fn a_request_that_waits_for_its_turn_gets_it() {
    let waits = |rate| {
        format!("[[limit]]\nname = \"few\"\nkey = \"global\"\nrate = \"{rate}\"\nburst = 1\nwait = \"30s\"\n")
    };
    let running = Running::start(&[], &waits("3/min"));
    assert_eq!(running.status(ME), 200);
    let waiting = send(&running.program.callers, "GET", ME, "");
    until("it waits", || running.program.metric("boxgate_limit_queued{limit=\"few\"}") == 1);
    running.take_over(&waits("100/s"));
    // At the old rate it would have waited for twenty seconds.
    assert_eq!(receive(waiting).status, 200);
}
