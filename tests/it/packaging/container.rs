//! Containers without a container engine: a network of their own, and programs that are process 1 of a root of their own,
//! which they cannot write to, without any right of root.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::dockerfile::Image;
use super::{BOXGATE, ran, well};
use crate::program::harness::{Folder, Program, until};

/// An address of the network that is not loopback, as containers have one for each other.
pub(super) const ADDRESS: &str = "10.77.0.2";

/// A network with nothing but loopback and one more address, so that programs can have the ports that their files name.
pub(super) struct Network {
    holder: Child,
}

impl Network {
    pub(super) fn new() -> Self {
        let lines =
            format!("ip link set lo up; ip address add {ADDRESS}/32 dev lo; echo up; exec sleep infinity");
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-ec", &lines]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare is missing: run tests/run first");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n", "tests of containers need root and the program ip: run tests/run as root");
        Self { holder }
    }

    /// A program in this network.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.id().to_string(), "--net", "--", program])
            .stdin(Stdio::null());
        command
    }

    /// The status and the body of the answer to a request.
    pub(super) fn get(&self, url: &str) -> (u16, String) {
        let output = ran(&mut self.get_later(url));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap(), body.to_owned())
    }

    /// The command of such a request: it prints the body, and the status on a line of its own. 0 is no answer.
    pub(super) fn get_later(&self, url: &str) -> Command {
        let mut command = self.command("curl");
        command.args(["--silent", "--max-time", "120", "--write-out", "\n%{http_code}", url]);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A Box in a network.
pub(super) struct NetworkBox {
    process: Child,
    /// What it printed: a configuration that leads to it.
    configuration: toml::Table,
}

impl NetworkBox {
    pub(super) fn start(network: &Network) -> Self {
        let mut command = network.command(BOXGATE);
        command.args(["sandbox", "--print-config"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut text = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap) {
            text.push_str(&line);
            text.push('\n');
            if line == "[forward_proxy]" {
                break;
            }
        }
        Self { process, configuration: text.parse().unwrap() }
    }

    fn value(&self, table: &str, key: &str) -> &str {
        let identity = &self.configuration["identity"]["service"];
        let table = if table == "identity" { identity } else { &self.configuration[table] };
        table[key].as_str().unwrap()
    }

    pub(super) fn client_id(&self) -> &str {
        self.value("identity", "client_id")
    }

    pub(super) fn enterprise_id(&self) -> &str {
        self.value("identity", "enterprise_id")
    }

    pub(super) fn client_secret(&self) -> String {
        let secret = &self.configuration["identity"]["service"]["client_secret"]["file"];
        std::fs::read_to_string(secret.as_str().unwrap()).unwrap()
    }

    /// The PEM file of the CA that issued the certificates of its hosts.
    pub(super) fn roots(&self) -> &Path {
        Path::new(self.value("box", "ca_file"))
    }

    /// The URL of the egress proxy that leads to it, under a name that only /etc/hosts of a container knows.
    pub(super) fn egress_proxy(&self) -> String {
        self.value("upstream", "proxy").replace("127.0.0.1", "egress.internal")
    }
}

impl Drop for NetworkBox {
    fn drop(&mut self) {
        // Not killed: it removes its folder at its end.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// What a container is started with.
#[derive(Default)]
pub(super) struct Settings {
    /// Variables besides those of the image.
    pub(super) environment: BTreeMap<String, String>,
    /// What is mounted: from where, to where, and whether it can be written to.
    pub(super) mounts: Vec<(PathBuf, String, bool)>,
    /// Arguments in place of those of the image.
    pub(super) arguments: Option<Vec<String>>,
}

impl Settings {
    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn mount(mut self, from: &Path, to: &str, writable: bool) -> Self {
        self.mounts.push((from.to_owned(), to.to_owned(), writable));
        self
    }
}

/// A running image; killed when dropped.
pub(super) struct Container {
    program: Program,
    /// The id of its process 1, outside.
    id: u32,
    environment: BTreeMap<String, String>,
    user: String,
}

impl Container {
    /// Starts boxgate; returns when it listens.
    pub(super) fn start(network: &Network, image: &Image, settings: &Settings) -> Self {
        let environment: BTreeMap<_, _> =
            image.environment.clone().into_iter().chain(settings.environment.clone()).collect();
        let program = Program::spawn(Folder::new(), command(network, image, settings, &environment));
        let outer = program.id();
        let mut id = 0;
        until("its process", || {
            let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
            id = children.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            id != 0
        });
        Self { program, id, environment, user: image.user.clone() }
    }

    /// As `docker exec`: a command beside process 1.
    pub(super) fn exec(&self, arguments: &[String]) -> Output {
        let (user, group) = self.user.split_once(':').unwrap();
        let mut command = Command::new("env");
        command.arg("-i").args(variables(&self.environment)).arg("/usr/bin/nsenter");
        command.args(["--target", &self.id.to_string(), "--mount", "--pid", "--net", "--root", "--wd"]);
        command.args(["--setuid", user, "--setgid", group, "--"]).args(arguments);
        ran(command.stdin(Stdio::null()))
    }

    /// A field of what the kernel says of its process 1.
    pub(super) fn status(&self, field: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {text}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(super) fn terminate(&self) {
        well(Command::new("kill").arg(self.id.to_string()));
    }

    pub(super) fn exited(&mut self) -> ExitStatus {
        self.program.exited()
    }

    pub(super) fn said(&self, parts: &[&str]) -> String {
        self.program.err.wait_for(parts)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The end of `unshare`, which the harness sees to, is not the end of a process that has changed its user.
        let _ = Command::new("kill").args(["-KILL", &self.id.to_string()]).stderr(Stdio::null()).status();
    }
}

fn variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The command that becomes the image's program.
fn command(
    network: &Network,
    image: &Image,
    settings: &Settings,
    environment: &BTreeMap<String, String>,
) -> Command {
    let root = image.root.display().to_string();
    let mut lines = format!(
        "mount --bind {root} {root}\nmount -t proc proc {root}/proc\nmount --rbind /dev {root}/dev\n"
    );
    for (from, to, writable) in &settings.mounts {
        let (from, at) = (from.display(), format!("{root}{to}"));
        // A mount has a place in the root, as engines make it.
        if Path::new(&from.to_string()).is_dir() {
            std::fs::create_dir_all(&at).unwrap();
        } else {
            std::fs::create_dir_all(Path::new(&at).parent().unwrap()).unwrap();
            std::fs::write(&at, "").unwrap();
        }
        lines.push_str(&format!("mount --bind {from} {at}\n"));
        if !writable {
            lines.push_str(&format!("mount -o remount,bind,ro {at}\n"));
        }
    }
    lines.push_str(&format!("mount -o remount,bind,ro {root}\nexec setpriv --no-new-privs env -i \"$@\"\n"));
    let (user, group) = image.user.split_once(':').unwrap();
    let mut command = network.command("unshare");
    command.args(["--mount", "--pid", "--fork", "--", "sh", "-ec", &lines, "sh"]);
    command.args(variables(environment)).args(["/usr/bin/unshare", "--root", &root, "--wd", &image.folder]);
    command.args(["--setuid", user, "--setgid", group, "--"]).args(&image.entrypoint);
    command.args(settings.arguments.as_ref().unwrap_or(&image.arguments));
    command
}

/// Shell lines that put this machine's files, as they are, at /mnt/root: what is changed there is gone when the last program
/// of the mount namespace ends, and nobody else sees it. For `sh -ec` in a namespace of its own; more lines follow.
pub(super) const MACHINE: &str = "mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
";

/// Such a machine in a network, on which programs may be installed.
pub(super) struct Machine {
    holder: Child,
}

impl Machine {
    /// With this folder at the same path.
    pub(super) fn new(network: &Network, folder: &Path) -> Self {
        let folder = folder.display();
        let lines = format!(
            "{MACHINE}mkdir -p /mnt/root{folder}\nmount --bind {folder} /mnt/root{folder}\n\
             exec chroot /mnt/root sh -c 'echo up; exec sleep infinity'"
        );
        let mut command = network.command("unshare");
        command.args(["--mount", "--", "sh", "-ec", &lines]).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "up\n", "no overlay of this machine's files");
        Self { holder }
    }

    /// A program on it.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let id = self.holder.id().to_string();
        command
            .args(["--target", &id, "--mount", "--net", "--root", "--wd", "--", program])
            .stdin(Stdio::null());
        command
    }

    /// Runs shell lines, which must end well; what they print.
    pub(super) fn sh(&self, lines: &str) -> String {
        well(self.command("sh").args(["-ec", lines]))
    }

    /// Whether there is a file, a folder, or a link, also one that leads nowhere.
    pub(super) fn has(&self, path: &str) -> bool {
        ran(self.command("test").args(["-e", path, "-o", "-L", path])).status.success()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
