//! Reloads at bad times, of bad files, and many at once.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use boxgate::sandbox::Role;

use super::super::harness::boxgate;
use super::*;

/// Of Linux, on all architectures that the tests run on.
const O_NONBLOCK: i32 = 0o4000;

#[test]
fn a_thousand_hangups_are_a_few_reloads_and_none_is_forgotten() {
    let running = Running::start(&[], &app("old"));
    let id = running.program.id();
    let script = format!("i=0; while [ $i -lt 1000 ]; do kill -HUP {id}; i=$((i+1)); done");
    running.write(&app("new"));
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    until("the last file holds", || running.status("/new/2.0/users/me") == 200);
    running.take_over(&app("last"));
    assert_eq!(running.status("/last/2.0/users/me"), 200);
    assert!(running.taken_over() <= 1_001);
    assert_eq!(running.refused(), 0);
}

#[test]
fn a_file_that_hangs_holds_up_neither_requests_nor_the_end() {
    let mut running = Running::start(&["--no-watch"], "");
    let file = running.program.folder.join("secret");
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    running.program.hang_up();
    // It opens once the gateway has opened it too, which then waits for what is never written.
    let _pipe = File::options().write(true).open(&file).unwrap();
    assert_eq!(running.status(ME), 200);
    running.program.terminate();
    assert_eq!(running.program.exited().code(), Some(0));
}

/// A reload that waited for it would be the last one.
#[test]
fn a_file_that_hangs_forever_is_named_and_does_not_hold_up_later_reloads() {
    let running = Running::start(&["--no-watch"], &app("old"));
    let file = running.program.folder.join("secret");
    running.write(&app("new"));
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let reload = || boxgate(&running.program.folder, &["reload", "--admin", &running.program.operators]);
    let refused = reload();
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    let words = format!("{}{}", out(&refused), err(&refused));
    for word in ["secret is a named pipe that nobody writes", "put a file there"] {
        assert!(words.contains(word), "{word} in {words}");
    }
    assert_eq!(running.status("/old/2.0/users/me"), 200);

    std::fs::remove_file(&file).unwrap();
    running.program.folder.write("secret", running.at.client_secret());
    let taken_over = reload();
    assert_eq!(taken_over.status.code(), Some(0), "{}", err(&taken_over));
    assert_eq!(running.status("/new/2.0/users/me"), 200);
}

