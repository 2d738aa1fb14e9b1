//! Who reaches whom under the NetworkPolicies, as Kubernetes defines them: a pod that no policy of a direction selects is open
//! in that direction; any other one has what its policies list, added up.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::objects::{Objects, list, selects, text};
use super::rendered;
use super::rules::port_number;

/// One end of a connection.
enum Peer {
    Pod { namespace: Value, labels: Value },
    Address(IpAddr),
}

impl Peer {
    fn pod(namespace: &str, labels: Value) -> Self {
        Self::Pod { namespace: json!({ "kubernetes.io/metadata.name": namespace }), labels }
    }

    fn at(address: &str) -> Self {
        Self::Address(address.parse().unwrap())
    }
}

/// Whether one entry of `from` or `to` means this peer. `own`: the labels of the policy's namespace.
fn means(entry: &Value, peer: &Peer, own: &Value) -> bool {
    match peer {
        Peer::Address(address) => entry.get("ipBlock").is_some_and(|block| {
            let within = |cidr: &Value| cidr.as_str().unwrap().parse::<IpNet>().unwrap().contains(address);
            within(&block["cidr"]) && !list(block, "/except").iter().any(within)
        }),
        Peer::Pod { namespace, labels } => {
            let namespace_fits = match entry.get("namespaceSelector") {
                Some(selector) => selects(selector, namespace),
                None => entry.get("podSelector").is_some() && namespace == own,
            };
            namespace_fits && entry.get("podSelector").is_none_or(|selector| selects(selector, labels))
        }
    }
}

/// Whether the pods of this owner may be reached from (`ingress`) or may reach (`egress`) the peer. `listening`: the template of
/// the pod that listens, which has the names of ports.
fn may(
    objects: &Objects,
    owner: &str,
    direction: &str,
    peer: &Peer,
    listening: &Value,
    protocol: &str,
    port: u64,
) -> bool {
    let (_, template) = objects.templates().find(|(object, _)| object["metadata"]["name"] == owner).unwrap();
    let (kind, side) = if direction == "ingress" { ("Ingress", "/from") } else { ("Egress", "/to") };
    let policies: Vec<&Value> = objects
        .of_kind("NetworkPolicy")
        .filter(|policy| selects(&policy["spec"]["podSelector"], &template["metadata"]["labels"]))
        .filter(|policy| list(policy, "/spec/policyTypes").contains(&json!(kind)))
        .collect();
    assert!(!policies.is_empty(), "no policy selects {owner}, so everything is open");
    policies.iter().any(|policy| {
        let own = json!({ "kubernetes.io/metadata.name": text(policy, "/metadata/namespace") });
        list(policy, &format!("/spec/{direction}")).iter().any(|rule| {
            let entries = list(rule, side);
            let fits = list(rule, "/ports").iter().any(|allowed| {
                let number = allowed["port"].as_u64().or_else(|| port_number(listening, &allowed["port"]));
                allowed["protocol"] == protocol && number == Some(port)
            });
            assert!(!entries.is_empty() && !list(rule, "/ports").is_empty(), "{rule} would allow all");
            fits && entries.iter().any(|entry| means(entry, peer, &own))
        })
    })
}

fn reaches(objects: &Objects, peer: &Peer, port: u64) -> bool {
    let (template, _) = objects.gateway();
    may(objects, "boxgate", "ingress", peer, template, "TCP", port)
}

fn reached(objects: &Objects, peer: &Peer, protocol: &str, port: u64) -> bool {
    // Named ports of egress rules are those of the pods that are reached: Redis.
    let listening = objects.templates().find(|(owner, _)| owner["metadata"]["name"] == "boxgate-redis");
    let none = json!({});
    may(objects, "boxgate", "egress", peer, listening.map_or(&none, |(_, template)| template), protocol, port)
}

