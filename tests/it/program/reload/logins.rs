//! Which ids of users who are listed by login are kept.

use super::*;

/// How every lookup begins.
const LOOKUP: &str = "/2.0/users?filter_term=";

fn app(name: &str, users: &str) -> String {
    format!("[[app]]\nname = \"{name}\"\npath = \"/{name}\"\nas_user = [{users}]\n")
}

impl Running {
    fn lookups(&self) -> usize {
        self.at.seen().iter().filter(|seen| seen.target.starts_with(LOOKUP)).count()
    }

    /// The status of a request of this app as this user.
    fn as_user(&self, app: &str, user: &str) -> u16 {
        let fields = format!("As-User: {user}\r\n");
        receive(send(&self.program.callers, "GET", &format!("/{app}{ME}"), &fields)).status
    }

    /// Waits until so many logins have this state.
    fn until_state(&self, state: &str, count: usize) {
        let text = format!("\"state\":\"{state}\"");
        until(state, || self.program.admin("/status.json").body.matches(&text).count() == count);
    }
}

#[test]
fn an_id_is_kept_while_identity_and_login_are_the_same() {
    let running = Running::start(&[], &app("a", "\"aaron@sandbox.example\""));
    running.until_state("found", 1);
    running.program.hang_up();
    running.until_taken_over(1);
    assert_eq!(running.as_user("a", "aaron@sandbox.example"), 200);
    // Another app and a further login.
    let users = "\"AARON@sandbox.example\", \"berta@sandbox.example\"";
    running.take_over(&(app("b", users) + &app("a", "\"5\"")));
    running.until_state("found", 2);
    assert_eq!(running.as_user("b", "aaron@sandbox.example"), 200);
    assert_eq!(running.as_user("b", "11446499"), 200);
    assert_eq!(running.as_user("a", "aaron@sandbox.example"), 403, "no longer listed");
    assert_eq!(running.as_user("a", "11446498"), 403);
    assert_eq!(running.lookups(), 2);
    // Another account sees other users.
    let file = running.program.folder.join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let enterprise = format!("enterprise_id = {:?}", running.at.enterprise_id());
    let user = format!("user_id = {:?}", running.at.user_id());
    std::fs::write(&file, text.replace(&enterprise, &user)).unwrap();
    running.program.hang_up();
    running.until_taken_over(3);
    until("both are looked up again", || running.lookups() == 4);
}

#[test]
fn a_reload_asks_again_for_a_login_that_box_did_not_know() {
    let running = Running::start(&[], &app("a", "\"new@sandbox.example\""));
    running.until_state("unknown", 1);
    running.program.err.wait_for(&["WARN", "\"new@sandbox.example\" in as_user names no one", "Correct it"]);
    assert_eq!(running.as_user("a", "new@sandbox.example"), 403);
    let new = serde_json::json!({ "entries": [{ "id": "77", "login": "new@sandbox.example" }] });
    running.at.script(LOOKUP, vec![boxgate::sandbox::Fault::json(&new)]);
    running.program.hang_up();
    running.until_taken_over(1);
    running.until_state("found", 1);
    assert_eq!(running.lookups(), 2);
}

/// A request that is under way keeps the configuration with which it began, but not its lookups.
#[test]
fn a_reload_ends_the_lookups_that_it_replaces() {
    let running = Running::start(&[], "");
    let lookups = running.at.hold_replies(LOOKUP);
    running.take_over(&app("a", "\"aaron@sandbox.example\""));
    wait(running.at.wait_for_calls(1));
    let folders = running.at.hold_replies("/2.0/folders");
    let under_way = send(&running.program.callers, "GET", "/a/2.0/folders/0", "");
    wait(running.at.wait_for_calls(2));
    running.program.hang_up();
    wait(running.at.wait_for_calls(3));
    wait(running.at.wait_for_cancelled(1));
    drop(folders);
    assert_eq!(receive(under_way).status, 200);
    drop(lookups);
    running.until_state("found", 1);
    assert_eq!(running.lookups(), 2);
    assert!(!running.program.err.text().contains("cannot be looked up"), "it did not end by its time limit");
}
