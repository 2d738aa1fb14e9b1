//! Box's official SDKs, unmodified but for their base URLs, through the gateway. `tests/run` brings them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::harness::Bench;

/// The timeout of a whole workflow. The SDKs retry with pauses before a step fails.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_python_sdk_10_works_through_the_gateway() {
    run(&Bench::start().await, &clients().join("py10/bin/python"), "py10_workflow.py", &[], 28).await;
}

#[tokio::test]
async fn the_python_sdk_3_works_through_the_gateway() {
    run(&Bench::start().await, &clients().join("py3/bin/python"), "py3_workflow.py", &[], 28).await;
}

#[tokio::test]
async fn the_node_sdk_works_through_the_gateway() {
    run(&Bench::start().await, Path::new("node"), "node_workflow.js", &[], 29).await;
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/run` has put the SDKs.
pub fn clients() -> PathBuf {
    let clients = root().join("target/clients");
    assert!(clients.join("stamp").exists(), "no SDKs in target/clients; run tests/run first");
    clients
}

/// `arguments`: those after the gateway's URL. `steps`: the number of steps in the script, each of which must report
/// success.
pub async fn run(bench: &Bench, program: &Path, script: &str, arguments: &[&str], steps: usize) {
    let (status, said) = said(bench, program, script, arguments).await;
    let well = |line: &&str| line.starts_with("{\"step\"") && line.replace(' ', "").contains("\"ok\":true");
    let done = said.lines().filter(well).count();
    assert!(
        status.is_some_and(|status| status.success()) && done == steps,
        "{script}: {done} of {steps} steps, {}\n{said}",
        status.map_or_else(|| format!("ended after {LIMIT:?}"), |status| status.to_string()),
    );
}

/// The exit status of a script (`None` if it did not end in time) and its output.
pub async fn said(
    bench: &Bench,
    program: &Path,
    script: &str,
    arguments: &[&str],
) -> (Option<ExitStatus>, String) {
    let modules = clients().join("node/node_modules");
    let said = std::env::temp_dir().join(format!("boxgate-it-{}-{}", std::process::id(), fastrand::u64(..)));
    let out = File::create(&said).unwrap();
    let mut command = Command::new(program);
    command
        .arg(root().join("tests/clients").join(script))
        .arg(bench.url(""))
        .args(arguments)
        .env("NODE_PATH", modules)
        // Variables that a developer's machine may have set.
        .env("NO_PROXY", "*")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(out.try_clone().unwrap())
        .stderr(out);
    let status = finished(command).await;
    let text = fs::read_to_string(&said).unwrap();
    fs::remove_file(&said).unwrap();
    (status, text)
}

/// `None` if it did not end in time and was killed. Polls, so that the bench can run meanwhile.
async fn finished(mut command: Command) -> Option<ExitStatus> {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let ended = async {
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if let Ok(status) = tokio::time::timeout(LIMIT, ended).await {
        return Some(status);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}