#[test]
fn callers_are_pods_with_the_label() {
    for name in ["plain", "replicas"] {
        let objects = rendered(name);
        let labelled = || json!({ "boxgate-caller": "true", "app": "any" });
        assert!(reaches(objects, &Peer::pod("boxgate", labelled()), 8080));
        let elsewhere = Peer::Pod { namespace: json!({ "boxgate-callers": "allowed" }), labels: labelled() };
        assert!(reaches(objects, &elsewhere, 8080), "an administrator has allowed its namespace");
        for peer in [
            Peer::pod("boxgate", json!({ "app": "any" })),
            Peer::pod("another", labelled()),
            Peer::Pod { namespace: json!({ "boxgate-callers": "allowed" }), labels: json!({ "app": "any" }) },
            Peer::at("203.0.113.9"),
            Peer::at("10.0.0.9"),
        ] {
            assert!(!reaches(objects, &peer, 8080), "{name}");
        }
        assert!(!reaches(objects, &Peer::pod("boxgate", labelled()), 8081), "callers have no business there");
    }
}

#[test]
fn prometheus_alone_reaches_the_admin_port() {
    let prometheus = || json!({ "app.kubernetes.io/name": "prometheus" });
    for name in ["plain", "replicas"] {
        let objects = rendered(name);
        assert!(reaches(objects, &Peer::pod("monitoring", prometheus()), 8081));
        assert!(!reaches(objects, &Peer::pod("another", prometheus()), 8081));
        assert!(!reaches(objects, &Peer::pod("monitoring", json!({})), 8081));
        assert!(!reaches(objects, &Peer::pod("monitoring", prometheus()), 8080));
    }
}

#[test]
fn boxgate_reaches_box_and_names_and_nothing_private() {
    let dns = Peer::pod("kube-system", json!({ "k8s-app": "kube-dns" }));
    for name in ["plain", "replicas"] {
        let objects = rendered(name);
        for address in ["74.112.186.128", "103.116.4.197", "2620:117:bff0::1"] {
            assert!(reached(objects, &Peer::at(address), "TCP", 443), "{address}");
            assert!(!reached(objects, &Peer::at(address), "TCP", 80), "{address}");
        }
        // Among them the metadata service of clouds, and the API of the cluster.
        for address in [
            "10.96.0.1",
            "172.20.0.1",
            "192.168.1.1",
            "100.64.1.1",
            "169.254.169.254",
            "127.0.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(!reached(objects, &Peer::at(address), "TCP", 443), "{address}");
        }
        for protocol in ["UDP", "TCP"] {
            assert!(reached(objects, &dns, protocol, 53));
            assert!(reached(objects, &Peer::at("169.254.20.10"), protocol, 53), "the cache on each node");
        }
        assert!(!reached(objects, &Peer::pod("another", json!({ "k8s-app": "kube-dns" })), "UDP", 53));
        assert!(!reached(objects, &Peer::pod("boxgate", json!({})), "TCP", 443));
    }
}

#[test]
fn redis_takes_connections_of_boxgate_alone_and_makes_none() {
    let objects = rendered("replicas");
    let redis = || Peer::pod("boxgate", json!({ "app.kubernetes.io/name": "boxgate-redis" }));
    let boxgate = Peer::pod("boxgate", json!({ "app.kubernetes.io/name": "boxgate" }));
    let (_, template) =
        objects.templates().find(|(owner, _)| owner["metadata"]["name"] == "boxgate-redis").unwrap();
    let to_redis = |peer: &Peer| may(objects, "boxgate-redis", "ingress", peer, template, "TCP", 6379);
    assert!(to_redis(&boxgate));
    assert!(!to_redis(&Peer::pod("another", json!({ "app.kubernetes.io/name": "boxgate" }))));
    assert!(!to_redis(&Peer::pod("boxgate", json!({ "boxgate-caller": "true" }))));
    assert!(reached(objects, &redis(), "TCP", 6379));
    assert!(!reached(objects, &Peer::at("10.0.0.9"), "TCP", 6379), "a Redis elsewhere is added by hand");
    for peer in [boxgate, Peer::at("203.0.113.9")] {
        assert!(!may(objects, "boxgate-redis", "egress", &peer, template, "TCP", 443));
    }
}
