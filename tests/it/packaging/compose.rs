//! The services of deploy/compose: prepared with the commands of their page, read by docker-compose, and run with the
//! commands, files, users and variables that it finds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::container::{ADDRESS, Container, MACHINE, Network, NetworkBox, Settings};
use super::{dockerfile, ran, root, text, well};
use crate::program::harness::{Folder, until};

const PAGE: &str = "docs/deployment/compose.md";

/// The blocks of the page that need no container engine, in their order.
fn preparations() -> Vec<String> {
    let text = text(PAGE);
    let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
    blocks.filter(|block| !block.contains("docker") && !block.contains("deploy/image")).collect()
}

/// A folder that the page's commands made, with this Box's account.
fn prepare(at: &NetworkBox) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let lines = preparations().join("\n");
    assert!(lines.contains("secrets/redis_users"), "{lines}");
    let lines = lines.replace("/path/to/the/clone", root().to_str().unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", &lines]).current_dir(&*folder).stdin(Stdio::piped());
    let mut shell = command.spawn().unwrap();
    // What a person pastes.
    shell.stdin.take().unwrap().write_all(at.client_secret().as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success(), "{lines}");

    let made = folder.join("boxgate");
    let variables = std::fs::read_to_string(made.join(".env")).unwrap();
    let filled = variables
        .replace("BOXGATE_IMAGE=\n", "BOXGATE_IMAGE=boxgate:of-the-test\n")
        .replace("BOX_CLIENT_ID=\n", &format!("BOX_CLIENT_ID={}\n", at.client_id()))
        .replace("BOX_ENTERPRISE_ID=\n", &format!("BOX_ENTERPRISE_ID={}\n", at.enterprise_id()));
    assert_eq!(filled.matches("=\n").count(), 0, "not filled in: {filled}");
    std::fs::write(made.join(".env"), filled).unwrap();
    (folder, made)
}

/// The file as docker-compose reads it, which also checks it against the Compose specification.
fn read(folder: &Path, variables: &[(&str, &str)]) -> Value {
    let mut command = Command::new("docker-compose");
    let yaml = well(
        command.arg("config").current_dir(folder).env_clear().envs(path()).envs(variables.iter().copied()),
    );
    // Of Debian's docker-compose, which cannot be without a reader of YAML.
    let mut python = Command::new("/usr/bin/python3");
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python =
        python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    serde_json::from_slice(&python.wait_with_output().unwrap().stdout).unwrap()
}

fn path() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH", path))
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The files of a service's secrets, by name.
fn secrets(file: &Value, service: &str) -> BTreeMap<String, PathBuf> {
    let named = file["services"][service]["secrets"].as_array().unwrap();
    let names = named.iter().map(|secret| secret["source"].as_str().unwrap().to_owned());
    names
        .map(|name| (name.clone(), PathBuf::from(file["secrets"][&name]["file"].as_str().unwrap())))
        .collect()
}

/// The service "redis": this machine's redis-server with the command, the user, the secrets and the volume of the file.
struct Redis(Child);

