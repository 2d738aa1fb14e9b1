//! What is shown of a line, and what is not.

use std::path::Path;

use super::*;
use crate::config::{Overrides, Problem, from_text};

/// The problems of a text, each with its line and what is marked in it.
fn frames(text: &str) -> Vec<(String, String)> {
    let problems = from_text(text, Path::new("p.toml"), &Overrides::default(), &|_| None).unwrap_err();
    let shown = |problem: &Problem| {
        let Frame { text, mark, .. } = problem.frame()?;
        Some((text.clone(), text.get(mark.clone()).unwrap().to_owned()))
    };
    problems.iter().filter_map(shown).collect()
}

#[test]
fn the_key_or_the_value_is_marked() {
    for (line, shown, marked) in [
        ("adress = \"127.0.0.1:0\"", "adress = …", "adress"),
        ("workers = \"many\" # all of them", "workers = \"many\"", "\"many\""),
        ("  workers = -1", "  workers = -1", "-1"),
        (
            "sources = [ \"10.0.0.0/8\", \"10.0.0.0/99\" ]",
            "sources = [ \"10.0.0.0/8\", \"10.0.0.0/99\" ]",
            "\"10.0.0.0/99\"",
        ),
        ("sources = []", "sources = []", "[]"),
        ("address = 127.0.0.1:8080", "address = 127.0.0.1:8080", "127.0.0.1:8080"),
        ("hosts = [\n  \"a#b\",    # a comment\n]", "  \"a#b\",", "\"a#b\""),
        ("address = \"a\tb\u{202e}c\"", "address = \"a b\u{fffd}c\"", "\"a b\u{fffd}c\""),
    ] {
        let all = frames(&format!("[listen]\n{line}\n"));
        assert!(all.contains(&(shown.to_owned(), marked.to_owned())), "{line}: {all:?}");
    }
}

#[test]
fn a_line_after_a_byte_order_mark_is_shown_without_it() {
    let all = frames("\u{feff}lisen = 1\n[identity.a]\n");
    assert_eq!(all[0], ("lisen = …".to_owned(), "lisen".to_owned()));
}

#[test]
fn headers_are_shown() {
    for (header, marked) in [("[lisen]", "lisen"), ("[[lisen]]", "lisen"), ("[identity.\"a b\"]", "\"a b\"")]
    {
        let all = frames(&format!("{header} # canary\n"));
        assert!(all.iter().any(|(line, mark)| line == header && mark == marked), "{header}: {all:?}");
    }
}

#[test]
fn a_variable_is_shown_by_its_name() {
    let all = frames("[identity.a]\nclient_secret = { env = \"BOX_CLIENT_SECRET\" }\n");
    let line = "client_secret = { env = \"BOX_CLIENT_SECRET\" }";
    assert!(all.iter().any(|(shown, mark)| shown == line && mark == "\"BOX_CLIENT_SECRET\""), "{all:?}");
}

#[test]
fn a_file_that_the_message_names_is_shown() {
    let line = "client_secret = { file = \"/nowhere/secret\" }";
    let all = frames(&format!("[identity.a]\n{line}\n"));
    assert!(all.contains(&(line.to_owned(), "\"/nowhere/secret\"".to_owned())), "{all:?}");
}

