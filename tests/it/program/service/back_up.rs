//! The commands of docs/deployment/back-up.md under a real systemd, with the socket unit and callers that do not wait.

use super::machine::{Machine, blocks, typed};

const PAGE: &str = "docs/deployment/back-up.md";

/// Connects to the callers' address again and again; the file `tries` has how often.
const CALLER: &str = r#"
import os, socket, time
tries = 0
while not os.path.exists("enough"):
    try:
        socket.create_connection(("127.0.0.1", 8080), timeout=10).close()
    except OSError:
        pass
    tries += 1
    open("tries.new", "w").write(str(tries))
    os.rename("tries.new", "tries")
    time.sleep(0.01)
"#;

/// What happens around the page's commands: three calls that the copy has, two that it does not. Each copy takes as long as
/// some callers need to connect, and notes in `copied` whether the gateway runs at its end. The days of copies are fixed,
/// and the copy is given to another user, as if it came from another machine.
const STORY: &str = r#"
date() { echo 2026-11-26; }
tries() { cat tries 2>/dev/null || echo 0; }
wait_for_callers() {
    wanted=$(($(tries) + 10))
    until [ "$(tries)" -ge "$wanted" ]; do sleep 0.05; done
}
cp() {
    wait_for_callers
    command cp "$@" || return
    systemctl is-active boxgate.service >>copied || true
}
get() { curl -fsS -o "$2" "http://127.0.0.1:8080$1"; }
for _ in 1 2 3; do get /2.0/users/me me; done
get /.well-known/boxgate/ca.pem ca-before
python3 caller.py >caller 2>&1 &
wait_for_callers
BACKS_UP
chown -R 4242:4242 /var/backups/boxgate/2026-11-26
for _ in 1 2; do get /2.0/users/me me; done
boxgate usage --json >usage-before
RESTORES
boxgate usage --json >usage-after
touch enough
get /.well-known/boxgate/ca.pem ca-after
cmp ca-before ca-after
"#;

/// Without the calls for tokens, one for each start.
fn calls(machine: &Machine, file: &str) -> u64 {
    let text = machine.sh(&format!("cat {file}"));
    let usage: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = usage["rows"].as_array().unwrap_or_else(|| panic!("{text}"));
    let counted = rows.iter().filter(|row| row["class"] != "token");
    counted.map(|row| row["calls"].as_u64().unwrap()).sum()
}

#[test]
fn a_copy_of_the_state_brings_back_counts_and_ca_while_callers_try_to_connect() {
    let machine = Machine::start();
    machine.sh(&typed("docs/deployment/one-machine.md", "## 1. Install", "## 4. Try it"));
    machine.sh("printf '\\n[forward_proxy]\\n' >>/etc/boxgate/proxy.toml; systemctl restart boxgate");
    machine.write("caller.py", CALLER);
    let story = STORY
        .replace("BACKS_UP", &blocks(PAGE, "## Copy it", "## Restore it")[0])
        .replace("RESTORES", &typed(PAGE, "## Restore it", ""));
    machine.sh(&story);
    assert_eq!(
        machine.sh("cat copied"),
        "inactive\ninactive\n",
        "the gateway runs while its files are copied"
    );
    assert_eq!((calls(&machine, "usage-before"), calls(&machine, "usage-after")), (5, 3));
    // Only root enters the folder, whoever owns the copies in it.
    assert_eq!(machine.sh("stat --format '%U %a' /var/backups/boxgate"), "root 700\n");
    assert_eq!(
        machine.sh("ls /var/backups/boxgate/2026-11-26"),
        "budgets.lock\nbudgets.redb\nforward-proxy-ca.pem\n"
    );
}
