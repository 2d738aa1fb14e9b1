//! Against a running gateway.

use boxgate::sandbox::{Options, TokenAnswer};

use crate::program::harness::{FakeBox, Program, boxgate, until};
use crate::program::terminal::Screen;

const ME: &str = "/2.0/users/me";

/// What it prints, and its exit status.
fn status(program: &Program, more: &[&str]) -> (String, i32) {
    let arguments = [&["status", "--admin", &program.operators], more].concat();
    let output = boxgate(&program.folder, &arguments);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().unwrap())
}

/// The words of the row with this name.
fn row<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut named = rows.filter(|row| row.first() == Some(&name));
    named.next().unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

#[test]
fn requests_limits_and_budgets_of_a_gateway_are_shown() {
    let at = FakeBox::start();
    let program = Program::start(
        &at,
        "[[app]]\nname = \"intranet\"\n[[limit]]\nname = \"few\"\nkey = \"client\"\nrate = \"2/day\"\nburst = 2\n\
         [[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 1000\nper = \"month\"\n",
    )
    .ready();
    for want in [200, 200, 429] {
        assert_eq!(program.get(ME).status, want);
    }
    let mut text = String::new();
    // A request is counted once its answer is complete.
    until("three requests", || {
        text = status(&program, &[]).0;
        row(&text, "intranet")[2] == "3"
    });
    assert!(text.starts_with(concat!("boxgate ", env!("CARGO_PKG_VERSION"), "   READY   up ")), "{text}");
    assert!(text.contains("proxy.toml taken over ") && text.contains("Z (start)\n"), "{text}");
    assert_eq!(row(&text, "service")[1], "valid", "{text}");
    // 4xx, of these 429, 5xx; requests in flight, calls this month.
    let intranet = row(&text, "intranet");
    assert_eq!(
        (&intranet[1..6], intranet.last()),
        (&["service", "3", "1", "1", "0"][..], Some(&"2")),
        "{text}"
    );
    let few = row(&text, "few");
    assert_eq!((few[1], few[3], few[4]), ("2/day", "100", "%"), "{text}");
    assert!(text.contains("fullest client: 127.0.0.1 100 %"), "{text}");
    assert_eq!(row(&text, "plan")[1..3], ["2", "1,000"], "{text}");
    let hosts: Vec<_> = text.lines().filter(|line| line.starts_with("  localhost:")).collect();
    // Nobody asked for an upload or a download.
    let with_state = |state: &str| hosts.iter().filter(|host| host.contains(state)).count();
    assert_eq!((hosts.len(), with_state("  up "), with_state("  no calls ")), (3, 1, 2), "{text}");
    assert_eq!(status(&program, &[]).1, 0);
    let (json, exit) = status(&program, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ready"], &json["apps"][0]["name"], exit), (&true.into(), &"intranet".into(), 0));
}

#[test]
fn a_gateway_that_is_not_ready_says_why_and_what_to_do() {
    let refused = TokenAnswer::Body {
        status: 400,
        body: r#"{"error":"invalid_client","error_description":"The client credentials are invalid"}"#
            .to_owned(),
        content_type: "application/json".to_owned(),
    };
    let at = FakeBox::with(Options::default());
    at.token_always(Some(refused));
    let mut program = Program::start(&at, "");
    until("the refusal", || program.admin("/readyz").body.contains("invalid_client"));
    let (text, exit) = status(&program, &[]);
    assert_eq!(exit, 1, "{text}");
    assert_eq!(row(&text, "service")[1], "REFUSED", "{text}");
    let reason = text.lines().find(|line| line.starts_with("  identity service: ")).unwrap();
    assert!(
        reason.contains("invalid_client") && reason.contains("; boxgate check says what to change"),
        "{reason}"
    );
    // A configuration that is not taken over.
    program.folder.write("proxy.toml", "[listen]\nadress = 1\n");
    program.hang_up();
    until("the refused reload", || status(&program, &[]).0.contains("note: "));
    let (text, _) = status(&program, &[]);
    let note = text.lines().find(|line| line.starts_with("  note: ")).unwrap();
    assert!(
        note.contains("2 problems, the first: ")
            && note.ends_with("; boxgate check shows every problem of the file"),
        "{text}"
    );
    program.terminate();
    program.exited();
    let (text, exit) = status(&program, &[]);
    assert!(exit == 2 && text.contains("is the gateway running?"), "{text}");
}

#[test]
fn a_refreshed_screen_is_stale_once_the_gateway_ends() {
    let at = FakeBox::start();
    let mut program = Program::start(&at, "").ready();
    let line = format!("trap : INT; boxgate status --watch --interval 100ms --admin {}", program.operators);
    let mut screen = Screen::open(&program.folder, 80, &line, &[("NO_COLOR", "1")]);
    screen.answer("   READY   up ", "");
    program.terminate();
    program.exited();
    screen.answer("stale since ", "\u{3}");
    let (exit, text) = screen.end();
    assert_eq!(exit, Some(2), "{text:?}");
}
