//! What must hold for every object: what one says of another is so, and what reviewers of manifests ask for.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::objects::{Objects, containers, list, seconds, selects, text};
use super::{RENDERED, check_monitors, rendered};

/// What delays the end of a process besides `drain_delay` and `drain_timeout`, at most: a reader of the log, a disk.
const REST_OF_THE_END: u64 = 15;

/// Runs a check on every rendered Kustomization, with its name for messages.
pub(super) fn each(check: impl Fn(&str, &Objects)) {
    assert_eq!(RENDERED.len(), 5);
    for (name, objects) in RENDERED.iter() {
        check(name, objects);
    }
}

/// Rendering checks each object against the schemas of two versions, so this is about the check itself.
#[test]
fn schemas_refuse_what_is_misspelt() {
    let monitor = rendered("plain with a volume").get("ServiceMonitor", "boxgate").clone();
    check_monitors(&[&monitor]).unwrap();
    let mut unknown = monitor.clone();
    unknown["spec"]["endpoints"][0]["scrapeTimeuot"] = json!("10s");
    let mut mistyped = monitor.clone();
    mistyped["spec"]["endpoints"][0]["interval"] = json!(30);
    for (wrong, why) in [(&unknown, "scrapeTimeuot"), (&mistyped, "interval must be string")] {
        let said = check_monitors(&[wrong]).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let policy =
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {maxUnavailble: 1}\n";
    let refused = std::panic::catch_unwind(|| super::read(policy.as_bytes()));
    assert!(refused.is_err(), "an unknown field passes");
}

/// What reviewers ask for besides: kube-score, kube-linter and the like.
#[test]
fn every_container_of_ours_is_bounded_and_cannot_write_its_image() {
    each(|name, objects| {
        for (owner, template) in objects.templates().filter(|(owner, _)| owner["metadata"]["name"] != "app") {
            for container in containers(template) {
                let what = format!("{name}: {} {}", owner["metadata"]["name"], container["name"]);
                assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{what}");
                for (of, kinds) in [("requests", 3), ("limits", 3)] {
                    let bounded = container["resources"][of].as_object().unwrap();
                    assert_eq!(bounded.len(), kinds, "{what}: {of} of cpu, memory, ephemeral-storage");
                }
                let image = text(container, "/image");
                let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{what}: {image} has no tag"));
                assert!(!tag.is_empty() && tag != "latest", "{what}: {image}");
                assert!(container.get("livenessProbe").is_some(), "{what}: a livenessProbe");
                assert!(
                    container.get("env").is_none(),
                    "{what}: secrets are files, and nothing else is needed"
                );
            }
            if owner["metadata"]["name"] != "app" {
                assert_eq!(template["spec"]["automountServiceAccountToken"], false, "{name}");
                assert_eq!(
                    template["spec"]["enableServiceLinks"], false,
                    "{name}: BOXGATE_PORT and the like"
                );
                let account = text(template, "/spec/serviceAccountName");
                assert_eq!(objects.get("ServiceAccount", account)["automountServiceAccountToken"], false);
            }
        }
    });
}

/// The kubelet gives the files of a Secret to root, and to the group `fsGroup`, or to group 0 without one.
#[test]
fn files_of_secrets_are_for_the_group_of_their_container_alone() {
    let mounted = std::cell::Cell::new(0);
    each(|_, objects| {
        for (_, template) in objects.templates() {
            let secrets =
                list(template, "/spec/volumes").iter().filter(|volume| volume.get("secret").is_some());
            for volume in secrets {
                let mode = volume["secret"]["defaultMode"].as_u64().unwrap_or(0o644);
                assert_eq!(mode & 0o777, 0o440, "{volume}: {mode:o}");
                let group = template.pointer("/spec/securityContext/fsGroup");
                for container in containers(template) {
                    let has_it =
                        list(container, "/volumeMounts").iter().any(|one| one["name"] == volume["name"]);
                    let own = container.pointer("/securityContext/runAsGroup");
                    assert!(!has_it || group.is_some() || own == Some(&json!(0)), "{container}");
                    mounted.set(mounted.get() + usize::from(has_it));
                }
            }
        }
    });
    assert!(mounted.get() >= 5, "{mounted:?}");
}

/// An object without one would go into whatever namespace a user's kubectl has chosen.
#[test]
fn all_objects_are_in_one_namespace() {
    each(|name, objects| {
        let own = if name == "sidecar" { "app" } else { "boxgate" };
        for object in &objects.0 {
            assert_eq!(
                object["metadata"]["namespace"], own,
                "{name}: {} {}",
                object["kind"], object["metadata"]["name"]
            );
        }
    });
}

/// Behind a Service the program listens on the pod's address, at the ports that the container names.
#[test]
fn listeners_are_where_services_and_probes_look_for_them() {
    for name in ["plain", "replicas"] {
        let objects = rendered(name);
        let table: toml::Table = objects.proxy_toml().parse().unwrap();
        for (listener, port) in [("listen", "http"), ("admin", "admin")] {
            let number = port_number(objects.gateway().0, &json!(port)).unwrap();
            assert_eq!(table[listener]["address"].as_str().unwrap(), format!("0.0.0.0:{number}"), "{name}");
        }
    }
}

/// The image that deploy/kubernetes names is that of this version.
#[test]
fn the_image_has_this_version() {
    each(|name, objects| {
        let image = text(objects.gateway().1, "/image");
        assert_eq!(image, format!("boxgate:{}", env!("CARGO_PKG_VERSION")), "{name}");
    });
}

#[test]
fn selectors_find_pods_and_ports_have_names() {
    each(|name, objects| {
        let pods: Vec<&Value> = objects.templates().map(|(_, template)| template).collect();
        let labels = |template: &Value| template["metadata"]["labels"].clone();
        for (owner, template) in objects.templates() {
            assert!(
                selects(&owner["spec"]["selector"], &labels(template)),
                "{name}: {}",
                owner["metadata"]["name"]
            );
            for spread in list(template, "/spec/topologySpreadConstraints") {
                assert!(selects(&spread["labelSelector"], &labels(template)), "{name}: {spread}");
            }
            check_names_within(name, template);
        }
        for service in objects.of_kind("Service") {
            let selector = json!({ "matchLabels": service["spec"]["selector"] });
            let found: Vec<_> = pods.iter().filter(|pod| selects(&selector, &labels(pod))).collect();
            assert_eq!(found.len(), 1, "{name}: {}", service["metadata"]["name"]);
            for port in list(service, "/spec/ports") {
                assert!(port_number(found[0], &port["targetPort"]).is_some(), "{name}: {port}");
            }
        }
        for budget in objects.of_kind("PodDisruptionBudget") {
            let found = pods.iter().filter(|pod| selects(&budget["spec"]["selector"], &labels(pod))).count();
            assert_eq!(found, 1, "{name}: PodDisruptionBudget");
        }
        for monitor in objects.of_kind("ServiceMonitor") {
            let found: Vec<&Value> = objects
                .of_kind("Service")
                .filter(|service| selects(&monitor["spec"]["selector"], &service["metadata"]["labels"]))
                .collect();
            assert_eq!(found.len(), 1, "{name}: one Service");
            assert_eq!(found[0]["metadata"]["labels"]["app.kubernetes.io/name"], "boxgate", "jobLabel");
            for endpoint in list(monitor, "/spec/endpoints") {
                let has = list(found[0], "/spec/ports").iter().any(|port| port["name"] == endpoint["port"]);
                assert!(has, "{name}: {endpoint}");
            }
        }
        for scaler in objects.of_kind("HorizontalPodAutoscaler") {
            let target = &scaler["spec"]["scaleTargetRef"];
            let found = objects.get(text(target, "/kind"), text(target, "/name"));
            assert_eq!(found["apiVersion"], target["apiVersion"]);
            assert!(found["spec"].get("replicas").is_none(), "{name}: an apply would set the number back");
        }
    });
}

/// The number of a port that is named or written, if the pod has it.
pub(super) fn port_number(template: &Value, port: &Value) -> Option<u64> {
    let of = |container: &Value| {
        let ports = list(container, "/ports").iter();
        let found = ports.filter(|own| own["name"] == *port || own["containerPort"] == *port);
        found.map(|own| own["containerPort"].as_u64().unwrap()).next()
    };
    containers(template).find_map(of)
}

/// Probes name ports that exist; mounts name volumes; nothing is mounted by itself, since the kubelet never updates that.
fn check_names_within(name: &str, template: &Value) {
    let volumes: BTreeSet<&str> =
        list(template, "/spec/volumes").iter().map(|one| text(one, "/name")).collect();
    let claims = "data"; // of the StatefulSet
    for container in containers(template) {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            for kind in ["httpGet", "tcpSocket"] {
                if let Some(port) = container[probe].pointer(&format!("/{kind}/port")) {
                    assert!(port_number(template, port).is_some(), "{name}: {probe}: {port}");
                }
            }
        }
        for mount in list(container, "/volumeMounts") {
            let volume = text(mount, "/name");
            assert!(volumes.contains(volume) || volume == claims, "{name}: {mount}");
            assert!(mount.get("subPath").is_none(), "{name}: {mount}");
        }
    }
}

