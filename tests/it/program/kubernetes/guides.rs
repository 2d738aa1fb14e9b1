//! The guides for Kubernetes: their commands from a clean folder, in their order, with a stand-in for the cluster.

use std::collections::BTreeSet;

use super::super::harness::{FakeBox, until, wait};
use super::cluster::{Cluster, blocks, page};
use super::kubelet::{Pod, Secrets};
use super::objects::{list, text};
use super::render;

const ME: &str = "/2.0/users/me";

/// The blocks of a section with what a reader writes in place of the placeholders.
fn filled(page: &str, section: &str, at: &FakeBox) -> Vec<String> {
    blocks(page, section)
        .into_iter()
        .map(|block| {
            block.replace("YOUR_CLIENT_ID", at.client_id()).replace("YOUR_ENTERPRISE_ID", at.enterprise_id())
        })
        .collect()
}

/// Types what is asked for, and returns the output of the section's blocks.
fn follow(cluster: &mut Cluster<'_>, at: &FakeBox, page: &str, section: &str) -> Vec<String> {
    let typed = format!("{}\n", at.client_secret());
    filled(page, section, at).iter().map(|block| cluster.run(block, &typed)).collect()
}

/// The image that a page's Kustomization names: of this version, so that pages follow it.
fn this_version() -> String {
    format!("registry.example.com/boxgate:{}", env!("CARGO_PKG_VERSION"))
}

fn reloads(pod: &Pod) -> u64 {
    pod.program.metric("boxgate_config_reloads_total{result=\"ok\"}")
}

#[test]
fn the_guide_for_kubernetes_works_from_a_clean_folder() {
    let at = FakeBox::start();
    let mut cluster = Cluster::new(&at);
    let page = page("kubernetes.md");
    assert!(page.contains(&format!("name it `boxgate:{}`", env!("CARGO_PKG_VERSION"))));
    follow(&mut cluster, &at, &page, "Deploy");
    let objects = cluster.objects();
    assert_eq!(text(objects.gateway().1, "/image"), this_version());
    let said = follow(&mut cluster, &at, &page, "The first caller");
    assert!(said.concat().contains("\"login\":\"AutomationUser_"), "{said:?}");
    let said = follow(&mut cluster, &at, &page, "Look at it");
    for found in ["\"message\":\"boxgate listens\"", "ready", "nothing failed"] {
        assert!(said[0].contains(found), "{found}: {}", said[0]);
    }

    // A new configuration. Its second block looks for what the log says once the file has been taken over.
    let change = filled(&page, "Change the configuration", &at);
    assert_eq!(change.len(), 2);
    cluster.run(&change[0], "");
    until("it is taken over", || reloads(cluster.pod.as_ref().unwrap()) == 1);
    assert!(cluster.run(&change[1], "").contains("the configuration was taken over"));
    assert!(cluster.pod.as_ref().unwrap().program.admin("/metrics").body.contains("limit=\"all-of-us\""));

    // A new secret.
    let rotate = filled(&page, "Rotate a secret", &at);
    assert_eq!(rotate.len(), 2);
    at.accept_secrets(&[at.client_secret(), "the-next-secret"]);
    cluster.run(&rotate[0], "the-next-secret\n");
    wait(at.wait_for_token_requests(2));
    until("the new token is there", || {
        cluster.pod.as_ref().unwrap().program.err.text().matches("a token was obtained").count() == 2
    });
    cluster.run(&rotate[1], "");

    follow(&mut cluster, &at, &page, "Upgrade");
    let objects = cluster.objects();
    assert_eq!(text(objects.gateway().1, "/image"), "registry.example.com/boxgate:0.2.0");
    follow(&mut cluster, &at, &page, "Remove it");
}

/// What the page adds to a Kustomization of one's own.
#[test]
fn the_guides_component_for_metrics_can_be_added() {
    let at = FakeBox::start();
    let mut cluster = Cluster::new(&at);
    let page = page("kubernetes.md");
    let deploy = filled(&page, "Deploy", &at);
    let typed = format!("{}\n", at.client_secret());
    cluster.run(&deploy[0], &typed);
    cluster.run(&deploy[1], &typed);
    let (_, metrics) = page.split_once("\n## Metrics\n").unwrap();
    let lines = metrics.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    cluster.run(&format!("cat >> mine/kustomization.yaml <<'END'\n{lines}END\n{}", deploy[2]), "");
    let objects = cluster.objects();
    assert_eq!(objects.get("ServiceMonitor", "boxgate")["metadata"]["namespace"], "boxgate");
    // The scrape configuration that the page shows finds the Service and its port by these names.
    let service = objects.get("Service", "boxgate-admin");
    let found = format!(
        "regex: {};{}",
        text(service, "/metadata/name"),
        text(&list(service, "/spec/ports")[0], "/name")
    );
    assert!(metrics.contains(&found), "{found}");
}

