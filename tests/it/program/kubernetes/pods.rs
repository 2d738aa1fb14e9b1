//! What the program makes of its manifests: exactly the rendered configuration, arguments and probes.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::super::harness::{FakeBox, Folder, Lines, until, wait};
use super::super::volume::Files;
use super::kubelet::{Pod, Secrets};
use super::objects::{Objects, list};
use super::{guides, rendered};
use crate::harness::free_port;

const ME: &str = "/2.0/users/me";
const APP_KEY: &str = "a-key-of-32-characters-for-callers";

/// The Secrets that the guides have people create, for this Box.
pub(super) fn secrets(at: &FakeBox) -> Secrets {
    let of_box = [
        ("box_client_id", at.client_id()),
        ("box_client_secret", at.client_secret()),
        ("box_enterprise_id", at.enterprise_id()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut gateway = Files::from(of_box);
    gateway.insert("admin_key".to_owned(), "a-key-of-32-characters-for-operators".to_owned());
    let sidecar = gateway.clone();
    gateway.insert("app_key".to_owned(), APP_KEY.to_owned());
    Secrets::from([("boxgate".to_owned(), gateway), ("boxgate-sidecar".to_owned(), sidecar)])
}

fn key() -> String {
    format!("X-Boxgate-Key: {APP_KEY}\r\n")
}

/// The same objects with another configuration.
fn with_configuration(objects: &Objects, change: impl Fn(&str) -> String) -> Objects {
    let mut documents = objects.0.clone();
    for map in documents.iter_mut().filter(|one| one["kind"] == "ConfigMap") {
        if let Some(Value::String(text)) = map.pointer_mut("/data/proxy.toml") {
            *text = change(text);
        }
    }
    Objects(documents)
}

#[test]
fn probes_are_answered_at_the_address_of_the_pod_and_nothing_else_is_without_the_key() {
    let at = FakeBox::start();
    let pod = Pod::start(rendered("plain"), &secrets(&at), &at, "");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(pod.probe(&pod.container()[probe]), 200, "{probe}");
    }
    assert_eq!(pod.program.admin("/metrics").status, 200, "Prometheus has no key");
    for target in ["/", "/status.json", "/requests.json", "/usage.json"] {
        assert_eq!(pod.program.admin(target).status, 401, "{target}");
    }
    // The pod goes: it is not ready, alive, and still takes what nodes and proxies send it.
    pod.program.terminate();
    until("it is not ready", || pod.probe(&pod.container()["readinessProbe"]) == 503);
    assert_eq!(pod.probe(&pod.container()["livenessProbe"]), 200);
    assert_eq!(pod.call(ME, &key()).status, 200);
    // The second signal ends it without the rest of its drain_delay.
    let mut pod = pod;
    pod.program.terminate();
    assert!(pod.program.exited().success());
}

#[test]
fn callers_need_a_name_of_the_service_and_the_key() {
    let at = FakeBox::start();
    let pod = Pod::start(rendered("plain"), &secrets(&at), &at, "");
    let table: toml::Table = rendered("plain").proxy_toml().parse().unwrap();
    for host in table["listen"]["hosts"].as_array().unwrap() {
        let host = format!("Host: {}:8080\r\n", host.as_str().unwrap());
        assert_eq!(pod.call(ME, &format!("{host}{}", key())).status, 200, "{host}");
        let refused = pod.call(ME, &host);
        assert!(refused.status == 403 && refused.body.contains("caller_not_allowed"), "{}", refused.body);
    }
    let refused = pod.call(ME, &format!("Host: boxgate.elsewhere:8080\r\n{}", key()));
    assert!(refused.status == 421 && refused.body.contains("boxgate.elsewhere"), "{}", refused.body);
}

/// Pods have private addresses, and nobody else connects.
#[test]
fn the_addresses_of_pods_and_nodes_may_connect_and_others_may_not() {
    let at = FakeBox::start();
    for name in ["plain", "sidecar"] {
        let objects = rendered(name);
        let (_folder, mounted) = Pod::mounted(objects, &secrets(&at), &at, "");
        let container = objects.gateway().1;
        let explains = |from: &str| {
            let words = ["boxgate", "explain", "GET /2.0/users/me", "--app", "default", "--from", from];
            mounted.command(container, &words).output().unwrap().status.code()
        };
        let pods = if name == "plain" { Some(0) } else { Some(1) };
        for address in ["10.244.1.9", "172.17.0.3", "192.168.3.4", "fd00::9"] {
            assert_eq!(explains(address), pods, "{name}: {address}");
        }
        for address in ["203.0.113.9", "100.64.0.9", "2001:db8::9"] {
            assert_eq!(explains(address), Some(1), "{name}: {address}");
        }
        assert_eq!(explains("127.0.0.1"), Some(0), "{name}: kubectl port-forward, or the app's own pod");
    }
}

#[test]
fn check_finds_nothing_to_say_about_the_configuration() {
    let at = FakeBox::start();
    let objects = rendered("plain");
    let (_folder, mounted) = Pod::mounted(objects, &secrets(&at), &at, "");
    let checked = mounted.command(objects.gateway().1, &["boxgate", "check", "--strict"]).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_changed_config_map_is_taken_over_without_a_restart() {
    let at = FakeBox::start();
    let secrets = secrets(&at);
    let mut pod = Pod::start(rendered("plain"), &secrets, &at, "");
    let taken_over = |pod: &Pod, result: &str| {
        pod.program.metric(&format!("boxgate_config_reloads_total{{result=\"{result}\"}}"))
    };
    let narrowed = with_configuration(rendered("plain"), |text| {
        text.replace("name = \"default\"", "name = \"default\"\ndeny = [\"GET /2.0/users/**\"]")
    });
    assert_eq!(pod.call(ME, &key()).status, 200);
    pod.sync(&narrowed, &secrets);
    until("it is taken over", || taken_over(&pod, "ok") == 1);
    assert_eq!(pod.call(ME, &key()).status, 403);
    // A mistake leaves the pod as it is, and ready.
    pod.sync(&with_configuration(rendered("plain"), |text| format!("{text}\nmistake = true\n")), &secrets);
    until("it is refused", || taken_over(&pod, "refused") == 1);
    assert_eq!(pod.call(ME, &key()).status, 403);
    assert_eq!(pod.probe(&pod.container()["readinessProbe"]), 200);
    pod.sync(rendered("plain"), &secrets);
    until("it is taken over", || taken_over(&pod, "ok") == 2);
    assert_eq!(pod.call(ME, &key()).status, 200);
}

#[test]
fn changed_secrets_are_taken_over_at_once() {
    let at = FakeBox::start();
    let old = secrets(&at);
    let mut pod = Pod::start(rendered("plain"), &old, &at, "");
    at.accept_secrets(&[at.client_secret(), "the-next-secret"]);
    let mut new = old.clone();
    let files = new.get_mut("boxgate").unwrap();
    files.insert("box_client_secret".to_owned(), "the-next-secret".to_owned());
    files.insert("app_key".to_owned(), "another-key-of-32-characters-now".to_owned());
    pod.sync(rendered("plain"), &new);
    wait(at.wait_for_token_requests(2));
    until("the new key holds", || {
        pod.call(ME, "X-Boxgate-Key: another-key-of-32-characters-now\r\n").status == 200
    });
    assert_eq!(pod.call(ME, &key()).status, 403, "the old one does not");
    assert_eq!(
        pod.program.metric("boxgate_config_reloads_total{result=\"ok\"}"),
        1,
        "one swap is one change"
    );
}

#[test]
fn the_sidecar_listens_on_loopback_and_its_probes_run_in_the_container() {
    let at = FakeBox::start();
    let objects = rendered("sidecar");
    let pod = Pod::start(objects, &secrets(&at), &at, "");
    for address in [&pod.program.callers, &pod.program.operators] {
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
    for probe in ["startupProbe", "livenessProbe"] {
        let words: Vec<&str> = list(pod.container(), &format!("/{probe}/exec/command"))
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let ran = pod.exec(&words);
        assert!(ran.status.success(), "{probe}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    assert_eq!(pod.call(ME, "").status, 200, "the app needs no key");
    // The app has ended: nothing is waited for.
    let mut pod = pod;
    pod.program.terminate();
    assert!(pod.program.exited().success());
}

/// The Redis of components/redis, with its own redis.conf; killed when dropped.
struct Redis {
    child: Child,
    port: u16,
    folder: Folder,
}

impl Redis {
    /// With these files of its Secret.
    fn start(objects: &Objects, secret: &Files) -> Self {
        let folder = Folder::new();
        for (name, text) in secret {
            folder.write(name, text);
        }
        let map = objects.of_kind("ConfigMap").find(|map| map["data"].get("redis.conf").is_some()).unwrap();
        let conf = map["data"]["redis.conf"].as_str().unwrap();
        loop {
            let port = free_port();
            let here = folder.display().to_string();
            let conf = conf
                .replace("port 6379", &format!("port {port}\nbind 127.0.0.1"))
                .replace("/run/secrets/boxgate-redis", &here)
                .replace("dir /data", &format!("dir {here}"));
            let file = folder.write("redis.conf", &conf);
            let mut command = Command::new("redis-server");
            command.arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().expect("redis-server is missing: run tests/run first");
            let lines = Lines::of(child.stdout.take().unwrap());
            until("it says how it began", || {
                let said = lines.text();
                said.contains("Ready to accept")
                    || said.contains("Address already in use")
                    || said.contains("FATAL")
            });
            if lines.text().contains("Ready to accept") {
                return Self { child, port, folder };
            }
            assert!(lines.text().contains("Address already in use"), "{}", lines.text());
            let _ = child.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two pods with the rendered configuration, one Redis with the rendered configuration, and the Secrets as the guide has
/// people create them.
#[test]
fn two_replicas_share_a_limit_in_the_redis_of_the_overlay() {
    let at = FakeBox::start();
    let secrets = guides::secrets_of_replicas(&at);
    // Where a machine is so busy that Redis seems lost, limits are rightly not joint, and the run tells nothing.
    let is_shared = (0..5).any(|_| share_a_limit(&at, secrets.clone()));
    assert!(is_shared, "Redis was lost in each run");
}

/// Whether Redis was there all the time; then the limit held for both.
fn share_a_limit(at: &FakeBox, mut secrets: Secrets) -> bool {
    let objects = rendered("replicas");
    let redis = Redis::start(objects, &secrets["boxgate-redis"]);
    let files = secrets.get_mut("boxgate").unwrap();
    let url = files["redis_url"].replace("boxgate-redis:6379", &format!("127.0.0.1:{}", redis.port));
    assert_ne!(url, files["redis_url"], "the URL names the Service of the overlay");
    files.insert("redis_url".to_owned(), url);
    let key = format!("X-Boxgate-Key: {}\r\n", files["app_key"].trim_end());
    let limit = "[[limit]]\nname = \"all-of-us\"\nkey = \"global\"\nrate = \"4/h\"\nburst = 4\n";
    let pods = [(); 2].map(|()| Pod::start(objects, &secrets, at, limit));
    for pod in &pods {
        until("it shares", || pod.program.metric("boxgate_redis_shared") == 1);
    }
    let said: Vec<u16> = (0..6).map(|turn| pods[turn % 2].call(ME, &key).status).collect();
    if pods.iter().any(has_lost_redis) {
        return false;
    }
    assert_eq!(said, [200, 200, 200, 200, 429, 429]);
    // A pod that comes later knows the calls of pods that are gone, though its own state is empty.
    let calls = |pod: &Pod| {
        let told = pod.exec(&["boxgate", "usage", "--json"]);
        serde_json::from_slice::<Value>(&told.stdout).unwrap()["calls"].as_u64().unwrap()
    };
    // A token for each pod besides. What one says of the other has come through Redis.
    until("each has told its calls", || pods.iter().all(|pod| calls(pod) == 4 + 2));
    drop(pods);
    let later = Pod::start(objects, &secrets, at, limit);
    until("it has their calls", || calls(&later) == 4 + 3);
    let refused = later.call(ME, &key).status;
    if has_lost_redis(&later) {
        return false;
    }
    assert_eq!(refused, 429);
    // Nobody but this user gets in.
    let anyone = format!("redis://127.0.0.1:{}", redis.port);
    let refused = redis::Client::open(anyone)
        .unwrap()
        .get_connection()
        .and_then(|mut connection| redis::cmd("KEYS").arg("*").query::<redis::Value>(&mut connection));
    assert!(refused.unwrap_err().to_string().contains("NOAUTH"), "a password is asked for");
    assert!(fs::exists(redis.folder.join("appendonlydir")).unwrap(), "budgets survive a restart");
    true
}

fn has_lost_redis(pod: &Pod) -> bool {
    pod.program.err.text().contains("unreachable since")
}
