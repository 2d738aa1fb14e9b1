//! Problems of a configuration on a terminal: the line of the file, a mark, and what is allowed.

use super::harness::{Folder, boxgate};
use super::terminal::Screen;

const FILE: &str = "\
[listen]
adress = \"127.0.0.1:8080\"

[identity.service]
client_id = \"an-id\"
client_secret = \"canary \"
enterprise_id = 123456

[log]
level = \"inof\"    # canary
";

fn on_terminal(line: &str, columns: u16, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = Folder::new();
    folder.write("proxy.toml", FILE);
    Screen::open(&folder, columns, line, variables).end()
}

#[test]
fn each_problem_is_shown_with_its_line() {
    for command in ["boxgate check", "boxgate check --offline", "boxgate run"] {
        let (status, shown) = on_terminal(command, 80, &[("NO_COLOR", "1")]);
        assert_eq!(status, Some(2));
        assert_eq!(shown, EXPECTED, "{command}");
    }
}

#[test]
fn a_wide_terminal_is_used() {
    let (_, shown) = on_terminal("boxgate check", 140, &[("NO_COLOR", "1")]);
    let allowed = "  = help: allowed here: address, hosts, sources, trusted_proxies, proxy_protocol, workers, max_connections, tls\n";
    assert!(shown.contains(allowed), "{shown}");
    let title = "error: identity.service.enterprise_id: expected a string, found the integer 123456\n";
    assert!(shown.contains(title), "{shown}");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    assert!(on_terminal("boxgate check", 80, &[]).1.contains("\u{1b}["));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!on_terminal("boxgate check", 80, &[(name, value)]).1.contains('\u{1b}'), "{name}={value}");
    }
    let (_, piped) = on_terminal("boxgate check 2>errors; cat errors", 80, &[]);
    assert!(
        !piped.contains('\u{1b}') && piped.contains("proxy.toml:2:1: listen.adress: unknown key; did you"),
        "{piped}"
    );
}

#[test]
fn elsewhere_a_problem_is_one_line() {
    let folder = Folder::new();
    folder.write("proxy.toml", FILE);
    let output = boxgate(&folder, &["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.lines().all(|line| line.starts_with("proxy.toml:")), "{said}");
}

/// Everything at 80 columns.
const EXPECTED: &str = r#"error: listen.adress: unknown key
 --> proxy.toml:2:1
  |
2 | adress = …
  | ^^^^^^ did you mean "address"?
  |
  = help: allowed here: address, hosts, sources, trusted_proxies,
          proxy_protocol, workers, max_connections, tls

error: identity.service.client_secret: the value begins or ends with white space
 --> proxy.toml:6:17
  |
6 | client_secret = …
  |                 ^
  |
  = help: remove it

error: identity.service.enterprise_id: expected a string, found the integer
       123456
 --> proxy.toml:7:17
  |
7 | enterprise_id = 123456
  |                 ^^^^^^
  |
  = help: put it in quotes

error: log.level: "inof" is not an allowed value
  --> proxy.toml:10:9
   |
10 | level = "inof"
   |         ^^^^^^ did you mean "info"?
   |
   = help: allowed: "error", "warn", "info", "debug", "trace"

4 problems
"#;