/// The page's way to replace pods where a file changes: the ConfigMap that they mount has a name for each content.
#[test]
fn the_guides_way_to_replace_pods_gives_each_file_a_name() {
    let at = FakeBox::start();
    let mut cluster = Cluster::new(&at);
    let page = page("kubernetes.md");
    cluster.run(&filled(&page, "Deploy", &at)[0], "");
    let (_, change) = page.split_once("\n## Change the configuration\n").unwrap();
    let lines = change.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let own = cluster.work().join("mine/kustomization.yaml");
    let kustomization = std::fs::read_to_string(&own).unwrap();
    let (before, _) = kustomization.split_once("configMapGenerator:").unwrap();
    std::fs::write(&own, format!("{before}{lines}")).unwrap();
    let mounted = || {
        let objects = render(&cluster.work().join("mine"));
        let (template, container) = objects.gateway();
        assert_eq!(list(container, "/volumeMounts").len(), list(template, "/spec/volumes").len());
        let volume =
            list(template, "/spec/volumes").iter().find(|volume| volume["name"] == "config").unwrap();
        let name = text(volume, "/configMap/name").to_owned();
        assert!(text(objects.get("ConfigMap", &name), "/data/proxy.toml").contains("[listen]"));
        name
    };
    let first = mounted();
    let file = cluster.work().join("mine/proxy.toml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + "# changed\n").unwrap();
    assert_ne!(mounted(), first);
}

#[test]
fn the_guide_for_a_sidecar_works_from_a_clean_folder() {
    let at = FakeBox::start();
    let mut cluster = Cluster::new(&at);
    let page = page("sidecar.md");
    follow(&mut cluster, &at, &page, "Add it to an app");
    assert_eq!(text(cluster.objects().gateway().1, "/image"), this_version());
    let said = follow(&mut cluster, &at, &page, "Look at it").concat();
    assert!(said.contains("boxgate listens") && said.contains("nothing failed, "), "{said}");
    // Beside a running gateway its addresses are taken; there is no other warning.
    let warned: Vec<&str> = said.lines().filter(|line| line.contains(" warning ")).collect();
    assert!(!warned.is_empty() && warned.iter().all(|line| line.contains("in use")), "{warned:#?}");
    let pod = cluster.pod.as_ref().unwrap();
    assert_eq!(pod.call(ME, "").status, 200);
    assert_eq!(pod.program.admin("/requests.json").status, 401, "other containers have no key");
    // The way without native sidecars: the same container, where ordinary ones are.
    let (template, container) = (cluster.objects().gateway().0.clone(), pod.container());
    assert!(container.get("startupProbe").is_some() && container.get("restartPolicy").is_some());
    assert_eq!(list(&template, "/spec/containers").len(), 1, "the app");
}

/// From one replica to several, as the page says, up to where a second replica would come.
#[test]
fn the_guide_for_replicas_works_after_the_one_for_kubernetes() {
    let at = FakeBox::start();
    let mut cluster = Cluster::new(&at);
    let blocks = replicas(&mut cluster, &at);
    let typed = format!("{}\n", at.client_secret());
    // What the reader has changed before stays.
    cluster.run(
        &filled(&page("kubernetes.md"), "Change the configuration", &at)[0].replace("kubectl", "true"),
        "",
    );
    for block in &blocks {
        cluster.run(block, &typed);
    }
    assert!(cluster.objects().proxy_toml().contains("all-of-us"));
    let objects = cluster.objects();
    for (kind, name) in [("StatefulSet", "boxgate-redis"), ("HorizontalPodAutoscaler", "boxgate")] {
        assert_eq!(objects.get(kind, name)["metadata"]["namespace"], "boxgate");
    }
    assert_eq!(text(objects.gateway().1, "/image"), this_version());
    assert!(objects.proxy_toml().contains("\nredis = "));
    let pod = cluster.pod.as_ref().unwrap();
    let note = pod.program.admin("/readyz");
    assert!(note.status == 200 && note.body.contains("edis"), "no Redis answers here: {}", note.body);
}

/// Follows the first guide up to the Secret; the blocks of the second one are left.
fn replicas(cluster: &mut Cluster<'_>, at: &FakeBox) -> Vec<String> {
    let typed = format!("{}\n", at.client_secret());
    let deploy = filled(&page("kubernetes.md"), "Deploy", at);
    for block in &deploy[..2] {
        cluster.run(block, &typed);
    }
    blocks(&page("many-replicas.md"), "On Kubernetes")
}

/// The Secrets as the guides have them created.
pub(super) fn secrets_of_replicas(at: &FakeBox) -> Secrets {
    let mut cluster = Cluster::new(at);
    let blocks = replicas(&mut cluster, at);
    cluster.run(&blocks[0], "");
    Cluster::secrets(&cluster.objects())
}

/// What stands between backticks in the prose and the tables.
#[test]
fn commands_within_sentences_have_their_form() {
    let at = FakeBox::start();
    let mut tried = 0;
    for (name, section) in [("kubernetes.md", "Deploy"), ("sidecar.md", "Add it to an app")] {
        let mut cluster = Cluster::new(&at);
        follow(&mut cluster, &at, &page(name), section);
        let mut pages = page(name);
        if name == "kubernetes.md" {
            pages.push_str(&page("many-replicas.md"));
        }
        let prose: String = pages.split("\n```").step_by(2).collect();
        // Shorter ones name a command and are not one.
        let is_whole = |text: &&str| text.starts_with("kubectl ") && text.split_whitespace().count() > 3;
        for command in prose.split('`').skip(1).step_by(2).filter(is_whole) {
            cluster.run(&command.replace('\n', " "), "");
            tried += 1;
        }
    }
    assert!(tried >= 10, "only {tried}");
}

/// The user that the page makes has the rights that the page about Redis lists, and no other.
#[test]
fn the_redis_user_of_the_guide_has_the_documented_rights() {
    let rights = |text: &str| -> BTreeSet<String> {
        text.split_whitespace()
            .filter(|word| word.starts_with('+') && word.len() > 2)
            .map(str::to_owned)
            .collect()
    };
    let documented = std::fs::read_to_string(super::root().join("docs/replicas.md")).unwrap();
    let (_, listed) = documented.split_once("\nuser boxgate on ").unwrap();
    let listed = listed.split("\nEND\n").next().unwrap();
    let block = &blocks(&page("many-replicas.md"), "On Kubernetes")[0];
    assert!(rights(listed).len() > 15);
    assert_eq!(rights(block), rights(listed));
    for word in ["resetkeys", "~{boxgate:}*", "resetchannels", "-@all"] {
        assert!(block.contains(word) && listed.contains(word), "{word}");
    }
}
