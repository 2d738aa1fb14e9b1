//! Rendered objects, and where things are in them.

use serde_json::Value;

/// What one Kustomization renders to.
pub(super) struct Objects(pub(super) Vec<Value>);

/// The text at a JSON pointer, empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of a list at a JSON pointer, none where there is no such list.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether labels have all of these; an empty selector selects everything.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    assert!(selector.get("matchExpressions").is_none(), "this test reads matchLabels only");
    wanted.is_none_or(|wanted| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)))
}

impl Objects {
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    pub(super) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.of_kind(kind).find(|object| object["metadata"]["name"] == name)
    }

    pub(super) fn get(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Everything that makes pods, with the pods' template.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let makes_pods = |object: &&Value| object.pointer("/spec/template/spec/containers").is_some();
        self.0.iter().filter(makes_pods).map(|object| (object, &object["spec"]["template"]))
    }

    /// The pods' template that runs boxgate, with boxgate's container.
    pub(super) fn gateway(&self) -> (&Value, &Value) {
        let mut found = self.templates().flat_map(|(_, template)| {
            containers(template).filter(|one| one["name"] == "boxgate").map(move |one| (template, one))
        });
        let gateway = found.next().expect("a container is named boxgate");
        assert!(found.next().is_none(), "only one is");
        gateway
    }

    /// The `proxy.toml` that boxgate's container gets.
    pub(super) fn proxy_toml(&self) -> &str {
        let (template, _) = self.gateway();
        let volumes = list(template, "/spec/volumes");
        let name = volumes.iter().find_map(|volume| volume.pointer("/configMap/name")).unwrap();
        text(self.get("ConfigMap", name.as_str().unwrap()), "/data/proxy.toml")
    }
}

/// All containers of a pod, those that start first included.
pub(super) fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    list(template, "/spec/initContainers").iter().chain(list(template, "/spec/containers"))
}

/// A duration of `proxy.toml` in seconds; the configuration has been accepted, so it is well formed.
pub(super) fn seconds(duration: &str) -> u64 {
    let (number, unit) = duration.split_at(duration.find(|c: char| !c.is_ascii_digit()).unwrap());
    let number: u64 = number.parse().unwrap();
    match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        _ => panic!("{duration}"),
    }
}