/// Texts with a problem in a line that holds a secret, or may hold one.
const WITH_SECRETS: [&str; 47] = [
    "[identity.a]\nclient_secret = \" canary\"\n",
    "[identity.a]\nclient_secret = \"canary\\u200b\"\n",
    "[identity.a]\nclient_secret = canary\n",
    "[identity.a]\nclient_secret = 'canary\n",
    "[identity.a]\nclient_secret = \"canary\n",
    "[identity.a]\nclient_secret = \"canary\" x\n",
    "[identity.a]\nclient_secret = \"\"\"canary\u{200b}\"\"\"\n",
    "[identity.a]\nclient_secret = \"\"\"\ncanary\u{200b}\n\"\"\"\n",
    "[identity.a]\nclient_secret = \"\"\"\ncanary \\q\n\"\"\"\n",
    "[identity.a]\nclient_secret = { env = \"canary-\" }\n",
    "[identity.a]\nclient_secret = { env = \"CANARYcanary\" }\n",
    "[identity.a]\nclient_secret = { file = \"canary\", fil = 1 }\n",
    "[identity.a]\nclient_secret = { file = \"/nowhere\", env = \"canary\" }\n",
    "[identity.a]\nclient_secret = { value = \"canary\" }\n",
    "[identity.a]\nclient_sercet = \"canary\"\n",
    "[identity.a]\nsecret = \"canary\"\n",
    "[identity.a]\nclient_secret : \"canary\"\n",
    "[identity.a]\nclient_secret \"canary\"\n",
    "[identity.a]\ncanary\n",
    "[identity.a]\n\"canary\" x\n",
    "[identity.a]\nuser_id = \"x\" # client_secret = \"canary\"\n",
    "[identity.a]\nclient_secret = \"a\"\nclient_secret = \"canary\"\n",
    "[identity]\na = { client_id = \"i\", client_secret = \"canary \" }\n",
    "[identity]\na = { user_id = 1, client_secret = \"canary\" }\n",
    "identity.a.client_secret = \"canary \"\n",
    "identity.a.client_secret = canary\n",
    "[[app]]\nkey = \"canary \"\n",
    "[[app]]\nkey = [\"a \", \"canary \"]\n",
    "[[app]]\nkey = [\n  \"canary \",\n]\n",
    "[[app]]\nkey = [\n  \"name=\",\n  \"canary \",\n]\n",
    "[[app]]\nkey = [\n  canary,\n]\n",
    "[[app]]\nkey = [\n  # name = 1\n  [canary]\n]\n",
    "[[app]]\nkey = [ # level = \"]\n  \"canary \",\n]\n",
    "[[app]]\nkeys = [\n  \"canary\",\n  x\n]\n",
    "[[app]]\nname = [\n  1,\n  \"a\"\nkey = \"canary\" x\n",
    "[[app]]\nname = \"\"\"a\nkey = \"canary\"",
    "[identity.a]\nretries = \"canary\"\n",
    "[identity.a]\nuser_id = 1\nlog = \"canary\"\n",
    "identity.a = { user_id = 1, retries = \"canary\" }\n",
    "[state]\nredis = \"rediss:/:canary@host\"\n",
    "[state]\nredis = \"redis://:canary@host:99999999\"\n",
    "state = { dir = 1, redis = \"redis://:canary@host\" }\n",
    "[upstream]\nproxy = \"ftp://user:canary@host\"\n",
    "[upstream]\nproxy = http://user:canary@host:1\n",
    "[forward_proxy]\nca = { cert = \"c\", key = \"canary\" }\n",
    "[trace]\notlp = \"http://user:canary@host\"\n",
    "[trace]\notlp = http://user:canary@host\n",
];

#[test]
fn no_secret_is_shown() {
    for text in WITH_SECRETS {
        let problems = from_text(text, Path::new("p.toml"), &Overrides::default(), &|_| None).unwrap_err();
        let shown = format!("{:?}", frames(text));
        assert!(!shown.contains("canary"), "{text}: {shown}");
        assert!(problems.iter().any(|problem| problem.frame().is_some()), "{text}: there is a frame");
    }
}

#[test]
fn the_key_of_a_limit_is_shown() {
    let all =
        frames("[[limit]]\nname = \"a\"\nkey = \"clint\"\nrate = \"1/s\"\n[[app]]\nkey = \"canary \"\n");
    assert!(all.contains(&("key = \"clint\"".to_owned(), "\"clint\"".to_owned())), "{all:?}");
    assert!(all.contains(&("key = …".to_owned(), "…".to_owned())), "{all:?}");
}

#[test]
fn an_offset_that_is_none_has_no_line() {
    for (text, offset) in [("", 0), ("a", 2), ("ä", 1), ("a = 1\n\n", 6), ("# canary\n", 2)] {
        assert_eq!(of(text, offset, ""), None, "{text:?} {offset}");
    }
}

proptest::proptest! {
    /// Whatever is written, and wherever the problem is: no failure, and the mark is in the line.
    #[test]
    fn every_text_is_borne(text in "[a-z=\\[\\]{}\"'#\\\\\n\u{feff} \tä.]{0,60}", offset in 0_usize..64, key in "[a-z.]{0,8}") {
        if let Some(Frame { text: line, mark, .. }) = of(&text, offset, &key) {
            proptest::prop_assert!(line.get(mark).is_some());
            proptest::prop_assert!(!line.contains('\n'));
        }
    }
}
