//! The command line: output and exit status.

use std::net::TcpListener;
use std::process::Output;

use boxgate::sandbox::Role;

use super::client::request;
use super::harness::{FakeBox, Folder, Program, boxgate, command, write_file};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_are_printed_with_status_0() {
    let folder = Folder::new();
    let help = boxgate(&folder, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for word in ["run", "check", "sandbox", "--config", "--listen", "--admin", "--host"] {
        assert!(out(&help).contains(word), "{word} in {}", out(&help));
    }
    let version = boxgate(&folder, &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(out(&version).trim(), format!("boxgate {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_flag_is_a_bad_configuration() {
    let output = boxgate(&Folder::new(), &["--lisen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("--lisen"), "{}", err(&output));
}

#[test]
fn a_bad_file_is_refused_with_the_location_of_every_problem_before_anything_is_bound_or_called() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    // If it had tried to bind, it would report that the address is in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("address = \"{}\"\nhost = [\"a.internal\"]", taken.local_addr().unwrap());
    let file = write_file(&folder, &at, &listen, "[server]\ndrain_delay = \"soon\"");
    let text = std::fs::read_to_string(&file).unwrap();
    let line = |start: &str| 1 + text.lines().position(|line| line.starts_with(start)).unwrap();

    let output = boxgate(&folder, &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    let (host, delay) = (line("host ="), line("drain_delay ="));
    let problem = format!("proxy.toml:{host}:1: listen.host: unknown key; did you mean \"hosts\"?");
    assert!(said.contains(&problem), "{said}");
    assert!(said.contains(&format!("proxy.toml:{delay}:15: server.drain_delay: ")), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(out(&output).is_empty());
    assert_eq!(at.connections(Role::Api), 0);
}

#[test]
fn a_missing_file_is_a_bad_configuration() {
    let output = boxgate(&Folder::new(), &["run", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("nowhere.toml"), "{}", err(&output));
}

#[test]
fn with_nothing_configured_it_says_in_a_few_lines_how_to_begin() {
    let folder = Folder::new();
    for arguments in [&[][..], &["run"], &["run", "--listen", "127.0.0.1:0", "--watch"]] {
        let output = boxgate(&folder, arguments);
        assert_eq!((out(&output).as_str(), output.status.code()), ("", Some(2)));
        let said = err(&output);
        for part in
            ["boxgate sandbox", "boxgate init", "BOX_CLIENT_ID", "BOX_USER_ID", "proxy.toml", "boxgate check"]
        {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(said.lines().count() <= 5, "{said}");
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    }
    // A file that was meant is missed by its name.
    let output = boxgate(&folder, &["--config", "proxy.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("proxy.toml: ") && !err(&output).contains("sandbox"), "{}", err(&output));
}

#[test]
fn without_a_file_every_missing_variable_is_named() {
    let said = |variables: &[(&str, &str)]| {
        let folder = Folder::new();
        let mut some = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
        let output = some.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
        err(&output)
    };
    let some = said(&[("BOX_CLIENT_ID", "id"), ("BOX_USER_ID", "1")]);
    assert!(some.contains("not set: BOX_CLIENT_SECRET;"), "{some}");
    // A variable that is empty was meant to be something.
    let none = said(&[("BOX_CLIENT_ID", "")]);
    for name in ["BOX_CLIENT_ID", "BOX_CLIENT_SECRET", "BOX_ENTERPRISE_ID", "BOX_USER_ID"] {
        assert!(none.contains(name), "{name} in {none}");
    }
}

#[test]
fn the_curl_line_that_the_sandbox_prints_works() {
    curl_line_works("127.0.0.1:0");
}

/// The address of all interfaces is not valid in a URL.
#[test]
fn the_sandboxs_curl_line_works_on_all_interfaces_too() {
    curl_line_works("0.0.0.0:0");
}

fn curl_line_works(listen: &str) {
    let folder = Folder::new();
    let mut sandbox = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    sandbox.args(["sandbox", "--listen", listen, "--admin", "127.0.0.1:0", "--page", "127.0.0.1:0"]);
    let mut program = Program::spawn(folder, sandbox);
    let line = program.out.wait_for(&["  curl "]);
    let base = format!("http://{}", program.callers.replace("0.0.0.0", "127.0.0.1"));
    assert!(line.contains(&base), "{line}");
    let curl = command("sh", &program.folder).args(["-c", line.trim()]).output().unwrap();
    assert!(curl.status.success(), "{}", err(&curl));
    let me: serde_json::Value = serde_json::from_slice(&curl.stdout).unwrap();
    assert!(me["login"].is_string(), "{me}");
    // The printed command uses the path with which boxgate was started: it need not be in PATH.
    let line = program.out.wait_for(&[" exec", "-- curl https://api.box.com/2.0/users/me"]);
    let curl = command("sh", &program.folder).args(["-c", line.trim()]).output().unwrap();
    assert!(curl.status.success(), "{}", err(&curl));
    let line = program.out.wait_for(&["in a browser."]);
    let page = line.split_once("http://").unwrap().1.split_once('/').unwrap().0;
    let page = request(page, "GET", "/", "");
    assert_eq!(page.status, 200);
    assert!(page.body.contains(&format!("content=\"{base}\"")), "{}", page.body);
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    assert_eq!(std::fs::read_dir(&*program.folder).unwrap().count(), 0, "its temporary files are gone");
}

/// Any user may write to the temporary directory, and the files there decide whom callers trust.
#[test]
fn the_sandboxs_temporary_folder_is_private_and_removed_at_the_end() {
    let start = |folder: &Folder, listen: &str| {
        let mut sandbox = command(env!("CARGO_BIN_EXE_boxgate"), folder);
        sandbox.args(["sandbox", "--listen", listen, "--admin", "127.0.0.1:0", "--page", "127.0.0.1:0"]);
        sandbox
    };
    let there = |folder: &Folder| -> Vec<_> {
        std::fs::read_dir(&**folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let folder = Folder::new();
    let sandbox = start(&folder, "127.0.0.1:0");
    let mut program = Program::spawn(folder, sandbox);
    let [made] = &*there(&program.folder) else { panic!("{:?}", there(&program.folder)) };
    let digits = made.file_name().unwrap().to_str().unwrap().strip_prefix("boxgate-sandbox-").unwrap();
    assert!(digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digits}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(made).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);

    // A sandbox that fails to start leaves nothing behind either.
    let folder = Folder::new();
    let taken = start(&folder, &program.callers).output().unwrap();
    assert_eq!(taken.status.code(), Some(1), "{}", err(&taken));
    assert!(there(&folder).is_empty(), "{:?}", there(&folder));

    let absent = folder.join("absent");
    let nowhere = start(&folder, "127.0.0.1:0").env("TMPDIR", &absent).output().unwrap();
    let said = err(&nowhere);
    assert_eq!(nowhere.status.code(), Some(1), "{said}");
    assert!(said.contains(absent.to_str().unwrap()) && said.contains("TMPDIR"), "{said}");

    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    assert!(there(&program.folder).is_empty(), "{:?}", there(&program.folder));
}

#[test]
fn a_second_instance_on_the_same_address_fails_and_the_first_keeps_serving() {
    let at = FakeBox::start();
    let first = Program::start(&at, "");
    let folder = Folder::new();
    write_file(&folder, &at, &format!("address = \"{}\"", first.callers), "");
    let second = boxgate(&folder, &[]);
    assert_eq!(second.status.code(), Some(1));
    let said = err(&second);
    let taken = format!("cannot listen on {}: address in use", first.callers);
    assert!(said.contains(&taken) && said.contains("--listen or [listen] address"), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains(&format!(" by boxgate (process {});", first.id())), "{said}");
    }
    // Operators' port, which is taken at one address only.
    let operators = format!("0.0.0.0:{}", first.operators.split_once(':').unwrap().1);
    let third = boxgate(&folder, &["--listen", "127.0.0.1:0", "--admin", &operators]);
    assert_eq!(third.status.code(), Some(1));
    let said = err(&third);
    let taken = format!("cannot listen on {operators}: address in use");
    assert!(said.contains(&taken) && said.contains("--admin or [admin] address"), "{said}");
    assert_eq!(first.get("/2.0/users/me").status, 200);
}

#[test]
fn a_flag_and_a_variable_override_the_file() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    // An address that cannot be bound on this machine.
    write_file(&folder, &at, "address = \"192.0.2.1:1\"", "");
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.args(["--listen", "127.0.0.1:0"]).env("BOXGATE_HOSTS", "one.internal,two.internal");
    let program = Program::spawn(folder, run);
    let to =
        |host: &str| request(&program.callers, "GET", "/2.0/users/me", &format!("Host: {host}\r\n")).status;
    assert_eq!([to("one.internal"), to("two.internal"), to("three.internal")], [200, 200, 421]);
}
