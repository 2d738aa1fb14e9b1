//! Certificate files are reloaded on SIGHUP and when they change.

use super::*;

#[test]
fn sighup_takes_a_new_certificate_over_and_drops_nothing() {
    let gate = Gate::start(TLS, "");
    let hold = gate.at.hold_replies(ME);
    let in_flight = gate.trusting().send(gate.address(), "GET", ME, "");
    wait(gate.at.wait_for_calls(1));

    let renewed = Authority::new("Renewed");
    renewed.server().write(&gate.program.folder);
    gate.program.hang_up();
    gate.program.err.wait_for(&["INFO", "SIGHUP: the configuration was taken over"]);
    drop(hold);
    assert_eq!(gate.get(&Caller::trusting(&renewed.pem)).status, 200);
    let mut old = connect(gate.address(), gate.trusting().config());
    assert!(old.write_all(b"GET").and_then(|()| old.flush()).is_err(), "the old certificate is gone");
    let answer = Answer::read(in_flight);
    assert!(answer.status == 200 && answer.body.contains("\"login\""), "{}", answer.body);
    let metrics = gate.program.admin("/metrics").body;
    assert!(metrics.contains("boxgate_config_reloads_total{result=\"ok\"} 1\n"), "{metrics}");
}

#[test]
fn sighup_with_a_broken_file_changes_nothing() {
    let gate = Gate::start(TLS_WITH_CLIENT_CA, "");
    let caller = gate.trusting().of(&gate.callers);
    gate.program.folder.write("tls.crt", "no certificate");
    gate.program.folder.write("callers-ca.crt", "");
    gate.program.hang_up();
    for file in ["tls.crt", "callers-ca.crt"] {
        gate.program.err.wait_for(&["ERROR", "SIGHUP: proxy.toml:", file, "has no certificate"]);
    }
    gate.program.err.wait_for(&["ERROR", "SIGHUP: the configuration stays as it was", "problems=2"]);
    assert_eq!(gate.get(&caller).status, 200);

    // A key that does not belong to the certificate changes nothing either.
    let other = Authority::new("Other");
    folder_with(&gate, &other.server().cert);
    gate.program.hang_up();
    gate.program.err.wait_for(&["ERROR", "SIGHUP", "tls.key is not the key of the certificate"]);
    assert_eq!(gate.get(&caller).status, 200);
    let metrics = gate.program.admin("/metrics").body;
    assert!(metrics.contains("boxgate_config_reloads_total{result=\"refused\"} 2\n"), "{metrics}");

    // Once the files match, the new CA of callers is used too.
    other.server().write(&gate.program.folder);
    gate.program.folder.write("callers-ca.crt", &other.pem);
    gate.program.hang_up();
    gate.program.err.wait_for(&["was taken over"]);
    assert_eq!(gate.get(&Caller::trusting(&other.pem).of(&other)).status, 200);
    let answer = get_by_http_2(&gate, &Caller::trusting(&other.pem).of(&gate.callers));
    assert!(answer.is_err(), "{answer:?}");
}

fn folder_with(gate: &Gate, cert: &str) {
    gate.program.folder.write("tls.crt", cert);
    gate.program.folder.write("callers-ca.crt", &gate.callers.pem);
}

/// A certificate on a file system that hangs.
#[test]
fn a_file_that_cannot_be_read_to_its_end_does_not_delay_the_stop() {
    let mut gate = Gate::start(TLS, "");
    let file = gate.program.folder.join("tls.crt");
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    gate.program.hang_up();
    // A named pipe opens once the gateway has opened it too, which then waits for data that is never written.
    let _pipe = std::fs::File::options().write(true).open(&file).unwrap();
    gate.program.terminate();
    assert_eq!(gate.program.exited().code(), Some(0));
}

fn renew(gate: &Gate, name: &str) -> Caller {
    let renewed = Authority::new(name);
    renewed.server().write(&gate.program.folder);
    Caller::trusting(&renewed.pem)
}

#[test]
fn a_changed_certificate_is_reloaded_automatically() {
    let gate = Gate::run(TLS, "", &["run"]);
    let hold = gate.at.hold_replies(ME);
    let in_flight = gate.trusting().send(gate.address(), "GET", ME, "");
    wait(gate.at.wait_for_calls(1));
    let ends = "boxgate_certificate_not_after_timestamp_seconds{key=\"[listen] tls\"} ";
    assert!(gate.program.admin("/metrics").body.contains(ends));

    let renewed = renew(&gate, "Renewed");
    gate.program.err.wait_for(&["INFO", "a file has changed: the configuration was taken over"]);
    drop(hold);
    assert_eq!(gate.get(&renewed).status, 200);
    assert_eq!(Answer::read(in_flight).status, 200);
    // Both files changed together.
    let metrics = gate.program.admin("/metrics").body;
    assert!(metrics.contains("boxgate_config_reloads_total{result=\"ok\"} 1\n"), "{metrics}");

    // An invalid certificate changes nothing until it is replaced.
    gate.program.folder.write("tls.crt", "no certificate");
    gate.program.err.wait_for(&["ERROR", "a file has changed: proxy.toml:", "tls.crt", "has no certificate"]);
    assert_eq!(gate.get(&renewed).status, 200);
    let again = renew(&gate, "Again");
    until("the next one is taken over", || {
        gate.program.admin("/metrics").body.contains("boxgate_config_reloads_total{result=\"ok\"} 2\n")
    });
    assert_eq!(gate.get(&again).status, 200);
}

/// Kubernetes replaces mounted files this way: all at once, through one link.
#[test]
fn a_swapped_link_is_a_change() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let mount = |name: &str| {
        let authority = Authority::new(name);
        std::fs::create_dir(folder.join(name)).unwrap();
        let server = authority.server();
        folder.write(&format!("{name}/tls.crt"), &server.cert);
        folder.write(&format!("{name}/tls.key"), &server.key);
        Caller::trusting(&authority.pem)
    };
    let (old, new) = (mount("old"), mount("new"));
    std::os::unix::fs::symlink("old", folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    write_file(&folder, &at, TLS, "");
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.arg("run");
    let program = Program::spawn(folder, run).ready();
    let address = program.callers.split(' ').next().unwrap().strip_prefix("https://").unwrap();
    assert_eq!(Answer::read(old.send(address, "GET", ME, "")).status, 200);
    std::os::unix::fs::symlink("new", program.folder.join("..data_tmp")).unwrap();
    std::fs::rename(program.folder.join("..data_tmp"), program.folder.join("..data")).unwrap();
    program.err.wait_for(&["a file has changed", "was taken over"]);
    assert_eq!(Answer::read(new.send(address, "GET", ME, "")).status, 200);
}
