//! The units of deploy/systemd under a real systemd, installed as docs/deployment/one-machine.md says.

use super::super::harness::until;
use super::machine::{Machine, blocks, typed};

const PAGE: &str = "docs/deployment/one-machine.md";
const UPGRADE: &str = "docs/deployment/upgrade.md";
const ROTATE: &str = "docs/deployment/rotate-a-secret.md";

/// A machine on which the page was followed to a running service.
fn installed() -> (Machine, String) {
    let machine = Machine::start();
    let said = machine.sh(&typed(PAGE, "## 1. Install", "## 4. Try it"));
    (machine, said)
}

/// Shows how open the service is (0 to 10), with two decimals where systemd has them.
fn exposure(machine: &Machine, unit: &str) -> f32 {
    let text = machine.sh(&format!("systemd-analyze security --no-pager --offline=true {unit}"));
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_page_leads_from_nothing_to_an_answer_of_box() {
    let (machine, said) = installed();
    assert!(said.contains("active (running)"), "{said}");
    let said = machine.sh(&typed(PAGE, "## 4. Try it", "## Change the configuration"));
    assert!(said.contains("\"login\"") && said.contains("boxgate listens"), "{said}");
    assert!(said.contains("passed=\"127.0.0.1:8080\""), "{said}");
    until("ready", || machine.property("StatusText") == "ready; 0 requests in flight");
    // The secret is root's alone, and the service is not root.
    assert_eq!(machine.sh("stat --format '%U %a' /etc/boxgate/box_client_secret"), "root 600\n");
    assert_ne!(
        machine.sh("stat --format %u /proc/$(systemctl show --value --property MainPID boxgate)"),
        "0\n"
    );

    // A reload ends before systemctl does, and a refused one fails and says why.
    let change = blocks(PAGE, "## Change the configuration", "## Another address");
    machine.sh(&change[0]);
    assert_eq!(machine.property("ActiveState"), "active");
    machine.sh("cp /etc/boxgate/proxy.toml good; echo '[lisen]' >>/etc/boxgate/proxy.toml");
    assert!(!machine.output("systemctl reload boxgate").status.success());
    assert!(machine.property("StatusText").contains("the configuration was not taken over at"));
    assert!(machine.sh("journalctl --unit boxgate").contains("lisen: unknown"));
    machine.sh("cp good /etc/boxgate/proxy.toml; systemctl reload boxgate");
    until("ready", || machine.property("StatusText") == "ready; 0 requests in flight");

    // One that cannot be used at a start is tried again by each caller, until systemd gives up.
    machine.sh("echo '[lisen]' >>/etc/boxgate/proxy.toml");
    assert!(!machine.output("systemctl restart boxgate").status.success());
    assert_eq!(
        (machine.property("ExecMainStatus"), machine.property("NRestarts")),
        ("2".to_owned(), "0".to_owned())
    );
    until("systemd gives up", || {
        machine.output("curl --silent --max-time 5 http://127.0.0.1:8080/2.0/users/me");
        machine.sh("systemctl show --value --property ActiveState boxgate.socket") == "failed\n"
    });
    let listens = "journalctl --unit boxgate | grep --count 'passed=\"127.0.0.1:8080\"' || true";
    let before = machine.sh(listens);
    machine.sh("cp good /etc/boxgate/proxy.toml");
    machine.sh(&change[1]);
    machine.sh("curl --fail http://127.0.0.1:8080/2.0/users/me");
    until("it listens on the socket again", || machine.sh(listens) != before);

    machine.sh(&typed(PAGE, "## Another address", "## A Unix socket in place of the port"));
    assert!(machine.sh("journalctl --unit boxgate").contains("passed=\"0.0.0.0:8080\""));
    machine.sh("curl --fail http://127.0.0.1:8080/2.0/users/me");
}

#[test]
fn with_an_operators_key_that_is_a_credential_a_reload_is_by_signal() {
    let (machine, _) = installed();
    machine.sh(
        r#"
        (umask 077; printf a-key-of-the-operators >/etc/boxgate/admin_key)
        sed -i 's/^\[admin\]/[admin]\nkey = { file = "admin_key" }/' /etc/boxgate/proxy.toml
        install -d /etc/systemd/system/boxgate.service.d
        printf '[Service]\nLoadCredential=admin_key:/etc/boxgate/admin_key\nExecReload=\nExecReload=kill -HUP $MAINPID\n' \
            >/etc/systemd/system/boxgate.service.d/key.conf
        systemctl daemon-reload
        systemctl restart boxgate
        systemctl reload boxgate
        "#,
    );
    until("a reload", || {
        machine.sh("journalctl --unit boxgate").contains("SIGHUP: the configuration was taken over")
    });
    // By an absolute path it is not looked for among the credentials; root, who runs the check, can read it.
    machine.sh(r#"
        sed -i 's|"admin_key"|"/etc/boxgate/admin_key"|' /etc/boxgate/proxy.toml
        boxgate check --offline --config /etc/boxgate/proxy.toml
        "#);
    assert!(!machine.output("systemctl restart boxgate").status.success());
    assert_eq!(machine.property("ExecMainStatus"), "2");
    assert!(machine.sh("journalctl --unit boxgate").contains("/etc/boxgate/admin_key cannot be read"));
}

#[test]
fn a_credential_that_was_replaced_is_used_after_a_restart_and_not_before() {
    let (machine, _) = installed();
    let journal = || machine.sh("journalctl --unit boxgate");
    until("a token", || journal().contains("a token was obtained"));
    machine.sh(
        "cd /etc/boxgate; cp -p box_client_secret right; (umask 077; printf wrong >new); mv new box_client_secret; \
         boxgate reload; curl --fail --silent http://127.0.0.1:8080/2.0/users/me",
    );
    assert!(!journal().contains("refuses"), "{}", journal());
    machine.sh("systemctl restart boxgate");
    until("Box refuses the new one", || journal().contains("refuses"));
    let tokens = || journal().matches("a token was obtained").count();
    let before = tokens();
    machine.sh("mv /etc/boxgate/right /etc/boxgate/box_client_secret; systemctl restart boxgate");
    until("another token", || tokens() > before);
}

#[test]
fn the_units_are_clean_and_leave_little_open() {
    let (machine, _) = installed();
    for units in ["boxgate.service", "boxgate.socket"] {
        let output = machine.output(&format!("systemd-analyze verify {units}"));
        let said = [output.stdout, output.stderr].concat();
        assert_eq!((String::from_utf8_lossy(&said).as_ref(), output.status.code()), ("", Some(0)), "{units}");
    }
    let exposure = exposure(&machine, "boxgate.service");
    assert!(exposure <= 1.5, "{exposure}");
    // What the unit allows is enough for what the process denies itself.
    let status = machine.sh("curl --fail --silent http://127.0.0.1:8081/status.json");
    let hardening = "\"hardening\":{\"no_new_privileges\":true,\"system_calls_filtered\":true,";
    assert!(status.contains(hardening), "{status}");
}

#[test]
fn a_unix_socket_is_for_its_group() {
    let (machine, _) = installed();
    machine.sh(&typed(
        PAGE,
        "## A Unix socket in place of the port",
        "## A secret that is taken over without a restart",
    ));
    let output = machine.output("systemd-analyze verify boxgate.socket");
    assert_eq!((output.stderr.as_slice(), output.status.code()), (&b""[..], Some(0)));
    assert_eq!(machine.sh("stat --format '%U %G %a' /run/boxgate.sock"), "root boxgate-callers 660\n");
    let ask = "curl --silent --fail --unix-socket /run/boxgate.sock http://localhost/2.0/users/me";
    assert!(
        machine
            .sh(&format!("setpriv --reuid 4242 --regid 4242 --groups boxgate-callers {ask}"))
            .contains("\"login\"")
    );
    assert!(
        !machine.output(&format!("setpriv --reuid 4242 --regid 4242 --clear-groups {ask}")).status.success()
    );
    // systemd's file stays while boxgate is started again.
    machine.sh("systemctl stop boxgate.service; test -S /run/boxgate.sock");
}

#[test]
fn a_secret_for_the_group_is_taken_over_without_a_restart() {
    let (machine, _) = installed();
    let end = "## The audit log";
    machine.sh(&typed(PAGE, "## A secret that is taken over without a restart", end));
    let process = machine.property("MainPID");
    let replaces = &blocks(ROTATE, "## How a new file gets there", "## The client secret")[0];
    let file = "stat --format '%i %U %G %a' /etc/boxgate/box_client_secret";
    let before = machine.sh(file);
    machine.sh(&format!("cp /etc/boxgate/box_client_secret pasted\n(\n{replaces}\n) <pasted"));
    machine.sh("systemctl reload boxgate; curl --fail --silent http://127.0.0.1:8080/2.0/users/me");
    let after = machine.sh(file);
    assert_ne!(before, after);
    assert!(after.ends_with(" root boxgate-secrets 640\n"), "{after}");
    assert_eq!(machine.property("MainPID"), process);
    assert!(!machine.sh("systemctl show --property LoadCredential boxgate").contains("box_client_secret"));

    // Without the socket unit boxgate binds the address itself.
    machine.sh(&typed(PAGE, end, "## If something is wrong"));
    assert!(machine.sh("journalctl --unit boxgate | tail -n 5").contains("boxgate listens"));
    let last = machine.sh("journalctl --unit boxgate | grep 'boxgate listens' | tail -n 1");
    assert!(!last.contains("passed="), "{last}");
    machine.sh("curl --fail --silent http://127.0.0.1:8080/2.0/users/me");
}

/// systemd copies a credential at the start alone: a reload says that it goes on with the old one.
#[test]
fn the_audit_log_is_written_by_the_service_and_rotated_by_logrotate() {
    let (machine, _) = installed();
    machine.sh(&typed(PAGE, "## The audit log", "## Without the socket unit"));
    // No file has this id; Box says so, and the call has a line all the same.
    let delete = "curl --silent --output /dev/null -X DELETE http://127.0.0.1:8080/2.0/files/404404";
    let file = "/var/log/boxgate/audit.jsonl";
    let lines = |file: &str| machine.sh(&format!("cat {file} | wc -l")).trim().to_owned();
    machine.sh(delete);
    until("its line", || lines(file) == "1");
    machine.sh("PATH=$PATH:/usr/sbin logrotate --force --state /tmp/state /etc/logrotate.d/boxgate");
    until("the next file", || machine.output(&format!("test -e {file}")).status.success());
    machine.sh(delete);
    until("its line", || lines(file) == "1");
    assert_eq!(lines(&format!("{file}-*")), "1");
    let said = machine.sh(&format!("boxgate audit verify {file}-* {file}"));
    assert!(said.contains("lines           2\n"), "{said}");
    let modes = machine.sh(&format!("stat --format '%a %u' {file} $(dirname {file})/."));
    assert!(modes.starts_with("600 ") && modes.contains("\n700 ") && !modes.contains(" 0\n"), "{modes}");
}

#[test]
fn a_changed_secret_that_is_a_credential_asks_for_a_restart() {
    let (machine, _) = installed();
    let asks =
        "journalctl --unit boxgate | grep --count 'systemctl restart boxgate takes the new one' || true";
    assert_eq!(machine.sh(asks).trim(), "0");
    machine.sh("cp -p /etc/boxgate/box_client_secret new; touch new; mv new /etc/boxgate/box_client_secret; systemctl reload boxgate");
    assert_ne!(machine.sh(asks).trim(), "0", "{}", machine.sh("journalctl --no-pager --unit boxgate"));
    machine.sh("systemctl restart boxgate; systemctl reload boxgate");
    let last = "journalctl --unit boxgate | tail -n 3";
    assert!(!machine.sh(last).contains("takes the new one"), "{}", machine.sh(last));
}

/// Stops one thread of the service, as a debugger does, until the process is gone.
const STOP_A_WORKER: &str = r#"
import ctypes, os, sys
process = sys.argv[1]
tasks = "/proc/%s/task" % process
worker = next(t for t in os.listdir(tasks) if open("%s/%s/comm" % (tasks, t)).read() == "worker-0\n")
assert ctypes.CDLL(None, use_errno=True).ptrace(16, int(worker), 0, 0) == 0, os.strerror(ctypes.get_errno())
WALL = 0x40000000
os.waitpid(int(worker), WALL)
print("stopped", flush=True)
os.waitpid(int(worker), WALL)
"#;

#[test]
fn a_worker_that_is_stuck_ends_the_process_which_is_started_again() {
    let (machine, _) = installed();
    machine.write("stop.py", STOP_A_WORKER);
    machine.sh("install -d /etc/systemd/system/boxgate.service.d; \
         printf '[Service]\\nWatchdogSec=2s\\n' >/etc/systemd/system/boxgate.service.d/quick.conf; \
         systemctl daemon-reload; systemctl restart boxgate");
    let process = machine.property("MainPID");
    // It stays alive for several times as long: it says so itself.
    machine.sh("sleep 5");
    assert_eq!(
        (machine.property("MainPID"), machine.property("NRestarts")),
        (process.clone(), "0".to_owned())
    );
    assert_eq!(machine.sh(&format!("python3 stop.py {process}")), "stopped\n");
    until("another process", || {
        machine.property("NRestarts") == "1" && machine.property("MainPID") != process
    });
    assert!(machine.sh("journalctl --unit boxgate").contains("a worker has not answered for 1s"));
    machine.sh("curl --fail --silent http://127.0.0.1:8080/2.0/users/me");
}

/// An upload whose end comes once there is a file `go-on`; prints the first line of its answer.
const UPLOAD: &str = r#"
import os, socket, time
body = (b'--b\r\nContent-Disposition: form-data; name="attributes"\r\n\r\n{"name":"slow.txt","parent":{"id":"0"}}\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="slow.txt"\r\n\r\nslow\r\n--b--\r\n')
caller = socket.create_connection(("127.0.0.1", 8080))
caller.sendall(b"POST /2.0/files/content HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body) + body[:-5])
open("begun", "w").close()
while not os.path.exists("go-on"):
    time.sleep(0.05)
caller.sendall(body[-5:])
print(caller.makefile("rb").readline().decode().strip())
"#;

#[test]
fn systemd_waits_for_a_drain_that_takes_longer_than_its_own_time_limit() {
    let (machine, _) = installed();
    machine.write("upload.py", UPLOAD);
    machine.sh("install -d /etc/systemd/system/boxgate.service.d; \
         printf '[Service]\\nTimeoutStopSec=1s\\n' >/etc/systemd/system/boxgate.service.d/quick.conf; \
         systemctl daemon-reload");
    std::thread::scope(|scope| {
        let uploading = scope.spawn(|| machine.sh("python3 upload.py"));
        until("an upload under way", || {
            machine.property("StatusText").contains("1 request in flight")
                || machine.sh("curl --silent http://127.0.0.1:8081/status.json").contains("\"in_flight\":1")
        });
        machine.sh("systemctl stop --no-block boxgate.service");
        until("the drain", || machine.property("StatusText").contains("draining"));
        // Several times its time limit.
        machine.sh("sleep 4; touch go-on");
        assert_eq!(uploading.join().unwrap(), "HTTP/1.1 201 Created\n");
    });
    until("the end", || machine.property("ActiveState") == "inactive");
    assert_eq!(
        (machine.property("Result"), machine.property("ExecMainStatus")),
        ("success".to_owned(), "0".to_owned())
    );
}

/// 200 requests a second, a connection for each; prints how many were answered with which status, or not at all.
const CALLERS: &str = r#"
import collections, http.client, os, threading, time
counts, lock, threads = collections.Counter(), threading.Lock(), []
def ask():
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=100)
        connection.request("GET", "/2.0/users/me")
        answer = connection.getresponse()
        body = answer.read()
        what = str(answer.status) if b'"login"' in body else "%d without its body" % answer.status
    except Exception as error:
        what = repr(error)
    with lock:
        counts[what] += 1
began, number = time.monotonic(), 0
while not os.path.exists("enough"):
    threads.append(threading.Thread(target=ask))
    threads[-1].start()
    number += 1
    open("sent.new", "w").write(str(number))
    os.rename("sent.new", "sent")
    time.sleep(max(0, began + number * 0.005 - time.monotonic()))
for thread in threads:
    thread.join()
print(dict(counts))
"#;

#[test]
fn an_upgrade_and_the_way_back_lose_no_request_and_no_count() {
    let (machine, _) = installed();
    machine.write("callers.py", CALLERS);
    // 200 a second are more than Box's limits allow one user.
    machine.sh(
        "printf '\\n[limits]\\nbox_defaults = false\\n' >>/etc/boxgate/proxy.toml; systemctl reload boxgate",
    );
    let counts = std::thread::scope(|scope| {
        let callers = scope.spawn(|| machine.sh("python3 callers.py"));
        let sent = |more: u64| {
            let number = || machine.sh("cat sent 2>/dev/null || echo 0").trim().parse::<u64>().unwrap();
            let wanted = number() + more;
            until("requests", || number() >= wanted);
        };
        sent(100);
        machine.sh(&typed(UPGRADE, "## A new version on one machine", "## Going back a version"));
        sent(100);
        machine.sh(&typed(UPGRADE, "## Going back a version", ""));
        sent(100);
        machine.sh("touch enough");
        callers.join().unwrap()
    });
    let count: u64 = counts
        .trim()
        .strip_prefix("{'200': ")
        .and_then(|rest| rest.strip_suffix('}')?.parse().ok())
        .unwrap_or_else(|| panic!("{counts}"));
    assert!(count >= 300, "{counts}");
    let usage = machine.sh("boxgate usage --by app --csv");
    let counted: u64 = usage
        .lines()
        .filter_map(|line| line.split_once(",default,"))
        .map(|(_, calls)| calls.parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, count, "{usage}");
}