impl Redis {
    fn start(network: &Network, file: &Value, volume: &Path) -> Self {
        let service = &file["services"]["redis"];
        let user = service["user"].as_str().unwrap();
        // A new volume has the owner of the folder in the image.
        std::fs::create_dir(volume).unwrap();
        well(Command::new("chown").arg(user).arg(volume));
        let mut lines = format!("{MACHINE}mkdir -p /mnt/root/data /mnt/root/run/secrets\n");
        for (name, path) in secrets(file, "redis") {
            lines.push_str(&format!("touch /mnt/root/run/secrets/{name}\n"));
            lines.push_str(&format!("mount --bind {} /mnt/root/run/secrets/{name}\n", path.display()));
        }
        assert_eq!(words(&service["volumes"]), ["redis:/data:rw"]);
        lines.push_str(&format!("mount --bind {} /mnt/root/data\n", volume.display()));
        lines.push_str(&format!("exec setpriv --no-new-privs chroot --userspec={user} /mnt/root \"$@\"\n"));
        let mut command = network.command("unshare");
        command.args(["--mount", "--", "sh", "-ec", &lines, "sh"]).args(words(&service["command"]));
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What redis-cli prints in this network, as the default user.
fn redis_cli(network: &Network, arguments: &[&str]) -> String {
    let output = ran(network.command("redis-cli").args(arguments));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

#[test]
fn the_services_work_together_as_the_page_prepares_them() {
    let network = Network::new();
    let at = NetworkBox::start(&network);
    let (folder, made) = prepare(&at);
    let file = read(&made, &[("HTTPS_PROXY", &at.egress_proxy())]);
    let image = dockerfile::build(&folder.join("image"), &BTreeMap::new());

    let redis = Redis::start(&network, &file, &folder.join("redis"));
    // Its health check, for which boxgate waits.
    let check = words(&file["services"]["redis"]["healthcheck"]["test"]);
    let [kind, check] = &check[..] else { panic!("{check:?}") };
    assert_eq!(kind, "CMD-SHELL");
    let is_healthy = || ran(network.command("sh").args(["-c", check])).status.success();
    until("Redis is healthy", is_healthy);
    let condition = &file["services"]["boxgate"]["depends_on"]["redis"]["condition"];
    assert_eq!(condition, "service_healthy");

    let service = &file["services"]["boxgate"];
    // The name of a service is that of its container; an address that is not loopback is what Redis's protected mode sees.
    let hosts = folder.write("hosts", &format!("127.0.0.1 localhost egress.internal\n{ADDRESS} redis\n"));
    let volume = folder.join("state");
    std::fs::create_dir(&volume).unwrap();
    well(Command::new("chown").arg(&image.user).arg(&volume));
    let mut settings = Settings::default()
        .mount(at.roots(), "/etc/ssl/certs/ca-certificates.crt", false)
        .mount(&hosts, "/etc/hosts", false);
    for (name, value) in service["environment"].as_object().unwrap() {
        settings = settings.variable(name, value.as_str().unwrap());
    }
    let config = format!("{}:/etc/boxgate:ro", made.join("config").display());
    assert_eq!(words(&service["volumes"]), [&*config, &format!("state:{}:rw", image.volume)]);
    settings =
        settings.mount(&made.join("config"), "/etc/boxgate", false).mount(&volume, &image.volume, true);
    for (name, path) in secrets(&file, "boxgate") {
        settings = settings.mount(&path, &format!("/run/secrets/{name}"), false);
    }
    let container = Container::start(&network, &image, &settings);

    let check = words(&service["healthcheck"]["test"]);
    let [kind, check @ ..] = &check[..] else { panic!("{check:?}") };
    assert_eq!(kind, "CMD");
    until("boxgate is healthy", || container.exec(check).status.success());
    for host in ["127.0.0.1", ADDRESS] {
        let (status, body) = network.get(&format!("http://{host}:8080/2.0/users/me"));
        assert!(status == 200 && body.contains("AutomationUser_"), "{host}: {status} {body}");
    }
    // It says so in a note where Redis is not used. On a busy machine Redis can miss the 100 ms that it has, once or twice.
    let ready = (200, "ready\n".to_owned());
    until("Redis is used", || network.get("http://127.0.0.1:8081/readyz") == ready);
    let is_shared = || network.get("http://127.0.0.1:8081/metrics").1.contains("\nboxgate_redis_shared 1\n");
    until("limits are shared", is_shared);
    assert!(folder.join("redis/appendonlydir").is_dir(), "budgets survive a restart of Redis");
    // Operators' listener is not for other containers.
    assert_eq!(network.get(&format!("http://{ADDRESS}:8081/healthz")).0, 0);

    // A new secret is written into the same file, since a container keeps a mounted file that is replaced.
    std::fs::write(made.join("secrets/box_client_secret"), "another").unwrap();
    container.said(&["a file has changed: the configuration was taken over"]);

    // Nobody else may do anything in Redis.
    assert!(redis_cli(&network, &["ping"]).contains("NOAUTH"), "{}", redis_cli(&network, &["ping"]));
    let health = ["--no-auth-warning", "--user", "health", "--pass", "health"];
    let said = redis_cli(&network, &[&health[..], &["get", "x"]].concat());
    assert!(said.contains("NOPERM"), "{said}");
    drop(redis);
    assert!(!is_healthy(), "the check fails without Redis");
}

/// What keeps a fault in one of them from the machine, and others from them.
#[test]
fn both_services_are_confined() {
    let folder = Path::new("deploy/compose");
    let account = [("BOXGATE_IMAGE", "boxgate"), ("BOX_CLIENT_ID", "id"), ("BOX_ENTERPRISE_ID", "1")];
    let file = read(&root().join(folder), &account);
    let services = file["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["boxgate", "redis"]);
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(words(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        for limit in ["mem_limit", "cpus", "pids_limit"] {
            assert!(!service[limit].is_null(), "{name} has no {limit}");
        }
        assert!(service.get("cap_add").is_none() && service.get("privileged").is_none(), "{name}");
    }
    assert_eq!(words(&services["boxgate"]["ports"]), ["127.0.0.1:8080:8080/tcp"]);
    assert!(services["redis"].get("ports").is_none());
    let networks: Vec<_> = services["redis"]["networks"].as_object().unwrap().keys().collect();
    assert_eq!(networks, ["redis"]);
    assert_eq!(file["networks"]["redis"]["internal"], true);
    // Redis gets no secret of Box.
    assert_eq!(secrets(&file, "redis").into_keys().collect::<Vec<_>>(), ["redis_users"]);
    // A stop waits for the drain.
    let configuration: toml::Table = text("deploy/compose/config/proxy.toml").parse().unwrap();
    assert!(configuration.get("server").is_none(), "drain_delay 0s and drain_timeout 30s are the defaults");
    assert_eq!(services["boxgate"]["stop_grace_period"], "45s");
}

#[test]
fn what_is_not_filled_in_is_named() {
    let folder = root().join("deploy/compose");
    let mut command = Command::new("docker-compose");
    let output = ran(command.arg("config").current_dir(folder).env_clear().envs(path()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("into .env"), "{output:?}");
}

/// The user has the rights that the page about replicas lists.
#[test]
fn redis_gives_boxgate_the_documented_rights_and_no_more() {
    let document = text("docs/replicas.md");
    let (_, line) = document.split_once("\nuser boxgate on #$hash ").unwrap();
    let (line, _) = line.split_once("\nEND\n").unwrap();
    let line = line.replace("\\\n", " ");
    let documented: Vec<_> = line.split_whitespace().collect();
    let users = text("deploy/compose/redis_users.example");
    let user = users.lines().find_map(|line| line.strip_prefix("user boxgate on #SHA256 ")).unwrap();
    assert_eq!(user.split_whitespace().collect::<Vec<_>>(), documented);
}
