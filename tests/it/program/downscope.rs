//! Downscoped identities in the real program: reloads under load, output, and what commands say of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use boxgate::sandbox::{Downscoped, Fault, Options, TokenAnswer};

use super::check::only_for_its_owner;
use super::client::request;
use super::harness::{FakeBox, Folder, Program, boxgate, command, until, write_file};

const ME: &str = "/2.0/users/me";
const LISTEN: &str = "address = \"127.0.0.1:0\"";

/// A table that downscopes the identity to a folder.
fn downscope(at: &FakeBox, scopes: &[&str], folder: &str) -> String {
    format!(
        "[identity.service.downscope]\nscopes = {scopes:?}\nresource = \"{}/2.0/folders/{folder}\"\n",
        at.api_url()
    )
}

#[test]
fn a_reload_that_adds_changes_or_removes_a_downscope_changes_the_token_of_all_requests() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let (one, two) = (at.add_folder("0", "One"), at.add_folder("0", "Two"));
    write_file(&folder, &at, LISTEN, "");
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.args(["run", "--no-watch"]);
    let program = Program::spawn(folder, run).ready();

    let stop = Arc::new(AtomicBool::new(false));
    let counts: Vec<Arc<AtomicU64>> = (0..3).map(|_| Arc::default()).collect();
    let callers: Vec<_> = counts
        .iter()
        .cloned()
        .map(|count| {
            let (address, stop) = (program.callers.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = request(&address, "GET", ME, "");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // By then, each caller has begun and ended this many requests.
    let until_each_has_sent = |more: u64| {
        let from: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        until("each caller goes on", || {
            let sent = counts.iter().zip(&from);
            callers.iter().any(thread::JoinHandle::is_finished)
                || sent.into_iter().all(|(count, from)| count.load(Ordering::Relaxed) > from + more)
        });
    };
    let narrow = |scope: &str, folder: &str| {
        Some(Downscoped { scopes: vec![scope.to_owned()], resource: Some(format!("folders/{folder}")) })
    };
    let steps = [
        (downscope(&at, &["base_explorer"], &one), narrow("base_explorer", &one)),
        (downscope(&at, &["base_explorer"], &two), narrow("base_explorer", &two)),
        (downscope(&at, &["base_picker"], &two), narrow("base_picker", &two)),
        (String::new(), None),
        (downscope(&at, &["base_picker"], &two), narrow("base_picker", &two)),
    ];
    for (number, (table, want)) in (1..).zip(steps) {
        write_file(&program.folder, &at, LISTEN, &table);
        program.hang_up();
        until("it is taken over", || program.metric("boxgate_config_reloads_total{result=\"ok\"}") == number);
        // What began before ends with the token of before.
        until_each_has_sent(1);
        at.clear_seen();
        until_each_has_sent(10);
        let seen = at.seen();
        assert!(seen.len() >= 30, "{}", seen.len());
        for token in seen.iter().map(|seen| seen.token.as_ref().unwrap()) {
            assert!(token.is_live);
            assert_eq!(token.downscoped, want, "after reload {number}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
}

#[test]
fn neither_token_is_in_any_output() {
    for format in ["text", "json"] {
        let secret = "canary-client-secret-2f61";
        let at = FakeBox::with(Options { client_secret: secret.to_owned(), ..Options::default() });
        let folder = at.add_folder("0", "Reports");
        let more = format!(
            "{}[log]\nlevel = \"trace\"\nformat = \"{format}\"\n",
            downscope(&at, &["base_explorer"], &folder)
        );
        let mut program = Program::start(&at, &more).ready();
        let mut shown = vec![program.get(ME).body];
        assert_eq!(request(&program.callers, "DELETE", &format!("/2.0/folders/{folder}"), "").status, 403);
        program.err.wait_for(&[
            "Box refused DELETE /2.0/folders/* with 403 insufficient_scope: the token is downscoped to base_explorer on folder",
            "downscope.scopes of [identity.service]",
        ]);
        // Box's words repeat the token that is to be exchanged.
        let parents = || -> Vec<String> {
            let forms = at.token_seen();
            let fields = forms.iter().flat_map(|seen| url::form_urlencoded::parse(&seen.body));
            fields.filter(|(key, _)| key == "subject_token").map(|(_, token)| token.into_owned()).collect()
        };
        let renew =
            || request(&program.operators, "POST", "/identities/service/renew", "Content-Length: 0\r\n");
        let repeat = TokenAnswer::refuse("invalid_resource", &format!("not for {}", parents()[0]));
        at.exchange_always(Some(repeat));
        let refused = renew();
        assert!(refused.status == 502 && refused.body.contains("not for [secret]"), "{}", refused.body);
        shown.push(refused.body);
        for path in ["/", "/status.json", "/metrics", "/readyz", "/requests.json"] {
            shown.push(program.admin(path).body);
        }
        let told = [
            "downscope of identity",
            "Box refuses the token exchange since",
            "invalid_resource",
            "invite the service account",
            "asked again every 20 minutes",
        ];
        program.err.wait_for(&told);
        program.terminate();
        assert_eq!(program.exited().code(), Some(0));
        shown.extend([program.out.text(), program.err.text()]);
        let children = at.seen().into_iter().filter_map(|seen| {
            seen.headers.get("authorization")?.to_str().unwrap().strip_prefix("Bearer ").map(str::to_owned)
        });
        let never: Vec<String> = parents().into_iter().chain(children).chain([secret.to_owned()]).collect();
        assert!(never.len() >= 4, "two that were exchanged, a narrower one, the secret");
        for text in &shown {
            for secret in &never {
                assert!(!text.contains(secret.as_str()), "{secret} in {text}");
            }
        }
    }
}

/// The rows of the identity, in the order in which they stand.
fn rows(at: &FakeBox, more: &str, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let folder = Folder::new();
    // The default port may be in use, which is a warning.
    write_file(&folder, at, "address = \"127.0.0.1:0\"", more);
    only_for_its_owner(&folder, "secret");
    let output = boxgate(&folder, &[&["check"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("service ")).map(str::to_owned);
    let mut lines: Vec<String> = lines.collect();
    let end = lines.iter().skip(1).position(|line| !line.starts_with(' ')).map_or(lines.len(), |at| at + 1);
    lines.truncate(end);
    let words = lines.iter().map(|line| line.split("  ").filter(|part| !part.is_empty()).map(str::trim));
    (output.status.code(), words.map(|parts| parts.collect::<Vec<_>>().join(" | ")).collect())
}

#[test]
fn check_says_what_the_token_may_do_and_where() {
    let at = FakeBox::start();
    let folder = at.add_folder("0", "Reports");
    let table = downscope(&at, &["base_explorer", "item_download"], &folder);
    let (status, said) = rows(&at, &table, &["--strict"]);
    assert_eq!(status, Some(0), "{said:#?}");
    assert!(said[0].starts_with("service | ok | AutomationUser_"), "{said:#?}");
    assert_eq!(
        said[1..],
        [
            format!(
                "downscope | ok | may list folders and read what describes items, as the Content Explorer does (base_explorer); download files (item_download) on folder {folder} \"Reports\""
            ),
            format!("folder {folder} | ok | Reports"),
        ]
    );
    assert!(at.seen().iter().all(|seen| seen.headers.get("authorization").is_none()
        || seen.token.as_ref().is_some_and(|token| token.downscoped.is_some())));

    // Box grants less than was asked for, and the token may not even ask whose it is.
    let less = format!(
        r#"[{{"scope":"item_download","object":{{"type":"folder","id":"{folder}","name":"Reports"}}}}]"#
    );
    at.exchange_script(vec![stating(&less)]);
    at.script("/2.0/", vec![Fault::status(403), Fault::status(403)]);
    let (status, said) = rows(&at, &table, &["--strict"]);
    assert_eq!(status, Some(0), "{said:#?}");
    for (row, parts) in said.iter().zip([
        &["service | unknown | ", "may not ask whose it is (403"][..],
        &["downscope | narrower | may download files (item_download) on folder", "not stated: base_explorer"],
        &["| refused | 403", "downscope.scopes of [identity.service]"],
    ]) {
        assert!(parts.iter().all(|part| row.contains(part)), "{parts:?} in {row}");
    }
    assert_eq!(said.len(), 3, "{said:#?}");
}

/// The child that the token endpoint gives with this `restricted_to`.
fn stating(restricted_to: &str) -> TokenAnswer {
    let body = format!(
        r#"{{"access_token":"a-token-of-this-test","expires_in":3600,"restricted_to":{restricted_to}}}"#
    );
    TokenAnswer::Body { status: 200, body, content_type: "application/json".to_owned() }
}

/// The gateway would not use it either.
#[test]
fn check_fails_a_token_that_reaches_more_than_was_asked_for() {
    let at = FakeBox::start();
    let folder = at.add_folder("0", "Reports");
    at.exchange_always(Some(stating(r#"[{"scope":"base_explorer"}]"#)));
    let (status, said) = rows(&at, &downscope(&at, &["base_explorer"], &folder), &[]);
    assert_eq!((status, said.len()), (Some(1), 1), "{said:#?}");
    for part in [
        "service | failed | the token endpoint",
        &format!("more than folder {folder}, which was asked for"),
        "base_explorer on all that the account reaches",
        "downscope.resource of [identity.service]",
    ] {
        assert!(said[0].contains(part), "{part} in {}", said[0]);
    }
    let is_sent = at.seen().iter().any(|seen| seen.headers.contains_key("authorization"));
    assert!(!is_sent, "no request has it");
}

#[test]
fn what_a_token_reaches_is_logged_where_it_is_more_or_unknown() {
    let at = FakeBox::start();
    let folder = at.add_folder("0", "Reports");
    at.exchange_always(Some(stating(r#"[{"scope":"base_explorer"}]"#)));
    let program = Program::start(&at, &downscope(&at, &["base_explorer"], &folder));
    program
        .err
        .wait_for(&["the token exchange fails since ", "base_explorer on all that the account reaches"]);
    at.exchange_always(Some(stating("[]")));
    let program = program.ready();
    let line =
        program.err.wait_for(&["WARN", "Box does not say what the token of identity \"service\" reaches"]);
    assert!(line.contains(&format!("base_explorer on folder {folder}")), "{line}");
}

/// An app that lists users cannot work so, as with any other refused As-User.
#[test]
fn check_tries_as_user_with_the_downscoped_token() {
    let at = FakeBox::start();
    let folder = at.add_folder("0", "Reports");
    let app = "[[app]]\nname = \"a\"\nas_user = [\"11446498\", \"ann@corp.com\"]\n";
    let table = downscope(&at, &["base_explorer"], &folder) + app;
    let (status, said) = rows(&at, &table, &[]);
    assert_eq!(status, Some(1), "{said:#?}");
    let row = said.iter().find(|row| row.starts_with("as-user 11446498 | refused | 403")).unwrap();
    assert!(row.contains("identity without downscope"), "{row}");
    let row = said.iter().find(|row| row.starts_with("as-user ann@corp.com | refused | 403")).unwrap();
    assert!(row.contains("identity without downscope") && !row.contains("Application Scopes"), "{row}");

    let program = Program::start(&at, &table);
    program.err.wait_for(&[
        "the id of the login \"ann@corp.com\" in as_user cannot be looked up",
        "get 503 token_unavailable. the identity has downscope",
        "identity without downscope",
    ]);
}

#[test]
fn check_explains_a_refused_exchange() {
    let at = FakeBox::start();
    let (status, said) = rows(&at, &downscope(&at, &["base_explorer"], "4242"), &[]);
    assert_eq!(status, Some(1), "{said:#?}");
    assert_eq!(said.len(), 1, "{said:#?}");
    for part in [
        "service | refused | invalid_resource: The target resource is invalid. (",
        ", at the token exchange for downscope); the identity cannot see folder 4242",
        "invite the service account",
    ] {
        assert!(said[0].contains(part), "{part} in {}", said[0]);
    }
    at.exchange_always(Some(TokenAnswer::Status(500)));
    let (status, said) = rows(&at, &downscope(&at, &["base_explorer"], "4242"), &[]);
    assert_eq!(status, Some(1), "{said:#?}");
    assert!(
        said[0].contains("| failed | not checked")
            && said[0].contains("500")
            && said[0].contains("at the token exchange"),
        "{said:#?}"
    );
}

#[test]
fn explain_names_what_the_identity_is_downscoped_to() {
    let folder = Folder::new();
    folder.write(
        "proxy.toml",
        "[identity.reports]\nclient_id = \"id\"\nclient_secret = { file = \"absent\" }\nenterprise_id = \"7\"\n\
         downscope = { scopes = [\"base_explorer\"], resource = \"https://api.box.com/2.0/folders/42\" }\n",
    );
    let output = boxgate(&folder, &["explain", "GET /2.0/users/me"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let want = "\"reports\": the service account of enterprise 7, downscoped to base_explorer on folder 42";
    assert!(output.status.success() && text.contains(want), "{text}");
}

/// The endpoint gives tokens meanwhile, so it has no outage.
#[test]
fn an_exchange_that_fails_is_an_outage_of_its_own() {
    let at = FakeBox::start();
    let folder = at.add_folder("0", "Reports");
    at.exchange_always(Some(TokenAnswer::Status(500)));
    let program = Program::start(&at, &downscope(&at, &["base_explorer"], &folder));
    let began =
        program.err.wait_for(&["WARN downscope of identity", "\"service\": the token exchange fails since "]);
    let rest = began.split_once("since ").unwrap().1;
    for part in [" (answers 500 Internal Server Error)", "requests get 503 token_unavailable"] {
        assert!(rest.contains(part), "{part} in {began}");
    }
    assert_eq!(program.get(ME).status, 503);
    at.exchange_always(None);
    let program = program.ready();
    program.err.wait_for(&["downscope of identity", "Box exchanges its tokens again after", "request"]);
    assert!(!program.err.text().contains("token endpoint 127"), "{}", program.err.text());
}