#[test]
fn every_config_map_that_is_mounted_is_there_and_secrets_are_left_to_the_user() {
    each(|name, objects| {
        assert_eq!(objects.of_kind("Secret").count(), 0, "{name}: no secret is in a file");
        for (_, template) in objects.templates() {
            for volume in list(template, "/spec/volumes") {
                if let Some(config) = volume.pointer("/configMap/name") {
                    objects.get("ConfigMap", config.as_str().unwrap());
                }
                if let Some(secret) = volume.get("secret") {
                    assert!(
                        secret.get("optional").is_none(),
                        "{name}: a pod without its secrets must not start"
                    );
                }
                if let Some(claim) = volume.pointer("/persistentVolumeClaim/claimName") {
                    objects.get("PersistentVolumeClaim", claim.as_str().unwrap());
                    // Two gateways cannot open one state folder.
                    assert_eq!(
                        objects.get("Deployment", "boxgate")["spec"]["strategy"],
                        json!({"type": "Recreate"})
                    );
                }
            }
        }
    });
}

/// A pod has the time that its `proxy.toml` gives to requests, and the rest of its end.
#[test]
fn a_pod_may_take_as_long_as_its_drain() {
    each(|name, objects| {
        let table: toml::Table = objects.proxy_toml().parse().unwrap();
        let key = |key: &str| seconds(table["server"][key].as_str().unwrap());
        let (template, container) = objects.gateway();
        // 30 s where the pod says nothing: the sidecar's pod is the app's.
        let grace =
            template.pointer("/spec/terminationGracePeriodSeconds").map_or(30, |own| own.as_u64().unwrap());
        let needed = key("drain_delay") + key("drain_timeout") + REST_OF_THE_END;
        assert!(grace >= needed, "{name}: {grace} s, but {needed} s are needed");
        let is_sidecar = container["restartPolicy"] == "Always";
        // Once the app has ended nobody calls; a pod behind a Service gets connections for some seconds.
        assert_eq!(key("drain_delay") == 0, is_sidecar, "{name}");
        if let Some(probe) = container.get("readinessProbe") {
            let noticed =
                probe["periodSeconds"].as_u64().unwrap() * probe["failureThreshold"].as_u64().unwrap();
            assert!(
                key("drain_delay") >= noticed,
                "{name}: balancers that look at readiness need {noticed} s"
            );
        }
    });
}

