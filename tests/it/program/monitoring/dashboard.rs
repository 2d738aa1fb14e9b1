//! The dashboard: every query of it is asked of a real Prometheus that scrapes a real gateway, and its form is one that Grafana
//! reads. No Grafana runs here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use boxgate::sandbox::Fault;
use serde_json::Value;

use super::super::certificates::Authority;
use super::super::client::request;
use super::super::harness::{FakeBox, Folder, Program, command, until, wait, write_file};
use super::prometheus::{Prometheus, at_once};
use super::{RULES, assert_metrics_exist, comes_to_hold, documented_metrics, metrics, text};
use crate::redis::Server;

const DASHBOARD: &str = "deploy/grafana/boxgate.json";
const BOXGATE: &str = env!("CARGO_BIN_EXE_boxgate");
const ME: &str = "/2.0/users/me";

/// Queries that are right to be empty while all is well, by a part of them. A start is in no test; it empties nothing. Nor is an
/// identity with `downscope`.
const MAY_BE_EMPTY: [&str; 2] =
    ["changes(boxgate_process_start_time_seconds", "increase(boxgate_token_exchanges_total"];

fn dashboard() -> Value {
    serde_json::from_str(&text(DASHBOARD)).unwrap()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a Vec<Value> {
    value.pointer(path).and_then(Value::as_array).unwrap_or_else(|| panic!("no list at {path}"))
}

/// Every query with where it stands. Variables of Grafana have the values that it would give them.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = list(dashboard, "/panels").iter().filter(|panel| panel["type"] != "row");
    let of_panels = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        list(panel, "/targets").iter().map(move |target| (title.clone(), target["expr"].clone()))
    });
    let annotations = list(dashboard, "/annotations/list").iter();
    let of_annotations = annotations.map(|one| (format!("annotation {}", one["name"]), one["expr"].clone()));
    of_panels.chain(of_annotations).map(|(at, query)| (at, filled_in(query.as_str().unwrap()))).collect()
}

/// Two samples are within the interval, as Grafana sees to.
fn filled_in(query: &str) -> String {
    let filled = [("$__rate_interval", "1m"), ("$job", "boxgate"), ("$instance", ".*"), ("$app", ".*")]
        .iter()
        .fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!filled.contains('$'), "a variable that this test does not know: {query}");
    filled
}

/// A series without a number says nothing.
fn has_number(series: &Value) -> bool {
    let value = series.pointer("/value/1").or_else(|| series.get(1));
    value.and_then(Value::as_str).is_some_and(|text| text != "NaN")
}

/// A gateway that has everything that the dashboard shows.
fn gateway(at: &FakeBox, redis: &str) -> Program {
    let folder = Folder::new();
    let made = Authority::new("Box's hosts").box_hosts();
    folder.write("hosts.crt", &made.cert);
    folder.write("hosts.key", &made.key);
    let more = format!(
        "[forward_proxy]\ncert = \"hosts.crt\"\nkey = \"hosts.key\"\n\
         [state]\nredis = {redis:?}\n[log]\naudit = \"audit.jsonl\"\n\
         [[limit]]\nname = \"few\"\nkey = \"global\"\nrate = \"1/h\"\nburst = 1\non = [\"GET /2.0/collections\"]\n\
         [[limit]]\nname = \"watched\"\nkey = \"global\"\nrate = \"1/h\"\nburst = 1\nenforce = false\n\
         [[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 1000\n"
    );
    write_file(&folder, at, "address = \"127.0.0.1:0\"", &more);
    let command = command(BOXGATE, &folder);
    Program::spawn(folder, command).ready()
}

/// Traffic of every kind; called again and again, since a rate needs two samples of each series.
fn traffic(at: &FakeBox, program: &Program) {
    let status = |method: &str, path: &str| request(&program.callers, method, path, "").status;
    status("GET", ME);
    // The second one meets the limit.
    status("GET", "/2.0/collections");
    status("GET", "/2.0/collections");
    status("GET", "/2.0/files/404404");
    status("GET", "/nowhere");
    at.script("/2.0/webhooks", vec![Fault::status(500)]);
    status("GET", "/2.0/webhooks");
    // A pause of a second, for searches alone.
    at.script("/2.0/search", vec![Fault::RateLimited { retry_after: 1 }]);
    status("GET", "/2.0/search?query=a");
    upload(program);
}

