//! `/status.json` as the gateway sends it. The gateway may be older or newer than this program: every value that is
//! missing, `null` or of another kind has its default, and unknown keys are ignored.

use std::ops::Deref;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::telemetry::terminal::plain;

/// A longer text was not written for people.
const LONGEST: usize = 1000;

/// The document.
///
/// # Errors
/// Why this is none, for a sentence that begins with the server.
pub(super) fn parse(body: &[u8]) -> Result<Status, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("GET /status.json is not JSON ({error})"))?;
    if !value.get("ready").is_some_and(Value::is_boolean) {
        return Err("the JSON of GET /status.json has no \"ready\"".to_owned());
    }
    serde_json::from_value(value).map_err(|error| format!("GET /status.json: {error}"))
}

/// The same document on one line, with the characters escaped that a terminal would obey or not show. Its values are
/// not touched: a number keeps its digits.
pub(super) fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut line = String::with_capacity(text.len());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for character in text.chars() {
        if !is_in_string && character.is_ascii_whitespace() {
            continue;
        }
        is_in_string ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        // Other control characters are escaped in every JSON text.
        if character.is_ascii() && character != '\u{7f}' || is_shown(character) {
            line.push(character);
        } else {
            let units = &mut [0; 2];
            for unit in character.encode_utf16(units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    line
}

fn is_shown(character: char) -> bool {
    character.escape_debug().len() == 1
}

/// A text of the gateway, which may quote others: on one line, without what a terminal would obey, and not endless.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text(String);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = plain(text.trim_end());
        Ok(Self(match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        }))
    }
}

/// A time in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The value, or the default where it is of another kind.
fn forgiving<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// Structures whose every field is [`forgiving`].
macro_rules! forgiving {
    ($($(#[$about:meta])* struct $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $($(#[$doc])* #[serde(deserialize_with = "forgiving")] pub(super) $field: $kind,)*
        }
    )*};
}

forgiving! {
    /// What a gateway says of itself.
    struct Status {
        ready: bool,
        /// Why it is not ready.
        reasons: Vec<Text>,
        /// What else an operator should know.
        notes: Vec<Text>,
        version: Text,
        started: Option<Time>,
        /// The gateway's clock: durations are counted by it, so that this machine's clock may be wrong.
        now: Option<Time>,
        draining: bool,
        config: Config,
        r#box: Vec<BoxHost>,
        identities: Vec<Identity>,
        apps: Vec<App>,
        requests_of_no_app: Requests,
        limits: Vec<Limit>,
        waiting: Vec<Waiting>,
        pauses: Vec<Pause>,
        /// The list of pauses may have only the longest.
        pauses_in_force: u64,
        budgets: Vec<Budget>,
        /// Since when calls are counted.
        counting_since: Option<Time>,
        connections: Option<Connections>,
        /// `None`: there is no forward proxy.
        tunnels: Option<Tunnels>,
        /// `None`: limits are not shared.
        redis: Option<Redis>,
    }

    /// The configuration in use.
    struct Config {
        /// `None`: there is none but the environment.
        file: Option<Text>,
        in_use_since: Option<Time>,
        /// The last one; `None`: none since the start.
        reload: Option<Reload>,
    }

    /// A reload of the configuration.
    struct Reload {
        /// `ok` or `refused`.
        result: Text,
        /// Such as `SIGHUP`.
        cause: Text,
    }

    /// A host of Box.
    struct BoxHost {
        host: Text,
        up: bool,
        /// Since when it is down.
        since: Option<Time>,
        reason: Option<Text>,
        last_5_minutes: Requests,
    }

    /// What happened within some minutes.
    struct Requests {
        requests: u64,
        /// Those with status 429 included.
        status_4xx: u64,
        status_429: u64,
        status_5xx: u64,
        p50_ms: Option<f64>,
        p95_ms: Option<f64>,
    }

    /// An account at Box.
    struct Identity {
        name: Text,
        /// Such as `enterprise 123456`.
        subject: Text,
        /// What its token is narrowed to, such as `base_explorer on folder 42`.
        downscope: Option<Text>,
        /// `valid`, `waiting`, `refused` or `unavailable`.
        state: Text,
        /// Of its token.
        expires_in_seconds: Option<i64>,
        renewed: Option<Time>,
        /// Why the last request for a token failed; the token before it may still be valid.
        reason: Option<Text>,
        next_attempt: Option<Time>,
        /// Requests for tokens that failed.
        failed: u64,
    }

    /// An app.
    struct App {
        name: Text,
        /// False: a reload has removed it.
        configured: Option<bool>,
        identity: Text,
        enabled: Option<bool>,
        in_flight: u64,
        last_5_minutes: Requests,
        calls_this_month: u64,
    }

    /// A limit, of the configuration or of Box.
    struct Limit {
        name: Text,
        /// What each count is of, such as `client`.
        key: Text,
        rate: Option<Text>,
        enforced: Option<bool>,
        /// Refused since the start, or not enforced: that would have been.
        limited: u64,
        waiting: u64,
        fullest: Vec<Count>,
    }

    /// One count of a limit.
    struct Count {
        /// Empty: of all requests, or not known.
        key: Text,
        /// From 0 to 1.
        used: f64,
        waiting: u64,
    }

    /// Requests of an app that wait for a limit.
    struct Waiting {
        limit: Text,
        /// Empty: not known.
        app: Text,
        requests: u64,
    }

    /// For how long Box wants no calls.
    struct Pause {
        identity: Text,
        as_user: Option<Text>,
        /// Of the calls that pause; with neither a class nor an operation, all do.
        class: Option<Text>,
        operation: Option<Text>,
        until: Option<Time>,
        seconds_left: i64,
    }

    /// A budget of calls, or its part for one app or identity.
    struct Budget {
        name: Text,
        key: Text,
        /// The app's or identity's name.
        value: Text,
        /// `day` or `month`.
        per: Text,
        calls: u64,
        used: u64,
        forecast: Option<f64>,
        refused: u64,
        ends: Option<Time>,
        /// `reject` or `warn`.
        when_spent: Text,
        enforced: Option<bool>,
    }

    /// Connections of callers.
    struct Connections {
        open: u64,
        max: Option<u64>,
        /// Since the start.
        refused: u64,
    }

    /// Tunnels through the forward proxy that were opened since the start.
    struct Tunnels {
        r#box: u64,
        other: u64,
    }

    /// The connection to Redis.
    struct Redis {
        shared: bool,
        replicas: Option<u64>,
        since: Option<Time>,
        reason: Option<Text>,
    }
}

