//! `boxgate init`: what it asks, what it writes, and that it writes nothing by halves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use boxgate::sandbox::{Fault, TokenAnswer};

use super::harness::{FakeBox, Folder, command};
use super::terminal::Screen;

/// The sandbox serves Box's own names behind its proxy, to which the environment leads.
fn way_to(at: &FakeBox, folder: &Folder) -> Vec<(String, String)> {
    let ca = folder.write("ca.pem", at.ca_pem());
    vec![
        ("HTTPS_PROXY".to_owned(), at.proxy_url()),
        ("SSL_CERT_FILE".to_owned(), ca.to_str().unwrap().to_owned()),
    ]
}

fn account(at: &FakeBox) -> Vec<(String, String)> {
    [
        ("BOX_CLIENT_ID", at.client_id()),
        ("BOX_CLIENT_SECRET", at.client_secret()),
        ("BOX_ENTERPRISE_ID", at.enterprise_id()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn run(folder: &Folder, arguments: &[&str], variables: &[(String, String)]) -> Output {
    let mut command = command(env!("CARGO_BIN_EXE_boxgate"), folder);
    command.args(arguments).envs(variables.iter().cloned()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn screen(folder: &Folder, line: &str, variables: &[(String, String)]) -> Screen {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Screen::open(folder, 80, line, &variables)
}

fn nothing_is_written(folder: &Folder) {
    let names: Vec<_> = fs::read_dir(&**folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "ca.pem"), "{names:?}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn variables_alone_are_enough_and_the_files_pass_the_check() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let way = way_to(&at, &folder);
    let output = run(&folder, &["init"], &[way.clone(), account(&at)].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = out(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        format!("token obtained for the service account of enterprise {}", at.enterprise_id())
    );
    assert!(
        lines[1].starts_with("you are AutomationUser_") && lines[1].contains("@boxdevedition.com (id "),
        "{said}"
    );
    assert_eq!(
        lines[2..],
        [
            "written: proxy.toml",
            "written: box_client_secret (only you can read it)",
            "next: boxgate check",
            "then: boxgate run"
        ]
    );
    assert_eq!(err(&output), "");
    assert_eq!(
        fs::read_to_string(folder.join("box_client_secret")).unwrap(),
        format!("{}\n", at.client_secret())
    );
    assert_eq!(mode(&folder.join("box_client_secret")), 0o600);
    assert!(!fs::read_to_string(folder.join("proxy.toml")).unwrap().contains(at.client_secret()));

    let check = run(&folder, &["check"], &way);
    assert_eq!(check.status.code(), Some(0), "{}{}", out(&check), err(&check));
    assert!(!out(&check).contains("warning"), "{}", out(&check));
    assert!(at.tunnelled().contains(&"api.box.com:443".to_owned()), "{:?}", at.tunnelled());
}

#[test]
fn a_folder_is_made_and_named_in_the_next_command() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let way = way_to(&at, &folder);
    let output = run(&folder, &["init", "--dir", "a/my box"], &[way.clone(), account(&at)].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let next = "next: boxgate check --config 'a/my box/proxy.toml'\n";
    assert!(out(&output).contains(next), "{}", out(&output));
    let check = run(&folder, &["check", "--config", "a/my box/proxy.toml"], &way);
    assert_eq!(check.status.code(), Some(0), "{}{}", out(&check), err(&check));
}

#[test]
fn a_terminal_is_asked_and_does_not_show_the_secret() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let mut screen = screen(&folder, "boxgate init; echo status $?; stty -a", &way_to(&at, &folder));
    // What copying adds is removed; what is missing or cannot be right is asked for again.
    screen.answer("Client ID: ", &format!("\n\u{feff} {}\u{a0}\n", at.client_id()));
    screen.answer("Client secret (not shown): ", &format!("  {}\t\n", at.client_secret()));
    screen.answer("Enterprise or user ID: ", "me@example.com\n");
    screen.answer("give the user's id, not the login", &format!("{}\n", at.user_id()));
    let (status, shown) = screen.end();
    assert_eq!(status, Some(0));
    assert!(shown.contains("status 0"), "{shown}");
    assert!(shown.contains("an answer is needed"), "{shown}");
    assert!(shown.contains(at.client_id()) && !shown.contains(at.client_secret()), "{shown}");
    assert!(shown.contains(&format!("token obtained for user {}\n", at.user_id())), "{shown}");
    assert!(shown.contains(" echo "), "the terminal shows again what is typed: {shown}");
    let file = fs::read_to_string(folder.join("proxy.toml")).unwrap();
    assert!(file.contains(&format!("client_id = \"{}\"\n", at.client_id())), "{file}");
    assert!(file.contains(&format!("user_id = \"{}\"", at.user_id())), "{file}");
    assert_eq!(
        fs::read_to_string(folder.join("box_client_secret")).unwrap(),
        format!("{}\n", at.client_secret())
    );
}

#[test]
fn only_what_the_environment_lacks_is_asked_for() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let mut variables = [way_to(&at, &folder), account(&at)].concat();
    variables.retain(|(name, _)| name != "BOX_CLIENT_SECRET");
    let mut screen = screen(&folder, "boxgate init", &variables);
    screen.answer("Client secret (not shown): ", &format!("{}\n", at.client_secret()));
    let (status, shown) = screen.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("Client ID: (from BOX_CLIENT_ID)"), "{shown}");
    assert!(shown.contains("Enterprise or user ID: (from BOX_ENTERPRISE_ID)"), "{shown}");
}

#[test]
fn a_refusal_of_box_is_explained_and_writes_nothing() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let mut variables = [way_to(&at, &folder), account(&at)].concat();
    variables.push(("BOX_CLIENT_SECRET".to_owned(), "canary-of-a-wrong-secret".to_owned()));
    let output = run(&folder, &["init", "--dir", "new"], &variables);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let said = err(&output);
    assert!(said.contains("refuses this identity with invalid_client"), "{said}");
    assert!(said.contains("Developer Console") && said.ends_with("nothing was written\n"), "{said}");
    assert!(!said.contains("canary") && !out(&output).contains("canary"), "{said}");
    nothing_is_written(&folder);
}

#[test]
fn an_id_that_is_neither_is_explained_as_both() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let mut variables = [way_to(&at, &folder), account(&at)].concat();
    variables.retain(|(name, _)| name != "BOX_ENTERPRISE_ID");
    let mut screen = screen(&folder, "boxgate init", &variables);
    screen.answer("Enterprise or user ID: ", "987654321\n");
    let (status, shown) = screen.end();
    assert_eq!(status, Some(1), "{shown}");
    assert!(
        shown.contains("as the id of an enterprise: ") && shown.contains("as the id of a user: "),
        "{shown}"
    );
    nothing_is_written(&folder);
}

#[test]
fn a_token_whose_user_box_refuses_writes_nothing() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    at.script("/2.0/users/me", vec![Fault::status(403)]);
    let output = run(&folder, &["init"], &[way_to(&at, &folder), account(&at)].concat());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("answers 403 to GET /2.0/users/me"), "{}", err(&output));
    nothing_is_written(&folder);
}

