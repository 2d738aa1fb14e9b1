//! Which files are read again, and when.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn sighup_takes_the_file_over() {
    let running = Running::start(&[], &app("old"));
    assert_eq!((running.status("/old/2.0/users/me"), running.status("/new/2.0/users/me")), (200, 404));
    running.take_over(&app("new"));
    assert_eq!((running.status("/old/2.0/users/me"), running.status("/new/2.0/users/me")), (404, 200));
    running.program.err.wait_for(&["INFO", "SIGHUP: the configuration was taken over"]);
    assert_eq!(running.at.token_requests(), 1, "the account is the same");
    // Each request is counted for the app that served it.
    let metrics = running.program.admin("/metrics").body;
    for name in ["old", "new"] {
        let line =
            format!("requests_total{{app=\"{name}\",method=\"GET\",status=\"200\",answered_by=\"box\"}} 1\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[test]
fn a_request_ends_under_the_configuration_with_which_it_began() {
    let running = Running::start(&[], &app("old"));
    let hold = running.at.hold_replies(ME);
    let in_flight = send(&running.program.callers, "GET", "/old/2.0/users/me", "");
    wait(running.at.wait_for_calls(1));
    running.take_over(&format!("{}{}", app("a"), app("new")));
    drop(hold);
    assert_eq!(receive(in_flight).status, 200);
    let line = running.program.out.wait_for(&["/2.0/users/me", "status=200"]);
    assert!(line.contains("app=old "), "{line}");
}

#[test]
fn a_bad_file_changes_nothing_and_all_its_problems_are_logged() {
    let running = Running::start(&[], &app("old"));
    running.write(&format!("{}[server]\nheader_timeout = 3\nunknown = true\n", app("new")));
    running.program.hang_up();
    for problem in ["server.header_timeout: expected", "server.unknown: unknown key"] {
        running.program.err.wait_for(&["ERROR", "SIGHUP: proxy.toml:", problem]);
    }
    running.program.err.wait_for(&["ERROR", "SIGHUP: the configuration stays as it was", "problems=2"]);
    assert_eq!((running.status("/old/2.0/users/me"), running.status("/new/2.0/users/me")), (200, 404));
    assert_eq!((running.taken_over(), running.refused()), (0, 1));
    running.take_over(&app("new"));
    assert_eq!((running.status("/old/2.0/users/me"), running.status("/new/2.0/users/me")), (404, 200));
}

#[test]
fn a_missing_file_changes_nothing() {
    let running = Running::start(&[], "");
    std::fs::remove_file(running.program.folder.join("proxy.toml")).unwrap();
    running.program.hang_up();
    running.program.err.wait_for(&["ERROR", "SIGHUP: proxy.toml: the configuration file cannot be read"]);
    assert_eq!(running.status(ME), 200);
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_others_taken_over() {
    let running = Running::start(&[], &app("old"));
    let listen = "address = \"127.0.0.1:1\"\nworkers = 7\nmax_connections = 77";
    let more = format!("{}[state]\ndir = \"elsewhere\"\n[log]\nlevel = \"debug\"\n", app("new"));
    write_file(&running.program.folder, &running.at, listen, &more);
    running.program.hang_up();
    let line = running.program.err.wait_for(&["WARN", "takes effect only at a restart"]);
    let named =
        ["[listen] address", "[listen] workers", "[listen] max_connections", "[state] dir", "[log] level"];
    for key in named {
        assert!(line.contains(key), "{key} in {line}");
    }
    running.until_taken_over(1);
    assert_eq!(running.status("/new/2.0/users/me"), 200);
    assert!(!running.program.folder.join("elsewhere").exists());
    // Once they have their old values again, there is no warning.
    running.take_over(&app("new"));
    let said = running.program.err.text();
    assert_eq!(said.matches("only at a restart").count(), 1, "{said}");
}

/// They were written for addresses that are not bound yet.
#[test]
fn who_may_connect_waits_for_a_restart_where_the_address_does() {
    let running = Running::start(&[], "");
    let take_over = |listen: &str| {
        let before = running.taken_over();
        write_file(&running.program.folder, &running.at, listen, "");
        running.program.hang_up();
        running.until_taken_over(before + 1);
    };
    let none = "sources = [\"203.0.113.0/24\"]";
    take_over(&format!("{LISTEN}\n{none}"));
    assert_eq!(running.status(ME), 403);
    take_over("address = \"127.0.0.1:1\"\ntrusted_proxies = [\"127.0.0.1\"]");
    assert_eq!(running.status(ME), 403, "the open address has its sources");
    let line = running.program.err.wait_for(&["WARN", "takes effect only at a restart"]);
    for key in ["[listen] address", "[listen] sources", "[listen] trusted_proxies"] {
        assert!(line.contains(key), "{key} in {line}");
    }
    assert!(!line.contains("[admin]") && !line.contains("proxy_protocol"), "{line}");
    take_over(LISTEN);
    assert_eq!(running.status(ME), 200);
}

#[test]
fn with_watch_the_file_is_taken_over_when_it_changes() {
    let running = Running::start(&["--watch"], &app("old"));
    // Replaced by renaming, as editors do.
    let file = running.program.folder.join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("old", "new");
    std::fs::write(file.with_extension("tmp"), text).unwrap();
    std::fs::rename(file.with_extension("tmp"), &file).unwrap();
    running.until_taken_over(1);
    assert_eq!(running.status("/new/2.0/users/me"), 200);
    running.program.err.wait_for(&["a file has changed: the configuration was taken over"]);
    // A bad file is refused once, not at every poll, and correcting it is a change again.
    running.write("bad");
    until("it is refused", || running.refused() == 1);
    running.write(&app("mended"));
    running.until_taken_over(2);
    assert_eq!((running.refused(), running.status("/mended/2.0/users/me")), (1, 200));
}

#[test]
fn without_watch_a_changed_secret_does_not_reload_the_file() {
    let running = Running::start(&[], &app("old"));
    running.at.accept_secrets(&[running.at.client_secret(), "the-next-secret"]);
    running.write(&app("new"));
    running.program.folder.write("secret", "the-next-secret\n");
    running.until_taken_over(1);
    wait(running.at.wait_for_token_requests(2));
    assert_eq!((running.status("/old/2.0/users/me"), running.status("/new/2.0/users/me")), (200, 404));
}

#[test]
fn with_no_watch_changed_files_are_not_reloaded() {
    let running = Running::start(&["--no-watch"], "");
    running.at.accept_secrets(&[running.at.client_secret(), "the-next-secret"]);
    running.program.folder.write("secret", "the-next-secret");
    running.program.hang_up();
    // One reload: if the change had been detected too, there would be more.
    running.until_taken_over(1);
    wait(running.at.wait_for_token_requests(2));
    running.program.hang_up();
    running.until_taken_over(2);
    let said = running.program.err.text();
    assert!(!said.contains("a file has changed"), "{said}");
}

/// Kubernetes replaces mounted files this way: all at once, through one link.
#[test]
fn secrets_behind_a_swapped_link_are_one_change() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    at.accept_secrets(&[at.client_secret(), "the-next-secret"]);
    for (name, secret) in [("old", at.client_secret()), ("new", "the-next-secret")] {
        std::fs::create_dir(folder.join(name)).unwrap();
        folder.write(&format!("{name}/secret"), secret);
        folder.write(&format!("{name}/ca.pem"), at.ca_pem());
    }
    write_file(&folder, &at, LISTEN, "");
    symlink("old", folder.join("..data")).unwrap();
    for file in ["secret", "ca.pem"] {
        std::fs::remove_file(folder.join(file)).unwrap();
        symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.arg("run");
    let running = Running { program: Program::spawn(folder, run).ready(), at };
    symlink("new", running.program.folder.join("..data_tmp")).unwrap();
    std::fs::rename(running.program.folder.join("..data_tmp"), running.program.folder.join("..data"))
        .unwrap();
    wait(running.at.wait_for_token_requests(2));
    running.until_taken_over(1);
    assert_eq!(running.status(ME), 200);
    assert_eq!(running.taken_over(), 1);
}