impl Status {
    /// `now` of the gateway.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        self.now.map(|now| now.0)
    }

    /// Seconds from a time until the gateway's `now`.
    pub(super) fn seconds_since(&self, time: Option<Time>) -> Option<i64> {
        Some(self.now?.0.as_second() - time?.0.as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_of_another_kind_has_its_default() {
        let status = parse(br#"{"ready":true}"#).unwrap();
        assert!(status.ready && status.apps.is_empty() && status.now.is_none() && status.redis.is_none());
        let text = r#"{"ready":true,"reasons":"none","now":5,"connections":null,"apps":[{"name":7,"in_flight":-1,"x":0,
            "calls_this_month":5}],"budgets":{},"limits":[{"fullest":[{"used":"a"}]}]}"#;
        let status = parse(text.as_bytes()).unwrap();
        assert_eq!((status.apps[0].calls_this_month, status.apps[0].in_flight), (5, 0));
        assert!(status.apps[0].name.is_empty() && status.budgets.is_empty() && status.limits.len() == 1);
    }

    #[test]
    fn another_document_is_refused() {
        for (body, why) in [
            ("", "is not JSON"),
            ("<html>", "is not JSON"),
            ("[]", "no \"ready\""),
            ("{\"ready\":1}", "no \"ready\""),
            ("null", "no \"ready\""),
        ] {
            let said = parse(body.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{body}: {said}");
        }
    }

    #[test]
    fn a_text_is_one_line_that_no_terminal_obeys() {
        let reason = "a\\n\\u001b[2Jb\u{202e}c\u{9b} ä";
        let status = parse(format!("{{\"ready\":false,\"reasons\":[\"{reason}\"]}}").as_bytes()).unwrap();
        assert_eq!(&*status.reasons[0], "a\\n\\u{1b}[2Jb\\u{202e}c\\u{9b} ä");
        let long = format!("{{\"ready\":false,\"version\":\"{}\"}}", "ä".repeat(5000));
        assert_eq!(parse(long.as_bytes()).unwrap().version.chars().count(), 1001);
    }

    #[test]
    fn the_document_on_one_line_has_the_same_values() {
        let body =
            "{\n  \"a b\": [1.50, \"x \\\" \\\\\", \"ä\u{9b}\u{202e}\u{e0001}\u{7f}\"],\r\n\t\"c\": {}\n}\n";
        let line = one_line(body.as_bytes());
        assert_eq!(
            line,
            "{\"a b\":[1.50,\"x \\\" \\\\\",\"ä\\u009b\\u202e\\udb40\\udc01\\u007f\"],\"c\":{}}"
        );
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(value(&line), value(body));
    }
}
