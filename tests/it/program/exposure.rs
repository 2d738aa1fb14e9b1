//! A gateway that is open says so: in the log at its start and at a reload, on the page, in /readyz and in `boxgate check`.

use super::harness::{FakeBox, Folder, Program, boxgate, command, until, write_file};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const KEY: &str = "[[app]]\nname = \"a\"\nkey = \"a key that is long enough\"\n";

/// Each with what the file says under `[listen]`, the flags, and how the warning begins.
const OPEN: [(&str, &[&str], &str, &str); 4] = [
    ("address = \"0.0.0.0:0\"", &[], "listen.address: ", "0.0.0.0:0 can be reached from other machines"),
    ("", &["--listen", "0.0.0.0:0"], "--listen: ", "0.0.0.0:0 can be reached from other machines"),
    (
        "address = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]",
        &[],
        "listen.trusted_proxies: ",
        "whoever reaches one of these reaches app \"default\"",
    ),
    (
        "address = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.2\"]",
        &[],
        "listen.proxy_protocol: ",
        "whoever reaches one of these reaches app \"default\"",
    ),
];

#[test]
fn an_open_gateway_says_so_and_what_to_set_until_something_decides_who_may_call() {
    for (listen, flags, key, words) in OPEN {
        let (at, folder) = (FakeBox::start(), Folder::new());
        write_file(&folder, &at, listen, "");
        let mut run = command(BOXGATE, &folder);
        run.arg("run").args(flags);
        let program = Program::spawn(folder, run).ready();
        let line = program.err.wait_for(&["WARN", key, words]);
        assert!(line.contains("key, certificates or sources"), "{line}");
        let readiness = program.admin("/readyz");
        assert!(readiness.status == 200 && readiness.body.contains(words), "{}", readiness.body);
        assert!(program.admin("/status.json").body.contains(&words.replace('"', "\\\"")));
        let on_the_page = words.replace('"', "&quot;");
        for page in ["/", "/?view=configuration"] {
            assert!(program.admin(page).body.contains(&on_the_page), "{page}");
        }
        if flags.is_empty() {
            let check = boxgate(&program.folder, &["check", "--offline"]);
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(said.contains("warning") && said.contains(words), "{said}");
        }

        write_file(&program.folder, &at, listen, KEY);
        program.hang_up();
        until("nothing is said any more", || !program.admin("/readyz").body.contains(words));
        // A page that was rendered within the last second is shown again.
        until("nor on the page", || !program.admin("/").body.contains(&on_the_page));
    }
}

#[test]
fn what_decides_who_may_call_is_enough() {
    let at = FakeBox::start();
    for (listen, more) in [
        ("address = \"0.0.0.0:0\"\nhosts = [\"boxgate.internal\"]", ""),
        ("address = \"0.0.0.0:0\"\nsources = [\"127.0.0.0/8\"]", ""),
        ("address = \"0.0.0.0:0\"", KEY),
        ("address = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]", KEY),
        ("address = [\"127.0.0.1:0\", \"unix:gate.sock\"]", ""),
    ] {
        let program = Program::listening(&at, listen, more).ready();
        assert_eq!(program.admin("/readyz").body, "ready\n", "{listen} {more}");
    }
}
