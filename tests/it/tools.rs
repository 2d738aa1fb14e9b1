//! Real programs, unmodified: those that have Box's hosts built in, by `boxgate exec` against `boxgate sandbox`, and
//! Box's SDKs that require a redirect. The command lines come from the document that shows them. `tests/run` brings the
//! programs.

use std::path::Path;
use std::process::{Command, Output};

use boxgate::sandbox::Options;

use crate::clients::{self, clients};
use crate::harness::Bench;
use crate::program::harness::{Folder, Program, command};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
/// The timeout of one line in seconds. The SDKs retry with pauses before they give up.
const LIMIT: &str = "120";
/// More than rclone sends in one piece, less than the sandbox drops the content of.
const LARGE: usize = 60_000_000;

/// `boxgate sandbox`, with a README.md in its folder.
fn sandbox() -> Program {
    let folder = Folder::new();
    folder.write("README.md", "Something to read.\n");
    let mut command = command(BOXGATE, &folder);
    let free = "127.0.0.1:0";
    command.args(["sandbox", "--listen", free, "--admin", free, "--page", free]);
    Program::spawn(folder, command).ready()
}

fn gateway(sandbox: &Program) -> String {
    format!("http://{}", sandbox.callers)
}

/// A program in the sandbox's folder that is killed if it takes too long.
fn limited(sandbox: &Program, program: &str) -> Command {
    let mut command = command("timeout", &sandbox.folder);
    let path = std::env::var("PATH").unwrap_or_default();
    let own = Path::new(BOXGATE).parent().unwrap().display();
    command
        .env("PATH", format!("{own}:{path}"))
        .env("HOME", &*sandbox.folder)
        .env("BOXGATE_GATEWAY", gateway(sandbox))
        .env("NODE_PATH", clients().join("node/node_modules"))
        .env("NODE_NO_WARNINGS", "1")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args([LIMIT, program]);
    command
}

/// Runs shell lines and returns their output; they must succeed without errors on standard error.
fn shell(sandbox: &Program, lines: &str) -> String {
    let mut command = limited(sandbox, "sh");
    well(lines, &command.args(["-euc", lines]).output().unwrap())
}

/// The same with `boxgate exec -- PROGRAM ARGUMENTS`.
fn exec(sandbox: &Program, program: &Path, arguments: &[&str]) -> String {
    let mut command = limited(sandbox, BOXGATE);
    let output = command.args(["exec", "--"]).arg(program).args(arguments).output().unwrap();
    well(&format!("{} {arguments:?}", program.display()), &output)
}

fn well(what: &str, output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.is_empty(), "{what}: {}\n{out}\n{err}", output.status);
    out
}

/// A workflow must report this many successful steps.
fn steps(said: &str, count: usize) {
    assert_eq!(said.replace(' ', "").matches("\"ok\":true").count(), count, "{said}");
}

/// All blocks of this kind under this heading of the page, one after the other.
fn blocks(heading: &str, kind: &str) -> String {
    let page = include_str!("../../docs/sdks-and-tools.md");
    let (_, section) = page.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    let section = section.split("\n#").next().unwrap();
    let blocks: Vec<&str> = section
        .split(&format!("```{kind}\n"))
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(!blocks.is_empty(), "{heading}: {kind}");
    blocks.concat()
}

/// The page's Python or JavaScript under this heading, for this gateway.
fn script(sandbox: &Program, heading: &str, kind: &str) -> String {
    let text = blocks(heading, kind).replace("http://127.0.0.1:8080", &gateway(sandbox));
    let name = if kind == "js" { "script.js" } else { "script.py" };
    sandbox.folder.write(name, &text).display().to_string()
}

fn python(generation: &str) -> std::path::PathBuf {
    clients().join(generation).join("bin/python")
}

