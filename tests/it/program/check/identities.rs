//! Identities: tokens, and what they are good for.

use boxgate::sandbox::{Fault, TokenAnswer};
use http::HeaderValue;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use serde_json::json;

use super::super::harness::FakeBox;
use super::{Said, authority, edit, folder_for};

#[test]
fn a_wrong_secret_is_explained_and_not_shown() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    folder.write("secret", "wrong-canary-secret");
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1));
    said.has("service", &["  refused  ", "invalid_client: ", "Developer Console"]);
    assert!(!(said.out + &said.err).contains("wrong-canary-secret"));
}

#[test]
fn an_identity_is_not_blamed_for_what_stands_before_box() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let html = || "<html>canary</html>".to_owned();
    at.token_always(Some(TokenAnswer::Body {
        status: 401,
        body: html(),
        content_type: "text/html".to_owned(),
    }));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1));
    said.has(
        "service",
        &["  failed  not checked", "401", "HTML", "a proxy on the way to Box may have answered"],
    );
    assert!(!said.out.contains("canary") && !said.out.contains("Developer Console"), "{}", said.out);
    // A login page of the network, in place of the API.
    at.token_always(None);
    for status in [200, 403] {
        let headers =
            [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))].into_iter().collect();
        let status = http::StatusCode::from_u16(status).unwrap();
        at.script("/2.0/users/me", vec![Fault::Status { status, headers, body: html().into() }]);
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1));
        said.has("service", &["  failed  ", "with HTML in place of JSON", "login page"]);
        assert!(!said.out.contains("canary"), "{}", said.out);
    }
}

#[test]
fn another_enterprise_or_user_than_the_configured_one_is_a_failure() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let me = json!({ "type": "user", "id": "5", "login": "a@b.example", "enterprise": { "id": "999" } });
    at.script("/2.0/users/me", vec![Fault::json(&me)]);
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("service", &["belongs to enterprise 999", "configuration says 123456", "enterprise_id"]);
    edit(&folder, "enterprise_id = \"123456\"", &format!("user_id = {:?}", at.user_id()));
    at.script("/2.0/users/me", vec![Fault::json(&me)]);
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("service", &["belongs to user 5", "configuration says 789012", "user_id"]);
    assert_eq!(Said::of(&folder, &[]).status, Some(0));
}

/// Whether apps need a scope is not known, so a missing one is told and fails nothing.
#[test]
fn a_scope_that_is_missing_is_information() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let missing = HeaderValue::from_static("Bearer realm=\"Service\", error=\"insufficient_scope\"");
    let refuse = || vec![Fault::status(403).with_header(WWW_AUTHENTICATE, missing.clone())];
    at.script("/2.0/users?", refuse());
    at.script("/2.0/folders/0", refuse());
    let said = Said::of(&folder, &["--strict"]);
    assert_eq!(said.status, Some(0), "{}", said.out);
    said.has(
        "  users",
        &["  refused  ", "403 insufficient_scope", "Application Scopes → Manage users", "authorize again"],
    );
    said.has("  root folder", &["  refused  ", "403 insufficient_scope", "Read all files"]);
}

#[test]
fn a_refused_as_user_is_a_failure() {
    let at = FakeBox::start();
    let app = |users: &str| format!("[[app]]\nname = \"a\"\nas_user = [{users}]");
    let folder = folder_for(&at, &app("\"11446498\", \"999\""));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("  as-user 11446498", &["  ok  "]);
    said.has("  as-user 999", &["  refused  ", "access_denied_insufficient_permissions", "as-user header"]);
    // A user's token never acts for others.
    edit(&folder, "enterprise_id = \"123456\"", &format!("user_id = {:?}", at.user_id()));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("  as-user 11446498", &["  refused  ", "only a service account"]);
    // An app may list more users than are tried.
    let many: Vec<_> = (1..=25).map(|id| format!("\"{id}\"")).collect();
    let folder = folder_for(&at, &app(&many.join(", ")));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.out.matches("  as-user ").count(), 20 + 1, "{}", said.out);
    said.has("  as-user", &["5 more users"]);
}

#[test]
fn a_login_in_as_user_is_looked_up_and_tried() {
    let at = FakeBox::start();
    let users = "\"Aaron@sandbox.example\", \"nobody@sandbox.example\"";
    let folder = folder_for(&at, &format!("[[app]]\nname = \"a\"\nas_user = [{users}]"));
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("  as-user aaron@sandbox.example", &["  ok  ", "11446498"]);
    said.has(
        "  as-user nobody@sandbox.example",
        &["  refused  ", "Box knows no", "correct the login in as_user"],
    );
    edit(&folder, ", \"nobody@sandbox.example\"", "");
    assert_eq!(Said::of(&folder, &["--strict"]).status, Some(0));
    // The lookup asks for what the identity may not do.
    let lookup = "/2.0/users?filter_term";
    let missing = HeaderValue::from_static("Bearer realm=\"Service\", error=\"insufficient_scope\"");
    at.script(lookup, vec![Fault::status(403).with_header(WWW_AUTHENTICATE, missing)]);
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has(
        "  as-user aaron@sandbox.example",
        &["  refused  ", "403 insufficient_scope: its id cannot be looked up", "Manage users"],
    );
    // Two users cannot be told apart, and what is no list is not Box's.
    let user = |id: &str| json!({ "id": id, "login": "aaron@sandbox.example" });
    for (answer, parts) in [
        (json!({ "entries": [user("1"), user("2")] }), ["  refused  ", "Box knows 2 users"]),
        (json!({ "name": "not a list" }), ["  failed  ", "not Box's list of users"]),
    ] {
        at.script(lookup, vec![Fault::json(&answer)]);
        let said = Said::of(&folder, &[]);
        assert_eq!(said.status, Some(1), "{}", said.out);
        said.has("  as-user aaron@sandbox.example", &parts);
    }
}

/// One identity that does not answer holds up neither the others nor the end.
#[test]
fn an_endpoint_that_does_not_answer_is_given_up() {
    let at = FakeBox::start();
    let folder = folder_for(&at, "");
    let _held = at.hold_token_replies();
    let said = Said::of(&folder, &[]);
    assert_eq!(said.status, Some(1), "{}", said.out);
    said.has("service", &["  failed  not checked", "does not answer in 5s"]);
    said.has(&authority(&at.api_url()), &["  ok  "]);
}
