//! Invisible characters: a byte order mark at the beginning of a file is ignored, all others are refused.

use super::*;

/// The keys whose value may be in a file or variable: a valid text, and a configuration with the given value for the
/// key.
type Key = (&'static str, &'static str, fn(&str) -> String);

const KEYS: [Key; 5] = [
    ("identity.service.client_id", "abc123", |value| IDENTITY.replace("\"id\"", value)),
    ("identity.service.client_secret", SECRET, |value| {
        IDENTITY.replace("{ env = \"BOX_CLIENT_SECRET\" }", value)
    }),
    ("identity.service.enterprise_id", "471147114711", |value| IDENTITY.replace("\"1\"", value)),
    ("app.a.key", "app-key-1", |value| format!("{IDENTITY}[[app]]\nname = \"a\"\nkey = {value}\n")),
    ("state.redis", "redis://:hunter2@redis.example", |value| {
        format!("{IDENTITY}[state]\nredis = {value}\n")
    }),
];

/// Reads the configuration `file` while the file `it` and the variable `IT` hold `text`.
fn read_with(text: &str, file: &str) -> Result<Config, Problems> {
    let folder =
        std::env::temp_dir().join(format!("boxgate-hidden-{}-{}", std::process::id(), fastrand::u64(..)));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("it"), text).unwrap();
    let variable = |name: &str| if name == "IT" { Some(text.to_owned()) } else { env(name) };
    let config = from_text(file, &folder.join("p.toml"), &Overrides::default(), &variable);
    fs::remove_dir_all(&folder).unwrap();
    config
}

#[test]
fn a_byte_order_mark_at_the_beginning_of_a_file_or_variable_is_ignored() {
    for (key, text, file) in KEYS {
        for reference in ["{ file = \"it\" }", "{ env = \"IT\" }"] {
            let config = read_with(&format!("\u{feff}{text}"), &file(reference));
            let config = config.unwrap_or_else(|problems| panic!("{key} {reference}: {problems}"));
            let identity = &config.identities[0];
            let read = match key {
                "identity.service.client_id" => identity.client_id == text,
                "identity.service.client_secret" => identity.client_secret.expose() == text,
                "identity.service.enterprise_id" => identity.subject == Subject::Enterprise(text.to_owned()),
                "app.a.key" => {
                    let app = config.apps.iter().next().unwrap();
                    app.keys.as_ref().unwrap().contain(text.as_bytes())
                }
                _ => config.state.redis.unwrap().expose() == text,
            };
            assert!(read, "{key} {reference}");
        }
    }
}

#[test]
fn other_invisible_characters_are_refused_with_code_point_and_position() {
    for (key, text, file) in KEYS {
        let (begin, end) = text.split_at(2);
        for (character, name) in [
            ('\u{feff}', "U+FEFF (byte order mark) at character 3"),
            ('\u{200b}', "U+200B (zero width space) at character 3"),
            ('\u{202e}', "U+202E (bidirectional control) at character 3"),
            ('\u{a0}', "U+00A0 (no-break space) at character 3"),
            ('\u{1}', "U+0001 (control character) at character 3"),
        ] {
            let hidden = format!("{begin}{character}{end}");
            let literal = format!("\"{begin}\\U{:08X}{end}\"", u32::from(character));
            for value in ["{ file = \"it\" }", "{ env = \"IT\" }", literal.as_str()] {
                let problems = read_with(&hidden, &file(value)).unwrap_err();
                assert_eq!(problems.len(), 1, "{problems}");
                let problem = problems.to_string();
                assert!(problem.contains(&format!(": {key}: ")) && problem.contains(name), "{problem}");
                // A value in the configuration itself is shown if it is not a secret.
                let shown =
                    value == literal && !["secret", "key", "redis"].iter().any(|word| key.ends_with(word));
                assert!(shown || !problem.contains(end), "{problem}");
            }
        }
    }
}

#[test]
fn a_second_byte_order_mark_is_refused() {
    let (_, text, file) = KEYS[1];
    let problems = read_with(&format!("\u{feff}\u{feff}{text}"), &file("{ file = \"it\" }")).unwrap_err();
    assert!(problems.to_string().contains("U+FEFF (byte order mark) at character 1"), "{problems}");
}

#[test]
fn variables_without_a_file_are_read_in_the_same_way() {
    let with = |name: &'static str, text: &'static str| {
        let variable = move |asked: &str| if asked == name { Some(text.to_owned()) } else { env(asked) };
        from_environment(&Overrides::default(), &variable)
    };
    let config = with("BOX_CLIENT_SECRET", "\u{feff}hunter2").unwrap();
    assert_eq!(config.identities[0].client_secret.expose(), "hunter2");
    let config = with("BOX_ENTERPRISE_ID", "\u{feff}4711").unwrap();
    assert_eq!(config.identities[0].subject, Subject::Enterprise("4711".to_owned()));
    for (name, text) in [
        ("BOX_CLIENT_ID", "ab\u{2060}c"),
        ("BOX_CLIENT_SECRET", "hu\u{2060}nter2"),
        ("BOX_ENTERPRISE_ID", "47\u{2060}11"),
    ] {
        let problems = with(name, text).unwrap_err().to_string();
        let want = format!("{name}: the value contains U+2060 (word joiner) at character 3");
        assert!(problems.starts_with(&want) && !problems.contains("nter2"), "{problems}");
    }
}