fn upload(program: &Program) {
    let name = format!("{:016x}", fastrand::u64(..));
    let form = format!("attributes={{\"name\":\"{name}\",\"parent\":{{\"id\":\"0\"}}}}");
    let uploaded = std::process::Command::new("curl")
        .args(["-sf", "-F", &form, "-F", "file=@proxy.toml;filename=a"])
        .arg(format!("http://{}/2.0/files/content", program.callers))
        .current_dir(&*program.folder)
        .output()
        .unwrap();
    assert!(uploaded.status.success(), "{uploaded:?}");
}

#[test]
fn every_query_of_the_dashboard_gives_data() {
    let redis = wait(Server::start());
    let at = FakeBox::start();
    let program = gateway(&at, &redis.url());
    // An alert, so that there is one to show: a reload that is refused, after one that is taken over.
    program.hang_up();
    until("a reload", || program.metric("boxgate_config_reloads_total{result=\"ok\"}") == 1);
    let prometheus = Prometheus::start(&[&program.operators], &at_once(&text(RULES)));
    until("the first scrape", || !prometheus.query("boxgate_ready").is_empty());
    program.folder.write("proxy.toml", "nonsense = 1\n");
    program.hang_up();
    prometheus.fires("BoxgateReloadRefused");
    let mut open: Vec<(String, String)> = queries(&dashboard());
    assert!(open.len() > 50, "{}", open.len());
    let is_excused = |query: &str| MAY_BE_EMPTY.iter().any(|part| query.contains(part));
    let all_give_data = comes_to_hold(|| {
        traffic(&at, &program);
        open.retain(|(_, query)| !prometheus.query(query).iter().any(has_number) && !is_excused(query));
        open.is_empty()
    });
    assert!(all_give_data, "without data: {open:#?}");
    // Excused ones parse all the same.
    queries(&dashboard()).iter().for_each(|(_, query)| drop(prometheus.query(query)));
    for variable in list(&dashboard(), "/templating/list").iter().filter(|one| one["type"] == "query") {
        let query = filled_in(variable["definition"].as_str().unwrap());
        assert_eq!(variable["query"]["query"], variable["definition"]);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (series, label) = inner.rsplit_once(", ").unwrap();
        assert!(!prometheus.label_values(label, series).is_empty(), "{query}");
    }
}

#[test]
fn the_dashboard_names_metrics_that_exist_and_leaves_out_none() {
    let dashboard = dashboard();
    let all: String = queries(&dashboard).into_iter().map(|(_, query)| query + "\n").collect();
    assert_metrics_exist(DASHBOARD, &all);
    let shown: BTreeSet<String> = metrics(&all).into_iter().collect();
    // The start of the configuration in use stands in `boxgate status`; reloads are shown.
    let left_out: Vec<_> = documented_metrics()
        .into_iter()
        .filter(|name| {
            !shown.contains(name) && name != "boxgate_config_last_reload_success_timestamp_seconds"
        })
        .collect();
    assert!(left_out.is_empty(), "no panel shows {left_out:?}");
    // Recorded series are of the rules.
    let rules = text(RULES);
    let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    for recorded in words.filter(|word| word.contains(':')) {
        assert!(rules.contains(&format!("- record: {recorded}\n")), "{recorded}");
    }
}

#[test]
fn the_dashboard_has_the_form_that_grafana_reads() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "Grafana 9 or later");
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeMap::new());
    for panel in list(&dashboard, "/panels") {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24 && at("w") > 0 && at("h") > 0, "{title}: beyond the grid");
        for cell in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            let other = cells.insert(cell, title);
            assert_eq!(other, None, "{title} is on it");
        }
        if panel["type"] == "row" {
            continue;
        }
        let source = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
        assert_eq!(panel["datasource"], source, "{title}");
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        let mut refs = BTreeSet::new();
        for target in list(panel, "/targets") {
            assert_eq!(target["datasource"], source, "{title}");
            assert!(refs.insert(target["refId"].as_str().unwrap()), "{title}: refId twice");
        }
        assert!(!refs.is_empty(), "{title}");
    }
    let names: Vec<_> =
        list(&dashboard, "/templating/list").iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "app"]);
    assert!(Path::new(DASHBOARD).file_stem().is_some_and(|stem| dashboard["uid"] == *stem.to_str().unwrap()));
}
