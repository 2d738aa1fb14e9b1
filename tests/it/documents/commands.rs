//! Marked blocks run unchanged, in a separate folder for each document; every example of a configuration is valid.

use std::os::unix::fs::symlink;
use std::path::Path;

use boxgate::config::{self, Overrides};

use super::blocks::{Block, Mark, blocks};
use super::documents;
use crate::program::harness::{FakeBox, Folder, Program, command};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
/// The time limit for one block, in seconds.
const LIMIT: &str = "120";
/// The enterprise id in documents.
const ENTERPRISE: &str = "123456";

/// `boxgate sandbox`, in a folder with those files of the repository that the blocks need.
fn sandbox() -> Program {
    let folder = Folder::new();
    folder.write("README.md", "Something to read.\n");
    std::fs::create_dir_all(folder.join("target/release")).unwrap();
    symlink(BOXGATE, folder.join("target/release/boxgate")).unwrap();
    let mut command = command(BOXGATE, &folder);
    let free = "127.0.0.1:0";
    command.args(["sandbox", "--listen", free, "--admin", free, "--page", free]);
    Program::spawn(folder, command).ready()
}

/// Writes a configuration that uses this Box in place of the real one.
fn write_configuration(sandbox: &Program, name: &str, text: &str, at: &FakeBox) {
    let tables = at.tables(&sandbox.folder);
    let (hosts, rest) = tables.split_once("[identity.service]").unwrap();
    let (_, upstream) = rest.split_once("[upstream]").unwrap();
    let text = text.replace(ENTERPRISE, at.enterprise_id());
    sandbox.folder.write(name, &format!("{text}\n{hosts}\n[upstream]{upstream}"));
    sandbox.folder.write("box_client_secret", at.client_secret());
}

/// Runs a block and returns its output.
fn run(sandbox: &Program, document: &str, block: &Block, at: Option<&FakeBox>) -> String {
    let lines =
        block.text.replace("127.0.0.1:8080", &sandbox.callers).replace("127.0.0.1:8081", &sandbox.operators);
    let path = std::env::var("PATH").unwrap_or_default();
    let own = Path::new(BOXGATE).parent().unwrap().display();
    let output = command("timeout", &sandbox.folder)
        .env("PATH", format!("{own}:{path}"))
        .env("HOME", &*sandbox.folder)
        .env("BOXGATE_GATEWAY", format!("http://{}", sandbox.callers))
        .env("BOXGATE_ADMIN", format!("http://{}", sandbox.operators))
        .env("BOX_CLIENT_ID", at.map_or("id", |at| at.client_id()))
        .env("BOX_CLIENT_SECRET", at.map_or("secret", |at| at.client_secret()))
        .env("BOX_ENTERPRISE_ID", at.map_or(ENTERPRISE, |at| at.enterprise_id()))
        .args([LIMIT, "sh", "-euc", &lines])
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{document}:{}: {}\n{lines}{out}{err}", block.line, output.status);
    out.into_owned()
}

/// Replaces the month in documents by the current one.
fn this_month(text: &str) -> String {
    // `2026-11-26T18:31:35Z` begins with it.
    text.replace("2026-11", &jiff::Timestamp::now().to_string()[..7])
}

/// Runs the marked blocks of a document, and returns their number.
fn run_all(document: &str, text: &str) -> usize {
    let blocks: Vec<_> = blocks(document, text).into_iter().filter(|block| block.mark.is_some()).collect();
    if blocks.is_empty() {
        return 0;
    }
    let sandbox = sandbox();
    let at = blocks.iter().any(|block| matches!(block.mark, Some(Mark::Writes(_)))).then(FakeBox::start);
    let (mut printed, mut ran) = (String::new(), 0);
    for block in &blocks {
        match block.mark.as_ref().unwrap() {
            Mark::Writes(name) => write_configuration(&sandbox, name, &block.text, at.as_ref().unwrap()),
            Mark::Prints => assert_eq!(printed, this_month(&block.text), "{document}:{}", block.line),
            Mark::Runs => {
                assert_eq!(block.kind, "sh", "{document}:{}: only blocks of sh run", block.line);
                printed = run(&sandbox, document, block, at.as_ref());
                ran += 1;
            }
        }
    }
    ran
}

#[test]
fn marked_blocks_run() {
    let ran: usize = documents().iter().map(|(path, text)| run_all(&path.display().to_string(), text)).sum();
    assert!(ran >= 8, "only {ran} blocks are marked");
}

/// The blocks at the top of the README work: the sandbox shows the file that they upload.
#[test]
fn the_first_commands_of_the_readme_work() {
    let documents = documents();
    let readme = &documents[Path::new("README.md")];
    let blocks = blocks("README.md", readme);
    let first = blocks.iter().find(|block| block.mark == Some(Mark::Runs)).unwrap();
    let out = run(&sandbox(), "README.md", first, None);
    assert!(out.contains("\"login\"") && out.matches("hello.md").count() >= 2, "{out}");
    let sandbox_runs = "cargo run --release -- sandbox";
    let is_first = blocks.first().is_some_and(|block| block.text.contains(sandbox_runs));
    assert!(is_first, "the first block of README.md does not run {sandbox_runs:?}");
}

/// Every example of a `proxy.toml` is read by the real parser.
#[test]
fn every_example_of_a_configuration_is_accepted() {
    let mut tried = 0;
    for (path, text) in &documents() {
        for block in blocks(&path.display().to_string(), text) {
            if block.kind == "toml" && !block.text.contains("tls = {") {
                accepted(&block).unwrap_or_else(|why| panic!("{}:{}: {why}", path.display(), block.line));
                tried += 1;
            }
        }
    }
    assert!(tried >= 8, "only {tried} examples");
}

/// Provides the variables, files and identity that an example needs. TLS is tested where a document creates the
/// certificate.
fn accepted(block: &Block) -> Result<(), String> {
    let folder = Folder::new();
    let secret = folder.write("secret", "redis://boxgate:PASSWORD@127.0.0.1:6379");
    let mut text = String::new();
    for line in block.text.lines() {
        match line.split_once("{ file = \"") {
            Some((before, rest)) => {
                let (_, behind) = rest.split_once('"').unwrap();
                text.push_str(&format!("{before}{{ file = {secret:?}{behind}\n"));
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    if !text.contains("[identity.") {
        text.push_str(
            "[identity.service]\nclient_id = \"id\"\nclient_secret = \"secret\"\nenterprise_id = \"1\"\n",
        );
    }
    // A group of this machine, in place of the example's.
    let text = text.replace("group=apps", "group=0");
    let variable = |_: &str| Some("12345".to_owned());
    let name = folder.join("proxy.toml");
    config::from_text(&text, &name, &Overrides::default(), &variable)
        .map(drop)
        .map_err(|problems| problems.to_string())
}
