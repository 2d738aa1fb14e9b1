//! What the component for sidecars does to apps.

use super::super::harness::Folder;
use super::objects::{containers, list, text};
use super::{copy, render, rendered, root};

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
    let mut apps = String::new();
    for kind in kinds {
        let (group, spec, restart) = match kind {
            "Job" => ("batch", "", "restartPolicy: Never, "),
            "StatefulSet" => ("apps", "serviceName: a, selector: {matchLabels: {app: a}}, ", ""),
            _ => ("apps", "selector: {matchLabels: {app: a}}, ", ""),
        };
        let template = format!("template: {{metadata: {{labels: {{app: a}}}}, spec: {{{restart}{pod}}}}}");
        let name = kind.to_lowercase();
        apps.push_str(&format!(
            "---\napiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: {name}, {labels}}}\nspec: {{{spec}{template}}}\n"
        ));
    }
    // One without the label.
    let other = apps
        .split("---\n")
        .nth(1)
        .unwrap()
        .replace(labels, "labels: {}")
        .replace("name: deployment", "name: other");
    folder.write("own/apps.yaml", &format!("{apps}---\n{other}"));
    folder.write(
        "own/kustomization.yaml",
        "resources: [apps.yaml]\ncomponents: [../boxgate/components/sidecar]\n\
         configMapGenerator: [{name: boxgate-sidecar, literals: [proxy.toml=any]}]\n",
    );
    let objects = render(&folder.join("own"));
    for kind in kinds {
        let template = &objects.get(kind, &kind.to_lowercase())["spec"]["template"];
        let names: Vec<&str> = containers(template).map(|one| text(one, "/name")).collect();
        assert_eq!(names, ["boxgate", "before", "app"], "{kind}");
        let mounted = list(template, "/spec/volumes")[0]["configMap"]["name"].as_str().unwrap();
        objects.get("ConfigMap", mounted);
    }
    let other = &objects.get("Deployment", "other")["spec"]["template"];
    assert_eq!(containers(other).count(), 2, "it has no label");
}
