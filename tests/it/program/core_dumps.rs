//! No core dump holds tokens and secrets, unless the operator allows it for a diagnosis.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use super::fake_gateway::{Chain, FakeServer};
use super::harness::{FakeBox, Folder, Program, boxgate, command, write_file};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const SWITCH: &str = "BOXGATE_CORE_DUMPS";
const ABRT: i32 = 6;

/// A shell that raises its limit for core dumps to the maximum and then runs this script.
fn with_core_dumps(folder: &Folder, script: &str) -> Command {
    let mut shell = command("sh", folder);
    shell.args(["-c", &format!("ulimit -S -c \"$(ulimit -H -c)\"; {script}"), BOXGATE]);
    shell
}

/// A gateway whose parent allows core dumps.
fn start(at: &FakeBox, switch: Option<&str>) -> Program {
    let folder = Folder::new();
    write_file(&folder, at, "address = \"127.0.0.1:0\"", "");
    let mut run = with_core_dumps(&folder, "exec \"$0\"");
    run.envs(switch.map(|value| (SWITCH, value)));
    Program::spawn(folder, run).ready()
}

/// Makes it crash.
fn crash(program: &mut Program) -> ExitStatus {
    program.signal("-ABRT");
    let status = program.exited();
    assert_eq!(status.signal(), Some(ABRT), "{status}");
    status
}

/// Whether a crash leaves a core dump on this machine if it is not forbidden.
fn crashes_are_dumped_here() -> bool {
    let folder = Folder::new();
    with_core_dumps(&folder, "kill -ABRT $$").status().unwrap().core_dumped()
}

/// The soft and the hard limit for core files.
fn limits(program: &Program) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(ToOwned::to_owned).collect()
}

#[test]
fn a_gateway_that_crashes_leaves_no_core_dump() {
    let at = FakeBox::start();
    let mut program = start(&at, None);
    assert_eq!(limits(&program), ["0", "0"]);
    assert!(!crash(&mut program).core_dumped());
    assert!(!program.err.text().contains("core dumps"), "{}", program.err.text());
}

#[test]
fn core_dumps_can_be_allowed_for_a_diagnosis() {
    let at = FakeBox::start();
    let mut program = start(&at, Some("allow"));
    let warning = program.err.wait_for(&["core dumps are allowed"]);
    assert!(warning.contains("WARN") && warning.contains("BOXGATE_CORE_DUMPS"), "{warning}");
    let limits = limits(&program);
    assert_eq!(limits[0], limits[1], "as the shell has set them");
    assert_eq!(crash(&mut program).core_dumped(), crashes_are_dumped_here());
}

/// It sets no limit, since its command would inherit it. So the mark of the process alone holds, which also stops programs to
/// which the kernel pipes core dumps.
#[test]
fn exec_leaves_no_core_dump_of_its_own_and_its_command_keeps_its_limit() {
    let (folder, chain) = (Folder::new(), Chain::new());
    let gateway = FakeServer::gateway(&chain);
    let script = format!(
        "ulimit -H -c; exec \"$0\" exec --gateway {} -- sh -c 'ulimit -S -c; kill -ABRT $PPID'",
        gateway.address
    );
    let output = with_core_dumps(&folder, &script).env("XDG_CACHE_HOME", &*folder).output().unwrap();
    assert_eq!(output.status.signal(), Some(ABRT), "{output:?}");
    assert!(!output.status.core_dumped());
    let said = String::from_utf8_lossy(&output.stdout);
    let [hard, of_command] = said.lines().collect::<Vec<_>>()[..] else { panic!("{output:?}") };
    assert_eq!(of_command, hard);
}

#[test]
fn the_variable_takes_only_one_value() {
    let folder = Folder::new();
    for value in ["1", "yes", "Allow", "allow "] {
        let mut refused = command(BOXGATE, &folder);
        let refused = refused.env(SWITCH, value).args(["check", "--offline"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            said.contains(&format!("BOXGATE_CORE_DUMPS={value:?}")) && said.contains("allowed: \"allow\""),
            "{said}"
        );
    }
    let help = boxgate(&folder, &["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("BOXGATE_CORE_DUMPS=allow"), "{help:?}");
}