/// The watch reports a change once, and this one was refused: nothing else would take the file over.
#[test]
fn a_changed_file_that_hangs_for_a_moment_is_read_again_once_that_has_ended() {
    let running = Running::start(&[], "");
    let file = running.program.folder.join("secret");
    let pipe = file.with_extension("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::rename(&pipe, &file).unwrap();
    until("it is refused", || running.refused() == 1);
    running.program.err.wait_for(&["a file has changed", "secret is a named pipe that nobody writes"]);
    // A writer that comes and goes ends the wait with an empty secret, and changes neither times nor size of the file. Without
    // the flag it would wait for a reader itself.
    until("it is read again", || {
        let _ = File::options().write(true).custom_flags(O_NONBLOCK).open(&file);
        running.program.err.text().contains("what hung has ended: the configuration stays as it was")
    });
}

/// Nothing else would take the new secret over: no file is watched, and Box refuses an identity only once.
#[test]
fn a_secret_that_hangs_when_box_refuses_its_identity_is_read_once_that_has_ended() {
    let running = Running::start(&["--no-watch"], "");
    let file = running.program.folder.join("secret");
    running.at.accept_secrets(&["the-next-secret"]);
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    running.at.expire_tokens();
    until("it is refused", || running.status(ME) == 502);
    running.program.err.wait_for(&["Box refuses an identity: ", "secret is a named pipe that nobody writes"]);
    // The gateway waits for a writer, so this does not wait for a reader.
    let pipe = File::options().write(true).open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    running.program.folder.write("secret", "the-next-secret");
    drop(pipe);
    until("the new secret is in use", || running.status(ME) == 200);
    running.program.err.wait_for(&["what hung has ended: the configuration was taken over"]);
    assert_eq!(running.refused(), 1);
}

#[test]
fn once_a_file_that_hung_is_read_reloads_go_on() {
    let running = Running::start(&["--no-watch"], &app("old"));
    let file = running.program.folder.join("secret");
    running.write(&app("new"));
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    running.program.hang_up();
    let pipe = File::options().write(true).open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    running.program.folder.write("secret", running.at.client_secret());
    running.program.hang_up();
    assert_eq!(running.status("/old/2.0/users/me"), 200);
    // What it read is an empty secret.
    drop(pipe);
    until("the first is refused", || running.refused() == 1);
    running.until_taken_over(1);
    assert_eq!(running.status("/new/2.0/users/me"), 200);
}

#[test]
fn a_reload_while_it_drains_takes_nothing_from_what_is_in_flight() {
    let mut running = Running::start(&[], &app("old"));
    let hold = running.at.hold_replies(ME);
    let in_flight = send(&running.program.callers, "GET", "/old/2.0/users/me", "");
    wait(running.at.wait_for_calls(1));
    running.program.terminate();
    running.program.err.wait_for(&["draining"]);
    running.take_over(&app("new"));
    drop(hold);
    assert_eq!(receive(in_flight).status, 200);
    assert_eq!(running.program.exited().code(), Some(0));
    running.program.err.wait_for(&["drained"]);
    running.program.out.wait_for(&[" app=old ", " status=200 ", " end=complete "]);
}

#[test]
fn while_box_is_down_a_reload_is_taken_over_and_good_tokens_stay() {
    let running = Running::start(&[], &app("old"));
    wait(running.at.go_down(Role::Api));
    running.at.accept_secrets(&["the-next-secret"]);
    running.program.folder.write("secret", "the-next-secret");
    running.until_taken_over(1);
    running.program.err.wait_for(&["WARN token endpoint", "unreachable since"]);
    running.at.comes_up(Role::Api);
    assert_eq!(running.status("/old/2.0/users/me"), 200);
}

#[test]
fn a_file_of_ten_megabytes_is_taken_over_while_requests_go_on() {
    let running = Running::start(&[], &app("old"));
    let comment = format!("# {}\n", "x".repeat(1_000)).repeat(10_000);
    running.write(&format!("{comment}{}", app("new")));
    running.program.hang_up();
    while running.taken_over() == 0 {
        // Never anything between the two.
        let (old, new) = (running.status("/old/2.0/users/me"), running.status("/new/2.0/users/me"));
        assert!([old, new].contains(&200), "{old} {new}");
    }
    assert_eq!(running.status("/new/2.0/users/me"), 200);
}

#[test]
fn without_any_identity_the_file_is_refused_and_without_any_app_all_paths_are_served() {
    let running = Running::start(&[], &app("only"));
    let file = running.program.folder.join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("[identity.service]").unwrap();
    let after = after.split_once("[upstream]").unwrap().1;
    std::fs::write(&file, format!("{before}[upstream]{after}")).unwrap();
    running.program.hang_up();
    until("it is refused", || running.refused() == 1);
    assert_eq!(running.status("/only/2.0/users/me"), 200);
    running.take_over("");
    assert_eq!((running.status(ME), running.status("/only/2.0/users/me")), (200, 404));
}

#[test]
fn an_identity_that_nothing_names_any_more_asks_for_no_tokens() {
    let identity = |running: &FakeBox| {
        format!(
            "[identity.other]\nclient_id = {:?}\nclient_secret = {{ file = \"secret\" }}\nuser_id = {:?}\n",
            running.client_id(),
            running.user_id()
        )
    };
    let running = Running::start(&[], "");
    let app = |identity: &str| format!("[[app]]\nname = \"web\"\nidentity = {identity:?}\n");
    running.take_over(&format!("{}{}", app("other"), identity(&running.at)));
    wait(running.at.wait_for_token_requests(2));
    let hold = running.at.hold_replies(ME);
    let in_flight = send(&running.program.callers, "GET", ME, "");
    wait(running.at.wait_for_calls(1));
    running.take_over("");
    // A request that began with it may still need it.
    running.at.expire_tokens();
    drop(hold);
    let answer = receive(in_flight);
    assert!(answer.status == 200 && answer.body.contains("uma@"), "{answer:?}");
    let asked = running.at.token_requests();
    assert_eq!(asked, 3);
    assert_eq!(running.status(ME), 200);
    assert_eq!(running.at.token_requests(), asked + 1, "for the service account alone");
    running.at.expire_tokens();
    assert_eq!(running.status(ME), 200);
    assert_eq!(running.at.token_requests(), asked + 2);
}

#[test]
fn another_box_with_another_authority_is_reached_at_once_while_requests_to_the_first_go_on() {
    let running = Running::start(&[], "");
    let other = FakeBox::start();
    let hold = running.at.hold_replies(ME);
    let in_flight = send(&running.program.callers, "GET", ME, "");
    wait(running.at.wait_for_calls(1));
    write_file(&running.program.folder, &other, LISTEN, "");
    running.program.hang_up();
    running.until_taken_over(1);
    assert_eq!(running.status(ME), 200);
    assert_eq!((other.calls(), other.token_requests()), (1, 1), "with a token of its own");
    drop(hold);
    assert_eq!(receive(in_flight).status, 200);
    assert_eq!(running.at.calls(), 1);
}
