//! Which tokens are kept.

use super::*;

#[test]
fn a_new_secret_is_tried_at_once_while_the_valid_token_stays_in_use() {
    let running = Running::start(&[], "");
    running.at.accept_secrets(&["the-next-secret"]);
    let hold = running.at.hold_token_replies();
    running.program.folder.write("secret", "the-next-secret");
    wait(running.at.wait_for_token_requests(2));
    assert_eq!(running.status(ME), 200, "with the token of before");
    drop(hold);
    until("the log shows that it works", || {
        running.program.err.text().matches("a token was obtained").count() == 2
    });
    assert_eq!(running.status(ME), 200);
    assert_eq!(running.at.token_requests(), 2);
}

#[test]
fn a_wrong_new_secret_is_logged_at_once_and_the_valid_token_stays_in_use() {
    let running = Running::start(&[], "");
    running.program.folder.write("secret", "a-wrong-secret");
    running.program.err.wait_for(&["ERROR", "Box refuses its credentials", "invalid_client"]);
    assert_eq!(running.status(ME), 200);
    // The wrong secret is not retried repeatedly, and the right one is tried as soon as it is there.
    assert_eq!(running.at.token_requests(), 2);
    running.program.folder.write("secret", running.at.client_secret());
    wait(running.at.wait_for_token_requests(3));
    until("it works", || running.program.err.text().matches("a token was obtained").count() == 2);
}

#[test]
fn another_account_gets_another_token_for_which_its_requests_wait() {
    let running = Running::start(&[], "");
    let login = |answer: &Answer| {
        let user: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        user["login"].as_str().unwrap().to_owned()
    };
    let service = login(&running.program.get(ME));
    let file = running.program.folder.join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let subject = |line: &str| line.starts_with("enterprise_id");
    let user = format!("user_id = {:?}", running.at.user_id());
    let text: Vec<&str> = text.lines().map(|line| if subject(line) { &user } else { line }).collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    let hold = running.at.hold_token_replies();
    running.program.hang_up();
    running.until_taken_over(1);
    let waiting = send(&running.program.callers, "GET", ME, "");
    wait(running.at.wait_for_token_requests(2));
    assert_eq!(running.at.calls(), 1, "nothing is sent with the token of the other account");
    drop(hold);
    let answer = receive(waiting);
    assert!(answer.status == 200 && login(&answer) != service, "{answer:?}");
}

#[test]
fn when_box_refuses_an_identity_its_secret_is_read_again() {
    let running = Running::start(&["--no-watch"], "");
    running.at.accept_secrets(&["the-next-secret"]);
    running.program.folder.write("secret", "the-next-secret");
    running.at.expire_tokens();
    until("the new secret is in use", || running.status(ME) == 200);
    running
        .program
        .err
        .wait_for(&["Box refuses an identity, and its secret has changed: the configuration was taken over"]);
    assert_eq!(running.taken_over(), 1);
}

#[test]
fn when_box_refuses_an_identity_an_unchanged_secret_causes_no_reload() {
    let running = Running::start(&["--no-watch"], "");
    running.at.accept_secrets(&[]);
    running.at.expire_tokens();
    until("it is refused", || running.status(ME) == 502);
    // A requested reload retries at once.
    running.at.accept_secrets(&[running.at.client_secret()]);
    running.take_over("");
    until("it works", || running.status(ME) == 200);
    assert_eq!(running.taken_over(), 1);
}

/// What is still known is blanked in lines of the log, so that this shows what is not.
#[test]
fn a_secret_that_was_replaced_is_forgotten() {
    let running = Running::start(&["--no-watch"], "");
    let (old, new) = (running.at.client_secret(), "the-next-secret");
    running.at.accept_secrets(&[old, new]);
    running.program.folder.write("secret", new);
    running.program.hang_up();
    running.until_taken_over(1);
    wait(running.at.wait_for_token_requests(2));
    until("the log says that it works", || {
        running.program.err.text().matches("a token was obtained").count() == 2
    });
    running.status(&format!("/2.0/files/of-{old}-and-{new}"));
    running.program.out.wait_for(&[&format!(" path=/2.0/files/of-{old}-and-[secret] ")]);
}
