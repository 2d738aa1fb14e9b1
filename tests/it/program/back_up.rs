//! The commands of docs/deployment/back-up.md, with a real gateway in place of a service of systemd.

use std::fs;
use std::path::Path;

use super::harness::{FakeBox, Folder, command};
use crate::harness::free_port;

/// `systemctl` of this one gateway, and what happens around the page's commands: three calls that the copy has, two that
/// it does not.
const STORY: &str = r#"
systemctl() {
    case $1 in
    stop) kill "$PID"; wait "$PID" ;;
    start) boxgate run --config proxy.toml >>out 2>>err & PID=$!
        until boxgate health --ready >/dev/null; do sleep 0.05; done ;;
    esac
}
trap 'kill "$PID"; wait "$PID"' EXIT
get() { curl -fsS -o "$2" "http://127.0.0.1:CALLERS$1"; }
systemctl start
for _ in 1 2 3; do get /2.0/users/me me; done
get /.well-known/boxgate/ca.pem ca-before
BACKS_UP
for _ in 1 2; do get /2.0/users/me me; done
boxgate usage --json >usage-before
RESTORES
boxgate usage --json >usage-after
get /.well-known/boxgate/ca.pem ca-after
cmp ca-before ca-after
"#;

/// The block of the page below this mark.
fn block(mark: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deployment/back-up.md");
    let text = fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {mark} -->\n```sh\n")).expect("the mark and its block");
    rest.split_once("```").unwrap().0.to_owned()
}

/// Without the calls for tokens, one for each start.
fn calls(folder: &Folder, file: &str) -> u64 {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    let usage: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows = usage["rows"].as_array().unwrap_or_else(|| panic!("{text}"));
    let counted = rows.iter().filter(|row| row["class"] != "token");
    counted.map(|row| row["calls"].as_u64().unwrap()).sum()
}

#[test]
fn a_copy_of_the_state_brings_back_counts_and_ca() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let (callers, operators) = (free_port(), free_port());
    let more = format!(
        "[listen]\naddress = \"127.0.0.1:{callers}\"\n[admin]\naddress = \"127.0.0.1:{operators}\"\n\
         [forward_proxy]\n[state]\ndir = \"state\"\n"
    );
    folder.write("proxy.toml", &format!("{}\n{more}", at.tables(&folder)));
    let script = STORY
        .replace("CALLERS", &callers.to_string())
        .replace("BACKS_UP", &block("backs up"))
        .replace("RESTORES", &block("restores"))
        .replace("/var/lib/boxgate", folder.join("state").to_str().unwrap())
        .replace("/var/backups/boxgate", folder.join("copy").to_str().unwrap());
    let own = Path::new(env!("CARGO_BIN_EXE_boxgate")).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command("timeout", &folder)
        .env("PATH", format!("{own}:{path}"))
        .env("BOXGATE_ADMIN", format!("127.0.0.1:{operators}"))
        .args(["120", "bash", "-euc", &script])
        .output()
        .unwrap();
    let said = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {err}\n{}", output.status, said("err"));
    assert_eq!((calls(&folder, "usage-before"), calls(&folder, "usage-after")), (5, 3));
}
