//! `boxgate completions` and `boxgate man`: what they print is what `--help` says, and what it is for can read it.

use std::process::{Command, Stdio};

use super::harness::{Folder, boxgate, command};

const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");

fn printed(arguments: &[&str]) -> String {
    let output = boxgate(&Folder::new(), arguments);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that `--help` lists.
fn subcommands() -> Vec<String> {
    let text = printed(&["--help"]);
    let (_, list) = text.split_once("\nCommands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> = lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() > 5, "{text}");
    names.into_iter().filter(|name| name != "help").collect()
}

/// The long options of a subcommand.
fn options(of: &str) -> Vec<String> {
    let text = printed(&[of, "--help"]);
    let words = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    words.filter(|word| *word != "--").map(|word| word.trim_end_matches(',').to_owned()).collect()
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn bash_completes_subcommands_options_and_values() {
    let folder = Folder::new();
    folder.write("boxgate.bash", &printed(&["completions", "bash"]));
    let complete = |words: &str| {
        let script = format!(
            "set -eu; source boxgate.bash; complete -p boxgate >&2; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             COMPREPLY=(); _boxgate boxgate \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = command("bash", &folder).args(["--norc", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("boxgate hea"), "health");
    assert_eq!(complete("boxgate health --re"), "--ready");
    assert_eq!(complete("boxgate env --shell f"), "fish");
    assert_eq!(complete("boxgate completions b"), "bash");
}

#[test]
fn the_scripts_of_all_shells_know_every_subcommand() {
    let folder = Folder::new();
    for (shell, check) in [
        ("bash", Some(&["-n"][..])),
        ("zsh", Some(&["-n"])),
        ("fish", Some(&["--no-execute"])),
        ("elvish", Some(&["-compileonly"])),
        ("powershell", None),
    ] {
        let script = printed(&["completions", shell]);
        for name in subcommands() {
            assert!(script.contains(&name), "{name} for {shell}");
        }
        for option in ["--ready", "--key-file", "--no-watch"] {
            // fish lists them without dashes.
            assert!(script.contains(option.trim_start_matches('-')), "{option} for {shell}");
        }
        if let Some(arguments) = check.filter(|_| is_there(shell)) {
            let file = folder.write("script", &script);
            let output = command(shell, &folder).args(arguments).arg(file).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
    let output = boxgate(&folder, &["completions", "csh"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("bash"), "{output:?}");
}

#[test]
fn the_manual_page_has_every_subcommand_with_its_options() {
    let roff = printed(&["man"]);
    for line in roff.lines().filter(|line| line.starts_with('.')) {
        let request = line[1..].split(' ').next().unwrap();
        assert!(["TH", "SH", "PP", "TP", "RS", "RE", "IP", "ie", "el", "br"].contains(&request), "{line}");
    }
    let plain = roff.replace('\\', "");
    for name in subcommands() {
        let heading = format!(".SH \"BOXGATE {}\"\n", name.to_uppercase());
        let (_, behind) = plain.split_once(&heading).unwrap_or_else(|| panic!("{heading} in {roff}"));
        let section = behind.split("\n.SH ").next().unwrap();
        for option in options(&name) {
            assert!(section.contains(&option), "{option} in {section}");
        }
    }
    assert!(plain.contains("BOXGATE_LISTEN") && plain.contains("BOXGATE_CORE_DUMPS"), "{roff}");
    assert!(plain.contains(&format!("v{}", env!("CARGO_PKG_VERSION"))), "{roff}");
    if is_there("groff") {
        let folder = Folder::new();
        let file = folder.write("boxgate.1", &roff);
        let output = command("groff", &folder).args(["-man", "-Tutf8", "-ww"]).arg(file).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).lines().count() > 100);
    }
}

/// A terminal shows variables of its own to nobody else: what is printed does not depend on the environment.
#[test]
fn values_of_variables_are_not_in_it() {
    let folder = Folder::new();
    for arguments in [&["man"][..], &["completions", "zsh"]] {
        let mut with = command(BOXGATE, &folder);
        let output = with.args(arguments).env("BOXGATE_LISTEN", "canary.sock").output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), printed(arguments));
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let folder = Folder::new();
    for what in ["man", "completions bash"] {
        let script = format!("{{ {BOXGATE} {what}; echo $? >status; }} | true; cat status");
        let output = command("sh", &folder).args(["-c", &script]).output().unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b"0\n"[..], &b""[..]), "{what}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(BOXGATE, &folder).arg("man").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("standard output cannot be written"),
        "{output:?}"
    );
}