#[test]
fn where_box_does_not_answer_nothing_is_said_about_the_account() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let way = way_to(&at, &folder);
    // Not trusted: the sandbox's certificate is of an authority that the platform does not know.
    let untrusted = [("HTTPS_PROXY".to_owned(), at.proxy_url())];
    let output = run(&folder, &["init"], &[untrusted.to_vec(), account(&at)].concat());
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("SSL_CERT_FILE"), "{}", err(&output));
    at.token_always(Some(TokenAnswer::Status(503)));
    let output = run(&folder, &["init"], &[way, account(&at)].concat());
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    nothing_is_written(&folder);
}

#[test]
fn files_that_exist_are_not_touched_without_force() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    folder.write("proxy.toml", "old");
    let variables = [way_to(&at, &folder), account(&at)].concat();
    let output = run(&folder, &["init"], &variables);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("proxy.toml exists already") && err(&output).contains("--force"),
        "{}",
        err(&output)
    );
    assert_eq!(at.token_requests(), 0, "it is said before anything is asked");
    assert!(!folder.join("box_client_secret").exists());
    assert_eq!(fs::read_to_string(folder.join("proxy.toml")).unwrap(), "old");

    fs::set_permissions(folder.join("proxy.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    folder.write("box_client_secret", "old");
    let output = run(&folder, &["init", "--force"], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(mode(&folder.join("box_client_secret")), 0o600, "though the old one could be read by others");
    assert!(fs::read_to_string(folder.join("proxy.toml")).unwrap().contains("[identity.service]"));
}

#[test]
fn the_end_of_the_input_and_ctrl_c_write_nothing_and_leave_the_terminal_as_it_was() {
    let folder = Folder::new();
    for (keys, words) in [("\u{4}", "the input ended"), ("\u{3}", "interrupted; nothing was written")] {
        // The shell gets the interrupt too, and goes on.
        let line = "trap : INT; boxgate init; echo status $?; stty -a";
        let mut screen = screen(&folder, line, &[]);
        screen.answer("Client ID: ", "an-id\n");
        screen.answer("Client secret (not shown): ", keys);
        let (_, shown) = screen.end();
        assert!(shown.contains(words) && shown.contains("status 2"), "{shown}");
        assert!(shown.contains(" echo "), "the terminal shows again what is typed: {shown}");
        nothing_is_written(&folder);
    }
}

#[test]
fn without_a_terminal_every_missing_variable_is_named() {
    let folder = Folder::new();
    let output = run(&folder, &["init"], &[("BOX_CLIENT_ID".to_owned(), "an-id".to_owned())]);
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    assert!(said.contains("there is no terminal"), "{said}");
    assert!(
        said.ends_with("not set: BOX_CLIENT_SECRET, one of BOX_ENTERPRISE_ID and BOX_USER_ID\n"),
        "{said}"
    );
    let both = [("BOX_ENTERPRISE_ID", "1"), ("BOX_USER_ID", "2")];
    let output = run(&folder, &["init"], &both.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("set exactly one of them"), "{}", err(&output));
    let hidden = [("BOX_CLIENT_SECRET".to_owned(), "canary\u{200b}secret".to_owned())];
    let output = run(&folder, &["init"], &hidden);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("BOX_CLIENT_SECRET: ") && err(&output).contains("U+200B"),
        "{}",
        err(&output)
    );
    assert!(!err(&output).contains("canary"), "{}", err(&output));
    nothing_is_written(&folder);
}
