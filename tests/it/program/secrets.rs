//! No secret and no token appears in any output, whatever goes wrong.

use std::collections::BTreeSet;

use boxgate::sandbox::{Content, Fault, Options, TokenAnswer};

use super::client::{Answer, request};
use super::harness::{FakeBox, Folder, Program, boxgate, command, write_file};

const SECRET: &str = "canary-client-secret-7c1f";
const UNUSABLE: &str = "canary-unusable-token-93ab";
const CALLERS: &str = "caller-canary";
const ME: &str = "/2.0/users/me";

#[test]
fn no_secret_shows_in_text_logs() {
    no_secret_shows("text");
}

#[test]
fn no_secret_shows_in_json_logs() {
    no_secret_shows("json");
}

#[test]
fn a_secret_file_with_a_byte_order_mark_serves_and_one_with_a_zero_width_space_is_refused() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", "");
    folder.write("secret", &format!("\u{feff}{}\r\n", at.client_secret()));
    let run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    let program = Program::spawn(folder, run).ready();
    assert_eq!(program.get(ME).status, 200);

    let folder = Folder::new();
    write_file(&folder, &at, "address = \"127.0.0.1:0\"", "");
    folder.write("secret", &format!("{}\u{200b}", at.client_secret()));
    let refused = boxgate(&folder, &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    let position = at.client_secret().chars().count() + 1;
    let named =
        format!("client_secret: the value contains U+200B (zero width space) at character {position}");
    assert!(said.contains("proxy.toml:") && said.contains(&named), "{said}");
    assert!(!said.contains(at.client_secret()), "{said}");
}

fn no_secret_shows(format: &str) {
    let at = FakeBox::with(Options { client_secret: SECRET.to_owned(), ..Options::default() });
    let file = at.add_file("0", "a.txt", Content::Bytes("twelve bytes".into()));
    let log = format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"");
    let mut program = Program::start(&at, &log).ready();
    let shown = Shown::default().everything_goes_wrong(&at, &program, &file);
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));

    let mut never = vec![SECRET.to_owned(), UNUSABLE.to_owned(), CALLERS.to_owned()];
    let tokens = at.seen().into_iter().filter_map(|seen| {
        let value = seen.headers.get("authorization")?.to_str().unwrap().to_owned();
        value.strip_prefix("Bearer ").map(str::to_owned)
    });
    never.extend(tokens);
    never.sort_unstable();
    never.dedup();
    assert!(never.len() >= 3 + 3, "at least three tokens were used");
    let places = [("stdout", program.out.text()), ("stderr", program.err.text()), ("answers", shown.0)];
    for (place, text) in &places {
        for secret in &never {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret} in {place}");
        }
    }
    for seen in at.seen().iter().chain(&at.token_seen()) {
        assert!(!format!("{seen:?}").contains(CALLERS), "{seen:?}");
    }
}

