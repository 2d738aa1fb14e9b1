//! The Debian package, from its installation to its end, on a copy of this machine that is gone afterwards.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::container::{Machine, Network, NetworkBox};
use super::{release, text, well};
use crate::program::harness::{Folder, Program, until};

/// The package that deploy/release makes.
fn package(folder: &Folder) -> PathBuf {
    release::release(folder);
    let found = std::fs::read_dir(folder.join("dist")).unwrap().map(|entry| entry.unwrap().path());
    let mut packages = found.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.next().expect("a package")
}

/// The first block of this kind of a page.
fn block<'a>(page: &'a str, kind: &str) -> &'a str {
    let (_, rest) =
        page.split_once(&format!("\n```{kind}\n")).unwrap_or_else(|| panic!("no block of {kind}"));
    rest.split("\n```").next().unwrap()
}

/// The package of a later version, whose configuration file has one more line.
fn next(folder: &Folder, package: &Path) -> PathBuf {
    let (unpacked, next) = (folder.join("unpacked"), folder.join("next.deb"));
    well(Command::new("dpkg-deb").arg("--raw-extract").args([package, &unpacked]));
    let change = |name: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(unpacked.join(name)).unwrap();
        std::fs::write(unpacked.join(name), change(text)).unwrap();
    };
    let version = format!("\nVersion: {}-", env!("CARGO_PKG_VERSION"));
    change("DEBIAN/control", &|text| {
        assert!(text.contains(&version), "{text}");
        text.replace(&format!("{version}1"), &format!("{version}2"))
    });
    change("etc/boxgate/proxy.toml", &|text| format!("{text}\n# A line of the next version.\n"));
    well(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).args([&unpacked, &next]));
    next
}

#[test]
fn it_is_installed_run_upgraded_removed_and_purged() {
    let (folder, network) = (Folder::new(), Network::new());
    let at = NetworkBox::start(&network);
    let first = package(&folder);
    let second = next(&folder, &first);
    let lintian = ["--fail-on", "warning", "--allow-root", "--tag-display-limit", "0"];
    well(Command::new("lintian").args(lintian).arg(&first));

    let machine = Machine::new(&network, &folder);
    // Twice: the second finds the user and the files.
    for _ in 0..2 {
        machine.sh(&format!("dpkg --install {}", first.display()));
        assert_eq!(machine.sh("getent passwd boxgate | wc -l"), "1\n");
    }
    assert_eq!(machine.sh("boxgate --version"), format!("boxgate {}\n", env!("CARGO_PKG_VERSION")));
    // Nothing runs or will run before somebody has configured it.
    let unit = "/usr/lib/systemd/system/boxgate.service";
    assert_eq!(machine.sh("systemctl is-enabled boxgate.service || true"), "disabled\n");
    assert_eq!(
        machine.sh("dpkg-query --show --showformat='${Conffiles}' boxgate").matches("/etc/").count(),
        1
    );
    machine.sh("man --where boxgate");
    for path in [
        "/usr/share/bash-completion/completions/boxgate",
        "/usr/share/zsh/vendor-completions/_boxgate",
        "/usr/share/fish/vendor_completions.d/boxgate.fish",
        "/usr/share/doc/boxgate/LICENCES.txt.gz",
        "/usr/share/doc/boxgate/boxgate.cdx.json",
    ] {
        assert!(machine.has(path), "{path}");
    }
    // The file as it is installed needs only an account.
    let account = "BOX_CLIENT_ID=id BOX_CLIENT_SECRET=secret BOX_ENTERPRISE_ID=1";
    machine.sh(&format!("{account} boxgate check --offline --config /etc/boxgate/proxy.toml"));

    // An administrator configures it as the page has it, and enables it. The Box of this test is not the real one.
    let page = text("docs/deployment/debian-package.md");
    let file = block(&page, "toml")
        .replace("CLIENT_ID", at.client_id())
        .replace("\"123456\"", &format!("{:?}", at.enterprise_id()));
    let (roots, proxy) =
        (folder.join("roots.pem"), at.egress_proxy().replace("egress.internal", "127.0.0.1"));
    let file = format!("{file}\n[box]\nca_file = {roots:?}\n\n[upstream]\nproxy = {proxy:?}\n");
    folder.write("proxy.toml", &file);
    folder.write("secret", &at.client_secret());
    folder.write("roots.pem", &std::fs::read_to_string(at.roots()).unwrap());
    // The service's user reads the roots there.
    std::fs::set_permissions(&*folder, Permissions::from_mode(0o711)).unwrap();
    let folder_name = folder.display();
    machine.sh(&format!("cat {folder_name}/proxy.toml >/etc/boxgate/proxy.toml"));
    // What a person pastes.
    let lines = page.split("\n```sh\n").skip(1).find(|block| block.contains("boxgate check")).unwrap();
    let lines = lines.split("\n```").next().unwrap();
    machine.sh(&format!("{{ {lines}\n}} <{folder_name}/secret"));
    machine.sh("systemctl enable boxgate.service");
    assert!(machine.has("/etc/systemd/system/multi-user.target.wants/boxgate.service"));
    assert_eq!(machine.sh("stat -c '%a %U %G' /etc/boxgate/box_client_secret"), "640 root boxgate\n");

    // As the unit starts it: its command, its user, its state folder.
    let start = machine.sh(&format!("sed -n 's/^ExecStart=//p' {unit}"));
    assert!(start.starts_with("/usr/bin/boxgate run "), "{start}");
    machine.sh("install -d -m 0700 -o boxgate -g boxgate /var/lib/private/boxgate && ln -s private/boxgate /var/lib/boxgate");
    let lines = format!(
        "chmod 0755 /var/lib/private; exec env STATE_DIRECTORY=/var/lib/boxgate \
         setpriv --reuid boxgate --regid boxgate --clear-groups {}",
        start.trim()
    );
    let mut command = machine.command("sh");
    command.args(["-ec", &lines]);
    let mut program = Program::spawn(Folder::new(), command);
    until("an answer of Box", || network.get("http://127.0.0.1:8080/2.0/users/me").0 == 200);
    program.terminate();
    assert!(program.exited().success());
    assert!(machine.has("/var/lib/boxgate/budgets.redb"));

    // apt's options where nobody can be asked.
    machine.sh(&format!("dpkg --force-confdef --force-confold --install {}", second.display()));
    assert_eq!(machine.sh("cat /etc/boxgate/proxy.toml"), file, "the administrator's file stays");
    assert!(machine.sh("tail -n 1 /etc/boxgate/proxy.toml.dpkg-dist").contains("the next version"));
    assert_eq!(machine.sh("systemctl is-enabled boxgate.service"), "enabled\n");

    machine.sh("dpkg --remove boxgate");
    for (path, is_there) in [
        ("/usr/bin/boxgate", false),
        (unit, false),
        ("/etc/systemd/system/multi-user.target.wants/boxgate.service", false),
        ("/etc/boxgate/proxy.toml", true),
        ("/var/lib/boxgate/budgets.redb", true),
    ] {
        assert_eq!(machine.has(path), is_there, "{path} after a removal");
    }
    machine.sh("dpkg --purge boxgate");
    for (path, is_there) in [
        ("/etc/boxgate/proxy.toml", false),
        ("/var/lib/boxgate", false),
        ("/var/lib/private/boxgate", false),
        // Made by the administrator.
        ("/etc/boxgate/box_client_secret", true),
    ] {
        assert_eq!(machine.has(path), is_there, "{path} after a purge");
    }
    // This machine itself has seen nothing of it.
    assert!(!Path::new(unit).exists());
}