/// An eviction is allowed at every number of replicas that the overlays use.
#[test]
fn a_node_can_be_drained() {
    each(|name, objects| {
        for budget in objects.of_kind("PodDisruptionBudget") {
            let may_go = budget["spec"]["maxUnavailable"].as_u64().unwrap();
            let deployment = objects.get("Deployment", "boxgate");
            let fewest = match objects.find("HorizontalPodAutoscaler", "boxgate") {
                Some(scaler) => scaler["spec"]["minReplicas"].as_u64().unwrap(),
                None => deployment["spec"]["replicas"].as_u64().unwrap(),
            };
            assert!(may_go >= 1 && fewest >= 1, "{name}");
            // With more than one, some stay.
            assert!(fewest == 1 || may_go < fewest, "{name}");
        }
    });
    assert!(rendered("plain").find("PodDisruptionBudget", "boxgate").is_some());
}

/// Whoever can list pods must not reach the admin listener by a balanced address, and a Service for callers has no admin port.
#[test]
fn the_admin_port_is_not_for_callers() {
    for name in ["plain", "replicas"] {
        let objects = rendered(name);
        let ports = list(objects.get("Service", "boxgate"), "/spec/ports");
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0]["targetPort"], "http");
        assert_eq!(objects.get("Service", "boxgate-admin")["spec"]["clusterIP"], "None");
        for service in objects.of_kind("Service") {
            assert_eq!(service["spec"]["type"], "ClusterIP", "nothing is open beyond the cluster");
        }
        let table: toml::Table = objects.proxy_toml().parse().unwrap();
        assert!(table["admin"].get("key").is_some(), "{name}: more than probes and metrics needs a key");
        for app in table["app"].as_array().unwrap() {
            assert!(app.get("key").is_some(), "{name}: callers show a key");
        }
    }
}