/// A token endpoint that repeats the form, a caller that sends the secret, and `check`, which prints the endpoint's
/// messages.
#[test]
fn secrets_that_others_repeat_are_blanked_in_logs_access_lines_and_check() {
    let at = FakeBox::with(Options { client_secret: SECRET.to_owned(), ..Options::default() });
    for format in ["text", "json"] {
        at.token_always(None);
        let mut program = Program::start(&at, &format!("[log]\nformat = \"{format}\"")).ready();
        assert_eq!(program.get(ME).status, 200);
        let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for spelling in [SECRET, &percent] {
            let path = format!("/2.0/{spelling}/end-of-path");
            assert_eq!(request(&program.callers, "GET", &path, "").status, 404);
        }
        let words = format!("the form said client_secret={SECRET}&x \"{percent}\"");
        at.token_always(Some(TokenAnswer::refuse("invalid_client", &words)));
        at.expire_tokens();
        assert_eq!(program.get(ME).status, 502);
        let line = program.err.wait_for(&["invalid_client", "the form said"]);
        assert!(line.contains("client_secret=[secret]&x") && line.matches("[secret]").count() == 2, "{line}");
        let file = program.folder.join("proxy.toml");
        let check = boxgate(&program.folder, &["check", "--config", file.to_str().unwrap()]);
        let said =
            String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
        assert!(said.contains("the form said client_secret=[secret]&x"), "{said}");
        program.terminate();
        assert_eq!(program.exited().code(), Some(0));
        let lines: Vec<_> =
            program.out.all().into_iter().filter(|line| line.contains("end-of-path")).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in &lines {
            assert!(line.contains("/2.0/[secret]/end-of-path"), "{line}");
        }
        let everything = [program.out.text(), program.err.text(), said].concat();
        for spelling in [SECRET, &percent] {
            assert!(!everything.contains(spelling), "{everything}");
        }
        if format == "json" {
            for line in program.out.all().iter().chain(&program.err.all()) {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
        }
    }
}

/// The paths of requests are in the access lines, so a caller that knows a secret writes it there.
#[test]
fn every_kind_of_secret_is_blanked() {
    let at = FakeBox::start();
    let folder = Folder::new();
    let more = "[forward_proxy]\n[state]\ndir = \"state\"\nredis = \"redis://boxgate:canary%2Dredis@127.0.0.1:1\"\n\
                [[app]]\nname = \"a\"\nkey = [\"canary-app-key\", \"canary-other-app-key\"]";
    let file = write_file(&folder, &at, "address = \"127.0.0.1:0\"", more);
    let text = std::fs::read_to_string(&file).unwrap().replace("proxy = \"none\"", "proxy = \"environment\"");
    folder.write("proxy.toml", &text);
    let mut run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    run.env("HTTPS_PROXY", "http://boxgate:canary-proxy@127.0.0.1:1").env("NO_PROXY", "localhost,127.0.0.1");
    let mut program = Program::spawn(folder, run).ready();
    let key = "X-Boxgate-Key: canary-app-key\r\n";
    for _ in 0..2 {
        assert_eq!(request(&program.callers, "GET", ME, key).status, 200);
        at.expire_tokens();
    }
    assert_eq!(request(&program.callers, "GET", ME, key).status, 200);

    let ca = std::fs::read_to_string(program.folder.join("state/forward-proxy-ca.pem")).unwrap();
    let (_, private) = ca.split_once("-----BEGIN PRIVATE KEY-----").unwrap();
    let (private, _) = private.split_once("-----END").unwrap();
    let mut secrets: Vec<String> = private.split_whitespace().map(ToOwned::to_owned).collect();
    assert!(secrets.len() > 1, "{}", secrets.len());
    let tokens = at.seen().into_iter().filter_map(|seen| {
        let value = seen.headers.get("authorization")?.to_str().unwrap().to_owned();
        value.strip_prefix("Bearer ").map(str::to_owned)
    });
    let tokens: BTreeSet<String> = tokens.collect();
    assert!(tokens.len() >= 2, "a current token and one that was replaced");
    secrets.extend(tokens);
    secrets.push(at.client_secret().to_owned());
    secrets.extend(
        ["canary-app-key", "canary-other-app-key", "canary-redis", "canary%2Dredis", "canary-proxy"]
            .map(str::to_owned),
    );
    for secret in &secrets {
        // Plus and slash are base64 characters that may be in a path.
        request(&program.callers, "GET", &format!("/2.0/.{secret}."), key);
    }
    program.terminate();
    assert_eq!(program.exited().code(), Some(0));
    let lines: Vec<String> = program.out.all().into_iter().filter(|line| line.contains("/2.0/.")).collect();
    assert_eq!(lines.len(), secrets.len(), "{lines:#?}");
    for line in lines {
        assert!(line.contains("/2.0/.[secret]."), "{line}");
    }
}

/// Everything that callers and operators got to see.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn note(&mut self, answer: Answer) -> u16 {
        self.0 += &format!("{}\n{}\n", answer.head, answer.body);
        answer.status
    }

    fn operators(&mut self, program: &Program) {
        for page in ["/metrics", "/readyz", "/healthz", "/"] {
            self.note(program.admin(page));
        }
    }

    fn everything_goes_wrong(mut self, at: &FakeBox, program: &Program, file: &str) -> Self {
        let credentials = "Authorization: Bearer caller-canary\r\nCookie: z=caller-canary\r\n";
        let to = &program.callers;

        // A caller's own credentials.
        let target = format!("{ME}?fields=login&access_token=caller-canary");
        assert_eq!(self.note(request(to, "GET", &target, credentials)), 200);
        assert_eq!(at.last_seen().unwrap().target, format!("{ME}?fields=login"));
        assert_eq!(self.note(request(to, "GET", &format!("{ME}?access_token=caller-canary"), "")), 200);
        self.note(program.get(&format!("/2.0/files/{file}/content")));
        let grant = "Content-Length: 0\r\nAuthorization: Basic caller-canary\r\n";
        assert_eq!(self.note(request(to, "POST", "/oauth2/token", grant)), 200);

        // Refused before Box.
        let elsewhere = format!("Host: elsewhere.example\r\n{credentials}");
        assert_eq!(self.note(request(to, "GET", &target, &elsewhere)), 421);
        assert_eq!(
            self.note(request(to, "GET", "/favicon.ico?access_token=caller-canary", credentials)),
            404
        );
        assert_eq!(
            self.note(request(to, "GET", "/2.0/%2e%2e/x?access_token=caller-canary", credentials)),
            400
        );

        // Box breaks off before and within its answer.
        let closed = vec![Fault::CloseBeforeHead; 3];
        at.script(ME, closed);
        assert_eq!(self.note(request(to, "GET", &target, credentials)), 502);
        at.clear_faults();
        let content = format!("/api/2.0/files/{file}/content");
        at.script(&content, vec![Fault::BreakBodyAfter(3)]);
        self.note(program.get(&content));

        // 401 to a token that has expired, and to every token.
        at.expire_tokens();
        assert_eq!(self.note(program.get(ME)), 200);
        at.always_unauthorized(ME);
        assert_eq!(self.note(request(to, "GET", &target, credentials)), 502);
        at.clear_faults();
        self.operators(program);

        // The token endpoint gives what is no token, then refuses.
        let body = format!("{{\"access_token\":\"{UNUSABLE}\",\"expires_in\":0}}");
        let unusable = TokenAnswer::Body { status: 200, body, content_type: "application/json".to_owned() };
        at.token_script(vec![unusable]);
        at.token_always(Some(TokenAnswer::refuse("invalid_client", "The client credentials are invalid")));
        at.expire_tokens();
        let status = self.note(program.get(ME));
        assert!([502, 503].contains(&status), "{status}");
        self.operators(program);
        program.err.wait_for(&["Box refuses its credentials since"]);
        assert_eq!(self.note(request(to, "GET", &target, credentials)), 502);
        self.operators(program);
        self
    }
}
