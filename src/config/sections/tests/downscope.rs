//! `downscope` of an identity.

use super::*;

/// The warnings, or else the problems.
fn judged(downscope: &str, more: &str) -> Result<Vec<String>, Vec<String>> {
    let read = with_identity(&format!("downscope = {downscope}\n{more}"));
    read.map(|config| config.warnings).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn read_as(downscope: &str, more: &str) -> String {
    let config = with_identity(&format!("downscope = {downscope}\n{more}")).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    config.identities[0].downscope.as_ref().unwrap().to_string()
}

#[test]
fn tokens_are_narrowed_to_scopes_and_one_file_or_folder() {
    assert_eq!(with_identity("").unwrap().identities[0].downscope, None);
    let folder = "{ scopes = [\"base_explorer\", \"item_upload\"], resource = \"https://api.box.com/2.0/folders/42\" }";
    assert_eq!(read_as(folder, ""), "base_explorer, item_upload on folder 42");
    assert_eq!(read_as("{ scopes = [\"item_preview\"] }", ""), "item_preview");
    // Box's own host stays allowed where another one is configured, and that one is, too.
    let elsewhere = "[box]\napi = \"https://127.0.0.1:8443\"\n";
    assert_eq!(read_as(folder, elsewhere), "base_explorer, item_upload on folder 42");
    let file = "{ scopes = [\"item_preview\"], resource = \"https://127.0.0.1:8443/2.0/files/7\" }";
    assert_eq!(read_as(file, elsewhere), "item_preview on file 7");
    let table = with_identity("[identity.service.downscope]\nscopes = [\"item_preview\"]\n").unwrap();
    assert!(table.identities[0].downscope.is_some());
    assert!(
        table.written.text.contains("downscope = { scopes = [\"item_preview\"] }"),
        "{}",
        table.written.text
    );
}

#[test]
fn mistakes_are_named_with_what_is_allowed() {
    for (downscope, want) in [
        ("{}", "p.toml:5:13: identity.service.downscope.scopes: is missing; write for example scopes = ["),
        ("[]", "identity.service.downscope: expected a table { scopes = "),
        (
            "{ scopes = [] }",
            "p.toml:5:24: identity.service.downscope.scopes: an empty list: the token could do nothing",
        ),
        ("{ scopes = \"item_preview\" }", "write [\"item_preview\"]"),
        ("{ scopes = [\"item_preview item_upload\"] }", "each scope is a string of its own"),
        ("{ scopes = [\"\"] }", "\"\" is not a scope"),
        ("{ scopes = [7] }", "found the integer 7"),
        ("{ scopes = [\"item_preview\", \"item_preview\"] }", "\"item_preview\" is there twice"),
        (
            "{ scopes = [\"item_preview\"], resource = \"42\" }",
            "\"42\" has no \"https://\"; allowed: \"https://api.box.com/2.0/folders/ID\"",
        ),
        ("{ scopes = [\"item_preview\"], resource = 42 }", "found the integer 42"),
        (
            "{ scopes = [\"item_preview\"], resource = \"https://gate.example/2.0/folders/42\" }",
            "\"gate.example\" is not Box's API; the URL begins with https://api.box.com",
        ),
        ("{ scope = [\"item_preview\"] }", "did you mean \"scopes\"?"),
    ] {
        let problems = judged(downscope, "").unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(want)), "{want}\n{problems:#?}");
    }
    let elsewhere = "[box]\napi = \"https://127.0.0.1:8443\"\n";
    let upload = "{ scopes = [\"item_preview\"], resource = \"https://upload.box.com/2.0/folders/42\" }";
    let problems = judged(upload, elsewhere).unwrap_err();
    assert!(problems[0].contains("or https://127.0.0.1:8443, the api of [box]"), "{problems:?}");
    let secret =
        "{ scopes = [\"item_preview\"], resource = \"https://u:hunter2@api.box.com/2.0/folders/42\" }";
    let problems = judged(secret, "").unwrap_err();
    assert!(problems.len() == 1 && !problems[0].contains("hunter2"), "{problems:?}");
}

/// Box may have new scopes that no document lists yet.
#[test]
fn a_scope_that_box_does_not_document_is_a_warning() {
    let warnings = judged("{ scopes = [\"item_preveiw\", \"item_upload\"] }", "").unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let want = "p.toml:5:25: identity.service.downscope.scopes: \"item_preveiw\" is no scope that Box documents; did you mean \"item_preview\"?";
    assert!(warnings[0].starts_with(want), "{warnings:?}");
    let warnings = judged("{ scopes = [\"brand.new\"] }", "").unwrap();
    assert!(warnings[0].contains("access-and-rules.md lists them"), "{warnings:?}");
}

#[test]
fn as_user_with_a_downscoped_identity_is_a_warning() {
    let other = "[identity.full]\nclient_id = \"id\"\nclient_secret = { env = \"BOX_CLIENT_SECRET\" }\nenterprise_id = \"1\"\n";
    let app = |as_user: &str, identity: &str| {
        let app = format!("{other}[[app]]\nname = \"a\"\nidentity = \"{identity}\"\nas_user = {as_user}\n");
        judged("{ scopes = [\"item_preview\"] }", &app).unwrap()
    };
    for as_user in ["[\"7\"]", "[\"*\"]"] {
        let warnings = app(as_user, "service");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in [
            "app.a.as_user: identity \"service\" has downscope",
            "boxgate check tries it",
            "take as_user out",
        ] {
            assert!(warnings[0].contains(part), "{part}: {warnings:?}");
        }
        assert!(app(as_user, "full").is_empty());
    }
    assert!(app("[]", "service").is_empty());
}
