//! `[trace]`.

use super::*;

#[test]
fn traces_are_off_without_the_table_and_whole_with_a_collector() {
    assert_eq!(with_identity("").unwrap().trace, None);
    let config = with_identity("[trace]\notlp = \"http://127.0.0.1:4318\"\n").unwrap();
    let trace = config.trace.unwrap();
    assert_eq!((&*trace.endpoint, trace.sample), ("http://127.0.0.1:4318/v1/traces", 1.0));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    for (written, want) in
        [("0.25", 0.25), ("0", 0.0), ("1", 1.0), ("0.0", 0.0), ("1e-3", 0.001), ("0x1", 1.0)]
    {
        let text = format!("[trace]\notlp = \"https://collector.corp\"\nsample = {written}\n");
        assert_eq!(with_identity(&text).unwrap().trace.unwrap().sample, want, "{written}");
    }
}

#[test]
fn mistakes_are_named_with_what_is_allowed() {
    for (written, want) in [
        ("1.5", "p.toml:7:10: trace.sample: expected a number from 0.0 to 1.0, found the number 1.5"),
        ("-0.1", "found the number -0.1"),
        ("2", "found the integer 2"),
        ("-1", "found the integer -1"),
        ("nan", "found the number nan"),
        ("inf", "found the number inf"),
        ("\"0.5\"", "found the string \"0.5\"; write 0.5, without quotes"),
        ("true", "found true"),
    ] {
        let message =
            only_message(&format!("[trace]\notlp = \"http://127.0.0.1:4318\"\nsample = {written}\n"));
        assert!(message.contains(want), "{message}");
    }
    let message = only_message("[trace]\nsample = 0.5\n");
    assert!(message.starts_with("p.toml:5:1: trace.otlp: is missing; write for example otlp ="), "{message}");
    let message = only_message("[trace]\notlp = 4318\n");
    assert!(message.contains("trace.otlp: expected a URL such as \"http://127.0.0.1:4318\""), "{message}");
    let message = only_message("[trace]\notlp = \"http://u:canary@host\"\n");
    assert!(message.contains("trace.otlp: no user or password") && !message.contains("canary"), "{message}");
    let found = messages("[trace]\notpl = \"http://u:canary@host\"\n").join("\n");
    assert!(found.contains("did you mean \"otlp\"?") && !found.contains("canary"), "{found}");
    let message = read(&format!("trace = true\n{IDENTITY}")).unwrap_err().to_string();
    assert!(message.contains("trace: expected a table [trace], found a boolean"), "{message}");
}

#[test]
fn the_port_of_grpc_is_probably_a_mistake() {
    let config = with_identity("[trace]\notlp = \"http://127.0.0.1:4317\"\n").unwrap();
    assert!(config.warnings[0].contains("trace.otlp: port 4317"), "{:?}", config.warnings);
}