#[test]
fn rclone_runs_as_the_page_has_it() {
    let sandbox = sandbox();
    let lines = blocks("rclone", "sh");
    let (without_file, with_file) = lines.split_at(lines.rfind("boxgate").unwrap());
    let copied = "boxgate exec -- rclone --config \"\" --box-access-token any ls :box:docs\n";
    let (before, after) = without_file.split_at(
        without_file.find("boxgate exec -- rclone --config \"\" --box-access-token any copy :").unwrap(),
    );
    // The README has one of the lines.
    let first = before.lines().nth(1).unwrap();
    assert!(include_str!("../../README.md").contains(first), "{first}");
    let said = shell(&sandbox, &format!("{before}{copied}"));
    assert_eq!(said, "       19 README.md\n       19 read-me.md\n");
    assert_eq!(shell(&sandbox, after), "");
    for name in ["README.md", "read-me.md"] {
        let came = std::fs::read_to_string(sandbox.folder.join("docs-from-box").join(name)).unwrap();
        assert_eq!(came, "Something to read.\n");
    }
    sandbox.folder.write("rclone.conf", &blocks("rclone", "ini"));
    shell(&sandbox, "boxgate exec -- rclone --config rclone.conf copy README.md gateway:");
    assert_eq!(shell(&sandbox, with_file), "       19 README.md\n");
    // Whether they are gone.
    assert_eq!(shell(&sandbox, "boxgate exec -- rclone --config rclone.conf lsf gateway:"), "README.md\n");
}

#[test]
fn rclone_runs_by_the_variables_of_boxgate_env() {
    let sandbox = sandbox();
    let rclone = "rclone --config \"\" --box-access-token any";
    let variables = "eval \"$(boxgate env 2>env.err)\"";
    let said = shell(&sandbox, &format!("{variables}; {rclone} copy README.md :box:; {rclone} lsf :box:"));
    assert_eq!(said, "README.md\n");
}

/// The page warns of it.
#[test]
fn rclone_writes_a_placeholder_over_a_login_that_has_run_out() {
    let sandbox = sandbox();
    let token = r#"{"access_token":"old","refresh_token":"precious","expiry":"2020-01-01T00:00:00Z"}"#;
    sandbox.folder.write("rclone.conf", &format!("[box]\ntype = box\ntoken = {token}\n"));
    assert_eq!(shell(&sandbox, "boxgate exec -- rclone --config rclone.conf lsd box:"), "");
    let config = std::fs::read_to_string(sandbox.folder.join("rclone.conf")).unwrap();
    assert!(
        config.contains("\"refresh_token\":\"boxgate-placeholder") && !config.contains("precious"),
        "{config}"
    );
}

