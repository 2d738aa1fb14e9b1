//! `/status.json` of the real program: reloads, and apps that come and go.

use serde_json::Value;

use super::harness::{FakeBox, Folder, Program, command, until, write_file};

const LISTEN: &str = "address = \"127.0.0.1:0\"";

fn app(name: &str) -> String {
    format!("[[app]]\nname = \"{name}\"\npath = \"/{name}\"\n")
}

fn start(at: &FakeBox, more: &str) -> Program {
    let folder = Folder::new();
    write_file(&folder, at, LISTEN, more);
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.args(["run", "--no-watch"]);
    Program::spawn(folder, run).ready()
}

fn json(program: &Program, target: &str) -> Value {
    let answer = program.admin(target);
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn status(program: &Program) -> Value {
    json(program, "/status.json")
}

/// Reloads the file with these tables; returns the document once the outcome is in it.
fn reload(program: &Program, at: &FakeBox, more: &str) -> Value {
    let before = status(program)["config"]["reload"].clone();
    write_file(&program.folder, at, LISTEN, more);
    program.hang_up();
    until("the outcome is there", || {
        let now = &status(program)["config"]["reload"];
        *now != before
    });
    status(program)
}

#[test]
fn the_last_reload_is_told_with_its_time_cause_and_problems() {
    let at = FakeBox::start();
    let program = start(&at, &app("web"));
    let first = status(&program);
    assert!(first["config"]["file"].as_str().unwrap().ends_with("proxy.toml"), "{first:#}");
    assert_eq!(first["config"]["reload"], Value::Null);
    let refused = reload(&program, &at, "[[app]]\nname = \"web\"\npaht = \"/web\"\n");
    let last = &refused["config"]["reload"];
    assert_eq!((&last["result"], &last["cause"]), (&"refused".into(), &"SIGHUP".into()));
    assert!(last["problems"][0].as_str().unwrap().contains("paht"), "{last:#}");
    assert!(last["time"].as_str().unwrap() >= first["now"].as_str().unwrap());
    assert_eq!(refused["config"]["in_use_since"], first["config"]["in_use_since"]);
    let note = refused["notes"][0].as_str().unwrap();
    assert!(refused["ready"] == true && note.contains("was not taken over"), "{refused:#}");
    assert_eq!(program.admin("/readyz").body, format!("ready\n{note}\n"), "in the same words");
    let taken_over = reload(&program, &at, &app("web"));
    let last = &taken_over["config"]["reload"];
    assert_eq!((&last["result"], &last["problems"]), (&"ok".into(), &Value::Array(vec![])));
    assert_eq!(
        (&taken_over["notes"], &taken_over["config"]["in_use_since"]),
        (&Value::Array(vec![]), &last["time"])
    );
}

#[test]
fn what_was_counted_of_an_app_stays_when_it_is_renamed() {
    let at = FakeBox::start();
    let program = start(&at, &format!("{}{}", app("first"), app("second")));
    for target in ["/first/2.0/users/me", "/second/2.0/users/me", "/second/2.0/users/me"] {
        assert_eq!(program.get(target).status, 200);
    }
    until("all are counted", || status(&program)["requests"]["requests"] == 3);
    // The order changes too, so that indices are other apps' then; removed ones are last.
    let now = reload(&program, &at, &format!("{}{}", app("aside"), app("second")));
    let apps: Vec<_> = now["apps"].as_array().unwrap().iter().collect();
    let of = |app: &Value| {
        (app["name"].clone(), app["configured"].clone(), app["last_5_minutes"]["requests"].clone())
    };
    let want = [("second", true, 2), ("aside", true, 0), ("first", false, 1)];
    let want: Vec<_> =
        want.map(|(name, configured, count)| (name.into(), configured.into(), count.into())).into();
    assert_eq!(apps.into_iter().map(of).collect::<Vec<(Value, Value, Value)>>(), want, "{now:#}");
    for (name, requests) in [("first", 1), ("second", 2)] {
        let history = json(&program, &format!("/history.json?app={name}"));
        let slots = history["slots"].as_array().unwrap();
        assert_eq!(
            slots.iter().map(|slot| slot["requests"].as_u64().unwrap()).sum::<u64>(),
            requests,
            "{name}"
        );
    }
}
