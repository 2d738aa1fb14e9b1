//! Every pod meets the Pod Security Standard *restricted*.

use serde_json::{Value, json};

use super::objects::{containers, list, text};
use super::rendered;
use super::rules::each;

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