/// `hosts` are the names that the cluster's DNS has for the Service.
#[test]
fn callers_may_use_every_name_of_the_service() {
    for name in ["plain", "replicas"] {
        let objects = rendered(name);
        let service = objects.get("Service", "boxgate");
        let (own, namespace) = (text(service, "/metadata/name"), text(service, "/metadata/namespace"));
        let names = [
            "",
            &format!(".{namespace}"),
            &format!(".{namespace}.svc"),
            &format!(".{namespace}.svc.cluster.local"),
        ]
        .map(|rest| format!("{own}{rest}"));
        let table: toml::Table = objects.proxy_toml().parse().unwrap();
        let hosts: Vec<&str> =
            table["listen"]["hosts"].as_array().unwrap().iter().map(|host| host.as_str().unwrap()).collect();
        assert_eq!(hosts, names);
    }
}

/// Replicas differ from one in what they share, and in nothing else.
#[test]
fn the_configuration_of_replicas_is_the_same_with_redis() {
    let without_redis: Vec<&str> =
        rendered("replicas").proxy_toml().lines().filter(|line| !line.starts_with("redis = ")).collect();
    let table = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(table(&without_redis.join("\n")), table(rendered("plain").proxy_toml()));
    assert!(rendered("replicas").proxy_toml().contains("\nredis = "));
}

/// Annotations lead to the port and the path that the ServiceMonitor has.
#[test]
fn annotations_and_the_service_monitor_lead_to_the_same_metrics() {
    let objects = rendered("replicas with annotations");
    let (template, _) = objects.gateway();
    let annotations = &template["metadata"]["annotations"];
    let endpoint = &objects.get("ServiceMonitor", "boxgate")["spec"]["endpoints"][0];
    let port = port_number(template, &endpoint["port"]).unwrap();
    assert_eq!(annotations["prometheus.io/port"], port.to_string());
    assert_eq!(annotations["prometheus.io/path"], endpoint["path"]);
    assert_eq!(annotations["prometheus.io/scrape"], "true");
}