#[test]
fn rclone_empties_the_trash() {
    let sandbox = sandbox();
    let rclone = "boxgate exec -- rclone --config \"\" --box-access-token any";
    shell(
        &sandbox,
        &format!("{rclone} copy README.md :box:docs; {rclone} delete :box:docs; {rclone} purge :box:docs"),
    );
    let trash = || {
        let url = format!("{}/2.0/folders/trash/items", gateway(&sandbox));
        let said = shell(&sandbox, &format!("curl -s {url}"));
        let list: serde_json::Value = serde_json::from_str(&said).unwrap();
        list["entries"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(trash(), ["docs", "README.md"]);
    shell(&sandbox, &format!("{rclone} cleanup :box:"));
    assert_eq!(trash(), Vec::<serde_json::Value>::new());
}

#[test]
fn rclone_copies_60_megabytes_both_ways_unchanged() {
    let sandbox = sandbox();
    let mut content = vec![0; LARGE];
    fastrand::Rng::with_seed(7).fill(&mut content);
    std::fs::write(sandbox.folder.join("large"), &content).unwrap();
    let rclone = "boxgate exec -- rclone --config \"\" --box-access-token any";
    let lines = format!(
        "{rclone} copy large :box:up
         {rclone} sha1sum :box:up/large
         sha1sum large
         {rclone} copy :box:up down
         sha1sum <down/large"
    );
    let said = shell(&sandbox, &lines);
    let sums: Vec<&str> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let [at_box, before, after] = sums[..] else { panic!("{said}") };
    assert_eq!((at_box, after), (before, before));
    // In parts, as rclone sends what is larger than 50 MiB.
    sandbox.out.wait_for(&["method=POST", "/files/upload_sessions ", "status=201"]);
}

#[test]
fn curl_runs_as_the_page_has_it() {
    let sandbox = sandbox();
    let said = shell(&sandbox, &blocks("curl", "sh"));
    assert!(said.contains("\"type\":\"user\"") && said.contains("\"name\":\"curl.md\""), "{said}");
}

#[test]
fn boxfs_writes_and_reads_back() {
    let sandbox = sandbox();
    let script = script(&sandbox, "boxfs", "python");
    assert_eq!(exec(&sandbox, &python("py3"), &[&script]), "['/notes.txt'] b'hello'\n");
    let workflow = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/boxfs_workflow.py");
    steps(&exec(&sandbox, &python("py3"), &[workflow]), 4);
}

#[test]
fn boxs_sdks_run_unchanged_in_a_tunnel() {
    let sandbox = sandbox();
    let login = "AutomationUser_";
    let unchanged = "Box's SDKs, unchanged";
    let script_py = script(&sandbox, unchanged, "python");
    assert!(exec(&sandbox, &python("py10"), &[&script_py]).starts_with(login));
    let script_js = script(&sandbox, unchanged, "js");
    assert!(exec(&sandbox, Path::new("node"), &[&script_js]).starts_with(login));
    let older = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/legacy_node_tunnel.js");
    for generation in ["box-node-sdk-3", "box-node-sdk-4"] {
        steps(&exec(&sandbox, Path::new("node"), &[older, generation]), 3);
    }
}

#[test]
fn the_pages_lines_for_a_base_url_run() {
    let sandbox = sandbox();
    let login = "AutomationUser_";
    let run = |program: &Path, script: &str| {
        let mut command = limited(&sandbox, program.to_str().unwrap());
        let said = well(script, &command.arg(script).output().unwrap());
        assert!(said.starts_with(login), "{said}");
    };
    run(&python("py10"), &script(&sandbox, "Python", "python"));
    run(&python("py3"), &script(&sandbox, "Python, boxsdk 3", "python"));
    run(Path::new("node"), &script(&sandbox, "Node", "js"));
    let older = script(&sandbox, "Node, box-node-sdk 3 and 4", "js");
    let text = std::fs::read_to_string(&older).unwrap();
    for (generation, class) in [("box-node-sdk-3", ""), ("box-node-sdk-4", ".default")] {
        let required = format!("require(\"{generation}\"){class}");
        let text = text.replace("require(\"box-node-sdk\")", &required);
        assert!(text.contains(&required));
        std::fs::write(&older, text).unwrap();
        run(Path::new("node"), &older);
    }
    let lines = blocks("curl with a base URL", "sh").replace("http://127.0.0.1:8080", &gateway(&sandbox));
    // The last one needs the id of a file.
    let (lines, with_id) = lines.split_at(lines.find("curl -C").unwrap());
    let said = shell(&sandbox, &lines.replace("curl ", "curl --no-progress-meter "));
    let mut answers = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>();
    let uploaded = answers.nth(1).unwrap().unwrap();
    let id = uploaded["entries"][0]["id"].as_str().unwrap();
    let line = with_id.replace("ID", id).replace("curl ", "curl --no-progress-meter ");
    shell(&sandbox, &format!("P={}\n{line}", gateway(&sandbox)));
    assert_eq!(std::fs::read_to_string(sandbox.folder.join("a.txt")).unwrap(), "Something to read.\n");
}

/// With Box's own names, since the SDKs look for one of them in their own URL.
async fn rewriting() -> Bench {
    Bench::with_boxs_names(Options::default(), "follow_downloads = \"rewrite\"", "").await
}

#[tokio::test]
async fn the_older_node_sdks_download_where_redirects_lead_to_the_gateway() {
    let bench = rewriting().await;
    for generation in ["box-node-sdk-3", "box-node-sdk-4"] {
        clients::run(&bench, Path::new("node"), "legacy_node_workflow.js", &[generation], 8).await;
    }
}

#[tokio::test]
async fn urls_for_downloads_lead_to_the_gateway() {
    let bench = rewriting().await;
    clients::run(&bench, &python("py10"), "py10_download_url.py", &[], 2).await;
    clients::run(&bench, Path::new("node"), "node_download_url.js", &[], 2).await;
}

/// The page has these words.
#[tokio::test]
async fn programs_that_require_a_redirect_fail_if_downloads_are_followed() {
    let bench = Bench::with_boxs_names(Options::default(), "", "").await;
    let node = Path::new("node");
    let older = "legacy_node_workflow.js";
    for (program, script, generation, error) in [
        (&*python("py10"), "py10_download_url.py", None, "No location header in response"),
        (node, "node_download_url.js", None, "No location header in response"),
        (node, older, Some("box-node-sdk-3"), "Unexpected API Response [200 OK"),
        (node, older, Some("box-node-sdk-4"), "Unexpected API Response [200 OK"),
    ] {
        let (status, said) = clients::said(&bench, program, script, generation.as_slice()).await;
        assert!(status.is_some_and(|status| !status.success()) && said.contains(error), "{script}: {said}");
    }
}
