//! What must hold for every object, whoever reads it: the Pod Security Standard *restricted*, and that what one object says of
//! another is so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::harness::Folder;
use super::objects::{Objects, containers, list, seconds, selects, text};
use super::{RENDERED, check_monitors, copy, render, rendered, root};

/// What delays the end of a process besides `drain_delay` and `drain_timeout`, at most: a reader of the log, a disk.
const REST_OF_THE_END: u64 = 15;

/// Runs a check on every rendered Kustomization, with its name for messages.
fn each(check: impl Fn(&str, &Objects)) {
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

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>, "Restricted", control by control.
fn violations(template: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let pod = &template["spec"];
    let mut check = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        check(pod.get(host).is_none_or(|on| on == false), host.to_owned());
    }
    check(pod.pointer("/securityContext/sysctls").is_none(), "sysctls".to_owned());
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in list(pod, "/volumes") {
        let kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        check(kinds.clone().all(|kind| allowed.contains(&kind.as_str())), format!("volume {volume}"));
        assert_eq!(kinds.count(), 1, "{volume}");
    }
    for container in containers(template) {
        let name = text(container, "/name");
        // A container's own value comes before the pod's.
        let context = |key: &str| {
            container
                .pointer(&format!("/securityContext{key}"))
                .or(pod.pointer(&format!("/securityContext{key}")))
        };
        let is = |key: &str, value: &Value| context(key) == Some(value);
        check(is("/allowPrivilegeEscalation", &json!(false)), format!("{name}: allowPrivilegeEscalation"));
        check(!is("/privileged", &json!(true)), format!("{name}: privileged"));
        check(is("/runAsNonRoot", &json!(true)), format!("{name}: runAsNonRoot"));
        check(context("/runAsUser").is_none_or(|user| user != 0), format!("{name}: runAsUser"));
        let profile = context("/seccompProfile/type").and_then(Value::as_str).unwrap_or_default();
        check(
            ["RuntimeDefault", "Localhost"].contains(&profile),
            format!("{name}: seccompProfile {profile}"),
        );
        let dropped = list(container, "/securityContext/capabilities/drop");
        check(dropped.contains(&json!("ALL")), format!("{name}: capabilities.drop {dropped:?}"));
        let added = list(container, "/securityContext/capabilities/add");
        check(
            added.iter().all(|one| one == "NET_BIND_SERVICE"),
            format!("{name}: capabilities.add {added:?}"),
        );
        for key in ["/procMount", "/seLinuxOptions", "/windowsOptions", "/appArmorProfile"] {
            check(context(key).is_none(), format!("{name}: {key}"));
        }
        let host_ports = list(container, "/ports").iter().any(|port| port.get("hostPort").is_some());
        check(!host_ports, format!("{name}: hostPort"));
    }
    found
}

#[test]
fn every_pod_is_restricted() {
    each(|name, objects| {
        for (owner, template) in objects.templates() {
            let found = violations(template);
            assert!(found.is_empty(), "{name}: {}: {found:?}", owner["metadata"]["name"]);
        }
    });
}

#[test]
fn the_check_of_restricted_pods_finds_violations() {
    let whole = &rendered("plain").gateway().0;
    for (pointer, value, why) in [
        ("/spec/hostNetwork", json!(true), "hostNetwork"),
        ("/spec/securityContext/runAsUser", json!(0), "runAsUser"),
        ("/spec/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("/spec/securityContext/seccompProfile/type", json!("Unconfined"), "seccompProfile"),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true), "Escalation"),
        ("/spec/containers/0/securityContext/capabilities/drop", json!(["NET_RAW"]), "drop"),
        ("/spec/volumes/0", json!({"name": "config", "hostPath": {"path": "/etc"}}), "volume"),
    ] {
        let mut template = (*whole).clone();
        if let Some(found) = template.pointer_mut(pointer) {
            *found = value;
        } else {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            template.pointer_mut(parent).unwrap()[key] = value;
        }
        let found = violations(&template);
        assert!(found.len() == 1 && found[0].contains(why), "{pointer}: {found:?}");
    }
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

/// The app's own start comes after the sidecar's: its first container is boxgate.
#[test]
fn the_sidecar_starts_first_and_joins_only_apps_with_its_label() {
    let objects = rendered("sidecar");
    let (template, container) = objects.gateway();
    assert_eq!(list(template, "/spec/initContainers")[0]["name"], "boxgate");
    assert_eq!(container["restartPolicy"], "Always");
    assert_eq!(objects.get("Deployment", "app")["metadata"]["labels"]["boxgate-sidecar"], "true");
    let table: toml::Table = objects.proxy_toml().parse().unwrap();
    for listener in ["listen", "admin"] {
        let address = table[listener]["address"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{listener}: {address}");
        assert_eq!(table[listener]["sources"], toml::Value::Array(vec!["loopback".into()]));
        // Nor a port that the app is likely to have.
        let port = address.rsplit_once(':').unwrap().1;
        assert!(port.parse::<u16>().unwrap() > 10_000, "{address}");
    }
    assert!(container.get("ports").is_none(), "nothing listens on the pod's address");
    let variables = list(template, "/spec/containers/0/env");
    assert_eq!(variables[0]["value"], format!("http://{}", table["listen"]["address"].as_str().unwrap()));
}

/// With the app's containers that start first after it, and in whatever makes pods.
#[test]
fn the_sidecar_joins_whatever_makes_pods() {
    let folder = Folder::new();
    copy(&root().join("deploy/kubernetes"), &folder.join("boxgate"));
    std::fs::create_dir(folder.join("own")).unwrap();
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "Job"];
    let labels = "labels: {boxgate-sidecar: \"true\"}";
    let pod = "initContainers: [{name: before, image: \"a:1\"}], containers: [{name: app, image: \"a:1\"}]";
    let mut text = String::new();
    for kind in kinds {
        let (group, spec, restart) = match kind {
            "Job" => ("batch", "", "restartPolicy: Never, "),
            "StatefulSet" => ("apps", "serviceName: a, selector: {matchLabels: {app: a}}, ", ""),
            _ => ("apps", "selector: {matchLabels: {app: a}}, ", ""),
        };
        let template = format!("template: {{metadata: {{labels: {{app: a}}}}, spec: {{{restart}{pod}}}}}");
        let name = kind.to_lowercase();
        text.push_str(&format!(
            "---\napiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: {name}, {labels}}}\nspec: {{{spec}{template}}}\n"
        ));
    }
    // One without the label.
    let other = text
        .split("---\n")
        .nth(1)
        .unwrap()
        .replace(&labels, "labels: {}")
        .replace("name: deployment", "name: other");
    folder.write("own/apps.yaml", &format!("{text}---\n{other}"));
    folder.write(
        "own/kustomization.yaml",
        "resources: [apps.yaml]\ncomponents: [../boxgate/components/sidecar]\n\
         configMapGenerator: [{name: boxgate-sidecar, literals: [proxy.toml=any]}]\n",
    );
    let objects = render(&folder.join("own"));
    for kind in kinds {
        let template = &objects.get(kind, &kind.to_lowercase())["spec"]["template"];
        let names: Vec<&str> = containers(template).map(|one| super::objects::text(one, "/name")).collect();
        assert_eq!(names, ["boxgate", "before", "app"], "{kind}");
        let mounted = list(template, "/spec/volumes")[0]["configMap"]["name"].as_str().unwrap();
        objects.get("ConfigMap", mounted);
    }
    let other = &objects.get("Deployment", "other")["spec"]["template"];
    assert_eq!(containers(other).count(), 2, "it has no label");
}
